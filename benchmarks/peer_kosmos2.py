"""This library: every case goes through its engine."""

from __future__ import annotations

import inspect
import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peer import Unable
from torch import Tensor
from workload import COLUMNS, EOS, PAD, Ask, World

import kosmos2
from kosmos2.engine.filters import Filter
from kosmos2.engine.grammar import Grammar, Tags
from kosmos2.engine.request import Request
from kosmos2.engine.ticket import Ticket
from kosmos2.engine.token import Token
from kosmos2.engine.worker import Engine
from kosmos2.model.quantised import tensors
from kosmos2.options import Options
from kosmos2.weights.load import load_network
from kosmos2.weights.save import save_network

AT_ONCE = 8  # pictures that are looked at together
SAVED = "saved-by-a-peer"  # a file that says so


@dataclass(frozen=True)
class Begins:
    """An answer begins with this id."""

    id: int

    def apply(self, logits: Tensor, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
        """Nothing else may come first."""
        if answer:
            return logits
        kept = torch.full_like(logits, -math.inf)
        kept[self.id] = logits[self.id]
        return kept

    def forced(self, prompt: Sequence[int], answer: Sequence[int]) -> tuple[int, ...]:
        """Known before the network is asked."""
        return () if answer else (self.id,)


class Peer:
    """One network."""

    def __init__(self, folder: str, world: World, way: str) -> None:
        if way not in ("fp32", "int8", "int4"):
            raise Unable(f"there is no way {way!r} to run kosmos2")
        how: dict[str, Any] = {} if way == "fp32" or _is_saved(folder) else {"quantize": way}
        if how and "quantize" not in inspect.signature(load_network).parameters:
            raise Unable("load_network has no `quantize` in this version")
        self.world = world
        self.network = load_network(folder, dtype=torch.float32, pack=True, **how).eval()
        self.engine = Engine(self.network, slots=16, background=False)
        self._seen: dict[int, Tensor] = {}
        self._number = itertools.count()

    def facts(self) -> dict[str, Any]:
        """What is run, and the bytes that every token has to read."""
        return {
            "versions": {"kosmos2": kosmos2.__version__, "torch": torch.__version__},
            "threads": torch.get_num_threads(),
            "step_bytes": self._step_bytes(),
        }

    def first(self, asks: list[Ask]) -> dict[str, Any]:
        """From pixels to the first token of one ask."""
        (ask,) = asks
        pixels = self._pixels([ask.picture])
        begun = time.perf_counter()
        answer = self.engine.submit(self._request(ask, self.engine.look(pixels)))
        tokens = [list(answer.result().ids)]
        return {"seconds": time.perf_counter() - begun, "tokens": tokens}

    def decode(self, asks: list[Ask]) -> dict[str, Any]:
        """The seconds of each step, once all prompts are read; one picture, seen before."""
        (picture,) = {ask.picture for ask in asks}
        if picture not in self._seen:
            self._seen[picture] = self.engine.look(self._pixels([picture]))
        tickets = [self.engine.submit(self._request(ask, self._seen[picture])) for ask in asks]
        steps = []
        while not all(ticket.done for ticket in tickets):
            reading = [ticket for ticket in tickets if not ticket.tokens]
            begun = time.perf_counter()
            self.engine.step()
            if not reading:
                steps.append(time.perf_counter() - begun)
        return {"steps": steps, "tokens": [list(ticket.result().ids) for ticket in tickets]}

    def phrases(self, asks: list[Ask]) -> dict[str, Any]:
        """One look, one beginning, one batch; the grammar knows most of what must come."""
        (picture,) = {ask.picture for ask in asks}
        pixels = self._pixels([picture])
        key = ("phrases", next(self._number))  # nothing is left from the last time
        before = self.engine.statistics()
        begun = time.perf_counter()
        latents = self.engine.look(pixels)
        answers = self.engine.run(
            [self._request(ask, latents, key, self._grammar(ask.new)) for ask in asks]
        )
        seconds = time.perf_counter() - begun
        after = self.engine.statistics()
        return {
            "seconds": seconds,
            "tokens": [list(answer.ids) for answer in answers],
            "forced": (after.forced - before.forced) / (after.tokens - before.tokens),
        }

    def captions(self, asks: list[Ask], batch: int) -> dict[str, Any]:
        """All of them, so many at once."""
        pixels = self._pixels([ask.picture for ask in asks])
        begun = time.perf_counter()
        with Engine(self.network, slots=batch, background=False) as engine:
            latents = torch.cat([engine.look(part) for part in pixels.split(AT_ONCE)])
            requests = [self._request(ask, one[None]) for ask, one in zip(asks, latents)]
            tokens = [list(answer.ids) for answer in engine.run(requests)]
        return {"seconds": time.perf_counter() - begun, "tokens": tokens}

    def arrivals(self, asks: list[Ask], at: list[float]) -> dict[str, Any]:
        """Each from a thread of its own, as a server would; looking is part of the wait."""
        pixels = self._pixels([ask.picture for ask in asks])
        arrivals = [_Arrival() for _ in asks]
        with Engine(self.network, slots=16) as engine:
            begun = time.perf_counter()

            def come(number: int) -> None:
                time.sleep(max(begun + at[number] - time.perf_counter(), 0.0))
                latents = engine.look(pixels[number : number + 1])
                request = self._request(asks[number], latents)
                arrivals[number].ticket = engine.submit(request, on_token=arrivals[number].put)

            threads = [threading.Thread(target=come, args=(n,)) for n in range(len(asks))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            tokens = [list(arrival.answer()) for arrival in arrivals]
        return {
            "first": [a.times[0] - begun - due for a, due in zip(arrivals, at)],
            "seconds": max(arrival.times[-1] for arrival in arrivals) - begun,
            "tokens": tokens,
        }

    @torch.no_grad()
    def follow(self, asks: list[Ask], tokens: list[list[int]]) -> dict[str, Any]:
        """Read another's answers, and say at each token whether it would have been ours."""
        same = []
        for ask, answer in zip(asks, tokens, strict=True):
            ids, slots = self.world.ids(ask), self.world.slots(ask)
            logits = self.network(
                torch.tensor([ids + answer[:-1]]),
                pixels=self._pixels([ask.picture]),
                slots=torch.tensor([slots + [0] * (len(answer) - 1)]).bool(),
            )
            ours = logits[0, len(ids) - 1 :].index_fill(1, torch.tensor([EOS, PAD]), -math.inf)
            same += (ours.argmax(1) == torch.tensor(answer)).tolist()
        return {"same": sum(same) / len(same)}

    def save(self, folder: str) -> dict[str, Any]:
        """Write the network as it is; the next process that loads this has nothing to round."""
        save_network(folder, self.network, generation={"no_repeat_ngram_size": 0})
        (Path(folder) / SAVED).touch()
        return {}

    def _pixels(self, pictures: list[int]) -> Tensor:
        return torch.stack([torch.from_numpy(self.world.pixels(picture)) for picture in pictures])

    def _request(
        self,
        ask: Ask,
        latents: Tensor,
        key: tuple[str, int] | None = None,
        filters: tuple[Filter, ...] = (),
    ) -> Request:
        return Request(
            prompt=tuple(self.world.ids(ask)),
            slots=tuple(bool(slot) for slot in self.world.slots(ask)),
            latents=latents,
            prefix_key=key,
            prefix_length=len(self.world.prefix) if key else 0,
            eos=EOS,
            pad=PAD,
            locations=self.world.locations,
            options=Options(max_new_tokens=ask.new, min_new_tokens=ask.new),
            filters=filters,
        )

    def _grammar(self, limit: int) -> tuple[Filter, ...]:
        world = self.world
        tags = Tags(
            phrase=world.phrase,
            phrase_end=world.phrase_end,
            object=world.object,
            object_end=world.object_end,
            delimiter=world.delimiter,
            locations=world.locations,
            columns=COLUMNS,
        )
        grammar = Grammar(tags=tags, stops=frozenset({EOS}), limit=limit, max_boxes=1)
        return Begins(world.object), grammar

    def _step_bytes(self) -> int:
        """What the decoder is stored as: all of it is read for every token."""
        return sum(
            math.prod(tensor.shape) * tensor.dtype.itemsize
            for name, tensor in tensors(self.network)
            if name.startswith("decoder.")
        )


def _is_saved(folder: str) -> bool:
    """Whether a folder was written by `save`."""
    return (Path(folder) / SAVED).is_file()


class _Arrival:
    """When the tokens of one request came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.ticket: Ticket | None = None

    def put(self, _: Token) -> None:
        self.times.append(time.perf_counter())

    def answer(self) -> tuple[int, ...]:
        assert self.ticket is not None, "it never got into the engine; see the thread's traceback"
        return self.ticket.result().ids
