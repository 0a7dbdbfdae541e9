"""The figures of an engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """What an engine is doing, and what it has done since it was made."""

    running: int
    waiting: int
    steps: int
    calls: int  # of the decoder; a step may need several
    read: int  # tokens that went through it
    tokens: int  # handed out
    forced: int  # of these, known before their turn
    pictures: int  # looked at
    answered: int
    cancelled: int
    failed: int  # of itself, for want of time, or of memory
    prefix_hits: int  # beginnings that were not read but copied
    prefix_bytes: int
