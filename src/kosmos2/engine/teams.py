"""Threads that multiply: one team at a time.

torch's products are shared out by OpenMP, and each thread that has asked for one keeps a team of
its own. Once the teams together are larger than the machine, GNU's OpenMP no longer lets a waiting
team spin but puts it to sleep after each product: with the embedded model every step of the engine
then took 2.3 times as long, only because another thread had loaded the weights. So whoever hands
its work to the engine's thread lets its own team go; the next product there makes another.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SOFT = 1  # omp_pause_soft: what was set stays as it is


def let_go() -> bool:
    """End the calling thread's team, where OpenMP can; whether it did."""
    try:
        openmp = ctypes.CDLL(None)
        return openmp.omp_pause_resource(_SOFT, openmp.omp_get_initial_device()) == 0
    except (AttributeError, OSError, TypeError):  # another OpenMP, none, or no such handle
        return False


@contextmanager
def of(threads: int | None) -> Iterator[None]:
    """Share out the calling thread's products over so many threads; None: over as many as now."""
    before = torch.get_num_threads()
    if threads is None or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
