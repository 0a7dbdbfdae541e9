"""One heavy thing a round of the event loop.

To read and check a body with a picture takes a millisecond or more, to say no to somebody a tenth.
A connection is accepted, made and heard in three rounds of the loop, so where a dozen bodies come
to be read in the same round, who only has to be turned away waits three times for a dozen.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Pace:
    """Lets one through at once, and of those who come in the same round one each round."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = False

    async def turn(self) -> None:
        """Until it is this one's round; in the order of asking."""
        loop = asyncio.get_running_loop()
        if self._taken:
            turn = loop.create_future()
            self._waiting.append(turn)
            await turn
            return
        self._taken = True
        loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._taken = False
        while self._waiting and not self._taken:
            turn = self._waiting.popleft()
            if not turn.done():  # not gone meanwhile
                turn.set_result(None)
                self._taken = True
        if self._taken:
            loop.call_soon(self._next, loop)
