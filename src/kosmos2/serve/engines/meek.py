"""Steps of an engine that let everybody else go first.

While a crowd is being turned away, the event loop has a thousand small things to do a second, and a
scheduler that is fair lets each wait until a step of the engine is over. A thread of the idle class
gives way at once. It may not come back from that class, so it is one of its own, and the steps are
handed to it only as long as the crowd lasts. Where somebody else keeps all cores busy it would be
given next to nothing: after a step that took far too long the next ones are done here.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)

TOO_LONG = 5.0  # times the usual, and then
MOST_S = 0.05  # at least
NOT_AGAIN = 20  # steps that are done here after such a one
LEARNING = 0.1  # of what is usual, from each step


def possible() -> bool:
    """Whether there is an idle class, and a thread may join it."""
    return hasattr(os, "SCHED_IDLE")


class Meek:
    """Does steps in a thread of the idle class, or here."""

    def __init__(self, step: Callable[[], bool], meekly: Callable[[], bool] | None = None) -> None:
        """Steps, and how they are done in the idle class, where that differs."""
        self._step, self._meekly = step, meekly or step
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._found: bool | BaseException = False
        self._usual_s = MOST_S
        self._here = 0  # steps before it is tried again

    def step(self, *, meekly: bool) -> bool:
        """One step; whether there was something to do."""
        if not meekly or self._here > 0:
            self._here -= self._here > 0
            return self._step()
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="kosmos2 meek", daemon=True)
            self._thread.start()
        began = time.monotonic()
        self._go.release()
        self._done.acquire()
        took_s = time.monotonic() - began
        if took_s > max(TOO_LONG * self._usual_s, MOST_S):
            self._here = NOT_AGAIN
        else:
            self._usual_s += LEARNING * (took_s - self._usual_s)
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found

    def _live(self) -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # of this thread alone
        except OSError as error:  # not allowed here: as everybody else, then
            log.info("the engine cannot give way to the event loop: %s", error.strerror)
        torch.set_num_threads(1)
        while True:
            self._go.acquire()
            try:
                self._found = self._meekly()
            except BaseException as error:  # noqa: BLE001 - raised where it was asked for
                self._found = error
            self._done.release()
