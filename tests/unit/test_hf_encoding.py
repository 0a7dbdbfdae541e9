"""A dict of lists or tensors: its keys and attributes, its tensors, its moves."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from kosmos2.errors import ConfigError, InputError
from kosmos2.hf import notices
from kosmos2.hf.encoding import BatchEncoding, BatchFeature

ROWS = {"input_ids": [[1, 2], [3, 4]], "attention_mask": [[1, 1], [1, 0]]}


@pytest.fixture(autouse=True)
def fresh_notices() -> None:
    notices.forget()


def test_every_value_is_a_key_an_attribute_and_an_argument() -> None:
    inputs = BatchFeature(ROWS)
    assert inputs["input_ids"] is inputs.input_ids
    assert dict(**inputs) == ROWS == dict(inputs.items())
    assert inputs[:1] == {"input_ids": [[1, 2]], "attention_mask": [[1, 1]]}
    assert "input_ids" in inputs
    assert len(inputs) == 2
    assert BatchEncoding is BatchFeature


def test_a_name_that_is_not_there_is_named_with_those_that_are() -> None:
    inputs = BatchFeature(ROWS)
    with pytest.raises(AttributeError, match=r"pixels.*input_ids, attention_mask"):
        _ = inputs.pixels
    with pytest.raises(KeyError, match="input_ids"):
        _ = inputs[0]  # type: ignore[index]
    with pytest.raises(KeyError):
        _ = inputs["pixels"]
    assert not hasattr(inputs, "pixels")


def test_changing_it_leaves_what_it_was_made_of() -> None:
    inputs = BatchFeature(ROWS, "pt")
    inputs["labels"] = inputs.pop("input_ids")
    assert [*ROWS] == ["input_ids", "attention_mask"]
    assert isinstance(ROWS["input_ids"], list)


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_copies_are_equal(twin) -> None:
    inputs = BatchFeature(ROWS)
    again = twin(inputs)
    assert type(again) is BatchFeature
    assert again == inputs
    assert again.input_ids == inputs.input_ids


def test_lists_become_tensors_of_either_kind_at_once_or_later() -> None:
    for kind, made in (("pt", torch.Tensor), ("np", np.ndarray)):
        at_once, later = BatchFeature(ROWS, kind), BatchFeature(ROWS)
        assert later.convert_to_tensors(kind) is later
        for name, rows in ROWS.items():
            assert isinstance(at_once[name], made)
            assert at_once[name].tolist() == later[name].tolist() == rows


def test_tensors_and_arrays_turn_into_each_other_and_words_stay() -> None:
    inputs = BatchFeature({"x": torch.ones(2), "y": np.ones(2), "z": ["a.jpg"], "n": None}, "pt")
    assert torch.equal(inputs.x.double(), inputs.y)
    assert (inputs.z, inputs.n) == (["a.jpg"], None)
    assert isinstance(inputs.convert_to_tensors("np").x, np.ndarray)


def test_lists_of_tensors_are_stacked() -> None:
    parts = [torch.rand(3), torch.rand(3)]
    assert torch.equal(BatchFeature({"x": parts}, "pt").x, torch.stack(parts))
    assert np.array_equal(BatchFeature({"x": parts}, "np").x, torch.stack(parts).numpy())


@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize(
    "rows", [[[1, 2], [3]], [[], [3]], [torch.zeros(1), torch.zeros(2)], [np.ones(1), np.ones(2)]]
)
def test_uneven_rows_are_refused_with_their_lengths_and_the_way_out(kind: str, rows) -> None:
    with pytest.raises(InputError, match=r"rows of [01], [12] in 'x'.*padding=True"):
        BatchFeature({"x": rows}, kind)


def test_an_unknown_kind_of_tensor_is_refused() -> None:
    with pytest.raises(InputError, match="'tf'; it can be 'pt' or 'np'"):
        BatchFeature(ROWS, "tf")


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("cpu", torch.float16), {}),
        ((torch.float16,), {}),
        ((), {"dtype": torch.float16}),
        ((torch.device("cpu"),), {"dtype": torch.float16, "non_blocking": True}),
    ],
)
def test_only_floats_change_their_dtype(places, names) -> None:
    inputs = BatchFeature({"pixel_values": torch.rand(2), "ids": torch.arange(2)})
    assert inputs.to(*places, **names) is inputs
    assert inputs.pixel_values.dtype == torch.float16
    assert inputs.ids.dtype == torch.int64


def test_tensors_in_lists_move_too() -> None:
    inputs = BatchFeature({"x": [torch.ones(1), (torch.ones(2), 3)]}).to("meta")
    assert inputs.x[0].is_meta
    assert inputs.x[1][0].is_meta
    assert inputs.x[1][1] == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here to move to")
def test_a_gpu_that_is_not_there_means_the_cpu_with_a_notice() -> None:
    inputs = BatchFeature({"x": torch.ones(1)})
    with pytest.warns(notices.Notice, match="CPU"):
        assert inputs.to("cuda:0").x.device.type == "cpu"


def test_moving_lists_gives_notice_that_nothing_moved() -> None:
    with pytest.warns(notices.Notice, match="return_tensors='pt'"):
        BatchFeature(ROWS).to("cpu")


def test_moving_to_what_is_no_place_is_refused() -> None:
    with pytest.raises(InputError, match="device or a dtype"):
        BatchFeature({"x": torch.ones(1)}).to(torch.ones(1))
    with pytest.raises(ConfigError, match="no device"):
        BatchFeature({"x": torch.ones(1)}).to("the moon")
