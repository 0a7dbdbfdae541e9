"""Prompts and pictures as rows of ids: layout, padding, truncation, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kosmos2.config import Config
from kosmos2.errors import CheckpointError, ConfigError, PromptError
from kosmos2.images import Picture, open_picture, to_pixels
from kosmos2.markup import IMAGE, IMAGE_END, PHRASE, PHRASE_END
from kosmos2.processor import Inputs, Processor
from kosmos2.prompts import PICTURE, Markup, Prompt, Words, ask, caption, ground
from kosmos2.tokenizer import Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyzAIQDW:.?<>/"
PIECES = [("▁", -9.0), ("▁a", -3.0), ("▁dog", -4.0), *((letter, -8.0) for letter in LETTERS)]

TOKENIZER = Tokenizer.from_pieces(PIECES)
CONFIG = Config.tiny()
PROCESSOR = Processor(TOKENIZER, CONFIG)
RED, BLUE = (open_picture(np.full((9, 7, 3), c, np.uint8)) for c in ([250, 0, 0], [0, 0, 250]))
BLOCK = [
    TOKENIZER.tag(IMAGE),
    *range(TOKENIZER.first_slot, TOKENIZER.first_slot + CONFIG.latents),
    TOKENIZER.tag(IMAGE_END),
]


def row(inputs: Inputs, at: int = 0) -> list[int]:
    """The ids of a prompt without its padding."""
    return inputs.ids[at][inputs.keep[at]].tolist()


def one(prompt: Prompt, *pictures: Picture, **settings) -> list[int]:
    return row(PROCESSOR([prompt], [list(pictures)], **settings))


def prompt(*parts) -> Prompt:
    return Prompt(parts)


def test_a_picture_without_a_mark_comes_first() -> None:
    text = TOKENIZER.encode("<grounding> a dog")
    inputs = PROCESSOR([prompt(Markup("<grounding> a dog"))], [[RED]])
    assert row(inputs) == [TOKENIZER.bos, *BLOCK, *text]
    slots = inputs.slots[0].nonzero().flatten().tolist()
    assert slots == list(range(2, 2 + CONFIG.latents))
    assert inputs.keep.all()


def test_a_marked_picture_stands_at_its_mark() -> None:
    marked = prompt(Words("a dog"), PICTURE, Words("dog"), PICTURE)
    a, b = TOKENIZER.encode("a dog"), TOKENIZER.encode("dog")
    assert one(marked, RED, BLUE) == [TOKENIZER.bos, *a, *BLOCK, *b, *BLOCK]
    first = prompt(PICTURE, PICTURE, Words("a dog"))
    assert one(first, RED, BLUE) == one(prompt(Words("a dog")), RED, BLUE)


def test_a_prompt_without_pictures_is_words_alone() -> None:
    inputs = PROCESSOR([prompt(Words("a dog"))], [[]])
    assert row(inputs) == [TOKENIZER.bos, *TOKENIZER.encode("a dog")]
    assert inputs.pixels is None
    assert not inputs.slots.any()


def test_words_hold_no_tags_and_markup_does() -> None:
    typed = "<phrase> a dog</phrase>"
    tags = {TOKENIZER.tag(PHRASE), TOKENIZER.tag(PHRASE_END)}
    assert tags <= set(one(prompt(Markup(typed)), RED))
    assert not tags & set(one(prompt(Words(typed)), RED))


def test_no_words_of_a_user_end_the_prompt_or_add_a_picture() -> None:
    for typed in ("</s>", "<s>", "<pad>", "<image>", "</image>", "<patch_index_0001>"):
        ids = one(ask(f"a {typed} dog"), RED)
        assert ids.count(TOKENIZER.bos) == 1
        assert not {TOKENIZER.eos, TOKENIZER.pad} & set(ids)
        assert ids.count(TOKENIZER.tag(IMAGE)) == ids.count(TOKENIZER.tag(IMAGE_END)) == 1
        assert not set(TOKENIZER.cells) & set(ids)


def test_parts_are_encoded_as_the_whole_would_be() -> None:
    whole = prompt(Markup("<grounding><phrase> a dog</phrase>"))
    assert one(ground("a dog"), RED) == one(whole, RED)
    assert one(prompt(Markup("<phrase>"), Words("dog"), Markup("</phrase>"))) == one(
        prompt(Markup("<phrase>dog</phrase>"))
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_shorter_prompts_are_padded_on_the_side_asked_for(side: str) -> None:
    long, short = prompt(Words("a dog a dog")), prompt(Words("a"))
    inputs = PROCESSOR([long, short], [[RED], []], side=side)
    assert inputs.ids.shape == inputs.slots.shape == inputs.keep.shape
    pads = inputs.ids.shape[1] - 2
    padding = slice(None, pads) if side == "left" else slice(-pads, None)
    assert (inputs.ids[1, padding] == TOKENIZER.pad).all()
    assert not inputs.keep[1, padding].any()
    assert int(inputs.keep[1].sum()) == 2


# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)

TEXTS = st.text("a dog.<>", min_size=1, max_size=12).filter(str.strip)
BATCHES = st.lists(st.tuples(TEXTS, st.integers(0, 2)), min_size=1, max_size=4)


@unhurried
@given(BATCHES, st.sampled_from(["left", "right"]))
def test_a_batch_is_its_prompts_one_by_one(batch: list[tuple[str, int]], side) -> None:
    prompts = [prompt(Words(text)) for text, _ in batch]
    pictures = [[RED, BLUE][:count] for _, count in batch]
    together = PROCESSOR(prompts, pictures, side=side)
    for at, (words, seen) in enumerate(zip(prompts, pictures)):
        alone = PROCESSOR([words], [seen])
        kept = together.keep[at]
        assert torch.equal(together.ids[at][kept], alone.ids[0])
        assert torch.equal(together.slots[at][kept], alone.slots[0])
        assert (together.ids[at][~kept] == TOKENIZER.pad).all()
        assert not together.slots[at][~kept].any()
    assert int(together.slots.sum()) == CONFIG.latents * sum(map(len, pictures))


def test_pixels_stand_in_the_order_of_their_slots() -> None:
    a = prompt(Words("a"))
    inputs = PROCESSOR([a, a, a], [[RED, BLUE], [], [BLUE]])
    assert inputs.pixels is not None
    expected = [to_pixels(picture, CONFIG.vision) for picture in (RED, BLUE, BLUE)]
    assert np.array_equal(inputs.pixels.numpy(), np.stack(expected))
    assert inputs.pixels.dtype == torch.float32


def test_pictures_already_looked_at_need_no_pixels() -> None:
    with_pixels = PROCESSOR([caption()], [[RED]])
    without = PROCESSOR([caption()], [[RED]], look=False)
    assert without.pixels is None
    assert torch.equal(with_pixels.ids, without.ids)


@unhurried
@given(TEXTS, TEXTS, st.integers(0, 60))
def test_truncation_cuts_words_from_the_end_and_no_picture(
    before: str, after: str, max_length: int
) -> None:
    parts = prompt(Words(before), PICTURE, Words(after))
    fixed = 1 + len(BLOCK)
    if max_length < fixed:
        with pytest.raises(PromptError, match=f"take {fixed}; allow more"):
            one(parts, RED, max_length=max_length)
        return
    whole, cut = one(parts, RED), one(parts, RED, max_length=max_length)
    assert len(cut) == min(len(whole), max_length)
    first, last = (
        TOKENIZER.encode(before.strip(), markup=False),
        TOKENIZER.encode(after.strip(), markup=False),
    )
    room = max_length - fixed
    kept_first = first[:room]
    kept_last = last[: max(room - len(first), 0)]
    assert cut == [TOKENIZER.bos, *kept_first, *BLOCK, *kept_last]


def test_a_prompt_that_just_fits_is_not_cut() -> None:
    whole = one(prompt(Words("a dog")), RED)
    assert one(prompt(Words("a dog")), RED, max_length=len(whole)) == whole
    assert one(prompt(Words("a dog")), RED, max_length=len(whole) - 1) == whole[:-1]


def test_a_prompt_longer_than_the_model_is_refused_or_cut() -> None:
    long = prompt(Words("dog " * CONFIG.text.positions))
    with pytest.raises(PromptError, match=r"140 tokens long, the model reads 130; shorten it"):
        one(prompt(Words("dog " * 139)))
    assert len(one(long, RED, max_length=CONFIG.text.positions)) == CONFIG.text.positions
    with pytest.raises(PromptError, match="the model reads 130"):
        one(long, max_length=131)
    many = [RED] * 20
    with pytest.raises(PromptError, match="the model reads 130"):
        one(prompt(Words("a")), *many)


@pytest.mark.parametrize(
    ("prompts", "pictures", "complaint"),
    [
        ([], [], "no prompts"),
        ([caption()], [], "0 lists of pictures for 1 prompts"),
        ([caption()], [[], []], "2 lists of pictures for 1 prompts"),
        ([prompt(PICTURE, Words("a"))], [[]], "0 pictures for a prompt with 1 places"),
        ([prompt(PICTURE, Words("a"))], [[RED, RED]], "2 pictures for a prompt with 1 places"),
    ],
)
def test_pictures_and_places_must_match(prompts, pictures, complaint: str) -> None:
    with pytest.raises(PromptError, match=complaint):
        PROCESSOR(prompts, pictures)


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(ConfigError, match="'left' or 'right'"):
        PROCESSOR([caption()], [[]], side="top")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (Config.tiny(vocabulary=1050), r"the tokenizer has 1\d+ tokens, the network 1050"),
        (
            replace(Config.tiny(), text=replace(CONFIG.text, bos=2, eos=0)),
            "bos is 0 to the tokenizer and 2 to the network",
        ),
        (replace(Config.tiny(), latents=2000), "2000 latents need as many ids"),
    ],
)
def test_a_tokenizer_of_another_network_is_refused(config: Config, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        Processor(TOKENIZER, config)


def test_inputs_move_together() -> None:
    inputs = PROCESSOR([caption()], [[RED]]).to("meta")
    parts = (inputs.ids, inputs.slots, inputs.keep, inputs.pixels)
    assert [part.device.type for part in parts if part is not None] == ["meta"] * 4
    assert PROCESSOR([caption()], [[]]).to("cpu").pixels is None


def test_a_saved_processor_has_its_tokenizer_and_picture_size(tmp_path: Path) -> None:
    PROCESSOR.save(tmp_path)
    again = Processor(Tokenizer.load(tmp_path), CONFIG)
    assert torch.equal(again([caption()], [[RED]]).ids, PROCESSOR([caption()], [[RED]]).ids)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["size"] == {"height": 30, "width": 30}
