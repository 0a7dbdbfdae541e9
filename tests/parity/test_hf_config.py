"""Our configuration classes and the reference's: the same fields, and each reads the other's."""

import dataclasses
import json

import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2.config import Config
from kosmos2.hf import config as ours
from kosmos2.hf.config_base import PreTrainedConfig
from kosmos2.hf.generation.allowed import INERT, NOT_OFFERED, RULES
from kosmos2.hf.generation.config import GenerationConfig
from kosmos2.weights.load import read_config

transformers = pytest.importorskip("transformers", reason="transformers is what we compare with")
from transformers.models.kosmos2 import configuration_kosmos2 as theirs  # noqa: E402

NAMES = ["Kosmos2Config", "Kosmos2TextConfig", "Kosmos2VisionConfig"]
OF_CLASSIFIERS = {"id2label", "label2id", "problem_type"}
SECTIONS = {"text_config", "vision_config"}


def pair(name):
    return getattr(ours, name), getattr(theirs, name)


def documented(name):
    """The fields that the class itself adds in the reference."""
    common = {field.name for field in dataclasses.fields(transformers.PreTrainedConfig)}
    return [f.name for f in dataclasses.fields(pair(name)[1]) if f.name not in common]


def assert_alike(mine, other):
    """Every documented field of both, sections included."""
    for name in documented(type(other).__name__):
        if name in SECTIONS:
            assert_alike(getattr(mine, name), getattr(other, name))
        else:
            one, two = getattr(mine, name), getattr(other, name)
            assert one == two, name
            assert isinstance(one, bool) == isinstance(two, bool), name
    for name in ("output_attentions", "output_hidden_states", "return_dict"):
        assert getattr(mine, name) == getattr(other, name), name
    # Given anew, theirs stays the text that it was given as.
    assert str(mine.dtype).removeprefix("torch.") == str(other.dtype).removeprefix("torch.")
    assert mine.model_type == other.model_type


# Values that the reference takes for each field, whether or not a network could be built of them.
NUMBERS = st.integers(0, 100) | st.floats(0, 1)
VALUES = {
    bool: st.booleans(),
    int: st.integers(1, 10_000),
    float: st.floats(0, 1),
    str: st.sampled_from(["gelu", "quick_gelu", "relu"]),
}
ODD = {
    "eos_token_id": st.none() | st.integers(0, 9) | st.lists(st.integers(0, 9), min_size=1),
    "pad_token_id": st.none() | st.integers(0, 9),
    "bos_token_id": st.none() | st.integers(0, 9),
    "image_size": st.integers(1, 99) | st.lists(st.integers(1, 99), min_size=2, max_size=2),
    "dropout": NUMBERS,
    "attention_dropout": NUMBERS,
    "activation_dropout": NUMBERS,
    "layerdrop": NUMBERS,
}
COMMON = {
    "dtype": st.sampled_from([None, "float16", "float32", "bfloat16"]),
    "output_hidden_states": st.booleans(),
    "return_dict": st.booleans(),
    "architectures": st.none() | st.just(["Kosmos2Model"]),
    "an_old_field": st.integers() | st.lists(st.text()),
}


def fields_of(name):
    kind = pair(name)[0]
    each = {
        field: ODD.get(field, VALUES.get(type(kind.fields()[field])))
        for field in documented(name)
        if field not in SECTIONS
    }
    return st.fixed_dictionaries({}, optional={**each, **COMMON})


wholes = st.builds(
    lambda whole, **sections: {**whole, **sections},
    fields_of("Kosmos2Config"),
    text_config=fields_of("Kosmos2TextConfig"),
    vision_config=fields_of("Kosmos2VisionConfig"),
)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_there_with_its_default(name):
    kind, other = pair(name)
    assert set(documented(name)) == kind.fields().keys() - PreTrainedConfig.fields().keys()
    assert_alike(kind(), other())
    everything = other().to_dict()
    mine = kind().to_dict()
    missing = everything.keys() - mine.keys() - OF_CLASSIFIERS - {"transformers_version"}
    assert not missing
    for field in everything.keys() & mine.keys() - SECTIONS:
        assert mine[field] == everything[field], field


@pytest.mark.parametrize("name", NAMES)
def test_every_second_name_is_ours_too(name):
    kind, other = pair(name)
    assert other.attribute_map.items() <= kind.attribute_map.items()
    for alias in other.attribute_map:
        mine, their = kind(**{alias: 96}), other(**{alias: 96})
        assert getattr(mine, alias) == getattr(their, alias) == 96
        assert_alike(mine, their)


@settings(max_examples=60, deadline=None)
@given(wholes)
def test_each_reads_what_the_other_says(fields):
    mine, their = ours.Kosmos2Config(**fields), theirs.Kosmos2Config(**fields)
    assert_alike(mine, their)
    assert_alike(mine, theirs.Kosmos2Config.from_dict(mine.to_dict()))
    assert_alike(ours.Kosmos2Config.from_dict(their.to_dict()), their)
    assert_alike(ours.Kosmos2Config.of(their), their)
    mine_back = ours.Kosmos2Config.from_dict(theirs.Kosmos2Config(**mine.to_dict()).to_dict())
    assert_alike(mine_back, their)
    for section, other in (
        (mine, their),
        (mine.text_config, their.text_config),
        (mine.vision_config, their.vision_config),
    ):
        assert getattr(section, "an_old_field", "none") == getattr(other, "an_old_field", "none")


@settings(max_examples=20, deadline=None)
@given(wholes)
def test_both_write_the_same_file(tmp_path_factory, fields):
    place, other_place = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("theirs")
    mine, their = ours.Kosmos2Config(**fields), theirs.Kosmos2Config(**fields)
    mine.save_pretrained(place)
    their.save_pretrained(other_place)
    written, other = (json.loads((p / "config.json").read_text()) for p in (place, other_place))
    assert other.pop("transformers_version")
    assert written == other
    assert_alike(ours.Kosmos2Config.from_pretrained(other_place), their)
    assert_alike(mine, theirs.Kosmos2Config.from_pretrained(place))
    assert_alike(mine, transformers.AutoConfig.from_pretrained(place))


def test_a_section_of_theirs_is_read_as_a_section():
    other = theirs.Kosmos2TextConfig(layers=3)
    assert_alike(ours.Kosmos2Config(text_config=other).text_config, other)
    assert_alike(ours.Kosmos2TextConfig.from_dict(other.to_dict()), other)


def test_fields_given_anew_mean_the_same(tmp_path):
    ours.Kosmos2Config.of_network(Config.tiny()).save_pretrained(tmp_path)
    anew = {"latent_query_num": 5, "text_config": {"layers": 3}, "torch_dtype": "float16"}
    mine = ours.Kosmos2Config.from_pretrained(tmp_path, **anew)
    assert_alike(mine, theirs.Kosmos2Config.from_pretrained(tmp_path, **anew))
    for name in NAMES:
        kind, other = pair(name)
        assert_alike(kind.from_pretrained(tmp_path), other.from_pretrained(tmp_path))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_the_network_is_what_a_model_of_theirs_would_be(tmp_path_factory, layers, latents, scale):
    place = tmp_path_factory.mktemp("whole")
    text = {"layers": layers, "embed_dim": 64, "hidden_size": 64, "scale_embedding": scale}
    their = theirs.Kosmos2Config(latent_query_num=latents, text_config=text)
    their.save_pretrained(place)
    assert ours.Kosmos2Config.of(their).network_config() == read_config(place)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Kosmos2TextConfig", {"layers": "two"}),
        ("Kosmos2TextConfig", {"layers": True}),
        ("Kosmos2TextConfig", {"layers": 2.0}),
        ("Kosmos2TextConfig", {"scale_embedding": 1}),
        ("Kosmos2TextConfig", {"dropout": "0.1"}),
        ("Kosmos2VisionConfig", {"image_size": "224"}),
        ("Kosmos2VisionConfig", {"hidden_act": 3}),
        ("Kosmos2Config", {"latent_query_num": [64]}),
        ("Kosmos2Config", {"text_config": [1]}),
    ],
)
def test_what_they_refuse_we_refuse_as_a_value_error(name, fields):
    kind, other = pair(name)
    with pytest.raises((TypeError, StrictDataclassFieldValidationError)):
        other(**fields)
    with pytest.raises(ValueError, match=r"give|is no"):
        kind(**fields)


def test_every_setting_of_generation_that_they_know_is_known():
    settings_of_theirs = transformers.GenerationConfig().to_dict().keys()
    bookkeeping = {"_from_model_config", "transformers_version"}
    assert settings_of_theirs - bookkeeping <= RULES.keys() | NOT_OFFERED.keys() | INERT
    assert RULES.keys() - settings_of_theirs == {"seed"}


def test_the_settings_of_generation_have_their_defaults():
    defaults = transformers.GenerationConfig._get_default_generation_params()
    for name, default in defaults.items():
        if name in RULES:
            assert getattr(GenerationConfig, name) == default, name
        elif name in NOT_OFFERED:
            assert NOT_OFFERED[name] == default, name
        else:
            assert name in INERT, name
    for name in RULES.keys() - defaults.keys():
        assert not getattr(GenerationConfig, name), name  # unset means off on both sides


SPOKEN = {
    "max_length": st.integers(1, 99),
    "max_new_tokens": st.integers(5, 99),
    "min_new_tokens": st.integers(0, 5),
    "length_penalty": st.floats(-2, 2),
    "early_stopping": st.sampled_from([True, False, "never"]),
    "no_repeat_ngram_size": st.integers(0, 5),
    "repetition_penalty": st.floats(0.5, 2),
    "eos_token_id": st.integers(0, 9) | st.lists(st.integers(0, 9), min_size=1),
    "pad_token_id": st.integers(0, 9),
    "suppress_tokens": st.lists(st.integers(0, 9)),
    "bad_words_ids": st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1),
    "use_cache": st.booleans(),
    "return_dict_in_generate": st.booleans(),
    "renormalize_logits": st.booleans(),
}


@settings(max_examples=50, deadline=None)
@given(st.fixed_dictionaries({"num_beams": st.integers(2, 5)}, optional=SPOKEN))
def test_each_reads_the_others_settings_of_generation(tmp_path_factory, words):
    mine, their = GenerationConfig(**words), transformers.GenerationConfig(**words)
    assert mine.given == words.keys()
    assert GenerationConfig.of(their).given - {"transformers_version"} == words.keys()
    everything = their.to_dict()
    assert all(everything[name] == value for name, value in mine.to_dict().items())
    place = tmp_path_factory.mktemp("settings")
    mine.save_pretrained(place)
    assert transformers.GenerationConfig.from_pretrained(place) == their
    their.save_pretrained(place)
    again = GenerationConfig.from_pretrained(place).to_diff_dict()
    assert {name: again[name] for name in words} == words
    assert again.keys() - words.keys() <= {"_from_model_config", "transformers_version"}
