"""The door: what every request has to pass before any route sees it.

Outermost of all, and plain ASGI, so that a client's leaving is felt inside. A path is open if it is
named here, and closed otherwise: a route that somebody adds tomorrow is closed, too. It is compared
as the router will compare it, never rebuilt from what a client says of the host.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from typing import TYPE_CHECKING

from kosmos2.serve import failures
from kosmos2.serve.bodies import Bodies, Body, Gone, announced, check_headers, check_json
from kosmos2.serve.credentials import Headers, challenge, offered, values
from kosmos2.serve.failures import Refused
from kosmos2.serve.hosts import check_host, check_site
from kosmos2.serve.keys import Caller, Key
from kosmos2.serve.pace import Pace

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from kosmos2.serve.admission import Place
    from kosmos2.serve.desk import Desk

OPEN = "/health/live"  # a supervisor that asks whether we live has no key
OPEN_METHODS = ("GET", "HEAD")
ADMITTED = "/v1/"  # what is posted here is work, and waits for its turn
HEAD_BYTES, HEADERS = 2**15, 100  # of a request's head, whichever way it was cut into packets

_TAME = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# A reply that says more of itself, as the page does, keeps what it says.
SECURITY = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}


class Guard:
    """Lets in whom the desk knows, with a body that is whole and plain, and gives out the rest."""

    def __init__(self, app: ASGIApp, *, desk: Desk) -> None:
        self._app, self._desk = app, desk
        self._bodies = Bodies(desk.limits)
        self._pace = Pace()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let the app do it."""
        if scope["type"] == "websocket":  # there are none
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope["headers"])
        reply = _Reply(send, request_id)
        with self._bodies.held() as body:
            try:
                await self._pass(scope, receive, reply, body, request_id)
            except Gone:
                return
            except Refused as error:
                refused = error.bare()
            except Exception as error:  # noqa: BLE001 - the last place to tell it
                failures.logged(error, request_id)
                refused = failures.told(error)
            else:
                return
            if not reply.started:
                await self._refuse(refused, scope, receive, reply, body)

    async def _pass(
        self, scope: Scope, receive: Receive, reply: _Reply, body: Body, request_id: str
    ) -> None:
        key = key_of(scope, self._desk)
        caller = Caller(named(key), request_id)
        scope.setdefault("state", {})["caller"] = caller
        check_headers(scope["headers"])
        async with AsyncExitStack() as stack:
            stack.callback(self._desk.admission.came, scope.get("client"))
            stack.enter_context(taken(scope, key, self._desk))
            admitted = scope["method"] == "POST" and scope["path"].startswith(ADMITTED)
            if admitted:  # a crowd is told before anything of it is read
                self._desk.admission.check()
            data = await self._bodies.read(body, scope["headers"], receive)
            rest = _Rest(data, receive)
            stack.callback(rest.close)
            place = None
            if admitted:  # only now, so that many who send slowly cannot fill the line
                entering = self._desk.admission.enter(scope.get("client"))
                place = await stack.enter_async_context(entering)
            if data:
                await self._pace.turn()
                check_json(data)
            if place is not None and not place.begin():
                await rest.wait(place)
                await self._pace.turn()  # several places may have become free together
            await self._app(scope, rest, reply)

    async def _refuse(
        self, refused: Refused, scope: Scope, receive: Receive, reply: _Reply, body: Body
    ) -> None:
        """Say no, hear out who is still sending, and then hang up on them."""
        self._desk.metrics.refused.labels(refused.code).inc()
        response = failures.response(refused)
        headers = [h for h in response.raw_headers if h[0] != b"www-authenticate"]
        if refused.status == 401:
            how = challenge(scope["method"], scope["headers"])
            headers.append((b"www-authenticate", how.encode()))
        unheard = not body.whole and _has_body(scope["headers"])
        if unheard:
            headers.append((b"connection", b"close"))
        await reply({"type": "http.response.start", "status": refused.status, "headers": headers})
        said = {"type": "http.response.body", "body": bytes(response.body)}
        if unheard:
            await reply({**said, "more_body": True})
            self._bodies.let_go(body)
            await body.linger(receive)
            said["body"] = b""
        await reply(said)


def key_of(scope: Scope, desk: Desk) -> Key | None:
    """Look at a request's head; whose key it brings, None where no key is wanted.

    Raises:
        Refused: a head that is too large, names another host, comes from another site, or brings
            no key.
    """
    headers = scope["headers"]
    _check_head(scope)
    if desk.settings.loopback:
        check_host(headers)
    check_site(scope["method"], headers)
    if desk.keys is None or (scope["path"] == OPEN and scope["method"] in OPEN_METHODS):
        return None
    brought = offered(headers)
    key = None if brought is None else desk.keys.find(brought)
    if key is None:
        raise Refused("invalid_api_key")
    return key


def named(key: Key | None) -> str:
    """Who asks, as the log and what is remembered have it."""
    return "open" if key is None else key.name


def taken(scope: Scope, key: Key | None, desk: Desk) -> AbstractContextManager[None]:
    """One request of what a key may ask for; the page's own files are free."""
    if key is None or scope["method"] != "POST":
        return nullcontext()
    return desk.rates.taken(key)


def request_id_of(headers: Headers) -> str:
    """The client's own, if it is tame enough to stand in a log; else a new one."""
    ids = values(headers, b"x-request-id")
    if len(ids) == 1 and _TAME.fullmatch(ids[0]):
        return ids[0].decode()
    return f"req_{uuid.uuid4().hex}"


class _Reply:
    """Sends on, with the headers that every reply has."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id.encode()
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            said = list(message.get("headers", []))
            names = {name.lower() for name, _ in said}
            said += [(name, value) for name, value in SECURITY.items() if name not in names]
            said.append((b"x-request-id", self._request_id))
            message = {**message, "headers": said}
        await self._send(message)


class _Rest:
    """What the app receives: the body in one, then whatever else comes, as a client's leaving."""

    def __init__(self, data: bytes, receive: Receive) -> None:
        self._data: bytes | None = data
        self._receive = receive
        self._next: asyncio.Future[Message] | None = None

    async def __call__(self) -> Message:
        if self._data is not None:
            data, self._data = self._data, None
            return {"type": "http.request", "body": data, "more_body": False}
        if self._next is not None:
            return await asyncio.shield(self._next)
        return await self._receive()

    async def wait(self, place: Place) -> None:
        """Wait for the turn of this request, as long as its client does.

        Raises:
            Gone: the client left first.
        """
        self._next = asyncio.ensure_future(self._gone())
        turn = asyncio.ensure_future(place.turn())
        try:
            await asyncio.wait((self._next, turn), return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                raise Gone
            turn.result()
        finally:
            turn.cancel()
            await asyncio.wait((turn,))

    async def _gone(self) -> Message:
        while (message := await self._receive())["type"] != "http.disconnect":
            pass
        return message

    def close(self) -> None:
        """Nobody receives any more."""
        if self._next is not None:
            self._next.cancel()


def _check_head(scope: Scope) -> None:
    words = [scope["method"], scope["path"], scope.get("query_string", b"")]
    size = sum(map(len, words)) + sum(len(name) + len(value) for name, value in scope["headers"])
    if size > HEAD_BYTES or len(scope["headers"]) > HEADERS:
        raise Refused("headers_too_large")


def _has_body(headers: Headers) -> bool:
    try:
        return announced(headers) != 0
    except Refused:
        return True
