"""What is asked about the server itself: which model, whether it lives, what it has done."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel

from kosmos2.serve.desk import Desk, desk_of
from kosmos2.serve.failures import Refused
from kosmos2.serve.metrics import CONTENT_TYPE

router = APIRouter()
Here = Annotated[Desk, Depends(desk_of)]
STARTED = int(time.time())


class Model(BaseModel):
    """One model, as OpenAI's clients expect it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "kosmos2"


class Models(BaseModel):
    """All that can be asked."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """How it is."""

    status: Literal["live", "ready"]


@router.get("/v1/models", summary="Which model answers")
async def models(desk: Here) -> Models:
    """The one model of this server."""
    return Models(data=[Model(id=desk.model_id, created=STARTED)])


@router.get("/v1/models/{name:path}", summary="Whether a model answers")
async def model(name: str, desk: Here) -> Model:
    """The model under any of the names it is known by."""
    desk.check_model(name)
    return Model(id=desk.model_id, created=STARTED)


@router.get("/health/live", summary="Whether the process is to be kept")
async def live(desk: Here) -> Health:
    """Answered without a key; 503 once the model has stopped working."""
    if desk.answering.dead:
        raise Refused("engine_dead")
    return Health(status="live")


@router.get("/health/ready", summary="Whether requests are taken")
async def ready(desk: Here) -> Health:
    """503 while the server is about to stop."""
    if desk.unready is not None:
        raise Refused(desk.unready)
    return Health(status="ready")


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
async def metrics(desk: Here) -> Response:
    """Everything that is counted, as text."""
    return Response(desk.metrics.text(), headers={"Content-Type": CONTENT_TYPE})
