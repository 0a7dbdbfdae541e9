"""The golden check notices what it should: held against a tiny model whose own words are golden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from kosmos2 import Grounded, golden, open_picture, prompts
from kosmos2.config import Config
from kosmos2.geometry import box_of
from kosmos2.golden import Golden, Known, Scores, verify
from kosmos2.markup import parse, reference_extract

PROMPT = "<grounding> An image of"


@pytest.fixture(scope="module")
def picture():
    return open_picture(Image.effect_noise((64, 48), 90).convert("RGB"))


@pytest.fixture(scope="module")
def known(tiny_model, picture) -> Known:
    """What the tiny model says, found by growing a prompt token by token without a cache."""
    saved = golden.resave(picture)
    inputs = tiny_model.runner.processor([prompts.complete(PROMPT)], [[saved]])
    ids, slots = inputs.ids, inputs.slots
    said, logits = [], []
    with torch.inference_mode():
        for _ in range(5):
            step = tiny_model.network(ids, pixels=inputs.pixels, slots=slots)[0, -1]
            logits.append(step)
            said.append(int(step.argmax()))
            ids = torch.cat([ids, torch.tensor([[said[-1]]])], dim=1)
            slots = torch.cat([slots, torch.zeros(1, 1, dtype=torch.bool)], dim=1)
    answer = tiny_model.complete(saved, PROMPT, max_new_tokens=golden.LENGTH)
    latents = tiny_model.config.latents
    return Known(
        prompt=PROMPT,
        markup=answer.markup,
        resaved=True,
        prompt_ids=tuple(inputs.ids[0, latents + 3 :].tolist()),
        ids=tuple(said),
        scores=(
            Scores(0, 0, tuple(logits[0][:3].tolist())),
            Scores(-1, 100, tuple(logits[-1][100:103].tolist())),
        ),
    )


@pytest.fixture(scope="module")
def own(tiny_model, known) -> Golden:
    count = sum(parameter.numel() for parameter in tiny_model.network.parameters())
    return Golden(config=tiny_model.config, parameters=count, known=(known,))


def failed(checks) -> list[str]:
    return [check.name.rpartition(": ")[2] for check in checks if not check.passed]


def test_a_model_says_what_it_says(tiny_model, picture, own):
    told = []
    checks = verify(tiny_model, picture, golden=own, on_check=told.append)
    assert failed(checks) == []
    assert checks == told
    assert [check.name.rpartition(": ")[2] for check in checks] == [
        "sizes", "prompt", "tokens", "scores", "answer",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("prompt", lambda known: replace(known, prompt_ids=(*known.prompt_ids[:-1], 7))),
        ("tokens", lambda known: replace(known, ids=(*known.ids[:-1], 8))),
        ("scores", lambda known: replace(
            known, scores=(replace(known.scores[1], values=(0.5, 0.5, 0.5)),))),
        ("answer", lambda known: replace(known, markup=known.markup + "!")),
    ],
)  # fmt: skip
def test_each_difference_is_named(tiny_model, picture, own, known, name, change):
    changed = replace(own, known=(change(known),))
    assert failed(verify(tiny_model, picture, golden=changed)) == [name]


def test_the_picture_matters(tiny_model, picture, own, known, monkeypatch):
    """Without the round through JPEG the scores are others: that is why it is made."""
    monkeypatch.setattr(golden, "TOLERANCE", 1e-6)  # a tiny random network says all things softly
    assert failed(verify(tiny_model, picture, golden=own)) == []
    as_it_is = replace(own, known=(replace(known, resaved=False),))
    assert "scores" in failed(verify(tiny_model, picture, golden=as_it_is))


def test_another_network_is_recognised_by_its_size_alone(tiny_model, picture):
    (check,) = verify(tiny_model, picture)
    assert (check.name, check.passed) == ("sizes", False)
    assert "1,664,485,376" in check.detail


def test_the_known_answers_agree_with_themselves():
    """Ids and markup of one answer name the same cells; markup begins with its prompt."""
    assert golden.RELEASED.config == Config()
    for known in golden.RELEASED.known:
        text, entities = reference_extract(known.markup)
        parsed = parse(known.markup, strict=True)
        read = Grounded(text=parsed.text, entities=parsed.entities)
        assert read.to_tuple() == (text, entities)
        assert known.markup.replace(" ", "").startswith(known.prompt.replace(" ", ""))
        ids = (*known.prompt_ids, *known.ids)
        cells = [number - 64013 for number in ids if number >= 64013]
        boxes = [box for *_, several in entities for box in several]
        if ids:
            pairs = zip(cells[::2], cells[1::2], strict=True)
            assert [box_of(*pair).corners for pair in pairs] == boxes
            assert ids[-1] == 2


def test_the_known_answers_are_those_of_the_model_card():
    texts = {known.prompt: reference_extract(known.markup) for known in golden.RELEASED.known}
    snowman = ("a snowman", (12, 21), [(0.390625, 0.046875, 0.984375, 0.828125)])
    assert texts["<grounding>An image of"] == (
        "An image of a snowman warming himself by a fire.",
        [snowman, ("a fire", (41, 47), [(0.171875, 0.015625, 0.484375, 0.890625)])],
    )
    assert texts["<grounding> An image of"] == (
        "An image of a snowman warming himself by a campfire.",
        [snowman, ("a campfire", (41, 51), [(0.109375, 0.640625, 0.546875, 0.984375)])],
    )
    text, entities = texts["<grounding> Describe this image in detail:"]
    assert text.endswith("and it appears to have a warm and cozy atmosphere.")
    assert entities == [
        ("a campfire", (71, 81), [(0.171875, 0.015625, 0.484375, 0.984375)]),
        ("a hat", (109, 114), [(0.515625, 0.046875, 0.828125, 0.234375)]),
        ("scarf", (116, 121), [(0.515625, 0.234375, 0.890625, 0.578125)]),
        ("gloves", (127, 133), [(0.515625, 0.390625, 0.640625, 0.515625)]),
        ("a pot", (140, 145), [(0.078125, 0.609375, 0.265625, 0.859375)]),
        ("a cup", (157, 162), [(0.890625, 0.765625, 0.984375, 0.984375)]),
    ]
    assert len(golden.RELEASED.known) == 9
