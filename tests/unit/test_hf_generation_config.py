"""GenerationConfig: what was set, what is refused, and whose word counts."""

import json
import types

import numpy as np
import pytest
import torch

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.hf import notices
from kosmos2.hf.generation.allowed import INERT, NOT_OFFERED, RULES
from kosmos2.hf.generation.config import GenerationConfig


@pytest.fixture(autouse=True)
def nothing_said():
    notices.forget()


@pytest.fixture
def folder(tmp_path):
    def write(config=None, generation_config=None):
        for name, values in (("config", config), ("generation_config", generation_config)):
            if values is not None:
                (tmp_path / f"{name}.json").write_text(json.dumps(values))
        return tmp_path

    return write


def test_every_field_has_a_rule_and_every_rule_a_field():
    fields = set(GenerationConfig.__annotations__)
    assert fields == set(RULES)
    assert not fields & NOT_OFFERED.keys()
    assert not fields & INERT


@pytest.mark.parametrize("name", RULES)
def test_every_default_may_be_said_aloud(name):
    default = getattr(GenerationConfig, name)
    config = GenerationConfig(**{name: default})
    assert getattr(config, name) == default
    assert config.given == (set() if default is None else {name})


def test_what_nobody_set_has_its_default_and_is_not_given():
    config = GenerationConfig(max_new_tokens=7)
    assert (config.max_length, config.top_k, config.max_new_tokens) == (20, 50, 7)
    assert config.given == {"max_new_tokens"}
    config.max_length = 40
    assert config.given == {"max_new_tokens", "max_length"}
    config.max_length = None
    assert (config.max_length, config.given) == (20, {"max_new_tokens"})


def test_one_configuration_does_not_change_another():
    one = GenerationConfig(suppress_tokens=[5])
    other = one.copy()
    other.suppress_tokens.append(6)
    other.num_beams = 3
    assert (one.suppress_tokens, one.num_beams, GenerationConfig.num_beams) == ([5], 1, 1)
    assert one != other
    assert one == GenerationConfig(suppress_tokens=(5,))


def test_a_calls_words_count_more_than_the_object_and_that_more_than_the_model():
    model = GenerationConfig(num_beams=2, no_repeat_ngram_size=3, eos_token_id=2)
    wanted = GenerationConfig(num_beams=4, max_new_tokens=5)
    final = wanted.filled_from(model).merged(max_new_tokens=6)
    assert final == GenerationConfig(
        num_beams=4, max_new_tokens=6, no_repeat_ngram_size=3, eos_token_id=2
    )
    assert wanted.max_new_tokens == 5
    assert model.given == {"num_beams", "no_repeat_ngram_size", "eos_token_id"}


def test_none_in_a_call_switches_off():
    settings = {"eos_token_id": 2, "no_repeat_ngram_size": 3, "max_new_tokens": 9, "top_k": 20}
    model = GenerationConfig(**settings, do_sample=True)
    final = model.merged(**dict.fromkeys(settings))
    assert (final.top_k, final.eos_token_id) == (0, None)
    assert (final.no_repeat_ngram_size, final.max_new_tokens) == (0, None)


def test_what_does_not_go_together_may_be_settled_by_the_call():
    model = GenerationConfig(do_sample=True, temperature=0.5)
    filled = GenerationConfig(num_beams=3).filled_from(model)
    with pytest.raises(ConfigError, match="beam sampling is not offered"):
        filled.merged()
    assert filled.merged(do_sample=False).num_beams == 3


def test_numbers_of_numpy_and_torch_are_numbers():
    config = GenerationConfig(
        max_new_tokens=np.int64(5),
        eos_token_id=torch.tensor([2, 7]),
        repetition_penalty=np.float64(0.5),
    )
    plain = {"max_new_tokens": 5, "eos_token_id": [2, 7], "repetition_penalty": 0.5}
    assert config.to_diff_dict() == plain
    json.dumps(config.to_dict())


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"max_new_token": 3}, "did you mean max_new_tokens?"),
        ({"colour": 3}, "known: max_length"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; give a whole number from 1"),
        ({"max_new_tokens": 2.5}, "whole number"),
        ({"num_beams": True}, "num_beams is True"),
        ({"do_sample": 1}, "do_sample is 1; give True or False"),
        ({"do_sample": True, "temperature": 0}, "temperature is 0"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0}, "above 0, up to 1"),
        ({"top_p": 1.5}, "above 0, up to 1"),
        ({"min_p": 2}, "min_p is 2"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ({"length_penalty": "long"}, "length_penalty is 'long'"),
        ({"early_stopping": "always"}, "True, False or 'never'"),
        ({"eos_token_id": []}, "an id, or a list of ids"),
        ({"eos_token_id": [2, "</s>"]}, "an id, or a list of ids"),
        ({"bad_words_ids": [[]]}, "none of them empty"),
        ({"num_return_sequences": 2}, "num_beams is 1"),
        ({"num_return_sequences": 4, "num_beams": 3}, "raise num_beams"),
        ({"num_beams": 2, "do_sample": True}, "beam sampling is not offered"),
        ({"min_new_tokens": 4, "max_new_tokens": 3}, "min_new_tokens 4 is above max_new_tokens 3"),
        ({"penalty_alpha": 0.6}, "penalty_alpha=0.6 is not offered here"),
        ({"num_beam_groups": 2}, "leave it out .or 1.: there is greedy search"),
        ({"guidance_scale": 1.5}, "guidance_scale"),
        ({"assistant_model": object()}, "assistant_model"),
        ({"stop_strings": ["."]}, "stop_strings"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_done_is_refused_wherever_it_is_said(fields, complaint):
    for say in (GenerationConfig, GenerationConfig().merged):
        with pytest.raises(ValueError, match=complaint) as refusal:
            say(**fields)
        assert isinstance(refusal.value, ConfigError)


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_what_is_not_offered_may_be_switched_off(name):
    neutral = {name: NOT_OFFERED[name]}
    assert GenerationConfig(**neutral).merged(**{name: None}) == GenerationConfig()


def test_several_answers_can_be_sampled():
    assert GenerationConfig(num_return_sequences=3, do_sample=True).num_return_sequences == 3
    assert GenerationConfig(num_return_sequences=3, num_beams=3).num_beams == 3


def test_words_that_do_nothing_are_mentioned_once():
    with pytest.warns(notices.Notice, match="temperature has no effect without do_sample=True"):
        GenerationConfig().merged(temperature=0.7)
    with pytest.warns(notices.Notice, match="output_scores has no effect"):
        GenerationConfig(output_scores=True)
    with pytest.warns(notices.Notice, match="length_penalty has no effect without num_beams"):
        GenerationConfig(length_penalty=2.0)


@pytest.mark.filterwarnings("error")
def test_words_that_do_something_or_nothing_new_are_not_mentioned():
    GenerationConfig(temperature=0.7, do_sample=True)
    GenerationConfig(temperature=1.0, top_k=50)
    # What a model's file says is not the fault of who calls.
    GenerationConfig.from_dict({"temperature": 0.7}).merged(max_new_tokens=3)


def test_a_file_is_obeyed_and_what_it_says_besides_is_kept(folder):
    file = {"max_new_tokens": 9, "eos_token_id": [2, 5], "num_beam_groups": 1, "from_elsewhere": 8}
    config = GenerationConfig.of_folder(folder({}, file))
    assert (config.max_new_tokens, config.eos_token_id) == (9, [2, 5])
    assert config.to_diff_dict() == file
    assert GenerationConfig.from_dict(config.to_dict()) == config


def test_the_n_grams_of_an_older_folder_are_obeyed(folder):
    old = {"text_config": {"no_repeat_ngram_size": 3, "max_length": 20}}
    assert GenerationConfig.of_folder(folder(old)).to_diff_dict() == {"no_repeat_ngram_size": 3}
    newer = folder(old, {"no_repeat_ngram_size": 4})
    assert GenerationConfig.of_folder(newer).no_repeat_ngram_size == 4


def test_a_file_that_cannot_be_obeyed_is_named(folder):
    place = folder({}, {"penalty_alpha": 0.6})
    with pytest.raises(CheckpointError, match="penalty_alpha") as refusal:
        GenerationConfig.of_folder(place)
    assert str(place) in str(refusal.value)


def test_saved_alone_and_read_again_it_is_the_same(tmp_path):
    config = GenerationConfig(max_new_tokens=5, num_beams=3, early_stopping="never", seed=4)
    config.save_pretrained(tmp_path / "new")
    assert GenerationConfig.from_pretrained(tmp_path / "new", local_files_only=True) == config
    changed = GenerationConfig.from_pretrained(tmp_path / "new", num_beams=2)
    assert changed == config.merged(num_beams=2)


def test_a_networks_own_configuration_gives_ids_and_old_n_grams():
    text = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "no_repeat_ngram_size": 3}
    config = GenerationConfig.from_model_config({"text_config": {**text, "max_length": 20}})
    assert config == GenerationConfig(**text)


def test_settings_come_in_many_shapes():
    mine = GenerationConfig(num_beams=2)
    assert GenerationConfig.of(mine) is mine
    assert GenerationConfig.of(None) == GenerationConfig()
    assert GenerationConfig.of({"num_beams": 2}) == mine
    theirs = types.SimpleNamespace(to_dict=lambda: {"num_beams": 2, "top_k": None, "low": 1})
    assert GenerationConfig.of(theirs).given == {"num_beams", "low"}
    network = types.SimpleNamespace(to_dict=dict, model_type="kosmos-2")
    for nonsense in (network, 5):
        with pytest.raises(ConfigError, match="give a GenerationConfig"):
            GenerationConfig.of(nonsense)
    with pytest.raises(ConfigError, match="did you mean num_beams"):
        GenerationConfig.of({"num_beam": 2})
