"""Outputs of the model classes: names, keys and positions of the same fields."""

from __future__ import annotations

import pytest
import torch

from kosmos2.errors import InputError
from kosmos2.hf import DynamicCache
from kosmos2.hf.outputs import (
    BaseModelOutputWithPooling,
    GenerateBeamDecoderOnlyOutput,
    Kosmos2ForConditionalGenerationModelOutput,
)


@pytest.fixture
def output():
    tower = BaseModelOutputWithPooling(torch.ones(1), torch.zeros(1))
    return Kosmos2ForConditionalGenerationModelOutput(
        logits=torch.arange(3.0), image_embeds=torch.ones(2), vision_model_output=tower
    )


def test_what_is_none_is_an_attribute_but_no_key_and_no_position(output):
    assert output.loss is None
    assert "loss" not in output
    assert list(output) == list(output.keys()) == ["logits", "image_embeds", "vision_model_output"]
    assert len(output) == len(output.to_tuple()) == 3
    assert output.get("loss", "none") == "none"
    with pytest.raises(KeyError, match=r"'loss' is not in this .*; it has \['logits'"):
        output["loss"]


def test_a_field_is_the_same_by_name_key_and_position(output):
    assert output.logits is output["logits"] is output[0] is output.to_tuple()[0]
    assert output[1:] == output.to_tuple()[1:]
    assert dict(output)["image_embeds"] is output[1]
    assert [name for name, _ in output.items()] == list(output)
    assert {**output}.keys() == output.keys()
    with pytest.raises(IndexError):
        output[3]


def test_an_output_within_becomes_a_tuple_only_in_the_tuple(output):
    assert output["vision_model_output"] is output.vision_model_output
    assert isinstance(output[-1], tuple)
    assert output[-1][0] is output.vision_model_output.last_hidden_state


def test_a_field_can_be_set_by_name_and_by_key(output):
    output.loss = torch.tensor(1.0)
    assert output[0] is output.loss
    output["loss"] = None
    assert output[0] is output.logits
    with pytest.raises(KeyError, match="no field 'lost'"):
        output["lost"] = 1


def test_generation_puts_the_sequences_first():
    beams = GenerateBeamDecoderOnlyOutput(torch.ones(1, 2), scores=(torch.ones(1, 3),))
    assert list(beams) == ["sequences", "scores"]
    assert beams[0] is beams.sequences


def filled(layers: int = 2, rows: int = 3, tokens: int = 4) -> DynamicCache:
    pairs = [(torch.randn(rows, 2, tokens, 5), torch.randn(rows, 2, tokens, 5))] * layers
    return DynamicCache.from_legacy_cache(pairs)


def test_a_cache_reads_like_the_references():
    cache = filled()
    assert cache.get_seq_length() == 4
    assert len(cache) == len(cache.layers) == len(list(cache)) == 2
    keys, values = cache[1]
    assert keys is cache.layers[1].keys
    assert values is cache.layers[1].values
    assert DynamicCache().get_seq_length() == 0
    assert not DynamicCache()


def test_a_cache_goes_into_tuples_and_back():
    cache = filled()
    back = DynamicCache.from_legacy_cache(cache.to_legacy_cache())
    assert back.to_legacy_cache() == cache.to_legacy_cache()
    assert torch.equal(back.keep, torch.ones(3, 4, dtype=torch.bool))
    assert back.counted.tolist() == [4, 4, 4]
    assert DynamicCache.from_legacy_cache(None).to_legacy_cache() == ()


def test_a_copy_of_a_cache_is_one_of_the_same_kind_that_goes_its_own_way():
    cache = filled()
    twin = cache.copy()
    twin.reorder_cache(torch.tensor([2]))
    assert isinstance(twin, DynamicCache)
    assert torch.equal(twin[0].keys[0], cache[0].keys[2])
    assert cache[0].keys.shape[0] == 3


@pytest.mark.parametrize(
    "pairs",
    [
        [(torch.ones(1, 1, 1, 1),)],
        [(torch.ones(1, 1, 1, 1), None)],
        [(torch.ones(1, 1, 2, 1), torch.ones(1, 1, 1, 1))],
        [(torch.ones(2), torch.ones(2))],
    ],
)
def test_tuples_that_are_no_cache_are_refused(pairs):
    with pytest.raises(InputError, match="past_key_values"):
        DynamicCache.from_legacy_cache(pairs)
