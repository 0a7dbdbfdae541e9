"""Folders and state dicts of one library in the other: every tensor and every logit to the bit."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers

from hf_models import CONFIG, assert_same, prompt, wrapped
from kosmos2 import hf
from kosmos2.weights.fetch import DEMO_FOLDER
from networks import loud_network

NAMES = ["Kosmos2Model", "Kosmos2ForConditionalGeneration"]
EAGER = {"attn_implementation": "eager"}


def assert_equal_tensors(ours, theirs) -> None:
    mine, reference = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == reference.keys()
    for name, value in reference.items():
        assert mine[name].dtype == value.dtype, name
        assert torch.equal(mine[name], value), name


def assert_equal_models(ours, theirs) -> None:
    assert_equal_tensors(ours, theirs)
    given = prompt("left")
    given["pixel_values"] = given["pixel_values"].to(theirs.dtype)
    with torch.no_grad():
        assert_same(ours(**given), theirs(**given, use_cache=True))


@pytest.mark.parametrize("size", ["50GB", "0.2MB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_what_we_save_the_reference_reads_and_saves_and_we_read(ours, tmp_path, name, dtype, size):
    network = copy.deepcopy(ours).to(dtype)
    kind, theirs = getattr(hf, name), getattr(transformers, name)
    model = wrapped(network, kind=kind, **EAGER)
    model.save_pretrained(tmp_path / "here", max_shard_size=size)
    shards = list((tmp_path / "here").glob("*.safetensors"))
    assert (len(shards) > 1) == (size == "0.2MB")

    there, report = theirs.from_pretrained(tmp_path / "here", output_loading_info=True, **EAGER)
    assert not any(report.values()), report
    assert there.dtype == dtype  # unasked: what we wrote says so
    assert_equal_models(model, there)

    there.save_pretrained(tmp_path / "there", max_shard_size=size)
    back = kind.from_pretrained(tmp_path / "there", dtype="auto", **EAGER)
    assert back.dtype == dtype
    assert_equal_models(back, there)
    assert back.config.network_config() == model.config.network_config()


@pytest.mark.parametrize("mine", NAMES)
@pytest.mark.parametrize("reference", NAMES)
def test_each_class_reads_the_folder_of_each(theirs, tmp_path, mine, reference):
    there = getattr(transformers, reference)(theirs.config)
    there.load_state_dict(theirs.state_dict(), strict=False)
    there.save_pretrained(tmp_path)
    model = getattr(hf, mine).from_pretrained(tmp_path, **EAGER)
    for name, value in there.state_dict().items():
        if name in model.state_dict():
            assert torch.equal(model.state_dict()[name], value), name


def test_a_config_of_the_reference_keeps_what_it_says(theirs, tmp_path):
    config = copy.deepcopy(theirs.config)
    config.text_config.dropout = 0.25
    config.text_config.use_cache = False
    twin = transformers.Kosmos2ForConditionalGeneration(config)
    twin.save_pretrained(tmp_path / "there")
    model = hf.Kosmos2ForConditionalGeneration.from_pretrained(tmp_path / "there")
    assert model.network.config.text.dropout == 0.25
    assert "past_key_values" not in model(**prompt())
    model.save_pretrained(tmp_path / "here")
    again = transformers.Kosmos2Config.from_pretrained(tmp_path / "here")
    for part in ("text_config", "vision_config"):
        ours, reference = getattr(again, part).to_dict(), getattr(config, part).to_dict()
        for name in ("dtype", "transformers_version"):
            ours.pop(name, None), reference.pop(name, None)
        assert ours == reference


@pytest.mark.parametrize("way", ["state_dict", "file"])
def test_state_dicts_go_both_ways(theirs, tmp_path, way):
    ours = wrapped(loud_network(CONFIG, seed=5), **EAGER)
    reference = copy.deepcopy(theirs)

    def through(state):
        if way == "state_dict":
            return state
        torch.save(state, tmp_path / "state.pt")
        return torch.load(tmp_path / "state.pt", weights_only=True)

    reference.load_state_dict(through(ours.state_dict()))
    assert_equal_models(ours, reference)
    ours.load_state_dict(through(theirs.state_dict()))
    assert_equal_models(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@torch.no_grad()
def test_the_embedded_model_is_the_same_in_both(dtype):
    """Stored in half precision, which the reference takes unasked and we only on `auto`."""
    theirs = transformers.Kosmos2ForConditionalGeneration.from_pretrained(
        DEMO_FOLDER, dtype=dtype, **EAGER
    )
    wish = {} if dtype == torch.float32 else {"dtype": "auto"}
    ours = hf.Kosmos2ForConditionalGeneration.from_pretrained("demo", **wish, **EAGER)
    assert ours.dtype == theirs.dtype == dtype
    side, latents = ours.config.vision_config.image_size, ours.config.latent_query_num
    slots = [0, 0, *[1] * latents, *[0] * 9]
    ids = torch.arange(len(slots))[None] + 2
    given = {
        "pixel_values": torch.randn(1, 3, side, side).to(dtype),
        "input_ids": ids,
        "image_embeds_position_mask": torch.tensor([slots]),
    }
    assert_same(ours(**given), theirs(**given, use_cache=True))
    assert_equal_tensors(ours, theirs)
