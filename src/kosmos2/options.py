"""What one request wants of generation."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Self

from kosmos2.errors import ConfigError

TOP_LOGPROBS = 20  # the most that can be asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of one request; every task verb takes them as keyword arguments."""

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    temperature: float = 0.0  # 0 always takes the likeliest token
    top_p: float = 1.0  # keep the likeliest tokens that add up to this probability
    top_k: int = 0  # keep this many of the likeliest tokens; 0 keeps all
    beams: int = 1
    length_penalty: float = 1.0  # beams: a sum of log-probabilities over length to this power
    no_repeat_ngram_size: int | None = None  # 0 is off; None takes the checkpoint's own
    seed: int | None = None  # None draws a fresh one; irrelevant when greedy
    stop: tuple[str, ...] = ()  # the answer ends before the first of these
    grammar: bool | None = None  # only markup that can be read; None: all but `complete` want it
    max_boxes: int | None = None  # of one phrase
    # A phrase that was asked for gets a box if one is at least this probable, else none; None takes
    # the checkpoint's own figure, and where it has none the likeliest token.
    min_presence: float | None = None
    every: bool = False  # box every thing that a phrase could mean, also the less certain ones
    min_score: float = 0.0  # boxes of a lower score are left out; the markup keeps them
    top_logprobs: int = 0  # the likeliest tokens at each place of the answer, told with it

    def __post_init__(self) -> None:
        self._whole("max_new_tokens", 1)
        self._whole("min_new_tokens", 0)
        self._whole("top_k", 0)
        self._whole("beams", 1)
        self._whole("top_logprobs", 0, TOP_LOGPROBS)
        if self.no_repeat_ngram_size is not None:
            self._whole("no_repeat_ngram_size", 0)
        if self.seed is not None:
            self._whole("seed", 0)
        if self.max_boxes is not None:
            self._whole("max_boxes", 1)
        self._number("temperature", 0.0, 100.0)
        self._number("length_penalty", -10.0, 10.0)
        self._number("top_p", 0.0, 1.0)
        self._number("min_score", 0.0, 1.0)
        if self.min_presence is not None:
            self._number("min_presence", 0.0, 1.0)
        if self.top_p == 0:
            raise ConfigError("top_p is 0, which keeps no token; give a number above 0, up to 1")
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens {self.min_new_tokens} is above max_new_tokens "
                f"{self.max_new_tokens}"
            )
        if self.beams > 1 and self.temperature > 0:
            raise ConfigError(
                f"beams={self.beams} with temperature={self.temperature}: beam search does not "
                "sample; set one of them back to its default"
            )
        for name, values in (("grammar", (None, True, False)), ("every", (True, False))):
            if not any(getattr(self, name) is value for value in values):
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; it can be {', '.join(map(str, values))}"
                )
        ruled = self.every or self.max_boxes is not None or self.min_presence is not None
        if self.grammar is False and ruled:
            raise ConfigError(
                "every, max_boxes and min_presence are rules of the grammar, which is off; "
                "leave out grammar=False"
            )
        if isinstance(self.stop, str) or not all(isinstance(s, str) and s for s in self.stop):
            raise ConfigError(f"stop is {self.stop!r}; give a tuple of non-empty texts")

    @classmethod
    def of(cls, **settings: Any) -> Self:
        """Options from keyword arguments; an unknown name is refused with the nearest known one."""
        known = [f.name for f in fields(cls)]
        for name in settings:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise ConfigError(f"there is no generation setting {name!r}; {hint}")
        if isinstance(settings.get("stop"), (list, set, str)):
            stop = settings["stop"]
            settings["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        return cls(**settings)

    def _whole(self, name: str, least: int, most: int | None = None) -> None:
        value = getattr(self, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and value > most):
            bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise ConfigError(f"{name} is {value!r}; give a whole number {bounds}")

    def _number(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not real or not math.isfinite(value) or not least <= value <= most:
            raise ConfigError(f"{name} is {value!r}; give a number from {least:g} to {most:g}")
