"""Which tokens carry loss: the answer and its end, and not one besides."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from kosmos2.errors import InputError, PromptError
from kosmos2.hf.examples_to_learn import answer_ids
from kosmos2.hf.labels import IGNORE, labels_for
from kosmos2.hf.processor import Kosmos2Processor

IMAGE = Image.new("RGB", (9, 6), "red")
CAPTION = "<grounding> An image of"
SAID = "<phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object>."
BLOCK = 67  # <s>, <image>, 64 slots, </image>


@pytest.fixture(scope="module")
def processor() -> Kosmos2Processor:
    return Kosmos2Processor.from_pretrained("demo", padding_side="left")


def taught(processor: Kosmos2Processor, labels: torch.Tensor) -> list[list[str]]:
    """The tokens with loss, row by row."""
    return [
        processor.tokenizer.convert_ids_to_tokens(row[row != IGNORE].tolist()) for row in labels
    ]


def test_exactly_the_answer_and_its_end_carry_loss(processor) -> None:
    batch = processor.training_batch([IMAGE] * 2, CAPTION, [SAID, "the dog"])
    cells = ["<object>", "<patch_index_0044>", "<patch_index_0863>", "</object>"]
    dog = processor.tokenizer.tokenize(" a dog")
    assert taught(processor, batch.labels) == [
        ["<phrase>", *dog, "</phrase>", *cells, ".", "</s>"],
        [*processor.tokenizer.tokenize("the dog"), "</s>"],
    ]


def test_a_batch_has_what_forward_wants_padded_on_the_right(processor) -> None:
    prompts = [CAPTION, "<grounding> Question: what is it? Answer:"]
    batch = processor.training_batch([IMAGE] * 2, prompts, [SAID, "a dog"])
    names = "input_ids", "attention_mask", "image_embeds_position_mask", "pixel_values", "labels"
    assert set(batch) == {*names}
    assert batch.pixel_values.shape == (2, 3, 256, 256)
    assert len({batch[name].shape for name in names if name != "pixel_values"}) == 1
    for row, prompt in enumerate(prompts):
        asked = processor(images=IMAGE, text=prompt)
        length = len(asked.input_ids)
        keep = batch.attention_mask[row].bool()
        assert batch.input_ids[row, :length].tolist() == asked.input_ids  # as generation sends it
        assert (batch.labels[row, :length] == IGNORE).all()
        assert batch.input_ids[row][keep][-1] == batch.labels[row][keep][-1] == 2
        assert torch.equal(
            batch.labels[row, length:][keep[length:]], batch.input_ids[row, length:][keep[length:]]
        )
        assert (batch.labels[row][~keep] == IGNORE).all()
        assert batch.image_embeds_position_mask[row].tolist()[:BLOCK] == [0, 0, *[1] * 64, 0]
        assert keep.tolist() == sorted(keep.tolist(), reverse=True)


def test_boxes_belong_to_the_phrases_of_prompt_and_answer_in_turn(processor) -> None:
    ask, say = "<phrase> It</phrase> is", "<phrase> a dog</phrase>"
    by_boxes = processor.training_batch([IMAGE], [ask], [say], bboxes=[[(1, 2), [(3, 4), (5, 6)]]])
    asked = "<phrase> It</phrase><object><patch_index_0001><patch_index_0002></object> is"
    said = (
        f"{say}<object><patch_index_0003><patch_index_0004></delimiter_of_multi_objects/>"
        "<patch_index_0005><patch_index_0006></object>"
    )
    by_hand = processor.training_batch([IMAGE], [asked], [said])
    assert torch.equal(by_boxes.input_ids, by_hand.input_ids)
    assert torch.equal(by_boxes.labels, by_hand.labels)


def test_words_alone_can_be_taught_too(processor) -> None:
    batch = processor.training_batch(None, "what is it?", ["a dog"])
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert taught(processor, batch.labels)[0] == [*processor.tokenizer.tokenize("a dog"), "</s>"]


def test_an_answer_reads_as_it_was_written(processor) -> None:
    inner = processor.tokenizer.inner
    for text in (SAID, f"it is{SAID[:-1]}, and{SAID[:-1]} runs.", "a dog", SAID + SAID):
        ids = answer_ids(text, inner)
        assert ids[-1] == inner.eos
        assert inner.decode([*inner.encode("of"), *ids[:-1]]).removeprefix("of").lstrip() == text
    spaced = SAID.replace("><", "> <").replace("> <object", "><object")
    assert answer_ids(spaced, inner) == answer_ids(SAID, inner)


@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_of_whole_texts_leave_out_picture_start_and_padding(processor, side: str) -> None:
    tokenizer = processor.tokenizer
    before, tokenizer.padding_side = tokenizer.padding_side, side
    try:
        whole = processor(
            [IMAGE] * 2, ["a dog", "the dog runs"], add_eos_token=True, return_tensors="pt"
        )
        asked = processor([IMAGE] * 2, ["a", "the"], padding=True, return_tensors="pt")
    finally:
        tokenizer.padding_side = before
    labels = labels_for(whole)
    words = [[*tokenizer.tokenize(text), "</s>"] for text in ("a dog", "the dog runs")]
    assert taught(processor, labels) == words
    lengths = asked.attention_mask.sum(1)
    rest = [row[int(length) - BLOCK :] for row, length in zip(words, lengths)]
    assert taught(processor, labels_for(whole, prompt_lengths=lengths)) == rest
    assert torch.equal(labels_for(whole, ignore=-1) == -1, labels == IGNORE)


def test_labels_come_from_lists_and_single_rows_too(processor) -> None:
    call = {"images": IMAGE, "text": "a dog", "add_eos_token": True}
    assert torch.equal(
        labels_for(processor(**call)), labels_for(processor(**call, return_tensors="pt"))
    )


@pytest.mark.parametrize(
    ("given", "way_out"),
    [
        ({"answers": []}, "at least one"),
        ({"answers": "a dog"}, r"answers=\[answer\]"),
        ({"prompts": ["a", "b"]}, "2 prompts, 1 answers"),
        ({"answers": [" "]}, "give words"),
        ({"answers": [SAID], "bboxes": [[(1, 2), (3, 4)]]}, "2 elements for 1 phrases"),
        ({"answers": [SAID], "bboxes": [[], []]}, "2 lists of boxes"),
    ],
)
def test_examples_that_do_not_fit_are_refused(processor, given: dict, way_out: str) -> None:
    call = {"images": [IMAGE], "prompts": CAPTION, "answers": ["a dog"]} | given
    with pytest.raises(PromptError, match=way_out):
        processor.training_batch(**call)


def test_rows_that_teach_nothing_are_refused(processor) -> None:
    encoded = processor([IMAGE], ["a dog"], return_tensors="pt")
    with pytest.raises(InputError, match="row 0 has"):
        labels_for(encoded, prompt_lengths=[len(encoded.input_ids[0])])
    with pytest.raises(InputError, match="2 prompt_lengths for 1 rows"):
        labels_for(encoded, prompt_lengths=[1, 2])
    with pytest.raises(InputError, match="no attention_mask"):
        labels_for({"input_ids": encoded.input_ids})
    with pytest.raises(InputError, match="padding=True"):
        labels_for(processor(text=["a", "a dog runs"]))
