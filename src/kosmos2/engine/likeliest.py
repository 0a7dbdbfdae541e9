"""The likeliest token that may come, of many rows at once.

`Writer.write` says what is chosen, row by row. Where the filters are those of the house and a row
takes the likeliest, what may not come is a mask and a few ids, and a few large operations do for
all rows together; a recorded step on a device does the same. Whoever has rules of its own, samples
or wants to know more is left to its writer, and so is whoever is in trouble.

Shapes: R rows, W words that were scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kosmos2.engine.filters import Never, NoRepeat, NotYet
from kosmos2.engine.grammar import Grammar, Rule
from kosmos2.engine.row import Row
from kosmos2.engine.token import Token

CHOSEN, LOGPROB, LOCATION_LOGPROB, SOUND = range(4)  # what is said of a row
RULES = 64  # of grammars that are kept: 17 MB with the released vocabulary


class Ruling(NamedTuple):
    """What may not come next."""

    ids: set[int]
    rule: Rule | None  # besides, what this rule's mask holds
    grammar: Grammar | None  # which makes that mask


class Place(NamedTuple):
    """Where a token is to be chosen: of which row, after which answer."""

    row: Row
    answer: Sequence[int]
    locations: range
    only_locations: bool

    @property
    def ruling(self) -> Ruling | None:
        """What may not come next here; None where only the writer can say."""
        return ruling(self.row, self.answer)


def ruling(row: Row, answer: Sequence[int]) -> Ruling | None:
    """What may not come next in a row; None where only its writer can say."""
    if row.options.temperature or row.options.top_logprobs:
        return None
    ids, rule, grammar = set[int](), None, None
    for each in row.filters:
        if isinstance(each, Never | NotYet | NoRepeat):
            ids.update(each.forbidden(row.prompt, answer))
        elif isinstance(each, Grammar) and grammar is None:
            grammar, rule = each, each.rule(row.prompt, answer)
            if rule is None:
                return None
        else:
            return None
    return Ruling(ids, rule, grammar)


def chosen(
    logits: Float[Tensor, "R W"], allowed: Float[Tensor, "R W"], locations: range
) -> Float[Tensor, "R 4"]:
    """The likeliest of what is allowed, how probable it is among all, and among the locations.

    The last number is 1 if all logits are numbers and something is allowed. (Where they are so
    large that their sum is none, it is 0 as well.) Ids are exact in float32 up to 16 million. What
    is allowed is used up: new memory of that size takes longer than the arithmetic.
    """
    ids = _first_of_the_largest(allowed)[:, None]
    best = allowed.gather(1, ids)
    sound = logits.sum(dim=1, keepdim=True).isfinite() & best.isfinite()
    logprobs = torch.log_softmax(logits, dim=1, out=allowed).gather(1, ids)
    among = logits[:, locations.start : locations.stop]
    among_logprobs = best - among.logsumexp(dim=1, keepdim=True) if among.shape[1] else logprobs
    return torch.cat([ids.float(), logprobs, among_logprobs, sound.float()], dim=1)


def _first_of_the_largest(rows: Float[Tensor, "R W"]) -> Int[Tensor, " R"]:
    """The place of each row's largest number; numpy finds it ten times as fast as torch."""
    if rows.device.type == "cpu":
        return torch.from_numpy(rows.numpy().argmax(axis=1))
    return rows.argmax(dim=1)


def token_said(said: Sequence[float], place: Place) -> Token:
    """The token that four numbers stand for."""
    id = int(said[CHOSEN])
    location_logprob = said[LOCATION_LOGPROB] if id in place.locations else None
    if place.only_locations and location_logprob is not None:
        logprob = location_logprob
    else:
        logprob = said[LOGPROB]
    return Token(
        id=id,
        logprob=logprob,
        location_logprob=location_logprob,
        finish=place.row.finish(id, len(place.answer) + 1),
    )


class Likeliest:
    """Chooses on the host; what grammars forbid it makes once."""

    def __init__(self, words: int) -> None:
        self._words = words
        self._scratch = torch.empty(0)
        self._added: dict[tuple[Rule, range | None], Float[Tensor, " W"]] = {}

    def of(
        self, logits: Float[Tensor, "R W"], places: Sequence[Place], words: range | None = None
    ) -> list[Token | Float[Tensor, " W"]]:
        """The token of each place, or its logits where the writer has to choose.

        `words` says which were scored; none, all.
        """
        first = 0 if words is None else words.start
        locations = places[0].locations
        rulings = [place.ruling if place.locations == locations else None for place in places]
        if all(ruling is None for ruling in rulings):
            return list(logits)
        allowed, rows, ids = self._copy(logits), [], []
        for row, ruling in enumerate(rulings):
            if ruling is None:
                continue
            listed = [id - first for id in ruling.ids if words is None or id in words]
            rows += [row] * len(listed)
            ids += listed
            if ruling.rule is not None:
                allowed[row].add_(self._to_add(ruling, words))
        allowed[rows, ids] = -math.inf
        heard = chosen(
            logits, allowed, range(locations.start - first, locations.stop - first)
        ).tolist()
        for said in heard:
            said[CHOSEN] += first
        return [
            token_said(said, place) if ruling is not None and said[SOUND] else scores
            for said, place, ruling, scores in zip(heard, places, rulings, logits, strict=True)
        ]

    def _copy(self, logits: Float[Tensor, "R W"]) -> Float[Tensor, "R W"]:
        if self._scratch.numel() < logits.numel():
            self._scratch = torch.empty(logits.numel())
        return self._scratch[: logits.numel()].view(logits.shape).copy_(logits)

    def _to_add(self, ruling: Ruling, words: range | None) -> Float[Tensor, " W"]:
        """Minus infinity for what a rule forbids of the words, nothing for the others.

        To add numbers is many times as quick as to fill in by a mask of truths.
        """
        assert ruling.rule is not None
        assert ruling.grammar is not None
        key = ruling.rule, words
        if key not in self._added:
            if len(self._added) >= RULES:
                self._added.clear()
            mask = ruling.grammar.mask(ruling.rule, self._words)
            mask = mask if words is None else mask[words.start : words.stop]
            self._added[key] = torch.zeros(mask.shape).masked_fill_(mask, -math.inf)
        return self._added[key]
