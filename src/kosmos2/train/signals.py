"""Asked to stop: by Ctrl-C, by a supervisor (SIGTERM), by a scheduler's warning (SIGUSR1).

A request is only remembered; the loop looks at the end of a step, so neither a step nor a save is
ever cut in two. A second Ctrl-C does not wait.
"""

from __future__ import annotations

import mmap
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ASKS = ("SIGINT", "SIGTERM", "SIGUSR1")  # the last does not exist everywhere


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Within, those signals set the event that is given; outside, they do what they did before.

    A signal to the whole group also reaches the forked processes that load data, and the run is
    over at once if one of them dies. So they pay no attention to it, until this process leaves;
    those of a torch loader need `held_back` and `unmoved` for that.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may listen: there is nobody to ask this one
        return
    owner, over = os.getpid(), mmap.mmap(-1, 1)  # a byte that forked processes share

    def ask(number: int, frame: object) -> None:
        if os.getpid() != owner:
            if over[0]:
                os._exit(0)  # with no code that its maker would take for a failure
            return
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt("stopped at once; the last checkpoint is the place to go on")
        stop.set()

    usual = {number: signal.signal(number, ask) for number in _numbers()}
    try:
        yield stop
    finally:
        over[0] = 1
        for number, handler in usual.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not one of Python's


@contextmanager
def held_back() -> Iterator[None]:
    """Within, what this thread forks leaves requests waiting until `unmoved`.

    Without it, one that comes while a loader starts its processes would end them. Here a request
    waits too, unless another thread takes it: then it is remembered at once.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _numbers())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unmoved(worker: int) -> None:
    """As a loader's `worker_init_fn`: torch has SIGTERM end its processes, and here it may not."""
    for number in _numbers():
        if callable(handler := signal.getsignal(number)):
            signal.signal(number, handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _numbers())


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in _ASKS if hasattr(signal, name)]
