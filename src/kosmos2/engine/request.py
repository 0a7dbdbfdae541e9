"""What one caller asks of the engine: a prompt, its pictures as latents, and the rules.

Shapes: N pictures of a prompt, B prompts, T ids of one, L latents of a picture, D text width.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kosmos2.config import Config
from kosmos2.engine.decoder import Inputs
from kosmos2.engine.filters import Filter
from kosmos2.engine.row import Row, rows_of
from kosmos2.errors import InputError, PromptError
from kosmos2.options import Options


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """One prompt without padding, and what is wanted.

    Requests with the same `prefix_key` and the same ids up to `prefix_length` share what the
    network makes of these. The key stands for what the ids cannot say, the pictures: make it of
    their content.
    """

    prompt: tuple[int, ...]
    eos: int
    pad: int
    locations: range
    slots: tuple[bool, ...] = ()  # where latents go; empty where there is no picture
    latents: Float[Tensor, "N L D"] | None = None
    prefix_key: Hashable | None = None
    prefix_length: int = 0
    options: Options = field(default_factory=Options)
    stop_ids: frozenset[int] = frozenset()
    no_repeat_ngram_size: int = 0
    filters: tuple[Filter, ...] = ()
    own_logprobs: bool = False  # see `Token.logprob`
    deadline_s: float | None = None  # from when it is handed in

    def row(self, id: int, config: Config) -> Row:
        """The same, checked against a network's sizes.

        Raises:
            InputError: options that the engine does not follow.
            PromptError: what the network cannot read.
        """
        if self.options.beams > 1:
            raise InputError("beams are searched, not streamed; use beam_search, or beams=1")
        if self.deadline_s is not None and self.deadline_s <= 0:
            raise InputError(f"deadline_s is {self.deadline_s}; give a time above 0, or None")
        if not 0 <= self.prefix_length <= len(self.prompt):
            raise PromptError(
                f"a beginning of {self.prefix_length} tokens in a prompt of {len(self.prompt)}"
            )
        for token in self.prompt:
            if not 0 <= token < config.text.vocabulary:
                raise PromptError(
                    f"the prompt holds the id {token}, the vocabulary ends at "
                    f"{config.text.vocabulary}; take tokenizer and network from the same model"
                )
        self._check_slots(config)
        (row,) = rows_of(
            _Alone.of(self.prompt),
            self.options,
            positions=config.text.positions,
            eos=self.eos,
            pad=self.pad,
            stop_ids=self.stop_ids,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
            filters=self.filters,
            own_logprobs=self.own_logprobs,
        )
        return replace(row, index=id)

    def _check_slots(self, config: Config) -> None:
        if self.slots and len(self.slots) != len(self.prompt):
            raise PromptError(f"slots for {len(self.slots)} of {len(self.prompt)} ids")
        pictures = 0 if self.latents is None else len(self.latents)
        if sum(self.slots) != pictures * config.latents:
            raise PromptError(
                f"{sum(self.slots)} slots for {pictures} pictures of {config.latents} latents; "
                "the prompt must hold one block of slots for each picture"
            )
        if self.latents is not None:
            shape = (pictures, config.latents, config.text.width)
            if self.latents.shape != shape:
                raise PromptError(
                    f"latents are {tuple(self.latents.shape)}, this network's {shape}; "
                    "let it look at the picture itself"
                )


def requests_of(
    inputs: Inputs,
    latents: Float[Tensor, "N L D"] | None = None,
    *,
    options: Options | Sequence[Options],
    prefix_keys: Sequence[Hashable | None] | None = None,
    **rules: Any,
) -> list[Request]:
    """One request for each prompt of a batch; `rules` are the other fields, the same for all.

    With a key, a prompt's beginning up to the end of its last picture is shared.
    """
    batch = len(inputs.ids)
    asked = [options] * batch if isinstance(options, Options) else list(options)
    keys = [None] * batch if prefix_keys is None else list(prefix_keys)
    if not len(asked) == len(keys) == batch:
        raise InputError(f"{len(asked)} options and {len(keys)} keys for {batch} prompts")
    requests, done = [], 0
    for ids, slots, keep, wants, key in zip(
        inputs.ids.cpu(), inputs.slots.cpu(), inputs.keep.cpu(), asked, keys, strict=True
    ):
        own, count = None, int(slots.sum())
        if latents is not None and count:
            own = latents[done : done + count // latents.shape[1]]
            done += len(own)
        where = slots[keep].nonzero()
        requests.append(
            Request(
                prompt=tuple(ids[keep].tolist()),
                slots=tuple(slots[keep].tolist()),
                latents=own,
                prefix_key=key if count else None,
                prefix_length=min(int(where[-1]) + 2, int(keep.sum())) if count else 0,
                options=wants,
                **rules,
            )
        )
    return requests


@dataclass(frozen=True, slots=True)
class _Alone:
    """A prompt as a batch of one."""

    ids: Int[Tensor, "1 T"]
    slots: Bool[Tensor, "1 T"]
    keep: Bool[Tensor, "1 T"]
    pixels: None = None

    @classmethod
    def of(cls, prompt: Sequence[int]) -> _Alone:
        ids = torch.tensor([list(prompt)], dtype=torch.int64)
        keep = torch.ones_like(ids, dtype=torch.bool)
        return cls(ids, ~keep, keep)
