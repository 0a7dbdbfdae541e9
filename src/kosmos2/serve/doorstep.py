"""Turning a crowd away on the doorstep: while connections are taken, before they are anything else.

Taken, made, listened to, heard: asyncio needs four rounds of its loop before a new connection's
first packet is read, and while eight answers are written a round may take 25 ms. Who comes in a
crowd has mostly said all by the time he is taken. So he is read there and then, and told; who has
said nothing yet waits here for a moment, and only who may come in becomes a connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from kosmos2.serve.bodies import LINGER_BYTES, LINGER_S
from kosmos2.serve.crowd import TurnedAway

A_ROUND = 64  # turned away in one round of the loop: others wait, too
WAITING = 128  # on the doorstep, to speak or to have been heard out, at most
SILENT_S = 1.0  # that somebody may say nothing here
_HEAD = 2**12  # bytes that are read; a longer head is not plain
_HEARD = bytearray(2**18)  # what nobody reads

Line = socket.socket


class Doorstep(socket.socket):
    """A listening socket; what it gives out are those who have not been turned away."""

    def __init__(self, family: socket.AddressFamily) -> None:
        # Said to be TCP, since asyncio sends small packets at once only where it can see that.
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._turn_away: Callable[[bytes, object], TurnedAway | None] | None = None
        self._unheard: dict[Line, int] = {}  # bytes of those who have been told
        self._patience: dict[Line, asyncio.TimerHandle] = {}  # with all who are here
        self._coming_in = set[asyncio.Task[None]]()

    def guard(
        self,
        turn_away: Callable[[bytes, object], TurnedAway | None],
        crowd_about: Callable[[], bool],
        let_in: Callable[[Line], Coroutine[Any, Any, None]],
    ) -> None:
        """Turn away from now on, in the event loop.

        Args:
            turn_away: what is said to who sends this first, from a host and a port; None: he may
                come in.
            crowd_about: whether anybody might be turned away.
            let_in: makes a connection of who was silent at first.
        """
        self._turn_away, self._crowd_about, self._let_in = turn_away, crowd_about, let_in

    def accept(self) -> tuple[Line, Any]:
        """The next connection that comes in.

        Raises:
            BlockingIOError: there is none, or enough was done for one round.
        """
        for _ in range(A_ROUND):
            line, address = super().accept()
            if self._turn_away is None or len(self._patience) >= WAITING or not self._crowd_about():
                return line, address
            line.setblocking(False)
            packet = _first(line)
            if packet is None:
                self._keep(line, SILENT_S, self._listen, self._enter)
            elif not self._told(line, packet):
                return line, address
        raise BlockingIOError("those who still wait are for the next round")

    def close(self) -> None:
        """Nobody waits here any more."""
        for line in list(self._patience):
            self._hang_up(line)
        super().close()

    def _listen(self, line: Line) -> None:
        """Who was silent has said something."""
        packet = _first(line)
        if packet is not None and not self._told(line, packet):
            self._enter(line)

    def _told(self, line: Line, packet: bytes) -> bool:
        """Turn somebody away; whether that was to be done."""
        assert self._turn_away is not None
        try:
            turned = self._turn_away(packet, line.getpeername()[:2]) if packet else None
        except OSError:  # gone already: like any other connection
            return False
        if turned is None:
            return False
        self._let_go(line)
        try:
            line.send(turned.reply)
        except OSError:  # gone
            line.close()
            return True
        self._unheard[line] = min(len(packet) + turned.unheard, LINGER_BYTES)
        self._keep(line, LINGER_S, self._hear_out, self._hang_up)  # the next one is told first
        return True

    def _hear_out(self, line: Line) -> None:
        """Hang up when all has come: to do it earlier would take the reply away from the sender."""
        try:
            heard = line.recv_into(_HEARD)  # once: others wait, too
        except BlockingIOError:
            return
        except OSError:
            heard = 0  # gone
        self._unheard[line] -= heard
        if not heard or self._unheard[line] <= 0:
            self._hang_up(line)

    def _enter(self, line: Line) -> None:
        """Make a connection of somebody."""
        self._let_go(line)
        task = asyncio.get_running_loop().create_task(self._let_in(line))
        self._coming_in.add(task)
        task.add_done_callback(self._coming_in.discard)

    def _hang_up(self, line: Line) -> None:
        self._let_go(line)
        line.close()

    def _keep(
        self,
        line: Line,
        within_s: float,
        on_packet: Callable[[Line], None],
        on_late: Callable[[Line], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._patience[line] = loop.call_later(within_s, on_late, line)
        loop.add_reader(line, on_packet, line)

    def _let_go(self, line: Line) -> None:
        self._unheard.pop(line, None)
        if (timer := self._patience.pop(line, None)) is not None:
            timer.cancel()
            asyncio.get_running_loop().remove_reader(line)


def _first(line: Line) -> bytes | None:
    """The first packet, left where it is; empty if there will be none, None if it may come yet."""
    try:
        return line.recv(_HEAD, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        return b""
