"""What a server has done and is doing, in figures that Prometheus collects."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_ANSWER_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The figures of one app; another app has its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From handing in to the first token", _ANSWER_S
        )
        self.inter_token = self._histogram(
            "inter_token_seconds", "Between tokens of an answer, a mean over each batch", _TOKEN_S
        )
        self.image_hits = self._counter("image_cache_hits", "Pictures that had been looked at")
        self.image_misses = self._counter("image_cache_misses", "Pictures that were looked at")
        self.prefix_hits = self._counter("prefix_cache_hits", "Prompts whose beginning was known")
        self.prefix_tokens = self._counter("prefix_cached_tokens", "Tokens that need not be read")
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts, pictures included")
        self.tokens = self._counter("generated_tokens", "Tokens of answers")
        self.answers = self._counter("answers", "Answers by how they ended", "finish")
        self.refused = self._counter("requests_refused", "Requests not answered", "reason")
        self.cancelled = self._counter("requests_cancelled", "Requests given up by their client")
        self.restarts = self._counter("decode_worker_restarts", "Picture decoders started anew")
        self.duration = self._histogram(
            "request_duration_seconds", "From head to last byte", _ANSWER_S, "route", "status"
        )

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Report what a function says at the moment of asking."""
        Gauge(f"kosmos2_{name}", what, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in the text form that Prometheus reads."""
        return generate_latest(self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"kosmos2_{name}", what, labels, registry=self.registry)

    def _histogram(
        self, name: str, what: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"kosmos2_{name}", what, labels, buckets=buckets, registry=self.registry)
