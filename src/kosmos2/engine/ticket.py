"""What a caller holds of a request: its tokens as they come, its answer, and the way to stop it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from kosmos2.engine.token import Completion, Token
from kosmos2.errors import EngineError

log = logging.getLogger(__name__)

OnToken = Callable[[Token], None]
OnEnd = Callable[["Ticket"], None]


class Cancelled(EngineError):
    """Somebody no longer wanted this answer."""


class Late(EngineError):
    """The answer took longer than its request allowed."""


class Ticket:
    """One request in the engine; every method may be called from any thread.

    Iterating gives the tokens as they come and raises what went wrong, if something did; leaving
    the loop early cancels.
    """

    def __init__(
        self,
        *,
        drive: Callable[[float | None], bool],
        on_cancel: Callable[[], None],
        on_token: OnToken | None = None,
        on_end: OnEnd | None = None,
        prompt: int = 0,
    ) -> None:
        self.prompt = prompt  # tokens of the prompt
        self.reused = 0  # of these, not read but copied from a beginning that was kept
        self._drive = drive  # does or awaits a step of the engine; False: somebody else does
        self._on_cancel = on_cancel
        self._on_token = on_token
        self._on_end = on_end
        self._news = threading.Condition()
        self._tokens: list[Token] = []
        self._forced = 0
        self._done = False
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[Token]:
        at = 0
        try:
            while self._await(at):
                yield self._tokens[at]
                at += 1
        except GeneratorExit:
            self.cancel()
            raise
        if self._error is not None:
            raise self._error

    @property
    def tokens(self) -> tuple[Token, ...]:
        """What has been answered so far."""
        return tuple(self._tokens)

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._done

    @property
    def error(self) -> BaseException | None:
        """What went wrong."""
        return self._error

    def result(self, timeout_s: float | None = None) -> Completion:
        """The whole answer.

        Raises:
            TimeoutError: it is not there in time; it goes on.
            EngineError: `Cancelled`, `Late`, `Busy` for want of memory, or what went wrong.
        """
        if not self.wait(timeout_s):
            raise TimeoutError(f"no answer within {timeout_s} s; wait longer, or cancel")
        if self._error is not None:
            raise self._error
        return Completion.of(self._tokens)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it is done, within a time."""
        self._await(None, timeout_s)
        return self._done

    def cancel(self) -> bool:
        """Want no more of it; whether there was more to come."""
        stopped = self.end(Cancelled("the request was cancelled"))
        if stopped:
            self._on_cancel()
        return stopped

    @property
    def forced(self) -> int:
        """How many of the tokens so far were known before their turn."""
        return self._forced

    def put(self, token: Token, *, forced: bool = False) -> None:
        """The engine hands out one token."""
        with self._news:
            if self._done:
                return
            self._tokens.append(token)
            self._forced += forced
            self._news.notify_all()
        if self._on_token is not None:
            self._on_token(token)

    def end(self, error: BaseException | None = None) -> bool:
        """Nothing more comes; whether that is news. Only the first end counts."""
        with self._news:
            if self._done:
                return False
            self._done, self._error = True, error
            self._news.notify_all()
        if self._on_end is not None:
            try:
                self._on_end(self)
            except Exception:
                log.exception("on_end of a request failed")
        return True

    def _await(self, at: int | None, timeout_s: float | None = None) -> bool:
        """Wait until a token is there or it is done; whether the token is there."""

        def come() -> bool:
            return at is not None and len(self._tokens) > at

        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not (come() or self._done):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            if self._drive(left):
                continue
            with self._news:
                self._news.wait_for(lambda: come() or self._done, left)
        return come()
