"""The processor without its reference: lengths, tags, notices, and the ways out of errors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kosmos2.errors import ConfigError, ImageError, InputError, PromptError
from kosmos2.hf import notices
from kosmos2.hf.image_processor import Kosmos2ImageProcessor
from kosmos2.hf.processor import Kosmos2Processor

IMAGE = Image.new("RGB", (9, 6), "red")
PROMPT = "<grounding>An image of"
ONE = "<phrase> a dog</phrase>"
NAMES = "input_ids", "attention_mask", "image_embeds_position_mask"


@pytest.fixture(scope="module")
def processor() -> Kosmos2Processor:
    return Kosmos2Processor.from_pretrained("demo")


def shapes(processor: Kosmos2Processor, **call: Any) -> set:
    return {np.shape(processor(**call)[name]) for name in NAMES}


def told(processor: Kosmos2Processor, **call: Any) -> list[str]:
    """The notices of a call, as if it were the first."""
    notices.forget()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        processor(**call)
    return [str(warning.message) for warning in caught]


# The table of batching, padding and truncation, row by row.
def test_one_text_gives_flat_lists_and_with_tensors_a_batch_of_one(processor) -> None:
    assert shapes(processor, text=PROMPT, images=IMAGE) == {(71,)}
    assert shapes(processor, text=PROMPT, images=IMAGE, return_tensors="pt") == {(1, 71)}


def test_a_list_with_pictures_is_padded_whatever_padding_says(processor) -> None:
    batch = processor(text=[PROMPT, PROMPT[:-3]], images=[IMAGE] * 2, return_tensors="pt")
    assert {tuple(batch[name].shape) for name in NAMES} == {(2, 71)}
    assert [batch[name][1, -1].item() for name in NAMES] == [1, 0, 0]


def test_a_list_is_padded_to_max_length_and_to_a_multiple(processor) -> None:
    some = {"text": [PROMPT, "a"], "images": [IMAGE] * 2}
    assert shapes(processor, **some, padding="max_length", max_length=80) == {(2, 80)}
    assert shapes(processor, **some, padding=True, pad_to_multiple_of=8) == {(2, 72)}


@pytest.mark.filterwarnings("ignore::kosmos2.hf.notices.Notice")
def test_one_text_with_a_picture_is_never_padded(processor) -> None:
    assert shapes(processor, text=PROMPT, images=IMAGE, padding="max_length", max_length=80) == {
        (71,)
    }
    assert len(processor(text="a", padding="max_length", max_length=12).input_ids) == 12


@pytest.mark.filterwarnings("ignore::kosmos2.hf.notices.Notice")
@pytest.mark.parametrize("eos", [False, True])
def test_truncation_keeps_the_picture_and_the_end(processor, eos: bool) -> None:
    call = {"text": PROMPT, "images": IMAGE, "add_eos_token": eos, "truncation": True}
    whole = processor(**call)
    cut = processor(**call, max_length=70)
    kept = 69 if eos else 70
    assert cut.input_ids == whole.input_ids[:kept] + [2] * eos
    assert {len(cut[name]) for name in NAMES} == {70}
    bare = processor(**call, max_length=68 if eos else 67)
    assert bare.input_ids == whole.input_ids[:67] + [2] * eos


@pytest.mark.parametrize("text", ["", "  \n "])
def test_a_text_of_nothing_leaves_the_picture(processor, text: str) -> None:
    assert shapes(processor, text=text, images=IMAGE) == {(67,)}


def test_the_layout_is_start_picture_text(processor) -> None:
    image, end = processor.tokenizer.convert_tokens_to_ids(["<image>", "</image>"])
    rows = processor(text="a", images=IMAGE)
    assert rows.input_ids[:67] == [0, image, *range(4, 68), end]
    assert rows.image_embeds_position_mask == [
        0,
        0,
        *[1] * 64,
        0,
        *[0] * (len(rows.input_ids) - 67),
    ]
    bare = processor(text="a", images=IMAGE, add_special_tokens=False, add_eos_token=True)
    assert bare.input_ids == rows.input_ids[1:]


def test_pictures_may_stand_alone_or_in_lists_of_one(processor) -> None:
    plain = processor(text=["a"], images=[IMAGE], return_tensors="np")
    for images in (IMAGE, [[IMAGE]]):
        again = processor(text=["a"], images=images, return_tensors="np")
        assert all(np.array_equal(plain[name], again[name]) for name in plain)
    assert [*processor(images=IMAGE)] == ["pixel_values"]
    assert [*processor(text="a")] == ["input_ids", "attention_mask"]


def test_a_literal_image_tag_in_a_text_is_harmless(processor) -> None:
    image = processor.tokenizer.convert_tokens_to_ids("<image>")
    rows = processor(text="a <image> b", images=IMAGE)
    assert rows.input_ids.count(image) == 2
    assert sum(rows.image_embeds_position_mask) == 64


# The table of boxes, row by row.
@pytest.mark.parametrize(
    ("text", "boxes", "expected"),
    [
        (
            "<grounding> It<phrase> a dog</phrase> runs",
            [(44, 863)],
            "<grounding> It<phrase> a dog</phrase><object> <patch_index_0044> <patch_index_0863> "
            "</object> runs",
        ),
        (
            "<phrase> a</phrase> and<phrase> b</phrase>",
            [(0.1, 0.2, 0.5, 0.6), None],
            "<phrase> a</phrase><object> <patch_index_0195> <patch_index_0623> </object> and"
            "<phrase> b</phrase>",
        ),
        (
            ONE,
            [[(1, 2), (3, 4)]],
            f"{ONE}<object> <patch_index_0001> <patch_index_0002> </delimiter_of_multi_objects/> "
            "<patch_index_0003> <patch_index_0004> </object>",
        ),
        (
            ONE,
            [[(1, 2), (0.0, 0.0, 1.0, 1.0)]],
            f"{ONE}<object> <patch_index_0001> <patch_index_0002> </delimiter_of_multi_objects/> "
            "<patch_index_0000> <patch_index_1023> </object>",
        ),
        (
            "<phrase> a <phrase> b</phrase></phrase>",
            [(1, 2)],
            "<phrase> a <phrase> b</phrase><object> <patch_index_0001> <patch_index_0002> </object>"
            "</phrase>",
        ),
        (
            f"{ONE}<object><patch_index_0044><patch_index_0863></object>",
            [(5, 6)],
            f"{ONE}<object> <patch_index_0005> <patch_index_0006> </object>"
            "<object><patch_index_0044><patch_index_0863></object>",
        ),
        *[(ONE, nothing, ONE) for nothing in ([], None, [[]], [None])],
    ],
)
def test_boxes_are_written_behind_their_phrases(processor, text, boxes, expected) -> None:
    assert processor.preprocess_examples(text, bboxes=boxes) == expected


@pytest.mark.parametrize(
    ("corners", "cells"),
    [
        ((0.0, 0.0, 1.0, 1.0), (0, 1023)),
        ((0.04182509505703422, 0.39244186046511625, 0.38783269961977185, 1.0), (385, 1004)),
        ((0.5, 0.5, 0.53125, 0.53125), (528, 528)),
        ((0.5, 0.5, 0.51, 0.51), (528, 528)),
        ((0.0, 0.0, 0.001, 0.001), (0, 0)),
        ((0.999, 0.999, 1.0, 1.0), (1023, 1023)),
        (tuple(np.float64([0.1, 0.2, 0.5, 0.6])), (195, 623)),
    ],
)
def test_corners_become_cells(processor, corners, cells) -> None:
    by_corners, by_cells = (
        processor.preprocess_examples(ONE, bboxes=[box]) for box in (corners, cells)
    )
    assert by_corners == by_cells


@pytest.mark.parametrize(
    ("box", "way_out"),
    [
        ([44, 863], r"tuple of int: \(44, 863\)"),
        ((0, 0, 1, 1), r"tuple of float: \(0.0, 0.0, 1.0, 1.0\)"),
        ((0.0, 0.0, 1, 1), r"tuple of float: \(0.0, 0.0, 1.0, 1.0\)"),
        ((np.int64(4), np.int64(9)), r"tuple of int: \(4, 9\)"),
        (tuple(np.float32([0, 0, 0.5, 1])), r"tuple of float: \(0.0, 0.0, 0.5, 1.0\)"),
        ([None], "two int"),
        ((0.5, 0.5, 0.5, 0.9), "x2 > x1"),
        ((0.1, 0.1, float("inf"), 0.9), "x2 > x1"),
    ],
)
def test_boxes_of_the_wrong_type_are_refused_with_the_right_one(processor, box, way_out) -> None:
    if isinstance(box, list) and None not in box:
        box = [box]  # a list is several boxes, so this is one of them
    with pytest.raises(PromptError, match=way_out):
        processor(text=ONE, bboxes=[box])


@pytest.mark.parametrize(
    ("text", "boxes", "place"),
    [
        (ONE, (44, 863), "bboxes is a tuple"),
        (ONE, [(1, 2), (3, 4)], "2 elements for 1 phrases"),
        ("no phrase", [(1, 2)], "1 elements for 0 phrases"),
        ("<phrase> a\n</phrase>", [(1, 2)], "1 elements for 0 phrases"),
        ("<phrase></phrase>", [(1, 2)], "1 elements for 0 phrases"),
        ([ONE, "b"], [[(1, 2)]], "1 lists of boxes for 2 texts"),
        ([ONE, ONE], [[(1, 2)], [(1, "2")]], r"bboxes\[1\]\[0\] is \(1, '2'\)"),
        ([ONE], [(44, 863)], r"bboxes\[0\] is a tuple"),
    ],
)
def test_boxes_that_do_not_fit_are_refused_with_their_place(processor, text, boxes, place) -> None:
    with pytest.raises(PromptError, match=place):
        processor(text=text, bboxes=boxes)


# Other ways in, and out.
@pytest.mark.parametrize(
    ("call", "error", "way_out"),
    [
        ({}, InputError, "give images, text, or both"),
        ({"images": IMAGE, "text": ["a", "b"]}, PromptError, "1 pictures for 2 texts"),
        ({"images": [IMAGE] * 2, "text": "a"}, PromptError, "2 pictures for 1 texts"),
        ({"images": PROMPT, "text": IMAGE}, InputError, "pictures come first"),
        ({"images": "a dog", "text": "a cat"}, ImageError, "pictures come first"),
        ({"images": [None], "text": ["a"]}, ImageError, "NoneType is no picture"),
        ({"text": [1]}, PromptError, "text 0 is a int"),
        ({"text": "a", "padding": "wide"}, InputError, "'longest'"),
        ({"text": "a", "images": IMAGE, "padding": "wide"}, InputError, "'longest'"),
        ({"text": "a", "max_length": 9, "text_kwargs": {"max_length": 9}}, ConfigError, "twice"),
        ({"text": "a", "images": IMAGE, "num_image_tokens": 0}, ConfigError, "latent_query_num"),
        ({"text": "a", "images": IMAGE, "first_image_token_id": 1440}, ConfigError, "vocabulary"),
        ({"text": "a", "images": np.random.rand(9, 9, 3)}, ImageError, "do_rescale=False"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(processor, call, error, way_out) -> None:
    with pytest.raises(error, match=way_out):
        processor(**call)


def test_parts_of_other_libraries_are_refused(processor) -> None:
    with pytest.raises(ConfigError, match=r"kosmos2\.hf\.Kosmos2Tokenizer"):
        Kosmos2Processor(processor.image_processor, object())
    with pytest.raises(ConfigError, match="transformers-5"):
        Kosmos2Processor(processor.image_processor, processor.tokenizer, compat="4")
    with pytest.raises(ConfigError, match="1024"):
        Kosmos2Processor(processor.image_processor, processor.tokenizer, 16)


@pytest.mark.parametrize(
    ("call", "notice"),
    [
        ({"text": ONE, "bboxes": [(2000, 3)]}, "not among 0 to 1023"),
        ({"text": ONE, "bboxes": [(True, 3)]}, "not among 0 to 1023"),
        ({"text": ONE, "bboxes": [(0.1, 0.1, 1.2, 0.4)]}, "outside 0 to 1"),
        ({"images": IMAGE, "bboxes": [(1, 2)]}, "without a text"),
        ({"images": IMAGE, "text": "a", "padding": True}, "never padded"),
        ({"images": [IMAGE], "text": ["a"], "pad_to_multiple_of": 8}, "say padding=True"),
        ({"images": [IMAGE], "text": ["a"], "padding_side": "left"}, "tokenizer.padding_side"),
        ({"images": IMAGE, "text": PROMPT, "max_length": 69}, "say truncation=True"),
        ({"images": IMAGE, "text": "a", "max_lenght": 69}, "no argument max_lenght"),
        ({"images": IMAGE, "text": "a", "text_kwargs": {"size": 3}}, "no argument size in text_kw"),
    ],
)
def test_what_is_hardly_meant_gets_one_notice(processor, call, notice) -> None:
    (said,) = told(processor, **call)
    assert notice in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processor(**call)  # not twice


@pytest.mark.parametrize(
    "call",
    [
        {"images": IMAGE, "text": ONE, "bboxes": [(44, 863)], "return_tensors": "pt"},
        {"images": [IMAGE] * 2, "text": ["a", ONE], "padding": True, "pad_to_multiple_of": 8},
        {"images": [IMAGE], "text": ["a"], "padding": "max_length", "max_length": 99},
        {"images": IMAGE, "text": PROMPT, "truncation": True, "max_length": 69},
        {"text": ["a", PROMPT], "padding": "max_length", "max_length": 12},
    ],
)
def test_ordinary_calls_get_none(processor, call) -> None:
    assert told(processor, **call) == []


def test_the_slots_are_as_many_as_the_models_latents(tiny_folder: Path) -> None:
    processor = Kosmos2Processor.from_pretrained(tiny_folder)
    assert (
        sum(processor(images=IMAGE, text="a").image_embeds_position_mask)
        == processor.num_image_tokens
    )
    assert processor.num_image_tokens not in (0, 64)


def test_a_processor_is_saved_and_read_again(tmp_path: Path, processor) -> None:
    odd = Kosmos2Processor(
        Kosmos2ImageProcessor(size={"height": 5, "width": 7}, do_center_crop=False),
        processor.tokenizer,
        num_image_tokens=3,
    )
    odd.save_pretrained(tmp_path)
    again = Kosmos2Processor.from_pretrained(tmp_path, image_mean=0.5)
    assert again.num_image_tokens == 3
    assert again.image_processor.to_dict() == odd.image_processor.to_dict() | {
        "image_mean": (0.5,) * 3
    }
    assert again(images=IMAGE, text="a").input_ids == odd(images=IMAGE, text="a").input_ids


def test_a_path_is_a_picture(tmp_path: Path, processor) -> None:
    IMAGE.save(tmp_path / "red.png")
    by_path = processor(images=str(tmp_path / "red.png"), text="a", return_tensors="np")
    assert np.array_equal(
        by_path.pixel_values, processor(images=IMAGE, return_tensors="np").pixel_values
    )


def test_hostile_answers_are_read_to_their_end(processor) -> None:
    # The reference needs minutes for some of these.
    block = (
        "<object>" + "<patch_index_0001><patch_index_0002></delimiter_of_multi_objects/>" * 30_000
    )
    for text in (
        "<" * 300_000,
        "<phrase>" * 50_000,
        "<phrase> a" * 50_000,
        block,
        "</image>" * 50_000,
    ):
        clean, entities = processor.post_process_generation(text)
        assert len(clean) <= len(text)
        assert entities == []
    with pytest.raises(InputError, match="one text"):
        processor.post_process_generation([PROMPT])


def test_hostile_prompts_are_searched_for_phrases_to_their_end(processor) -> None:
    for text in ("<phrase>" * 50_000, "<phrase>" * 50_000 + "\n</phrase>", "</phrase>" * 50_000):
        with pytest.raises(PromptError, match="1 elements for 0 phrases"):
            processor.preprocess_examples(text, bboxes=[(1, 2)])
