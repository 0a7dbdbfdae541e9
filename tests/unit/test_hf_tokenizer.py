"""The tokenizer under the reference's names: what it refuses, remembers and makes better."""

from __future__ import annotations

import copy
import json
import pickle
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from kosmos2.errors import CheckpointError, ConfigError, InputError
from kosmos2.hf import notices
from kosmos2.hf.padding import KindError
from kosmos2.hf.tokenizer import Kosmos2Tokenizer
from kosmos2.tokenizer import Tokenizer

TEXT = "<grounding> An image of<phrase> a snowman</phrase>"


@pytest.fixture(autouse=True)
def fresh_notices() -> None:
    notices.forget()


@pytest.fixture(scope="module")
def tokenizer() -> Kosmos2Tokenizer:
    return Kosmos2Tokenizer.from_pretrained("demo")


def test_a_text_is_our_ids_between_its_start_and_its_end(tokenizer: Kosmos2Tokenizer) -> None:
    ids = tokenizer.inner.encode(TEXT)
    assert tokenizer(TEXT).input_ids == [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    assert tokenizer(TEXT, add_special_tokens=False).input_ids == ids


def test_a_folder_that_says_nothing_of_start_and_end_gets_both(tmp_path: Path) -> None:
    plain = Kosmos2Tokenizer.from_pretrained("demo").inner
    plain.backend.post_processor = None
    plain.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["post_processor"] is None
    ids = Kosmos2Tokenizer.from_pretrained(tmp_path)("a").input_ids
    assert (ids[0], ids[-1], len(ids)) == (0, 2, 3)


def test_decoding_undoes_encoding(tokenizer: Kosmos2Tokenizer) -> None:
    batch = tokenizer([TEXT, "a snowman"], padding=True, return_tensors="pt")
    assert tokenizer.batch_decode(batch.input_ids, skip_special_tokens=True) == [TEXT, "a snowman"]
    assert tokenizer.decode(batch.input_ids[1]).startswith("<s> a snowman</s><pad>")


def test_a_row_in_a_batch_is_the_row_alone_and_padding(tokenizer: Kosmos2Tokenizer) -> None:
    draw = random.Random(4)
    texts = [" ".join(draw.choices(TEXT.split(), k=draw.randrange(1, 9))) for _ in range(50)]
    for side in ("left", "right"):
        batch = tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")
        for text, ids, keep in zip(texts, batch.input_ids, batch.attention_mask):
            assert ids[keep.bool()].tolist() == tokenizer(text).input_ids
            assert set(ids[~keep.bool()].tolist()) <= {tokenizer.pad_token_id}
        later = tokenizer.pad([tokenizer(text) for text in texts], padding_side=side)
        assert later.input_ids == batch.input_ids.tolist()


def test_threads_that_want_different_lengths_get_them(tokenizer: Kosmos2Tokenizer) -> None:
    def row(length: int) -> list[int]:
        words = {"truncation": True, "padding": "max_length", "max_length": length}
        return tokenizer("a snowman in the snow " * 9, **words).input_ids

    lengths = [draw % 60 + 2 for draw in range(400)]
    with ThreadPoolExecutor(4) as pool:
        assert list(map(len, pool.map(row, lengths))) == lengths


def test_padding_later_fills_labels_and_picture_places_too(tokenizer: Kosmos2Tokenizer) -> None:
    rows = [
        {"input_ids": [0, 5, 6], "labels": [-100, 5, 6], "image_embeds_position_mask": [0, 1, 0]},
        {"input_ids": [0], "labels": [7], "image_embeds_position_mask": [1]},
    ]
    batch = tokenizer.pad(rows, return_tensors="pt")
    assert batch.input_ids[1].tolist() == [0, 1, 1]
    assert batch.attention_mask[1].tolist() == [1, 0, 0]
    assert batch.labels[1].tolist() == [7, -100, -100]
    assert batch.image_embeds_position_mask[1].tolist() == [1, 0, 0]
    assert [*rows[1]] == ["input_ids", "labels", "image_embeds_position_mask"]


def test_uneven_things_are_not_padded(tokenizer: Kosmos2Tokenizer) -> None:
    with pytest.raises(InputError, match=r"2 rows of input_ids, but 1 of 'labels'"):
        tokenizer.pad({"input_ids": [[1], [2]], "labels": [[1]]})
    with pytest.raises(InputError, match="input_ids"):
        tokenizer.pad([{"labels": [1]}])
    with pytest.raises(InputError, match="one row of ids"):
        tokenizer.pad({"input_ids": [[[1, 2]]]})


def test_a_length_without_room_for_start_and_end_is_refused(tokenizer: Kosmos2Tokenizer) -> None:
    with pytest.raises(InputError, match=r"max_length is 1, but <s> and </s> alone take 2"):
        tokenizer(TEXT, max_length=1)
    assert len(tokenizer(TEXT, max_length=1, add_special_tokens=False).input_ids) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"padding": "max_length"}, "padding='max_length' has no effect without max_length"),
        ({"truncation": True}, "truncation has no effect without max_length"),
        ({"padding": True, "max_length": 9}, "max_length has no effect without truncation"),
        ({"truncation": False, "max_length": 9}, "max_length has no effect without truncation"),
    ],
)
def test_words_without_effect_give_notice_once(
    tokenizer: Kosmos2Tokenizer, words: dict, message: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer(TEXT, verbose=False, **words)
    with pytest.warns(notices.Notice, match=message):
        tokenizer(TEXT, **words)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer(TEXT, **words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"padding": "short"}, "padding is 'short'; it can be True, False, 'longest'"),
        ({"truncation": "only_second"}, "truncation is 'only_second'"),
        ({"max_length": -1}, "max_length is -1"),
        ({"padding": True, "pad_to_multiple_of": -8}, "pad_to_multiple_of is -8"),
        ({"padding_side": "top"}, "padding_side is 'top'"),
        ({"text_pair": "b"}, "give one text"),
        ({"is_split_into_words": True}, "join the words"),
        ({"return_overflowing_tokens": True}, "cut the text before"),
        (
            {"padding": True, "truncation": True, "max_length": 9, "pad_to_multiple_of": 8},
            "no mult",
        ),
        ({"paddding": True}, "no argument paddding"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    tokenizer: Kosmos2Tokenizer, words: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer(TEXT, **words)


def test_words_that_ask_for_nothing_are_taken(tokenizer: Kosmos2Tokenizer) -> None:
    asked = tokenizer(TEXT, text_pair=None, stride=0, is_split_into_words=False)
    assert asked == tokenizer(TEXT)


@pytest.mark.parametrize("text", [5, b"a", ["a", 5], [["a", "b"]], {"a": 1}, "\ud800", ["a\udfff"]])
def test_what_is_no_text_is_both_a_value_and_a_type_error(
    tokenizer: Kosmos2Tokenizer, text
) -> None:
    with pytest.raises(KindError, match=r"string|half a character") as caught:
        tokenizer(text)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("text", [None, [], ()])
def test_no_text_is_refused(tokenizer: Kosmos2Tokenizer, text) -> None:
    with pytest.raises(InputError, match="no text"):
        tokenizer(text)


def test_labels_are_no_ids(tokenizer: Kosmos2Tokenizer) -> None:
    with pytest.raises(InputError, match=r"id 1 is -100.*pad_token_id"):
        tokenizer.decode([5, -100])
    with pytest.raises(InputError, match=r"-1"):
        tokenizer.convert_ids_to_tokens(torch.tensor([-1]))
    assert tokenizer.convert_ids_to_tokens(2**40) is None
    assert tokenizer.decode(2**40) == ""


def test_the_tokens_of_the_weights_stay(tokenizer: Kosmos2Tokenizer) -> None:
    tokenizer.pad_token = "<pad>"
    with pytest.raises(ConfigError, match=r"<pad>.*'</s>'"):
        tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(ConfigError, match="no row for it"):
        tokenizer.add_tokens(["<image>", "<video>"])
    with pytest.raises(InputError, match="left"):
        tokenizer.padding_side = "top"
    with pytest.raises(InputError, match="own words"):
        tokenizer.apply_chat_template([])


def test_settings_are_obeyed_and_survive_saving(tmp_path: Path) -> None:
    given = {"padding_side": "left", "truncation_side": "left", "model_max_length": 6}
    first = Kosmos2Tokenizer.from_pretrained("demo", **given)
    first.save_pretrained(tmp_path)
    again = Kosmos2Tokenizer.from_pretrained(tmp_path, truncation_side="right")
    assert (again.padding_side, again.truncation_side) == ("left", "right")
    row = again("a", padding="max_length").input_ids
    assert len(row) == again.model_max_length == 6
    assert row[0] == again.pad_token_id
    assert len(again(TEXT, truncation=True).input_ids) == 6
    with pytest.warns(notices.Notice, match="more than the 6"):
        again(TEXT)
    tidy = Kosmos2Tokenizer.from_pretrained("demo", clean_up_tokenization_spaces=True)
    assert tidy.decode(tidy("a .").input_ids, skip_special_tokens=True) == "a."


@pytest.mark.parametrize("content", ["{", "[]", '"a"'])
def test_broken_settings_are_refused_by_their_path(tmp_path: Path, content: str) -> None:
    Kosmos2Tokenizer.from_pretrained("demo").save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        Kosmos2Tokenizer.from_pretrained(tmp_path)


def test_a_folder_without_settings_has_the_usual_ones(tmp_path: Path) -> None:
    Kosmos2Tokenizer.from_pretrained("demo").save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert Kosmos2Tokenizer.from_pretrained(tmp_path, use_fast=True).padding_side == "right"
    with pytest.raises(ConfigError, match="shuffle"):
        Kosmos2Tokenizer.from_pretrained(tmp_path, shuffle=True)
    with pytest.raises(ConfigError, match="push_to_hub"):
        Kosmos2Tokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path, push_to_hub=True)


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("twin", [copy.deepcopy, pickled])
def test_a_copy_encodes_alike_in_a_worker_of_a_loader(tokenizer: Kosmos2Tokenizer, twin) -> None:
    assert twin(tokenizer)(TEXT) == tokenizer(TEXT)


def test_our_own_folder_reads_what_it_saves(tokenizer: Kosmos2Tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert Tokenizer.load(tmp_path).encode(TEXT) == tokenizer.inner.encode(TEXT)
