"""All rooms of the server put together as one ASGI app.

    Watch      counts and logs
      Guard    keys, hosts, bodies, the line in front of the model
        routes what can be asked

Each app has its own desk and shares nothing with another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import kosmos2
from kosmos2.errors import ConfigError
from kosmos2.grounder import Kosmos2
from kosmos2.serve import failures
from kosmos2.serve.desk import Desk
from kosmos2.serve.engines import Making
from kosmos2.serve.guard import Guard
from kosmos2.serve.keys import Keys
from kosmos2.serve.openapi import describe
from kosmos2.serve.routes import chat, house, moondream, native, nvidia, page, responses
from kosmos2.serve.settings import Settings
from kosmos2.serve.watch import Watch

ROUTES = (house, chat, responses, native, nvidia, moondream, page)


def create_app(
    settings: Settings, *, model: Kosmos2 | None = None, engine: Making | None = None
) -> FastAPI:
    """An app around a model; None loads the one that the settings name.

    `engine` is where that model's answers are made, if not in this process.

    Raises:
        CheckpointError: no such model.
        ConfigError: keys that cannot be read; neither keys nor leave to do without.
    """
    if settings.key_file is None and not settings.open:
        raise ConfigError(
            "nobody was named who may ask; give key_file, or open=True for all of this machine"
        )
    keys = None if settings.key_file is None else Keys.read(settings.key_file)
    desk = Desk(settings, load(settings) if model is None else model, keys=keys, engine=engine)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await desk.start()
        try:
            yield
        finally:
            await desk.close()

    app = FastAPI(
        title="kosmos2",
        version=kosmos2.__version__,
        summary="Show KOSMOS-2 a picture, ask, and it answers with words tied to boxes.",
        docs_url=None,  # these pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # to an address made of what the client says of the host
        lifespan=life,
    )
    app.state.desk = desk
    failures.install(app, refused=lambda code: desk.metrics.refused.labels(code).inc())
    for route in ROUTES:
        app.include_router(route.router)
    describe(app)
    app.openapi()  # made now: later it would hold up everybody for a moment
    app.add_middleware(Guard, desk=desk)
    app.add_middleware(Watch, metrics=desk.metrics)
    return app


def load(settings: Settings) -> Kosmos2:
    """The model that the settings name."""
    return Kosmos2.load(
        settings.model,
        adapter=settings.adapter,
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
        revision=settings.revision,
        offline=settings.offline,
    )
