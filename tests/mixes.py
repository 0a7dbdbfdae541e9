"""Requests to the engine in random mixes, each with what the plain loop answers to it alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from kosmos2.config import Config
from kosmos2.engine import (
    Completion,
    Engine,
    Grammar,
    Network,
    Request,
    Tags,
    Ticket,
    collect,
    generate,
    requests_of,
)
from kosmos2.engine.ticket import Cancelled

BOS, PAD, EOS, IMAGE, IMAGE_END = 0, 1, 2, 3, 4
CONFIG = Config.tiny()
LOCATIONS = range(CONFIG.text.vocabulary - 1024, CONFIG.text.vocabulary)
TAGS = Tags(
    phrase=60,
    phrase_end=61,
    object=62,
    object_end=63,
    delimiter=64,
    locations=LOCATIONS,
    columns=32,
)
RULES = {"eos": EOS, "pad": PAD, "locations": LOCATIONS}


@dataclass(frozen=True)
class Prompts:
    """A prompt as a batch of one."""

    ids: torch.Tensor
    slots: torch.Tensor
    pixels: None = None

    @property
    def keep(self) -> torch.Tensor:
        return torch.ones_like(self.slots)


@dataclass(frozen=True)
class Known:
    """A request, and what the plain loop answers it."""

    request: Request
    answer: Completion


def looked_at(network: Network, count: int) -> torch.Tensor:
    """Latents of so many pictures."""
    side = CONFIG.vision.image_size
    pixels = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network.look(pixels)


def inputs_of(words: Sequence[int], pictures: int = 0) -> Prompts:
    """A prompt of pictures and words."""
    ids, slots = [BOS], [False]
    for _ in range(pictures):
        ids += [IMAGE, *range(5, 5 + CONFIG.latents), IMAGE_END]
        slots += [False, *[True] * CONFIG.latents, False]
    return Prompts(torch.tensor([[*ids, *words]]), torch.tensor([slots + [False] * len(words)]))


def asked(
    network: Network,
    words: Sequence[int],
    latents: torch.Tensor | None = None,
    *,
    prefix_key: Any = None,
    plain_filters: Sequence[Any] | None = None,
    **rules: Any,
) -> Known:
    """A question, and the answer of the loop; its filters may be others that mean the same."""
    inputs = inputs_of(words, 0 if latents is None else len(latents))
    rules = {**RULES, **rules}
    plain = rules if plain_filters is None else {**rules, "filters": plain_filters}
    (answer,) = collect(generate(network, inputs, latents=latents, **plain))
    (request,) = requests_of(inputs, latents, prefix_keys=[prefix_key], **rules)
    return Known(request, answer)


def grammar_of(dice: random.Random, limit: int) -> Grammar:
    """The grammar, with one rule or another."""
    return Grammar(
        tags=TAGS,
        stops={EOS},
        limit=limit,
        max_boxes=dice.choice([None, 1, 2]),
        more_above=dice.choice([None, 0.3]),
        min_presence=dice.choice([None, 0.0, 0.01]),
    )


def phrase(dice: random.Random) -> list[int]:
    """The end of a prompt that wants a box, at once or soon."""
    return [TAGS.phrase, 7, TAGS.phrase_end] + [TAGS.object] * dice.randint(0, 1)


def same(ours: Completion, plain: Completion) -> None:
    """Equal but for rounding."""
    assert ours.ids == plain.ids
    assert ours.finish == plain.finish
    assert ours.logprobs == pytest.approx(plain.logprobs, abs=1e-4)
    for a, b in zip(ours.location_logprobs, plain.location_logprobs, strict=True):
        assert (a is None) == (b is None)
        assert a is None or a == pytest.approx(b, abs=1e-4)
    for ours_top, plain_top in zip(ours.tops, plain.tops, strict=True):
        assert [id for id, _ in ours_top] == [id for id, _ in plain_top]
        assert [p for _, p in ours_top] == pytest.approx([p for _, p in plain_top], abs=1e-4)


def answer_as_they_come(
    engine: Engine, coming: Sequence[tuple[Known, int]], dice: random.Random, *, leave: float
) -> None:
    """Hand each in at its step, cancel some, and compare what comes with the loop's answers."""
    leaving = {at: dice.randint(0, 15) for at in range(len(coming)) if dice.random() < leave}
    tickets: dict[int, Ticket] = {}
    for step in range(1000):
        for at, (one, when) in enumerate(coming):
            if when == step:
                tickets[at] = engine.submit(one.request)
            if leaving.get(at) == step and at in tickets:
                tickets[at].cancel()
        if not engine.step() and step > 15:
            break
    for at, (one, _) in enumerate(coming):
        if isinstance(tickets[at].error, Cancelled):
            ids = tuple(token.id for token in tickets[at].tokens)
            assert ids == one.answer.ids[: len(ids)]
        else:
            same(tickets[at].result(), one.answer)
    assert engine.statistics().running == engine.statistics().waiting == 0
