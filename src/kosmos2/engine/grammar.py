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
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kosmos2.errors import ConfigError

SAME = 0.5  # two boxes that share this much of what they cover together are one thing

Edges = tuple[int, int, int, int]
Place = Literal["words", "phrase", "corner", "opposite", "close"]
Key = tuple[Any, ...]


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
    others: tuple[int, ...] = ()  # tags that have no place in an answer

    @property
    def all(self) -> tuple[int, ...]:
        """The five tags."""
        return self.phrase, self.phrase_end, self.object, self.object_end, self.delimiter


Rule = tuple[Tags, frozenset[int], Key]  # two grammars of the same rule forbid the same


@dataclass(frozen=True, slots=True)
class State:
    """Where the next token stands."""

    place: Place
    since: tuple[int, ...] = ()  # ids after the last tag
    before: tuple[int, ...] = ()  # locations of the open object's earlier boxes, two for each
    named: bool = False  # words: directly after a phrase, so that an object may follow

    @property
    def boxes(self) -> int:
        """How many the open object has, the one being written not counted."""
        return len(self.before) // 2


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """Markup that can be read without a problem, whatever the network would rather write.

    Args:
        tags: The ids of tags and locations.
        stops: The ids that end an answer; not inside a phrase or an object.
        limit: Tokens that the answer may have; what is open is closed before.
        max_boxes: Boxes of one phrase; None for as many as the network writes.
        more_above: Write another box while the delimiter, against `</object>`, is at least this
            probable, until a box is mostly an earlier one over again; None leaves it to the
            network, which is 0.5.
        min_presence: After a phrase, write a box if `<object>` is at least this probable, and none
            if it is not; None leaves it to the network, which takes the likeliest token.
    """

    tags: Tags
    stops: Set[int]
    limit: int
    max_boxes: int | None = None
    more_above: float | None = None
    min_presence: float | None = None
    _masks: dict[tuple[Key, int], Bool[Tensor, " W"]] = field(
        default_factory=dict, repr=False, compare=False
    )

    _last: list[tuple[Sequence[int], Sequence[int], State]] = field(
        default_factory=lambda: [((), (), State("words"))], repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.max_boxes is not None and self.max_boxes < 1:
            raise ConfigError(f"max_boxes is {self.max_boxes}; give at least 1, or None")
        for name in ("more_above", "min_presence"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}; give a probability, or None")

    def apply(
        self, logits: Float[Tensor, " W"], prompt: Sequence[int], answer: Sequence[int]
    ) -> Float[Tensor, " W"]:
        """The logits with what would break the grammar at minus infinity."""
        state = self.state(prompt, answer)
        left = self.limit - len(answer)
        tags = self.tags
        if self._may_go_on_if_probable(state, left):
            return _only(tags.delimiter if self._wants_more(logits) else tags.object_end, logits)
        if self._may_point_if_probable(state, left):
            if self._is_present(logits):
                return _only(tags.object, logits)
            state = replace(state, named=False)
        mask = self._forbidden(self._key(state, left), len(logits)).to(logits.device)
        return logits.masked_fill(mask, -math.inf)

    def rule(self, prompt: Sequence[int], answer: Sequence[int]) -> Rule | None:
        """A name for what may not come now; None where the logits have a say in it."""
        state, left = self.state(prompt, answer), self.limit - len(answer)
        if self._asks_the_logits(state, left):
            return None
        return self.tags, frozenset(self.stops), self._key(state, left)

    def mask(self, rule: Rule, words: int) -> Bool[Tensor, " W"]:
        """What a rule forbids, of so many words; not to be changed."""
        return self._forbidden(rule[-1], words)

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

    def only(self, prompt: Sequence[int], answer: Sequence[int]) -> range | None:
        """The locations, where one is due."""
        due = self.state(prompt, answer).place in ("corner", "opposite")
        return self.tags.locations if due else None

    def state(self, prompt: Sequence[int], answer: Sequence[int]) -> State:
        """Where the next token stands: the way back to the last tag says it.

        The last answer is remembered, since several questions are asked about each.
        """
        asked, answered, state = self._last[0]
        if prompt is asked and answer == answered:
            return state
        state = self._state(prompt, answer)
        self._last[0] = prompt, list(answer), state
        return state

    def _state(self, prompt: Sequence[int], answer: Sequence[int]) -> State:
        tags, any_tag = self.tags, self._any_tag
        since: list[int] = []
        back = chain(reversed(answer), reversed(prompt))
        for id in back:
            if id not in any_tag:
                since.append(id)
                continue
            if id == tags.phrase:
                return State("phrase", tuple(reversed(since)))
            if id == tags.phrase_end:
                return State("words", named=not since)
            if id == tags.object_end:
                return State("words")
            if len(since) > 2:  # a prompt can be anything
                return State("words")
            place: tuple[Place, ...] = ("corner", "opposite", "close")
            before: list[int] = []
            while id == tags.delimiter or id in tags.locations:
                before += [id] if id in tags.locations else []
                id = next(back, tags.object)
            return State(place[len(since)], tuple(reversed(since)), tuple(reversed(before)))
        return State("words")

    @cached_property
    def _any_tag(self) -> frozenset[int]:
        return frozenset(self.tags.all)

    def _may_go_on(self, state: State, left: int) -> bool:
        """Whether another box is allowed: it takes the delimiter, two locations and the end."""
        room = left >= 4 and (self.max_boxes is None or state.boxes + 1 < self.max_boxes)
        return room and not (self.more_above is not None and self._repeats(state))

    def _repeats(self, state: State) -> bool:
        """Whether the box just written is mostly an earlier one."""
        last = self._edges(*state.since)
        earlier = zip(state.before[::2], state.before[1::2])
        return any(_overlap(last, self._edges(*pair)) >= SAME for pair in earlier)

    def _edges(self, first: int, second: int) -> Edges:
        """Two locations as left, top, right and bottom, in cells."""
        top, left = divmod(first - self.tags.locations.start, self.tags.columns)
        bottom, right = divmod(second - self.tags.locations.start, self.tags.columns)
        return left, top, right + 1, bottom + 1

    def _asks_the_logits(self, state: State, left: int) -> bool:
        """Whether what is allowed depends on how probable it is."""
        return self._may_go_on_if_probable(state, left) or self._may_point_if_probable(state, left)

    def _may_go_on_if_probable(self, state: State, left: int) -> bool:
        wanted = self.more_above is not None and state.place == "close"
        return wanted and self._may_go_on(state, left)

    def _may_point_if_probable(self, state: State, left: int) -> bool:
        return self.min_presence is not None and _object_may(state, left)

    def _wants_more(self, logits: Float[Tensor, " W"]) -> bool:
        assert self.more_above is not None
        both = logits[[self.tags.delimiter, self.tags.object_end]].softmax(0)
        return float(both[0]) >= self.more_above

    def _is_present(self, logits: Float[Tensor, " W"]) -> bool:
        assert self.min_presence is not None
        return float(logits.float().softmax(0)[self.tags.object]) >= self.min_presence

    def _key(self, state: State, left: int) -> Key:
        """All that the answer of `_forbidden` depends on."""
        if state.place in ("corner", "opposite"):
            return state.place, state.since[:1]
        if state.place == "close":
            return state.place, self._may_go_on(state, left)
        if state.place == "phrase":
            return state.place, bool(state.since), left == 1
        return state.place, _object_may(state, left), left >= 3

    def _forbidden(self, key: Key, words: int) -> Bool[Tensor, " W"]:
        """What may not come; the few different answers are made once."""
        if (key, words) in self._masks:
            return self._masks[key, words]
        tags = self.tags
        mask = torch.zeros(words, dtype=torch.bool)
        match key:
            case ("corner" | "opposite", since):
                mask[:] = True
                mask[self._locations_from(since)] = False
            case ("close", may_go_on):
                mask[:] = True
                mask[tags.object_end] = False
                mask[tags.delimiter] = not may_go_on
            case ("phrase", begun, last):
                mask[[*tags.all, *tags.others, *self.stops]] = True
                mask[tags.locations.start : tags.locations.stop] = True
                if last:
                    mask[:] = True
                mask[tags.phrase_end] = not begun and not last
            case (_, object_may, phrase_may):
                mask[[tags.phrase_end, tags.object_end, tags.delimiter, *tags.others]] = True
                mask[tags.locations.start : tags.locations.stop] = True
                mask[tags.object] = not object_may
                mask[tags.phrase] = not phrase_may  # `<phrase>`, a word, `</phrase>`
        self._masks[key, words] = mask
        return mask

    def _locations_from(self, since: Sequence[int]) -> Tensor:
        """All locations, or those not above and not left of the first corner."""
        start, columns = self.tags.locations.start, self.tags.columns
        places = torch.arange(len(self.tags.locations))
        if since:
            row, column = divmod(since[0] - start, columns)
            places = places[(places // columns >= row) & (places % columns >= column)]
        return places + start


def _object_may(state: State, left: int) -> bool:
    """Whether an object is allowed: directly after a phrase, with room for its four tokens."""
    return state.place == "words" and state.named and left >= 4


def _only(id: int, logits: Float[Tensor, " W"]) -> Float[Tensor, " W"]:
    """The logits with all others at minus infinity."""
    kept = torch.full_like(logits, -math.inf)
    kept[id] = logits[id]
    return kept


def _overlap(one: Edges, other: Edges) -> float:
    """Shared cells over all cells of two boxes."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(across, 0) * max(down, 0)
    areas = sum((right - left) * (bottom - top) for left, top, right, bottom in (one, other))
    return shared / max(areas - shared, 1)  # a prompt can hold boxes that cover nothing
