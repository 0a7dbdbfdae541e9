"""Our model classes around small networks, the reference's around the same ones, and prompts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kosmos2.config import Config
from kosmos2.hf import Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Model
from kosmos2.model import Network

CONFIG = Config.tiny()
BOS, PAD = CONFIG.text.bos, CONFIG.text.pad
SIDES = ("none", "left", "right")


def wrapped(
    network: Network, *, kind: type = Kosmos2ForConditionalGeneration, **how: Any
) -> Kosmos2ForConditionalGeneration | Kosmos2Model:
    """One of our classes around a network."""
    return kind(Kosmos2Config.of_network(network.config), network=network, **how).eval()


def prompt(side: str = "none", pictures: tuple[int, ...] = (1, 1, 1)) -> dict[str, Tensor]:
    """Keyword arguments of `forward`: rows with pictures, the shorter ones padded on one side."""
    random = torch.Generator().manual_seed(7)
    rows: list[tuple[list[int], list[int]]] = []
    for row, count in enumerate(pictures):
        block = [3, *range(4, 4 + CONFIG.latents), 5]
        slots = [0, *[1] * CONFIG.latents, 0]
        words = 6 if side == "none" else 4 + 3 * row
        text = torch.randint(6, CONFIG.text.vocabulary, (words,), generator=random).tolist()
        rows.append(([BOS, *block * count, *text], [0, *slots * count, *[0] * words]))
    longest = max(len(ids) for ids, _ in rows)

    def padded(values: list[list[int]], filler: int) -> Tensor:
        fill = [[filler] * (longest - len(row)) for row in values]
        pairs = zip(fill, values, strict=True)
        return torch.tensor([f + row if side == "left" else row + f for f, row in pairs])

    side_px = CONFIG.vision.image_size
    return {
        "pixel_values": torch.randn(sum(pictures), 3, side_px, side_px, generator=random),
        "input_ids": padded([ids for ids, _ in rows], PAD),
        "image_embeds_position_mask": padded([slots for _, slots in rows], 0),
        "attention_mask": padded([[1] * len(ids) for ids, _ in rows], 0),
    }


def assert_same(ours: Any, theirs: Any, *, place: str = "out", **close: float) -> None:
    """Everything in the reference's output is in ours: types, shapes, numbers, order of fields.

    Ours may have more, as where the reference says None for attentions.
    """
    if theirs is None:
        return
    if isinstance(theirs, Tensor):
        assert ours.dtype == theirs.dtype, place
        close = close or {"atol": 0.0, "rtol": 0.0}
        torch.testing.assert_close(
            ours, theirs, **close, equal_nan=True, msg=lambda m: f"{place}: {m}"
        )
    elif isinstance(theirs, list | tuple):
        assert isinstance(ours, type(theirs)), place
        for at, (mine, reference) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(mine, reference, place=f"{place}[{at}]", **close)
    elif hasattr(theirs, "get_seq_length"):
        assert ours.get_seq_length() == theirs.get_seq_length(), place
        for at, (mine, reference) in enumerate(zip(ours.layers, theirs.layers, strict=True)):
            assert_same(mine.keys, reference.keys, place=f"{place}.keys[{at}]", **close)
            assert_same(mine.values, reference.values, place=f"{place}.values[{at}]", **close)
    else:
        assert [name for name in ours if name in theirs] == list(theirs), place
        for name in theirs:
            assert_same(ours[name], theirs[name], place=f"{place}.{name}", **close)
            assert getattr(ours, name) is ours[name], place
