"""The role of a filter that lets only well-formed grounding through, by ids alone.

Where an answer stands follows from its last tag:

    words      anything that is not only for a phrase or an object; `<object>` after `</phrase>`
    phrase     words, then `</phrase>`
    corner     a location: the upper-left one of a box
    opposite   a location that is not above it and not left of it
    close      `</object>`, or the delimiter and another box

Shapes: W vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kosmos2.errors import ConfigError

Place = Literal["words", "phrase", "corner", "opposite", "close"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tags:
    """The ids that the grammar is about."""

    phrase: int
    phrase_end: int
    object: int
    object_end: int
    delimiter: int
    locations: range  # row by row
    columns: int  # locations in a row
    others: tuple[int, ...] = ()  # tags that have no place in a phrase

    @property
    def all(self) -> tuple[int, ...]:
        """The five tags."""
        return self.phrase, self.phrase_end, self.object, self.object_end, self.delimiter


@dataclass(frozen=True, slots=True)
class State:
    """Where the next token stands."""

    place: Place
    since: tuple[int, ...] = ()  # ids after the last tag
    boxes: int = 0  # in the object that is open, the one being written not counted
    named: bool = False  # words: directly after a phrase, so that an object may follow


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """Markup that can be read without a problem, whatever the network would rather write.

    Args:
        tags: The ids of tags and locations.
        stops: The ids that end an answer; not inside a phrase or an object.
        limit: Tokens that the answer may have; what is open is closed before.
        max_boxes: Boxes of one phrase; None for as many as the network writes.
        more_above: Write another box while the delimiter, against `</object>`, is at least this
            probable; None leaves it to the network, which is 0.5.
    """

    tags: Tags
    stops: Set[int]
    limit: int
    max_boxes: int | None = None
    more_above: float | None = None
    _masks: dict[tuple[object, ...], Bool[Tensor, " W"]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.max_boxes is not None and self.max_boxes < 1:
            raise ConfigError(f"max_boxes is {self.max_boxes}; give at least 1, or None")
        if self.more_above is not None and not 0 <= self.more_above <= 1:
            raise ConfigError(f"more_above is {self.more_above}; give a probability, or None")

    def apply(
        self, logits: Float[Tensor, " W"], prompt: Sequence[int], answer: Sequence[int]
    ) -> Float[Tensor, " W"]:
        """The logits with what would break the grammar at minus infinity."""
        state = self.state(prompt, answer)
        left = self.limit - len(answer)
        if state.place == "close":
            allowed = [self.tags.object_end]
            if self._may_go_on(state, left) and self._wants_more(logits):
                allowed.append(self.tags.delimiter)
                if self.more_above is not None:
                    allowed = [self.tags.delimiter]
            kept = torch.full_like(logits, -math.inf)
            kept[allowed] = logits[allowed]
            return kept
        return logits.masked_fill(self._forbidden(state, left, logits), -math.inf)

    def forced(self, prompt: Sequence[int], answer: Sequence[int]) -> tuple[int, ...]:
        """The tokens that must come now; none where the network has a choice."""
        state, left = self.state(prompt, answer), self.limit - len(answer)
        if state.place == "close" and not self._may_go_on(state, left):
            return (self.tags.object_end,)
        if state.place == "phrase" and left == 1:
            return (self.tags.phrase_end,)
        if state.place == "opposite" and state.since[0] == self.tags.locations[-1]:
            return (self.tags.locations[-1],)
        return ()

    def state(self, prompt: Sequence[int], answer: Sequence[int]) -> State:
        """Where the next token stands: the way back to the last tag says it."""
        tags = self.tags
        since: list[int] = []
        back = chain(reversed(answer), reversed(prompt))
        for id in back:
            if id == tags.phrase:
                return State("phrase", tuple(reversed(since)))
            if id == tags.phrase_end:
                return State("words", named=not since)
            if id == tags.object_end:
                return State("words")
            if id in (tags.object, tags.delimiter):
                if len(since) > 2:  # a prompt can be anything
                    return State("words")
                place: tuple[Place, ...] = ("corner", "opposite", "close")
                boxes = 0
                while id == tags.delimiter or id in tags.locations:
                    boxes += id == tags.delimiter
                    id = next(back, tags.object)
                return State(place[len(since)], tuple(reversed(since)), boxes)
            since.append(id)
        return State("words")

    def _may_go_on(self, state: State, left: int) -> bool:
        """Whether another box is allowed: it takes the delimiter, two locations and the end."""
        return left >= 4 and (self.max_boxes is None or state.boxes + 1 < self.max_boxes)

    def _wants_more(self, logits: Float[Tensor, " W"]) -> bool:
        if self.more_above is None:
            return True
        both = logits[[self.tags.delimiter, self.tags.object_end]].softmax(0)
        return float(both[0]) >= self.more_above

    def _forbidden(
        self, state: State, left: int, logits: Float[Tensor, " W"]
    ) -> Bool[Tensor, " W"]:
        """What may not come; the few different answers are made once."""
        tags = self.tags
        if state.place in ("corner", "opposite"):
            first = state.since[0] if state.since else None
            key: tuple[object, ...] = (state.place, first, len(logits))
        elif state.place == "phrase":
            key = ("phrase", bool(state.since), left == 1, len(logits))
        else:
            key = ("words", state.named and left >= 4, left >= 3, len(logits))
        if key in self._masks:
            return self._masks[key]
        mask = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        if state.place in ("corner", "opposite"):
            mask[:] = True
            mask[self._locations_from(state.since)] = False
        elif state.place == "phrase":
            mask[[*tags.all, *tags.others, *self.stops]] = True
            mask[tags.locations.start : tags.locations.stop] = True
            if left == 1:
                mask[:] = True
            mask[tags.phrase_end] = not state.since and left > 1
        else:
            mask[[tags.phrase_end, tags.object_end, tags.delimiter]] = True
            mask[tags.locations.start : tags.locations.stop] = True
            mask[tags.object] = not (state.named and left >= 4)
            mask[tags.phrase] = left < 3  # `<phrase>`, a word, `</phrase>`
        self._masks[key] = mask
        return mask

    def _locations_from(self, since: Sequence[int]) -> Tensor:
        """All locations, or those not above and not left of the first corner."""
        start, columns = self.tags.locations.start, self.tags.columns
        places = torch.arange(len(self.tags.locations))
        if since:
            row, column = divmod(since[0] - start, columns)
            places = places[(places // columns >= row) & (places % columns >= column)]
        return places + start
