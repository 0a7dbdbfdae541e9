"""One request of a batch: its prompt, its rules and its limit, checked before anything is computed.

Shapes: B rows, T ids of a prompt, W vocabulary, R rows of logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from kosmos2.engine.decoder import Inputs
from kosmos2.engine.filters import Filter, Narrowing, Never, NoRepeat, NotYet, narrowing
from kosmos2.engine.grammar import Grammar
from kosmos2.engine.token import Finish
from kosmos2.errors import EngineError, InputError, PromptError
from kosmos2.options import Options


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What is asked, and what may be answered."""

    index: int  # its place in the batch as it was handed in
    prompt: tuple[int, ...]  # without padding
    limit: int  # tokens that the answer may have
    stops: frozenset[int]  # ids that end it
    filters: tuple[Filter, ...]
    options: Options
    narrowing: Narrowing | None = None  # the filter that can; None where all words are to be scored

    def only_locations(self, answer: Sequence[int], locations: range) -> bool:
        """Whether the filters leave nothing else, and nobody wants to know of anything else."""
        narrowing = self.narrowing
        return narrowing is not None and narrowing.only(self.prompt, answer) == locations

    def allowed(self, logits: Float[Tensor, " W"], answer: Sequence[int]) -> Float[Tensor, " W"]:
        """The logits after every filter.

        Where the others forbid all that the grammar allows (a box that may not be repeated, say),
        the grammar alone decides: an object must end, whatever was in it.
        """
        own = logits
        for each in self.filters:
            kept = each.apply(logits, self.prompt, answer)
            if isinstance(each, Grammar) and kept.max() == -math.inf:
                kept = each.apply(own, self.prompt, answer)
            logits = kept
        return logits

    def dead_end(self, step: int) -> EngineError:
        """What to raise when the filters leave nothing."""
        return EngineError(
            f"row {self.index}, step {step}: no token is left that may come next; "
            "raise no_repeat_ngram_size or lower min_new_tokens"
        )

    def finish(self, chosen: int, length: int) -> Finish | None:
        """Whether an answer of this length, ending in this id, is at its end."""
        if chosen in self.stops:
            return "stop"
        return "length" if length >= self.limit else None


def rows_of(
    inputs: Inputs,
    options: Options | Sequence[Options],
    *,
    positions: int,
    eos: int,
    pad: int,
    stop_ids: frozenset[int],
    no_repeat_ngram_size: int,
    filters: Sequence[Filter],
    own_logprobs: bool = False,
) -> list[Row]:
    """The requests of a batch.

    Padding is never an answer, as in the original generator (transformers would let it be).

    Raises:
        InputError: not one `Options` for each row.
        PromptError: a prompt that is padded on the right, or leaves no room for an answer.
    """
    batch = len(inputs.ids)
    asked = [options] * batch if isinstance(options, Options) else list(options)
    if len(asked) != batch:
        raise InputError(f"{len(asked)} options for {batch} prompts; give one for each, or one")
    stops = frozenset(stop_ids) | {eos}
    rows = []
    for index, (ids, keep, wants) in enumerate(
        zip(inputs.ids.cpu(), inputs.keep.cpu(), asked, strict=True)
    ):
        prompt = tuple(ids[keep].tolist())
        if not prompt or not keep[-1]:
            raise PromptError(
                f"prompt {index} of {batch} ends in padding; pad on the left (side='left')"
            )
        room = positions - len(prompt)
        if room < 1:
            raise PromptError(
                f"prompt {index} of {batch} has {len(prompt)} tokens and the model reads at most "
                f"{positions}, the answer included; shorten it"
            )
        size = wants.no_repeat_ngram_size
        size = no_repeat_ngram_size if size is None else size
        rules: list[Filter] = [Never({pad}), NotYet(stops, wants.min_new_tokens)]
        if size:
            rules.append(NoRepeat(size))
        rules.extend(filters)
        rows.append(
            Row(
                index=index,
                prompt=prompt,
                limit=min(wants.max_new_tokens, room),
                stops=stops,
                filters=tuple(rules),
                options=wants,
                narrowing=None if own_logprobs or wants.top_logprobs else narrowing(rules),
            )
        )
    return rows


def readable(logits: Float[Tensor, "R W"], rows: Sequence[Row], step: int) -> Float[Tensor, "R W"]:
    """Logits where rows are chosen one by one, in the memory of the host, in full precision.

    Raises:
        EngineError: some of them are not numbers.
    """
    logits = logits.float().cpu()
    if bool(logits.sum(dim=-1).isfinite().all()):  # many times as quick as to ask each number
        return logits
    for row, numbers in zip(rows, logits.isfinite().all(dim=-1).tolist(), strict=True):
        if not numbers:
            raise EngineError(
                f"row {row.index}, step {step}: the network put out numbers that are not finite; "
                "load it with dtype='float32', and check the weights if it stays so"
            )
    return logits
