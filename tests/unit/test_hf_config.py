"""The configuration classes: fields, second names, what older files hold, and our network."""

import json
import pickle
from dataclasses import replace

import pytest
import torch

from kosmos2 import hf
from kosmos2.config import Config
from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.hf import notices
from kosmos2.hf.config import Kosmos2Config, Kosmos2TextConfig, Kosmos2VisionConfig

CLASSES = [Kosmos2Config, Kosmos2TextConfig, Kosmos2VisionConfig]

# What version 4 of the reference wrote into every section of a config.json, whatever the model.
OF_EVERY_MODEL = {
    "_name_or_path": "",
    "add_cross_attention": False,
    "architectures": None,
    "bad_words_ids": None,
    "begin_suppress_tokens": None,
    "bos_token_id": None,
    "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "decoder_start_token_id": None,
    "diversity_penalty": 0.0,
    "do_sample": False,
    "early_stopping": False,
    "encoder_no_repeat_ngram_size": 0,
    "eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "finetuning_task": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "is_decoder": False,
    "is_encoder_decoder": False,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "length_penalty": 1.0,
    "max_length": 20,
    "min_length": 0,
    "no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
    "num_beams": 1,
    "num_return_sequences": 1,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_scores": False,
    "pad_token_id": None,
    "prefix": None,
    "problem_type": None,
    "pruned_heads": {},
    "remove_invalid_values": False,
    "repetition_penalty": 1.0,
    "return_dict": True,
    "return_dict_in_generate": False,
    "sep_token_id": None,
    "suppress_tokens": None,
    "task_specific_params": None,
    "temperature": 1.0,
    "tf_legacy_loss": False,
    "tie_encoder_decoder": False,
    "tie_word_embeddings": True,
    "tokenizer_class": None,
    "top_k": 50,
    "top_p": 1.0,
    "torch_dtype": None,
    "torchscript": False,
    "typical_p": 1.0,
    "use_bfloat16": False,
}


def of_version_4():
    """A config.json as version 4 wrote it for the released model."""
    text = {
        **OF_EVERY_MODEL,
        "activation_dropout": 0.0,
        "activation_function": "gelu",
        "attention_dropout": 0.1,
        "attention_heads": 32,
        "bos_token_id": 0,
        "dropout": 0.1,
        "embed_dim": 2048,
        "eos_token_id": 2,
        "ffn_dim": 8192,
        "init_std": 0.02,
        "layer_norm_eps": 1e-05,
        "layerdrop": 0.0,
        "layers": 24,
        "max_position_embeddings": 2048,
        "model_type": "kosmos_2_text_model",
        "no_repeat_ngram_size": 3,
        "pad_token_id": 1,
        "scale_embedding": True,
        "use_cache": True,
        "vocab_size": 65037,
    }
    vision = {
        **OF_EVERY_MODEL,
        "attention_dropout": 0.0,
        "dropout": 0.0,
        "hidden_act": "quick_gelu",
        "hidden_size": 1024,
        "image_size": 224,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "layer_norm_eps": 1e-05,
        "model_type": "kosmos_2_vision_model",
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": 24,
        "patch_size": 14,
    }
    return {
        "_name_or_path": "ydshieh/temp",
        "architectures": ["Kosmos2ForConditionalGeneration"],
        "latent_query_num": 64,
        "model_type": "kosmos-2",
        "text_config": text,
        "torch_dtype": "float16",
        "transformers_version": "4.36.0.dev0",
        "vision_config": vision,
    }


@pytest.fixture(autouse=True)
def nothing_said():
    notices.forget()


@pytest.fixture
def folder(tmp_path):
    def write(**values):
        (tmp_path / "config.json").write_text(json.dumps(values))
        return tmp_path

    return write


def test_the_defaults_are_the_released_model():
    assert Kosmos2Config().network_config() == Config()
    assert Kosmos2Config.of_network(Config()).network_config() == Config()


def test_a_network_goes_there_and_back():
    tiny = Config.tiny()
    there = Kosmos2Config.of_network(tiny)
    assert there.network_config() == tiny
    assert Kosmos2Config(**json.loads(there.to_json_string())).network_config() == tiny
    assert there.architectures == ["Kosmos2ForConditionalGeneration"]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_field_is_read_written_and_saved(kind):
    for name, default in kind.fields().items():
        config = kind(**{name: default})
        assert config == kind(), name
        assert name in config.to_dict() or name == "_attn_implementation"


def test_a_field_with_two_names_is_one_field():
    config = Kosmos2TextConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=8)
    assert (config.embed_dim, config.layers, config.attention_heads) == (64, 3, 8)
    config.layers = 5
    assert config.num_hidden_layers == 5
    config.num_hidden_layers = 6
    assert config.layers == 6
    assert "num_hidden_layers" not in config.to_dict()
    with pytest.raises(ConfigError, match="embed_dim, the same thing, is 64"):
        Kosmos2TextConfig(embed_dim=64, hidden_size=65)


def test_sections_may_be_dicts_objects_or_left_out():
    text, vision = {"layers": 2}, {"image_size": 28}
    by_dict = Kosmos2Config(text_config=text, vision_config=vision)
    objects = Kosmos2TextConfig(**text), Kosmos2VisionConfig(**vision)
    by_object = Kosmos2Config(text_config=objects[0], vision_config=objects[1])
    assert by_dict == by_object
    assert by_object.text_config is objects[0]
    assert by_object.get_text_config() is objects[0]
    assert Kosmos2Config(text_config=None) == Kosmos2Config()
    assert text == {"layers": 2}
    for wrong in (objects[1], [1, 2]):
        with pytest.raises(ConfigError, match="Kosmos2TextConfig"):
            Kosmos2Config(text_config=wrong)


@pytest.mark.parametrize("spelling", ["float16", "torch.float16", torch.float16])
@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_a_type_may_be_spelt_in_several_ways(name, spelling):
    config = Kosmos2Config(**{name: spelling})
    assert config.dtype is config.torch_dtype is torch.float16
    assert config.to_dict()["dtype"] == "float16"
    assert Kosmos2Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("kind", "fields", "complaint"),
    [
        (Kosmos2TextConfig, {"layers": "two"}, "layers of Kosmos2TextConfig is 'two', a str"),
        (Kosmos2TextConfig, {"layers": True}, "layers .* is True, a bool; give int"),
        (Kosmos2TextConfig, {"scale_embedding": 1}, "give bool"),
        (Kosmos2TextConfig, {"dropout": "x"}, "give float or int"),
        (Kosmos2Config, {"latent_query_num": 2.0}, "give int"),
        (Kosmos2Config, {"dtype": "float17"}, "dtype .* is 'float17'"),
        (Kosmos2Config, {"model_type": "llama"}, "model_type is 'llama'; Kosmos2Config"),
        (Kosmos2Config, {"text_config": {"model_type": "t5"}}, "model_type is 't5'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_values_that_no_model_can_have_are_refused(kind, fields, complaint):
    with pytest.raises(ConfigError, match=complaint):
        kind(**fields)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"text_config": {"tie_word_embeddings": False}}, "text_config.tie_word_embeddings"),
        ({"text_config": {"layerdrop": 0.1}}, "text_config.layerdrop"),
        ({"text_config": {"activation_function": "relu"}}, "text_config.activation_function"),
        ({"text_config": {"add_cross_attention": True}}, "text_config.add_cross_attention"),
        ({"text_config": {"eos_token_id": [2, 3]}}, "text_config.eos_token_id"),
        ({"vision_config": {"attention_dropout": 0.1}}, "vision_config.attention_dropout"),
        ({"vision_config": {"hidden_act": "gelu"}}, "vision_config.hidden_act"),
        ({"vision_config": {"num_channels": 4}}, "vision_config.num_channels"),
        ({"vision_config": {"image_size": [28, 42]}}, "vision_config.image_size"),
        ({"latent_query_num": 0}, "latent_query_num"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_be_said_and_not_built_is_refused_by_its_name(fields, name):
    config = Kosmos2Config(**fields)
    with pytest.raises(ConfigError, match=name):
        config.network_config()


@pytest.mark.filterwarnings("error")
def test_a_file_of_version_4_loads_and_nothing_of_it_is_lost(folder, tmp_path):
    old = of_version_4()
    config = Kosmos2Config.from_pretrained(folder(**old))
    assert config.network_config() == Config()
    assert config.text_config.no_repeat_ngram_size == 3
    assert config.name_or_path == "ydshieh/temp"
    config.save_pretrained(tmp_path / "new")
    again = Kosmos2Config.from_pretrained(tmp_path / "new")
    for kept in (config.to_dict(), again.to_dict()):
        for before, after in (
            (old, kept),
            (old["text_config"], kept["text_config"]),
            (old["vision_config"], kept["vision_config"]),
        ):
            assert after["dtype"] == before["torch_dtype"]
            for name in before.keys() - {"torch_dtype", "text_config", "vision_config"}:
                assert after[name] == before[name], name


def test_what_is_no_field_is_kept_and_a_slip_mentioned():
    config = Kosmos2Config(favourite="blue", text_config={"old": [1]})
    assert (config.favourite, config.text_config.old) == ("blue", [1])
    assert config.to_dict()["favourite"] == "blue"
    with pytest.warns(notices.Notice, match="did you mean latent_query_num"):
        Kosmos2Config(latent_query_nums=3)
    with pytest.raises(AttributeError, match="Kosmos2Config has no field 'least'"):
        _ = config.least


def test_fields_given_anew_change_what_they_name_and_leave_the_rest(folder):
    place = folder(text_config={"layers": 2, "vocab_size": 99})
    config = Kosmos2Config.from_pretrained(
        place, text_config={"num_hidden_layers": 3}, output_attentions=True, torch_dtype="auto"
    )
    assert (config.text_config.layers, config.text_config.vocab_size) == (3, 99)
    assert config.output_attentions
    assert config.dtype is None
    with pytest.raises(ConfigError, match="did you mean latent_query_num"):
        Kosmos2Config.from_pretrained(place, latent_query=3)
    for method in ("copy", "to_dict"):
        with pytest.raises(ConfigError, match=method):
            Kosmos2Config.from_pretrained(place, **{method: 1})
    config, unused = Kosmos2Config.from_pretrained(place, latent=3, return_unused_kwargs=True)
    assert unused == {"latent": 3}
    assert config == Kosmos2Config.from_pretrained(place)


def test_a_section_is_read_from_the_file_of_the_whole(folder):
    place = folder(model_type="kosmos-2", vision_config={"image_size": 28})
    assert Kosmos2VisionConfig.from_pretrained(place).image_size == 28


def test_another_kind_of_model_is_refused_by_file_and_name(folder):
    place = folder(model_type="llama")
    with pytest.raises(CheckpointError, match=r"config\.json: model_type is 'llama'"):
        Kosmos2Config.from_pretrained(place)


@pytest.mark.parametrize("kind", CLASSES)
def test_copies_and_pickles_are_equal_and_apart(kind):
    config = kind(output_attentions=True)
    for other in (config.copy(), pickle.loads(pickle.dumps(config))):
        assert other == config
        other.return_dict = False
        assert other != config
    whole = Kosmos2Config()
    whole.copy().text_config.layers = 1
    assert whole.text_config.layers == 24


def test_what_is_printed_is_what_is_saved(tmp_path):
    config = Kosmos2Config(latent_query_num=5)
    config.save_pretrained(tmp_path)
    assert repr(config) == f"Kosmos2Config {(tmp_path / 'config.json').read_text()}"
    assert json.loads(config.to_json_string(use_diff=False)) == config.to_dict()


AUTO = {
    "AutoConfig": "Kosmos2Config",
    "AutoImageProcessor": "Kosmos2ImageProcessor",
    "AutoModel": "Kosmos2Model",
    "AutoModelForImageTextToText": "Kosmos2ForConditionalGeneration",
    "AutoModelForVision2Seq": "Kosmos2ForConditionalGeneration",
    "AutoProcessor": "Kosmos2Processor",
    "AutoTokenizer": "Kosmos2Tokenizer",
}


@pytest.mark.parametrize(("auto", "name"), AUTO.items())
def test_each_auto_class_makes_the_class_it_stands_for(tiny_folder, auto, name):
    assert type(getattr(hf, auto).from_pretrained(tiny_folder)).__name__ == name


@pytest.mark.parametrize("auto", AUTO)
def test_no_auto_class_takes_another_kind_of_model(folder, auto):
    place = folder(model_type="llava")
    with pytest.raises(ConfigError, match=r"'llava'; kosmos2\.hf has 'kosmos-2' only") as refusal:
        getattr(hf, auto).from_pretrained(place, local_files_only=True)
    assert str(place) in str(refusal.value)
    with pytest.raises(ConfigError, match=rf"{auto}\.from_pretrained"):
        getattr(hf, auto)()


def test_an_auto_class_makes_a_random_model_from_a_configuration():
    tiny = Config.tiny()
    config = Kosmos2Config.of_network(replace(tiny, latents=3))
    assert hf.AutoModelForVision2Seq.from_config(config).network.config == replace(tiny, latents=3)
    assert hf.AutoConfig.for_model("kosmos-2", latent_query_num=3).latent_query_num == 3
    for wrong in (lambda: hf.AutoConfig.for_model("t5"), lambda: hf.AutoModel.from_config(3)):
        with pytest.raises(ConfigError):
            wrong()
