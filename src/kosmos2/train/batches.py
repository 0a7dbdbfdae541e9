"""Rows side by side, as tensors: what one micro-batch of a step learns from.

Rows may hold no picture, one or several, and a lesson or many; shorter ones are padded at the end.
What lies on each place of a picture is known of scenes only, so those fields may be missing.

Shapes: R rows, N pictures of all rows, S pixels a side, P patches, L latents, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from kosmos2.data.encoding import NOWHERE
from kosmos2.data.rows import IGNORED, PADDING, PICTURE, Row, Rows

_FILL: dict[str, float] = {
    "ids": 1, "slots": False, "segments": PADDING, "positions": 1, "labels": IGNORED,
    "corners": NOWHERE[0], "weights": 0.0,
}  # fmt: skip
_TRUTH = ("patch_names", "patch_edges", "latent_names", "latent_edges")


@dataclass(slots=True)
class Batch:
    """A micro-batch; the token fields are None where only seeing is taught."""

    pixels: UInt8[Tensor, "N S S 3"]
    patch_names: Int[Tensor, "N P"] | None = None  # IGNORED where nobody knows
    patch_edges: Float[Tensor, "N P 4"] | None = None
    latent_names: Int[Tensor, "N L"] | None = None
    latent_edges: Float[Tensor, "N L 4"] | None = None
    ids: Int[Tensor, "R T"] | None = None
    slots: Bool[Tensor, "R T"] | None = None
    segments: Int[Tensor, "R T"] | None = None
    positions: Int[Tensor, "R T"] | None = None
    labels: Int[Tensor, "R T"] | None = None
    corners: Float[Tensor, "R T 2"] | None = None
    weights: Float[Tensor, "R T"] | None = None  # None where all that count weigh one
    kinds: tuple[tuple[str, ...], ...] = ()  # of each row: segment 1 is its first
    names: tuple[str, ...] = ()  # of the rows, for whoever has to name them
    bad: tuple[Any, ...] = ()  # rows of the data that could not be read, and were replaced

    def to(self, device: torch.device | str) -> Batch:
        """The same, on a device."""
        moved: dict[str, Any] = {
            one.name: held.to(device, non_blocking=True)
            for one in fields(self)
            if isinstance(held := getattr(self, one.name), Tensor)
        }
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        """The same, where a GPU can fetch it by itself; a loader calls this."""
        pinned: dict[str, Any] = {
            one.name: held.pin_memory()
            for one in fields(self)
            if isinstance(held := getattr(self, one.name), Tensor)
        }
        return replace(self, **pinned)

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.names) or len(self.pixels)

    @property
    def tokens(self) -> int:
        """How many the network reads, padding left out."""
        return 0 if self.segments is None else int((self.segments != PADDING).sum())


class Batches(Dataset[Batch]):
    """Micro-batch number i of a stage: a pure function of it, so resuming needs no more than i.

    A step's rows come in `of` micro-batches, and of each this process takes its share.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        steps: int,
        step_rows: int,
        of: int = 1,
        share: Callable[[range], range] = lambda positions: positions,
    ) -> None:
        self.rows, self.steps, self.step_rows, self.of = rows, steps, step_rows, of
        self.share = share

    def __len__(self) -> int:
        return self.steps * self.of

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        size = self.step_rows // self.of
        first = index * size
        return collate([self.rows[place] for place in self.share(range(first, first + size))])


def collate(rows: Sequence[Row]) -> Batch:
    """Rows as tensors, padded at the end."""
    columns: dict[str, Any] = {"pixels": torch.from_numpy(np.concatenate([r.pixels for r in rows]))}
    if any(len(row.ids) for row in rows):
        for name, fill in _FILL.items():
            held = [torch.from_numpy(getattr(row, name)) for row in rows]
            columns[name] = pad_sequence(held, batch_first=True, padding_value=fill)
        counted = columns["weights"][columns["labels"] != IGNORED]
        if bool((counted == 1).all()):
            del columns["weights"]
    for name in _TRUTH:
        columns[name] = _truth(rows, name)
    return Batch(
        **columns,
        kinds=tuple(row.kinds for row in rows),
        names=tuple(row.name for row in rows),
        bad=tuple(bad for row in rows for bad in row.bad),
    )


def _truth(rows: Sequence[Row], name: str) -> Tensor | None:
    """What is known of each picture's places; of some pictures it may be nothing."""
    known = next((held for row in rows if (held := getattr(row, name)) is not None), None)
    if known is None:
        return None
    nothing = np.full_like(known, IGNORED if name.endswith("names") else 0)
    each = []
    for row in rows:
        held = getattr(row, name)
        each += [nothing] * len(row.pixels) if held is None else [held]
    return torch.from_numpy(np.stack(each))


def visible(segments: Int[Tensor, "R T"]) -> Bool[Tensor, "R T T"]:
    """Each token sees what its row shares, and what came before it in its own lesson."""
    same = segments[:, :, None] == segments[:, None, :]
    count = segments.shape[1]
    order = torch.ones(count, count, dtype=torch.bool, device=segments.device).tril()
    return (same | (segments == PICTURE)[:, None, :]) & order
