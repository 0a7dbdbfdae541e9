"""Values as tensors, moved and cast, against the reference's two classes of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from kosmos2.hf.encoding import BatchFeature

transformers = pytest.importorskip("transformers", reason="transformers is the reference")

VALUES = {
    "rows": [[1, 2], [3, 4]],
    "tuples": [(1, 2), (3, 4)],
    "flat": [1, 2],
    "one": 3,
    "floats": [[0.5, 1.5]],
    "truths": [[True, False]],
    "array": np.ones((2, 3), np.float32),
    "doubles": np.ones((2, 3)),
    "arrays": [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    "deeper": [[np.ones(3, np.float32)], [np.zeros(3, np.float32)]],
    "tensor": torch.ones(2, 3),
    "tensors": [torch.ones(3), torch.zeros(3)],
    "words": ["a", "b"],
    "nothing": None,
}


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(theirs, np.ndarray):
        return type(ours) is np.ndarray and ours.dtype == theirs.dtype and (ours == theirs).all()
    if isinstance(theirs, list | tuple):
        return type(ours) is type(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


@pytest.mark.parametrize("kind", ["pt", "np", None])
@pytest.mark.parametrize("name", VALUES)
def test_each_value_becomes_what_the_reference_makes_of_it(name: str, kind: str | None) -> None:
    ours = BatchFeature({name: VALUES[name]}, kind)
    theirs = transformers.BatchFeature({name: VALUES[name]}, kind)
    assert same(ours[name], theirs[name])


@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize("value", [[[]], [[], []], [[1], [2]], [[(0, 1)], [(2, 3)]]])
def test_ids_become_what_the_tokenizers_class_makes_of_them(value: list, kind: str) -> None:
    theirs = transformers.BatchEncoding({"x": value}, tensor_type=kind)
    assert same(BatchFeature({"x": value}, kind).x, theirs.x)


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("cpu",), {}),
        ((torch.bfloat16,), {}),
        (("meta", torch.float16), {}),
        ((), {"device": "meta"}),
        (("cpu",), {"non_blocking": True}),
        ((torch.device("cpu"),), {"dtype": torch.float16}),
        ((None,), {}),
        ((torch.ones(1),), {}),
        ((1.5,), {}),
    ],
)
def test_moves_and_casts_are_those_of_the_reference(places: tuple, names: dict) -> None:
    made = {"x": torch.rand(2), "ids": torch.arange(2), "list": [torch.rand(1)], "word": "a"}
    try:
        theirs = transformers.BatchFeature(made).to(*places, **names)
    except ValueError:
        with pytest.raises(ValueError, match="device or a dtype"):
            BatchFeature(made).to(*places, **names)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = BatchFeature(made).to(*places, **names)
    for name in ("x", "ids"):
        assert (ours[name].device, ours[name].dtype) == (theirs[name].device, theirs[name].dtype)
    assert ours["list"][0].device == theirs["list"][0].device
    assert ours["word"] == theirs["word"]
