"""How much one key may ask for: requests in a minute, and requests at the same time.

A bucket holds as many tokens as a minute allows and fills evenly; a request takes one. A caller may
so use a whole minute's worth at once, and then goes at the rate.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kosmos2.serve.failures import Refused
from kosmos2.serve.keys import Key

WAIT_S = 1  # advice where nobody knows when a place will be free
LONGEST_S = 60


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """What each key has used; it outlives a reload of the keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._running: Counter[str] = Counter()

    @contextmanager
    def taken(self, key: Key) -> Iterator[None]:
        """One request of this key, from its beginning to its end.

        Raises:
            Refused: too many at once, or too many in a minute.
        """
        if key.concurrent is not None and self._running[key.name] >= key.concurrent:
            raise Refused("concurrency_limited", retry_after_s=WAIT_S)
        if key.per_minute is not None:
            self._take(key.name, key.per_minute)
        self._running[key.name] += 1
        try:
            yield
        finally:
            self._running[key.name] -= 1
            if not self._running[key.name]:
                del self._running[key.name]

    def running(self, name: str) -> int:
        """Requests of a key that are under way."""
        return self._running[name]

    def _take(self, name: str, per_minute: int) -> None:
        now, each_s = self._clock(), 60 / per_minute
        bucket = self._buckets.setdefault(name, _Bucket(per_minute, now))
        bucket.tokens = min(per_minute, bucket.tokens + (now - bucket.at) / each_s)
        bucket.at = now
        if bucket.tokens < 1:
            wait = math.ceil((1 - bucket.tokens) * each_s)
            raise Refused("rate_limited", retry_after_s=min(max(wait, 1), LONGEST_S))
        bucket.tokens -= 1
