"""Everything a client can be told to have gone wrong: one table of fixed texts.

A reply never holds an exception's own words, a path, an address or the name of a class: those are
ours, and have given away more than was meant elsewhere. Whoever refuses names a row of the table.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from kosmos2.engine import Cancelled, Late
from kosmos2.errors import Busy, ConfigError, EngineError, ImageError, InputError, MarkupError
from kosmos2.serve.texts import TEXTS

log = logging.getLogger(__name__)


class Row(NamedTuple):
    """What one code means to a client."""

    status: int
    type: str
    message: str


def _type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return "rate_limit_error" if status == 429 else "invalid_request_error"


TABLE: dict[str, Row] = {
    code: Row(status, _type(status), message)
    for status, rows in TEXTS.items()
    for code, message in rows.items()
}


class Refused(Exception):
    """A request that ends with a row of the table.

    `facts` are whole numbers that fill the `{places}` of the row's text; nothing else may.
    """

    def __init__(
        self, code: str, *, param: str | None = None, retry_after_s: int | None = None, **facts: int
    ) -> None:
        super().__init__(code)
        assert all(isinstance(fact, int) for fact in facts.values()), "facts are whole numbers"
        self.code = code
        self.param = param
        row = TABLE[code]
        self.status = row.status
        self.type = row.type
        self.message = row.message.format(**facts) if facts else row.message
        # Clients follow it from 1 to 60 or 120 seconds, and make up their own time otherwise.
        wait_s = 1 if retry_after_s is None and row.status in (429, 503) else retry_after_s
        self.retry_after_s = None if wait_s is None else min(max(wait_s, 1), 60)

    def bare(self) -> Self:
        """The same without its way here.

        Whoever keeps an error keeps the frames that it came through, and in one of them himself:
        a ring, which holds a request's packets until rings are searched for.
        """
        self.__context__ = None
        return self.with_traceback(None)


def told(error: BaseException) -> Refused:
    """What a client is told of any error."""
    if isinstance(error, Refused):
        return error
    for kind, code in (
        (Busy, "overloaded"),
        (Late, "deadline_exceeded"),
        (Cancelled, "cancelled"),
        (EngineError, "generation_failed"),
        (ImageError, "image_invalid"),
        (MarkupError, "prompt_invalid"),
        (InputError, "prompt_invalid"),
        (ConfigError, "invalid_request"),
    ):
        if isinstance(error, kind):
            return Refused(code)
    return Refused("internal")


def body(refused: Refused) -> dict[str, Any]:
    """The reply in OpenAI's shape."""
    return {
        "error": {
            "message": refused.message,
            "type": refused.type,
            "param": refused.param,
            "code": refused.code,
        }
    }


def response(refused: Refused) -> JSONResponse:
    """The whole reply."""
    headers = {}
    if refused.retry_after_s is not None:
        headers["Retry-After"] = str(refused.retry_after_s)
    if refused.status == 401:
        # A browser then asks for the key, which is how the page is opened.
        headers["WWW-Authenticate"] = 'Basic realm="kosmos2", charset="UTF-8", Bearer'
    return JSONResponse(body(refused), status_code=refused.status, headers=headers)


def logged(error: BaseException, request_id: str) -> None:
    """Note where something unforeseen happened; its words may hold a prompt, so they stay out."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    log.error("request %s: %s in %s", request_id, type(error).__name__, where)


def install(app: FastAPI, *, refused: Callable[[str], None] = lambda code: None) -> None:
    """Let the app refuse in this way whatever it refuses by itself; each code goes to `refused`."""

    def reply(request: Request, what: Refused) -> JSONResponse:
        if not request.scope["path"].startswith("/health/"):  # there it is an answer
            refused(what.code)
        return response(what)

    async def ours(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused)
        return reply(request, error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return reply(request, of_validation(error.errors()))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        codes = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
        said = reply(request, Refused(codes.get(error.status_code, "invalid_request")))
        if allow := (error.headers or {}).get("Allow"):
            said.headers["Allow"] = allow
        return said

    app.add_exception_handler(Refused, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


_BY_KIND = {
    "missing": "missing_parameter",
    "extra_forbidden": "unknown_parameter",
    "json_invalid": "invalid_json",
    "too_long": "too_many",
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def of_validation(errors: Sequence[Any]) -> Refused:
    """The first thing that a model of a request did not take."""
    first: Mapping[str, Any] = errors[0] if errors else {"type": "", "loc": ()}
    return Refused(_BY_KIND.get(str(first["type"]), "invalid_request"), param=path(first["loc"]))


def path(places: Sequence[int | str]) -> str | None:
    """A place in a body as `messages[0].content[1].image_url`.

    What is no plain name (the kinds that a field can be stand between the names) is left out.
    """
    text = ""
    for place in places[1:] if places[:1] == ("body",) else places:
        if isinstance(place, int):
            text += f"[{place}]"
        elif _NAME.fullmatch(place):
            text += f".{place}" if text else place
    return text or None
