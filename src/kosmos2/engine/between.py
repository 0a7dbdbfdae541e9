"""What is done between two steps: pictures looked at, and whatever else a caller has to do.

Pictures that wait are looked at together, whoever brought them, but only so many between two steps:
all running answers wait meanwhile. Latents are the same in company as alone, to the bit with the
kernels that were tried; a picture that fails does not take the others along.

Shapes: N pictures of one caller, S pixels a side, L latents, D text width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.errors import InputError
from kosmos2.model import Network

T = TypeVar("T")

# Pictures between two steps while somebody waits for a word, and otherwise. With one thread, two of
# the embedded model together take 0.8 (int8) to 0.9 of their time alone, more hardly less; in a
# tower of full width nothing is gained beyond two. A GPU is hardly busy with one.
WHILE_RUNNING = {"cpu": 2, "cuda": 16}
OTHERWISE = {"cpu": 4, "cuda": 64}


@dataclass(eq=False)
class _Look:
    """Pictures of one caller, and what was made of the first of them."""

    pixels: Float[Tensor, "N 3 S S"]
    looked: Future[Tensor]
    parts: list[Float[Tensor, "some L D"]] = field(default_factory=list)
    done: int = 0

    def take(self, most: int) -> Float[Tensor, "some 3 S S"]:
        """The next of them."""
        return self.pixels[self.done : self.done + most]

    def put(self, latents: Float[Tensor, "some L D"]) -> bool:
        """What was made of these; whether that is all."""
        self.parts.append(latents)
        self.done += len(latents)
        return self.done >= len(self.pixels)


class Between:
    """Looks and works that wait; they are handed in from any thread."""

    def __init__(self, network: Network, lock: AbstractContextManager[object]) -> None:
        """Nothing waits; `lock` guards the queues."""
        self.pictures = 0  # that were looked at
        self._network = network
        self._lock = lock
        self._looks: deque[_Look] = deque()
        self._works: deque[tuple[Callable[[], Any], Future[Any]]] = deque()

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._looks or self._works)

    def look(self, pixels: Float[Tensor, "N 3 S S"]) -> Future[Tensor]:
        """Have pictures looked at.

        Raises:
            InputError: what cannot be several pictures.
        """
        if pixels.ndim != 4:
            raise InputError(f"pixels of shape {tuple(pixels.shape)}; give N x 3 x side x side")
        look = _Look(pixels, Future())
        with self._lock:
            self._looks.append(look)
        return look.looked

    def work(self, work: Callable[[], T]) -> Future[T]:
        """Have something else done; it must not wait for the engine."""
        done: Future[T] = Future()
        with self._lock:
            self._works.append((work, done))
        return done

    def give_up(self, error: BaseException) -> None:
        """Nothing of all that will be done."""
        with self._lock:
            waiting = [look.looked for look in self._looks] + [done for _, done in self._works]
            self._looks.clear()
            self._works.clear()
        for future in waiting:
            future.set_exception(error)

    @torch.no_grad()
    def do(self, *, running: bool) -> None:
        """What is due between two steps: all works, and as many pictures as there is time for."""
        most = WHILE_RUNNING if running else OTHERWISE
        with self._lock:
            works = list(self._works)
            self._works.clear()
            looks = self._next(most.get(self._network.device.type, most["cpu"]))
        if looks:
            self._look(looks)
        for work, done in works:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
                if not isinstance(error, Exception):
                    raise

    def _next(self, room: int) -> list[tuple[_Look, Tensor]]:
        """The first that waits, and those that can be joined with it: their next pictures."""
        looks: list[tuple[_Look, Tensor]] = []
        for look in self._looks:
            if room > 0 and (not looks or _alike(look.pixels, looks[0][0].pixels)):
                looks.append((look, look.take(room)))
                room -= len(looks[-1][1])
        return looks

    def _look(self, looks: Sequence[tuple[_Look, Tensor]]) -> None:
        """Look at pictures together; whose fault it is when that fails shows when each is alone."""
        parts = [pixels for _, pixels in looks]
        try:
            joined = parts[0] if len(parts) == 1 else torch.cat(parts)
            latents = self._network.look(joined.to(self._network.device))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            if len(looks) == 1:
                self._end(looks[0][0], error)
            else:
                for one in looks:
                    self._look([one])
            return
        except BaseException as error:
            for look, _ in looks:
                self._end(look, error)
            raise
        self.pictures += len(latents)
        for (look, _), own in zip(looks, latents.split([len(p) for p in parts]), strict=True):
            if look.put(own):
                self._end(look)

    def _end(self, look: _Look, error: BaseException | None = None) -> None:
        with self._lock:
            if look not in self._looks:  # the engine was closed meanwhile
                return
            self._looks.remove(look)
        if error is None:
            look.looked.set_result(torch.cat(look.parts))  # a copy: nobody keeps what is others'
        else:
            look.looked.set_exception(error)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether pictures can lie in one tensor."""
    return (one.shape[1:], one.dtype, one.device) == (other.shape[1:], other.dtype, other.device)
