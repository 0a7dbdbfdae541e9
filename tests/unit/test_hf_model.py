"""The model classes: what they refuse, and how they are made, moved, kept and named."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_models import CONFIG, PAD, prompt, wrapped
from kosmos2.errors import ConfigError, Kosmos2Error
from kosmos2.hf import (
    AutoProcessor,
    GenerationConfig,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    Kosmos2Model,
    notices,
)
from kosmos2.model import Network
from kosmos2.weights.names import ours_to_theirs
from networks import loud_network


@pytest.fixture(scope="module")
def network() -> Network:
    return loud_network(CONFIG, noise=0.1)


@pytest.fixture(scope="module")
def model(network):
    return wrapped(network)


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def fresh_notices():
    notices.forget()


GIVEN = prompt("left")
ROWS, TOKENS = GIVEN["input_ids"].shape
BEYOND = torch.full((ROWS, TOKENS), CONFIG.text.vocabulary)
EMBEDDED = torch.zeros(ROWS, TOKENS, CONFIG.text.width)

FAULTS = {
    "neither picture nor latents": ({"pixel_values": None}, "no picture"),
    "no position mask": ({"image_embeds_position_mask": None}, "image_embeds_position_mask"),
    "too few places": (
        {"image_embeds_position_mask": GIVEN["image_embeds_position_mask"].clone().tril()},
        "3 pictures of 9 latents need 27",
    ),
    "one picture too many": (
        {"pixel_values": GIVEN["pixel_values"].repeat(2, 1, 1, 1)},
        "marks 27 places, but 6 pictures",
    ),
    "a position mask of another shape": (
        {"image_embeds_position_mask": GIVEN["image_embeds_position_mask"][:, 1:]},
        "should be",
    ),
    "latents of another width": (
        {"pixel_values": None, "image_embeds": torch.zeros(3, CONFIG.latents, 5)},
        "image_embeds is of shape",
    ),
    "both ids and embeddings": ({"inputs_embeds": EMBEDDED}, "both are there"),
    "neither ids nor embeddings": ({"input_ids": None}, "neither is there"),
    "embeddings of another width": (
        {"input_ids": None, "inputs_embeds": EMBEDDED[..., 1:]},
        "inputs_embeds is of shape",
    ),
    "ids of one axis": ({"input_ids": GIVEN["input_ids"][0]}, "input_ids is of shape"),
    "ids as a list": ({"input_ids": [[0, 1]]}, "input_ids is a list"),
    "ids that are fractions": ({"input_ids": EMBEDDED[..., 0]}, "whole numbers"),
    "ids beyond the vocabulary": ({"input_ids": BEYOND}, "holds 1103; it can be from 0 to 1102"),
    "negative ids": ({"input_ids": GIVEN["input_ids"] - 2}, "holds -"),
    "no tokens": ({"input_ids": GIVEN["input_ids"][:, :0]}, "0 tokens"),
    "a mask of another length": (
        {"attention_mask": GIVEN["attention_mask"][:, 1:]},
        "attention_mask is of shape",
    ),
    "a mask of other numbers": (
        {"attention_mask": GIVEN["attention_mask"] * 2},
        "other values than 1",
    ),
    "positions of another shape": (
        {"position_ids": GIVEN["input_ids"][:, 1:]},
        "position_ids is of shape",
    ),
    "negative positions": ({"position_ids": -GIVEN["input_ids"]}, "position_ids holds -"),
    "labels of another shape": ({"labels": GIVEN["input_ids"][:, 1:]}, "labels is of shape"),
    "labels beyond the vocabulary": ({"labels": BEYOND}, "labels holds 1103"),
    "labels for some logits": (
        {"labels": GIVEN["input_ids"], "logits_to_keep": 1},
        "leave logits_to_keep out",
    ),
    "more logits than tokens": ({"logits_to_keep": TOKENS + 1}, "logits_to_keep is"),
    "logits of places that are not": (
        {"logits_to_keep": torch.tensor([TOKENS])},
        "logits_to_keep holds",
    ),
    "a head mask": ({"head_mask": torch.ones(7)}, "head_mask is not offered"),
    "an unknown word": ({"output_atentions": True}, "did you mean output_attentions"),
    "pixels of another size": (
        {"pixel_values": torch.zeros(3, 3, 42, 42)},
        "interpolate_pos_encoding=True",
    ),
    "pixels smaller than a patch": (
        {"pixel_values": torch.zeros(3, 3, 4, 42), "interpolate_pos_encoding": True},
        "at least 6 by 6",
    ),
    "pixels of one picture without its axis": (
        {"pixel_values": GIVEN["pixel_values"][0]},
        "pictures, 3",
    ),
    "pixels not normalised": (
        {"pixel_values": torch.zeros(3, 3, 30, 30, dtype=torch.uint8)},
        "not normalised",
    ),
    "a foreign cache": ({"past_key_values": SimpleNamespace()}, "types.SimpleNamespace"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_refused_by_name(model, fault):
    change, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message) as caught:
        model(**{**GIVEN, **change})
    assert isinstance(caught.value, Kosmos2Error)


def test_both_classes_refuse(network):
    body = wrapped(network, kind=Kosmos2Model)
    for change, message in (
        ({"labels": GIVEN["input_ids"]}, "no argument 'labels'"),
        ({"head_mask": torch.ones(7)}, "head_mask"),
        ({"input_ids": BEYOND}, "holds 1103"),
    ):
        with pytest.raises(ValueError, match=message):
            body(**{**GIVEN, **change})


def test_a_head_mask_of_none_is_fine(model):
    assert model(**GIVEN, head_mask=None).logits.shape == (ROWS, TOKENS, CONFIG.text.vocabulary)


@torch.no_grad()
def test_going_on_is_refused_where_it_does_not_fit(model):
    past = model(**GIVEN).past_key_values
    new = {"input_ids": torch.full((ROWS, 1), 9), "past_key_values": past}
    with pytest.raises(ValueError, match=rf"{TOKENS} remembered and 1 new"):
        model(**new, attention_mask=torch.ones(ROWS, 1))
    with pytest.raises(ValueError, match="remembers 3 rows"):
        model(input_ids=torch.full((2, 1), 9), past_key_values=past)
    with pytest.raises(ValueError, match="remembers 3 rows in 3 layers"):
        model(input_ids=new["input_ids"], past_key_values=past.to_legacy_cache()[1:])
    # And nothing of that was remembered.
    assert past.get_seq_length() == TOKENS
    model(**new)
    assert past.get_seq_length() == TOKENS + 1


@torch.no_grad()
def test_what_does_nothing_is_mentioned_once(model):
    past = model(**GIVEN).past_key_values
    new = {"input_ids": torch.full((ROWS, 1), 9), "pixel_values": GIVEN["pixel_values"]}
    with pytest.warns(notices.Notice, match="pixel_values are looked at again"):
        again = model(**new, past_key_values=past)
    assert again.image_embeds is not None
    with pytest.warns(notices.Notice, match="use_cache=True has no effect"):
        assert model(**GIVEN, labels=GIVEN["input_ids"], use_cache=True).past_key_values is None
    with pytest.warns(notices.Notice, match="no label counts"):
        loss = model(**GIVEN, labels=torch.full_like(GIVEN["input_ids"], -100)).loss
    assert loss.isnan()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"compat": "transformers-4"}, "compat is 'transformers-4'"),
        (
            {"attn_implementation": "flash_attention_2"},
            "no attn_implementation 'flash_attention_2'",
        ),
        ({"dtype": "float17"}, "dtype is 'float17'"),
        ({"torch_dtype": torch.int8}, "dtype is torch.int8"),
        ({"dtype": torch.float16, "torch_dtype": torch.float32}, "give one of them"),
        ({"load_in_8bit": True, "load_in_4bit": True}, "take one"),
        ({"quantization_config": {}}, "without load_in_8bit"),
        ({"device_map": {"a": 0, "b": 1}}, "names 2 devices"),
        ({"config": Kosmos2Config()}, "do not fit the configuration"),
        ({"no_such_word": 1}, "no argument no_such_word"),
        ({"num_beams": 0}, "num_beams is 0"),
    ],
)
def test_wishes_that_there_are_not_are_refused(folder, how, message):
    with pytest.raises(ValueError, match=message):
        Kosmos2ForConditionalGeneration.from_pretrained(folder, **how)


def test_folders_that_hold_no_such_model_are_refused(folder, tmp_path):
    read = Kosmos2ForConditionalGeneration.from_pretrained

    def refused(message: str) -> None:
        # Scripts for the reference catch OSError; the house catches its own.
        for kind in (ValueError, OSError, Kosmos2Error):
            with pytest.raises(kind, match=message):
                read(folder)

    with pytest.raises(OSError, match="no model"):
        read(tmp_path / "nowhere")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused("a pickle")
    (folder / "pytorch_model.bin").unlink()
    refused("has no weights")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "model_type": "llava"}))
    refused("'llava'")
    (folder / "config.json").unlink()
    refused("no config.json")


@torch.no_grad()
def test_a_folder_comes_back_as_it_was(model, folder):
    again = Kosmos2ForConditionalGeneration.from_pretrained(folder)
    assert not again.training
    assert again.dtype == torch.float32
    assert again.config.architectures == ["Kosmos2ForConditionalGeneration"]
    assert torch.equal(again(**GIVEN).logits, model(**GIVEN).logits)
    half = Kosmos2Model.from_pretrained(folder, torch_dtype="float16", device_map="cpu")
    assert half.dtype == half.config.dtype == torch.float16
    assert half(**GIVEN).last_hidden_state.dtype == torch.float16


def test_the_type_is_float32_unless_told_otherwise(network, tmp_path):
    wrapped(copy.deepcopy(network)).to(torch.bfloat16).save_pretrained(tmp_path)
    read = Kosmos2Model.from_pretrained
    assert read(tmp_path).dtype == torch.float32
    for word in ({"dtype": "auto"}, {"torch_dtype": "bfloat16"}, {"dtype": torch.bfloat16}):
        assert read(tmp_path, **word).dtype == torch.bfloat16, word


def test_settings_can_be_given_anew_while_loading(folder):
    model = Kosmos2ForConditionalGeneration.from_pretrained(
        folder,
        output_attentions=True,
        text_config={"dropout": 0.25},
        no_repeat_ngram_size=3,
        attn_implementation="eager",
        compat="transformers-5",
        trust_remote_code=True,
        low_cpu_mem_usage=True,
    )
    assert model.config.output_attentions
    assert model.network.decoder.layers[0].dropout == 0.25
    assert model.config.text_config.vocab_size == CONFIG.text.vocabulary
    assert model.generation_config.no_repeat_ngram_size == 3
    assert model.generation_config.pad_token_id == PAD
    assert (model.attn_implementation, model.compat) == ("eager", "transformers-5")
    with torch.no_grad():
        assert model(**GIVEN).attentions


def test_another_configuration_may_change_rates_and_stays_as_it_was(folder):
    config = Kosmos2Config.from_pretrained(folder)
    config.text_config.dropout = 0.25
    before = config.copy()
    model = Kosmos2Model.from_pretrained(folder, config=config, output_hidden_states=True)
    assert config == before
    assert model.network.config.text.dropout == 0.25
    assert model(**GIVEN).hidden_states


def test_generation_settings_of_a_folder_are_kept(model, folder, tmp_path):
    GenerationConfig(no_repeat_ngram_size=3, num_beams=2).save_pretrained(folder)
    again = Kosmos2ForConditionalGeneration.from_pretrained(folder)
    again.save_pretrained(tmp_path / "again")
    settings = Kosmos2ForConditionalGeneration.from_pretrained(tmp_path / "again").generation_config
    assert (settings.no_repeat_ngram_size, settings.num_beams, settings.eos_token_id) == (3, 2, 2)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"safe_serialization": False}, "pickle"),
        ({"push_to_hub": True}, "push_to_hub"),
        ({"max_shard_size": "5 bananas"}, "max_shard_size is '5 bananas'"),
        ({"max_shard_size": 0}, "max_shard_size is 0"),
    ],
)
def test_ways_to_save_that_there_are_not_are_refused(model, tmp_path, how, message):
    with pytest.raises(ConfigError, match=message):
        model.save_pretrained(tmp_path / "new", **how)
    assert not (tmp_path / "new").exists()


def test_large_weights_are_split(model, tmp_path):
    model.save_pretrained(tmp_path, max_shard_size="0.2MB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    assert_equal_weights(model, Kosmos2ForConditionalGeneration.from_pretrained(tmp_path))


def assert_equal_weights(one: nn.Module, other: nn.Module) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_new_model_is_random_and_learns(network):
    config = Kosmos2Config.of_network(CONFIG)
    torch.manual_seed(1)
    one, other = Kosmos2ForConditionalGeneration(config), Kosmos2ForConditionalGeneration(config)
    words = [model.get_input_embeddings().weight for model in (one, other)]
    assert not torch.equal(*words)
    assert one.training
    assert one.get_output_embeddings() is one.get_input_embeddings()
    with pytest.raises(ConfigError, match="config is a dict"):
        Kosmos2Model({})


def test_weights_go_by_the_references_names(network):
    model = wrapped(network)
    names = {ours_to_theirs(name) for name, _ in network.named_parameters()}
    assert set(model.state_dict()) == names | {"text_model.lm_head.weight"}
    assert set(wrapped(network, kind=Kosmos2Model).state_dict()) == names
    assert {name for name, _ in model.named_parameters()} == names
    assert next(name for name, _ in model.named_parameters("a")).startswith("a.")
    assert len(list(model.parameters())) == len(names)


def test_weights_are_put_back_by_name_also_within_another_module(network):
    saved = wrapped(network).state_dict()
    other = wrapped(loud_network(CONFIG, seed=1))
    result = other.load_state_dict(saved)
    assert result.missing_keys == result.unexpected_keys == []
    assert_equal_weights(wrapped(network), other)

    outer = nn.ModuleDict({"kosmos": wrapped(loud_network(CONFIG, seed=2))})
    state = outer.state_dict()
    assert set(state) == {f"kosmos.{name}" for name in saved}
    outer.load_state_dict({f"kosmos.{name}": value for name, value in saved.items()})
    assert_equal_weights(outer["kosmos"], other)


def test_weights_that_do_not_fit_are_named_as_in_the_reference(network):
    model, word = wrapped(network), "text_model.model.layer_norm.weight"
    saved = model.state_dict()
    lacking = {name: value for name, value in saved.items() if name != word}
    with pytest.raises(RuntimeError, match=rf"Missing key.*\"{word}\""):
        model.load_state_dict(lacking)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*\"extra\.weight\""):
        model.load_state_dict({**saved, "extra.weight": torch.ones(1)})
    result = model.load_state_dict({**lacking, "extra.weight": torch.ones(1)}, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == ([word], ["extra.weight"])
    # Tables that follow from the sizes, which older files hold, are no fault.
    model.load_state_dict({**saved, "text_model.model.embed_positions.weights": torch.ones(1)})
    # The tied layer may stand for the embedding, but not be another.
    embedding = saved.pop("text_model.model.embed_tokens.weight")
    model.load_state_dict(saved)
    with pytest.raises(RuntimeError, match="this network uses one for both"):
        model.load_state_dict({**saved, "text_model.model.embed_tokens.weight": embedding + 1})


def test_parts_are_counted_and_frozen_by_their_names(network):
    model = wrapped(copy.deepcopy(network))
    everything = model.num_parameters()
    words = model.get_input_embeddings().weight.numel()
    assert everything == sum(p.numel() for p in network.parameters())
    assert model.num_parameters(exclude_embeddings=True) == everything - words
    model.vision_model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith("vision_model."), name
    tower = sum(p.numel() for p in network.vision.parameters())
    assert model.num_parameters(only_trainable=True) == everything - tower
    for part in (model.text_model, model.image_to_text_projection):
        assert all(p.requires_grad for p in part.parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to move to")
def test_a_gpu_that_is_not_there_is_the_cpu_after_a_notice(network):
    model = wrapped(copy.deepcopy(network))
    with pytest.warns(notices.Notice, match="no CUDA"):
        assert model.to("cuda:0", torch.bfloat16) is model
    assert (model.device.type, model.dtype) == ("cpu", torch.bfloat16)
    assert model.to(device="cuda:0").cuda(0).float().dtype == torch.float32


def test_what_saves_memory_in_training_is_refused(model):
    with pytest.raises(ConfigError, match="gradient checkpointing"):
        model.gradient_checkpointing_enable()


def test_a_copy_of_a_model_is_its_own(network):
    model = wrapped(network)
    twin = copy.deepcopy(model)
    assert_equal_weights(model, twin)
    with torch.no_grad():
        twin.get_input_embeddings().weight.zero_()
    assert model.get_input_embeddings().weight.any()


def test_a_model_that_is_not_there_is_what_old_code_expects_to_catch():
    with pytest.raises(OSError, match="there is no model 'nope'"):
        Kosmos2ForConditionalGeneration.from_pretrained("nope")
    with pytest.raises(OSError, match="there is no model 'nope'"):
        AutoProcessor.from_pretrained("nope")
