"""Prompts in, then one token of each row at a time; logits out, and what went on in between.

Shapes: R rows, T tokens of a prompt, W vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kosmos2.hf.cache import DynamicCache
from kosmos2.hf.generation.prompt import Prompt
from kosmos2.hf.notices import once
from kosmos2.model import Network
from kosmos2.model.decoder import positions_of

Layers = tuple[Tensor, ...]


@dataclass
class Record:
    """What a call wants to know of every step."""

    scores: list[Float[Tensor, "R W"]] | None = None
    logits: list[Float[Tensor, "R W"]] | None = None
    attentions: list[Layers] | None = None
    hidden_states: list[Layers] | None = None

    def tuples(self) -> dict[str, Any]:
        """All of it, as the outputs of `generate` hold it."""
        return {name: None if kept is None else tuple(kept) for name, kept in vars(self).items()}


@dataclass
class Reader:
    """The network, and what it has read of each row.

    With a cache a token is read once, at a position that counts every token before it. Without one
    all is read again at each step, and the id of padding does not count, wherever it came from:
    both as in the reference.
    """

    network: Network
    prompt: Prompt
    record: Record
    cached: bool = True
    cache: DynamicCache | None = field(init=False, default=None)

    def start(self, copies: int) -> Float[Tensor, "R W"]:
        """Read each prompt once, and go on with several rows of it."""
        prompt, pad = self.prompt, self.network.config.text.pad
        if self.cached:
            self.cache = DynamicCache()
        self.embedded, self.keep = prompt.embedded, prompt.keep
        self.real, self.lengths, self.steps = prompt.real, prompt.lengths, 0
        logits = self._read(self.embedded, positions_of(self.real, None, pad), copies)
        if self.cache is not None:
            self.cache.counted = self.lengths  # whoever goes on with it counts on from here
        self.pick(torch.arange(len(self.lengths)).repeat_interleave(copies))
        return logits

    def step(self, ids: Int[Tensor, " R"]) -> Float[Tensor, "R W"]:
        """Read one more token of each row."""
        text = self.network.config.text
        self.steps += 1
        if int(self.lengths.max()) + self.steps > text.positions:
            once(
                f"this answer goes on beyond the {text.positions} tokens that the model was "
                "trained for, prompt included; it will make less and less sense"
            )
        words, real = self.network.decoder.words(ids[:, None]), (ids != text.pad)[:, None]
        if self.cached:
            count = self.lengths + self.steps - 1
            return self._read(words, positions_of(real, count, text.pad))
        self.embedded = torch.cat([self.embedded, words], dim=1)
        self.real = torch.cat([self.real, real], dim=1)
        self.keep = torch.cat([self.keep, torch.ones_like(real)], dim=1)
        return self._read(self.embedded, positions_of(self.real, None, text.pad))

    def pick(self, rows: Int[Tensor, " R"]) -> None:
        """Go on with these of the rows; a row may be left out or taken several times."""
        rows = rows.to(self.lengths.device)
        self.lengths = self.lengths[rows]
        if self.cache is not None:
            self.cache.pick(rows)
        else:
            self.embedded, self.keep = self.embedded[rows], self.keep[rows]
            self.real = self.real[rows]

    def _read(
        self, embedded: Tensor, positions: Int[Tensor, "R T"], copies: int = 1
    ) -> Float[Tensor, "R W"]:
        attentions: list[Tensor] | None = None if self.record.attentions is None else []
        hidden: list[Tensor] | None = None if self.record.hidden_states is None else []
        fresh = self.cache is None or self.cache.length == 0
        read = self.network.read(
            None,
            embedded=embedded,
            positions=positions,
            keep=self.keep if fresh else None,
            cache=self.cache,
            watch=hidden,
            attentions=attentions,
        )
        for kept, layers in (
            (self.record.attentions, attentions),
            (self.record.hidden_states, hidden),
        ):
            if kept is not None and layers is not None:
                kept.append(tuple(layer.repeat_interleave(copies, dim=0) for layer in layers))
        return self.network.decoder.logits(read[:, -1]).repeat_interleave(copies, dim=0)
