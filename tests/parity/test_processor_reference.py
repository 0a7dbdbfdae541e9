"""Ids, masks and pixels against the reference's processor, on every task and on fuzzed batches."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kosmos2.config import Config
from kosmos2.geometry import box_of
from kosmos2.images import Picture, open_picture
from kosmos2.markup import with_boxes
from kosmos2.processor import Inputs, Processor
from kosmos2.prompts import Markup, Prompt, ask, caption, describe, ground
from kosmos2.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers", reason="transformers is the reference")

CARD = [
    "<grounding><phrase> a snowman</phrase>",
    "<grounding><phrase> a snowman next to a fire</phrase>",
    "<grounding><phrase> It</phrase><object><patch_index_0044><patch_index_0863></object> is",
    "<grounding> Question: What is special about this image? Answer:",
    "<grounding> Question: Where is<phrase> the fire</phrase><object><patch_index_0005>"
    "<patch_index_0911></object> next to? Answer:",
    "<grounding> An image of",
    "<grounding> Describe this image in detail:",
]
TASKS = [
    ground("a snowman"),
    ground("a snowman next to a fire"),
    describe(box_of(44, 863)),
    ask("What is special about this image?"),
    ask("Where is [the fire] next to?", boxes=[box_of(5, 911)]),
    caption(),
    caption(detailed=True),
]
WORDS = [
    "a", "dog", "snowman", "naïve", "日本語", "😀", "e\u0301", "<phrase>", "</phrase>", "<object>",
    "<patch_index_0044>", "</object>", "<grounding>", "</s>", "<image>", "</image>", "\u200b", "\n",
    "3.14", "<", "\u3000", "don't",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(sentencepiece_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "sentencepiece.bpe.model").symlink_to(sentencepiece_model)
    names = {
        "bos": "<s>",
        "eos": "</s>",
        "cls": "<s>",
        "sep": "</s>",
        "unk": "<unk>",
        "pad": "<pad>",
    }
    settings = {f"{name}_token": token for name, token in names.items()}
    mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "special": True}
    settings |= {"mask_token": mask | {"normalized": False, "rstrip": False, "single_word": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def reference(folder: Path):
    tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(folder)
    pictures = transformers.CLIPImageProcessorPil(use_square_size=True)
    return transformers.Kosmos2Processor(pictures, tokenizer)


@pytest.fixture(scope="module")
def processor(folder: Path) -> Processor:
    return Processor(Tokenizer.load(folder), Config())


@pytest.fixture(scope="module")
def picture() -> Picture:
    values = np.random.default_rng(3).integers(0, 256, (60, 90, 3), np.uint8)
    return open_picture(Image.fromarray(values))


def same(ours: Inputs, theirs, *, pictures: bool = True) -> None:
    assert torch.equal(ours.ids, theirs["input_ids"])
    assert torch.equal(ours.keep.long(), theirs["attention_mask"])
    if pictures:
        assert torch.equal(ours.slots.long(), theirs["image_embeds_position_mask"])
        assert torch.equal(ours.pixels, theirs["pixel_values"])
    else:
        assert ours.pixels is None
        assert not ours.slots.any()


def markup(text: str) -> Prompt:
    return Prompt((Markup(text),))


def random_text(draw: random.Random) -> str:
    words = [draw.choice(WORDS) + draw.choice(["", " ", "  "]) for _ in range(draw.randrange(9))]
    return "a " * draw.randrange(2) + "".join(words) + "b"


@pytest.mark.parametrize(("text", "task"), [*zip(CARD, TASKS)])
def test_each_task_of_the_model_card_is_as_in_the_reference(
    reference, processor: Processor, picture: Picture, text: str, task: Prompt
) -> None:
    theirs = reference(images=picture.image, text=text, return_tensors="pt")
    same(processor([markup(text)], [[picture]]), theirs)
    same(processor([task], [[picture]]), theirs)


def test_the_layout_is_that_of_the_released_model(processor: Processor, picture: Picture) -> None:
    inputs = processor([markup("<grounding> An image of")], [[picture]])
    slots = range(4, 68)
    assert inputs.ids[0].tolist() == [0, 64_003, *slots, 64_004, 64_012, 712, 1648, 9]


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("<grounding> It<phrase> a dog</phrase> runs", [(0.1, 0.2, 0.5, 0.6)]),
        ("<phrase> a</phrase> and<phrase> b</phrase>", [(0.1, 0.2, 0.5, 0.6), None]),
        ("<phrase> a</phrase>", [[(0.0, 0.0, 1.0, 1.0), (0.3, 0.3, 0.31, 0.9)]]),
        ("<phrase> a dog</phrase> runs", None),
    ],
)
def test_boxes_in_prompts_are_as_in_the_reference(
    reference, processor: Processor, picture: Picture, text: str, boxes: list | None
) -> None:
    theirs = reference(images=picture.image, text=text, bboxes=boxes, return_tensors="pt")
    written = text if boxes is None else with_boxes(text, boxes)
    same(processor([markup(written)], [[picture]]), theirs)


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_are_as_in_the_reference(
    reference, processor: Processor, picture: Picture, side
) -> None:
    draw = random.Random(side)
    for texts in (CARD, [random_text(draw) for _ in range(6)]):
        reference.tokenizer.padding_side = side
        images = [picture.image] * len(texts)
        theirs = reference(images=images, text=texts, padding=True, return_tensors="pt")
        ours = processor([*map(markup, texts)], [[picture]] * len(texts), side=side)
        same(ours, theirs)


def test_fuzzed_prompts_are_as_in_the_reference(
    reference, processor: Processor, picture: Picture
) -> None:
    """A long batch, so that the reference is asked once; the pixels are checked above."""
    draw = random.Random(9)
    texts = [random_text(draw) for _ in range(400)]
    reference.tokenizer.padding_side = "right"
    images = [Image.new("RGB", (1, 1))] * len(texts)
    theirs = reference(images=images, text=texts, padding=True, return_tensors="pt")
    seen = [[picture]] * len(texts)
    ours = processor([*map(markup, texts)], seen, side="right", look=False)
    assert torch.equal(ours.ids, theirs["input_ids"])
    assert torch.equal(ours.keep.long(), theirs["attention_mask"])
    assert torch.equal(ours.slots.long(), theirs["image_embeds_position_mask"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_prompts_without_pictures_are_as_in_the_reference(
    reference, processor: Processor, side
) -> None:
    reference.tokenizer.padding_side = side
    theirs = reference(text=CARD, padding=True, return_tensors="pt")
    same(processor([*map(markup, CARD)], [[]] * len(CARD), side=side), theirs, pictures=False)


@pytest.mark.parametrize("max_length", [67, 68, 70, 75])
def test_truncation_is_as_in_the_reference_where_that_is_sane(
    reference, processor: Processor, picture: Picture, max_length: int
) -> None:
    text = CARD[4]
    theirs = reference(
        images=picture.image, text=text, truncation=True, max_length=max_length, return_tensors="pt"
    )
    ours = processor([markup(text)], [[picture]], max_length=max_length)
    assert ours.ids.shape[1] == max_length
    same(ours, theirs)


def test_the_reference_reads_the_processor_that_we_save(
    reference, processor: Processor, picture: Picture, tmp_path: Path
) -> None:
    processor.save(tmp_path)
    again = transformers.Kosmos2Processor.from_pretrained(tmp_path)
    theirs = again(images=picture.image, text=CARD[4], return_tensors="pt")
    ours = processor([markup(CARD[4])], [[picture]])
    assert torch.equal(ours.ids, theirs["input_ids"])
    assert torch.equal(ours.slots.long(), theirs["image_embeds_position_mask"])
    # With torchvision installed the reference resizes through it: a grey level apart at most.
    assert (ours.pixels - theirs["pixel_values"]).abs().max() < 0.016


def test_the_reference_reads_a_small_processor_that_we_save(
    picture: Picture, tmp_path: Path
) -> None:
    letters = [(letter, -8.0) for letter in "abcdefghijklmnopqrstuvwxyzAID:.?"]
    tokenizer = Tokenizer.from_pieces([("▁", -9.0), ("▁snowman", -4.0), *letters])
    small = Processor(tokenizer, Config.tiny())
    small.save(tmp_path)
    again = transformers.Kosmos2Processor.from_pretrained(tmp_path)
    settings = {"num_image_tokens": Config.tiny().latents, "return_tensors": "pt"}
    theirs = again(images=picture.image, text=CARD[0], **settings)
    ours = small([markup(CARD[0])], [[picture]])
    assert torch.equal(ours.ids, theirs["input_ids"])
    assert torch.equal(ours.slots.long(), theirs["image_embeds_position_mask"])
    assert (ours.pixels - theirs["pixel_values"]).abs().max() < 0.016
