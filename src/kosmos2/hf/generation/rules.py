"""What may come next: rules over a batch of scores, in the order in which the reference has them.

First what forbids or discourages, then the callables of the user, then what sampling needs
(`chances.py`). A rule sees what was read and written so far, with NOTHING where a row has padding.

Shapes: R rows, T tokens so far, W vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from kosmos2.errors import EngineError, InputError
from kosmos2.hf.generation.chances import Rule, Scores, Seen, chances_of
from kosmos2.hf.generation.config import GenerationConfig
from kosmos2.hf.generation.prompt import Prompt, describe
from kosmos2.hf.notices import once

Processor = Callable[[Tensor, Tensor], Tensor]  # a user's: all ids of the batch, and the scores


@dataclass(frozen=True, slots=True)
class RepetitionPenalty:
    """What was there before becomes less likely: a score is divided, a negative one multiplied."""

    penalty: float
    leading: Int[Tensor, " R"]  # tokens at the beginning that do not count

    def __call__(self, seen: Seen, scores: Scores) -> Scores:
        """Weaken each id of a row once, however often it came."""
        columns = torch.arange(seen.shape[1], device=seen.device)
        counts = (seen >= 0) & (columns >= self.leading[:, None])
        before = _marked(seen, counts, scores)
        weaker = torch.where(scores < 0, scores * self.penalty, scores / self.penalty)
        return torch.where(before, weaker, scores)


@dataclass(frozen=True, slots=True)
class NoRepeat:
    """No run of `size` ids comes twice; those of the prompt count, padding does not."""

    size: int

    def __call__(self, seen: Seen, scores: Scores) -> Scores:
        """Forbid whatever followed the last `size` - 1 ids when they came before."""
        if seen.shape[1] < self.size:
            return scores
        runs = seen.unfold(1, self.size, 1)
        tail = seen[:, seen.shape[1] + 1 - self.size :]
        again = (runs[..., :-1] == tail[:, None]).all(-1) & (runs >= 0).all(-1)
        return scores.masked_fill(_marked(runs[..., -1], again, scores), -math.inf)


@dataclass(frozen=True, slots=True)
class NoBadWords:
    """Some runs of ids never come; of one that ends an answer only longer runs are forbidden."""

    words: Sequence[Sequence[int]]

    def __call__(self, seen: Seen, scores: Scores) -> Scores:
        """Forbid the last id of each, where all of its others have just come."""
        scores = scores.clone()
        for *before, last in self.words:
            if len(before) <= seen.shape[1]:
                tail = seen[:, seen.shape[1] - len(before) :]
                complete = (tail == torch.tensor(before, device=seen.device).long()).all(-1)
                scores[complete, last] = -math.inf
        return scores


@dataclass(slots=True)
class NotYet:
    """Some ids, those that end an answer, do not come before it has a length."""

    ids: Collection[int]
    least: Int[Tensor, " R"]
    length: int  # of a prompt, in `seen`

    def __call__(self, seen: Seen, scores: Scores) -> Scores:
        """Forbid them in rows whose answer is shorter."""
        early = seen.shape[1] - self.length < self.least
        return torch.where(early[:, None], _without(scores, self.ids), scores)


@dataclass(frozen=True, slots=True)
class Never:
    """Some ids never come."""

    ids: Collection[int]

    def __call__(self, seen: Seen, scores: Scores) -> Scores:
        """Forbid them."""
        return _without(scores, self.ids)


@dataclass(frozen=True)
class Rules:
    """All that stands between the network's scores and the choice of a token."""

    first: Sequence[Rule]
    users: Sequence[Processor]
    last: Sequence[Rule]

    def __call__(self, ids: Int[Tensor, "R T"], seen: Seen, scores: Scores) -> Scores:
        """Apply them in turn; `ids` is what users' callables are given.

        Raises:
            InputError: a user's callable gives back something else than scores.
            EngineError: it gives back scores that are not numbers.
        """
        for rule in self.first:
            scores = rule(seen, scores)
        for user in self.users:
            shape, scores = scores.shape, user(ids, scores)
            if not isinstance(scores, Tensor) or scores.shape != shape:
                raise InputError(
                    f"the logits_processor {_name(user)} gave back {describe(scores)}; it has to "
                    f"give back scores of the shape it was given, {list(shape)}"
                )
            if bool(scores.isnan().any()):
                raise EngineError(f"the logits_processor {_name(user)} gave back NaN")
        for rule in self.last:
            scores = rule(seen, scores)
        return scores


def rules_of(
    config: GenerationConfig,
    prompt: Prompt,
    *,
    users: Sequence[Processor],
    ends: Collection[int],
    vocabulary: int,
) -> Rules:
    """The rules that a configuration asks for, over prompts already repeated for every row.

    Raises:
        InputError: an id that the model does not have.
    """
    suppressed, bad = config.suppress_tokens or [], config.bad_words_ids or []
    named = {"suppress_tokens": suppressed, "bad_words_ids": [id for word in bad for id in word]}
    for name, ids in {**named, "eos_token_id": list(ends)}.items():
        if ids and max(ids) >= vocabulary:
            raise InputError(
                f"{name} names {max(ids)}; the model has the ids 0 to {vocabulary - 1}"
            )
    first: list[Rule] = []
    if config.repetition_penalty != 1:
        first.append(RepetitionPenalty(float(config.repetition_penalty), prompt.leading))
    if config.no_repeat_ngram_size:
        first.append(NoRepeat(config.no_repeat_ngram_size))
    for name in ("repetition_penalty", "no_repeat_ngram_size"):
        if not prompt.seen.shape[1] and getattr(config, name) != getattr(GenerationConfig, name):
            once(f"{name} knows only the answer where a prompt has no input_ids")
    if words := [word for word in bad if len(word) > 1 or word[0] not in ends]:
        first.append(NoBadWords(words))
    least = torch.zeros_like(prompt.lengths)
    if config.min_new_tokens is not None:
        least += config.min_new_tokens
    else:
        least += config.min_length - prompt.lengths
    if ends and bool((least > 0).any()):
        first.append(NotYet(ends, least, prompt.seen.shape[1]))
    if suppressed:
        first.append(Never(suppressed))
    return Rules(first, users, chances_of(config))


def callables(name: str, given: Any) -> list[Callable[..., Any]]:
    """One callable, or several of them.

    Raises:
        InputError: something else.
    """
    if given is None:
        return []
    several = list(given) if isinstance(given, Sequence) else [given]
    for each in several:
        if not callable(each):
            raise InputError(f"{name} holds {each!r}, which cannot be called; give functions")
    return several


def _marked(
    ids: Int[Tensor, "R N"], which: Bool[Tensor, "R N"], scores: Scores
) -> Bool[Tensor, "R W"]:
    """Which words of the vocabulary are among some of these ids."""
    words = scores.shape[1]
    marked = torch.zeros(len(scores), words + 1, dtype=torch.bool, device=scores.device)
    return marked.scatter_(1, ids.masked_fill(~which, words), True)[:, :words]


def _without(scores: Scores, ids: Collection[int]) -> Scores:
    return scores.index_fill(1, torch.tensor(sorted(ids), device=scores.device), -math.inf)


def _name(user: Any) -> str:
    return getattr(user, "__name__", type(user).__name__)
