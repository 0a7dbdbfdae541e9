"""What a route finds on its desk: the model, the pictures, the limits, and who asks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from fastapi import Request

from kosmos2.grounder import Kosmos2, Seen
from kosmos2.serve.admission import Admission, unless_gone
from kosmos2.serve.answering import Answering
from kosmos2.serve.engines import Making
from kosmos2.serve.failures import Refused
from kosmos2.serve.keys import Caller, Keys
from kosmos2.serve.metrics import Metrics
from kosmos2.serve.pictures import Decoded, Pictures
from kosmos2.serve.rates import Rates
from kosmos2.serve.settings import Settings
from kosmos2.weights.fetch import DEMO, RELEASED

T = TypeVar("T")

__all__ = ["Caller", "Desk", "caller_of", "desk_of", "while_connected"]


class Desk:
    """All that the routes of one app share."""

    def __init__(
        self,
        settings: Settings,
        model: Kosmos2,
        *,
        keys: Keys | None = None,
        engine: Making | None = None,
    ) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.model = model
        self.keys = keys
        self.metrics = Metrics()
        self.rates = Rates()
        self.admission = Admission(
            self.limits, self.metrics, on_crowd=lambda: self.answering.engine.give_way()
        )
        self.answering = Answering(model, self.limits, self.metrics, engine=engine)
        self.pictures = Pictures(
            self.limits,
            model.config.vision,
            fetch_hosts=settings.fetch_hosts,
            on_restart=self.metrics.restarts.inc,
        )
        self.model_id = model_id(model.name)
        self._names = {self.model_id, model.name, "kosmos-2", RELEASED}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.metrics.watch("event_loop_tasks", "Tasks of the event loop", self._tasks)

    def _tasks(self) -> int:
        return 0 if self._loop is None else len(asyncio.all_tasks(self._loop))

    async def start(self) -> None:
        """Be ready to answer."""
        self._loop = asyncio.get_running_loop()
        await self.pictures.start()
        self.answering.start()

    async def close(self) -> None:
        """Stop what runs, end the picture decoders, free the memory."""
        self.admission.drain()
        await self.answering.close()
        await self.pictures.close()

    @property
    def unready(self) -> str | None:
        """The code of why nothing new is taken, if so."""
        if self.answering.dead:
            return "engine_dead"
        return "draining" if self.admission.draining else None

    def check_model(self, name: str | None) -> None:
        """Refuse a model that is not here; None is the one that is.

        Raises:
            Refused: another model's name.
        """
        if name is not None and name not in self._names:
            raise Refused("model_not_found", param="model")

    async def see(self, urls: Sequence[tuple[str, str]], caller: Caller) -> list[Seen]:
        """Open pictures side by side and look at all that are new; each `url` with its `param`.

        Raises:
            Refused: one that cannot be used; `param` says which.
        """
        if len(urls) > self.limits.pictures:
            raise Refused("too_many_images", param=urls[self.limits.pictures][1])
        tasks = [asyncio.ensure_future(self._open(url, param, caller)) for url, param in urls]
        try:
            opened = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # of the others, when one cannot be used
                task.cancel()
        return await self.answering.look(opened, caller)

    async def _open(self, url: str, param: str, caller: Caller) -> Decoded | Seen:
        encoded = await self.pictures.read(url, param=param)
        seen = self.answering.seen(encoded.digest, caller)
        return await self.pictures.decode(encoded, param=param) if seen is None else seen


def model_id(name: str) -> str:
    """What a model is called on the wire."""
    return "kosmos-2-demo" if name == DEMO else name.rstrip("/").rpartition("/")[2] or "kosmos-2"


async def desk_of(request: Request) -> Desk:  # async: anything else goes through a thread
    """The desk of the app that was asked; a FastAPI dependency."""
    desk: Desk = request.app.state.desk
    return desk


async def caller_of(request: Request) -> Caller:
    """Who asks, as the guard found out; a FastAPI dependency."""
    caller: Caller = request.state.caller
    return caller


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do work as long as the client waits for it; when the client goes, it is cancelled.

    Raises:
        Refused: the client has gone; nobody reads that, but it is logged and counted.
    """
    return await unless_gone(request.receive, work)
