"""config.json of the reference: read tolerantly, checked strictly, and written back."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2.config import Config
from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.weights.load import read_config, read_generation_config
from kosmos2.weights.names import config_from_reference, config_to_reference

TINY = config_to_reference(Config.tiny())


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        for name, values in files.items():
            text = values if isinstance(values, str) else json.dumps(values)
            (tmp_path / f"{name}.json").write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize("config", [Config(), Config.tiny()], ids=["released", "tiny"])
def test_a_config_goes_there_and_back(config):
    text = json.dumps(config_to_reference(config))
    assert config_from_reference(json.loads(text)) == config


def test_what_is_missing_is_as_in_the_released_model():
    assert config_from_reference({}) == Config()
    halves = {"model_type": "kosmos-2", "text_config": {}, "vision_config": None}
    assert config_from_reference(halves) == Config()


def test_fields_of_older_versions_are_left_alone(folder):
    old = {
        "_name_or_path": "",
        "torch_dtype": "float32",
        "transformers_version": "4.36.0",
        "latent_query_num": 7,
        "auto_map": {"AutoModel": "run_me.Model"},
        "text_config": {"chunk_size_feed_forward": 0, "num_beams": 1, "no_repeat_ngram_size": 3},
        "vision_config": {"dropout": 0.0, "initializer_factor": 1.0, "projection_dim": 512},
    }
    assert read_config(folder(config=old)) == Config(latents=7)


def test_the_general_names_of_a_size_do_as_well():
    aliased = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 8}
    text = config_from_reference({"text_config": aliased}).text
    assert (text.width, text.layers, text.heads) == (64, 3, 8)


def test_a_square_may_be_written_with_both_sides():
    config = config_from_reference(
        {"vision_config": {"image_size": [28, 28], "patch_size": [7, 7]}}
    )
    assert (config.vision.image_size, config.vision.patch_size) == (28, 7)


LIES = [
    ({"latent_query_num": 10**12}, "latent_query_num is 1000000000000"),
    ({"latent_query_num": True}, "latent_query_num is True"),
    ({"model_type": "llama"}, "model_type is 'llama'"),
    ({"text_config": [1]}, r"text_config is \[1\]"),
    ({"text_config": {"embed_dim": 10**9}}, "text_config.embed_dim is 1000000000"),
    ({"text_config": {"embed_dim": "2048"}}, "text_config.embed_dim is '2048'"),
    ({"text_config": {"embed_dim": 64, "hidden_size": 32}}, "text_config.hidden_size is 32 but"),
    ({"text_config": {"layers": 0}}, "text_config.layers is 0"),
    ({"text_config": {"layers": 10**6}}, "text_config.layers is 1000000"),
    ({"text_config": {"layers": -1}}, "text_config.layers is -1"),
    ({"text_config": {"vocab_size": 10**10}}, "text_config.vocab_size"),
    ({"text_config": {"attention_heads": 33}}, "33 heads"),
    ({"text_config": {"dropout": "a lot"}}, "text_config.dropout is 'a lot'"),
    ({"text_config": {"dropout": 1.5}}, "text_config.dropout is 1.5"),
    ({"text_config": {"layer_norm_eps": -1e-5}}, "text_config.layer_norm_eps"),
    ({"text_config": {"layer_norm_eps": float("nan")}}, "text_config.layer_norm_eps is nan"),
    ({"text_config": {"scale_embedding": "no"}}, "text_config.scale_embedding is 'no'"),
    ({"text_config": {"pad_token_id": 99_999}}, "99999, outside"),
    ({"text_config": {"eos_token_id": [2, 3]}}, "text_config.eos_token_id"),
    ({"text_config": {"activation_function": "relu"}}, "text_config.activation_function is 'relu'"),
    ({"text_config": {"add_cross_attention": True}}, "text_config.add_cross_attention is True"),
    ({"vision_config": {"hidden_act": "gelu"}}, "vision_config.hidden_act is 'gelu'"),
    ({"vision_config": {"num_channels": 4}}, "vision_config.num_channels is 4"),
    ({"vision_config": {"image_size": 223}}, "image_size 223"),
    ({"vision_config": {"image_size": [224, 448]}}, r"vision_config.image_size is \[224, 448\]"),
    ({"vision_config": {"image_size": 10**7}}, "vision_config.image_size is 10000000"),
]


@pytest.mark.parametrize(("lie", "said"), LIES, ids=[said[:40] for _, said in LIES])
def test_a_lie_is_named_with_its_field_and_file(folder, lie, said):
    with pytest.raises(ConfigError, match=said):
        config_from_reference(lie)
    with pytest.raises(CheckpointError, match=f"config.json: .*{said}"):
        read_config(folder(config=lie))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        "[" * 100_000,
        '{"a": ' + "9" * 9999 + "}",
        "PK\x03\x04",
        "\ud800",
    ],
    ids=lambda text: repr(text[:8]),
)
def test_a_config_that_is_no_table_is_named(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(tmp_path)


def test_a_folder_without_a_config_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        read_config(tmp_path)
    with pytest.raises(CheckpointError, match=r"nowhere has no config\.json"):
        read_config(tmp_path / "nowhere")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        read_config(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
changes = st.lists(
    st.tuples(
        st.sampled_from(
            [(name,) for name in TINY]
            + [(part, name) for part in ("text_config", "vision_config") for name in TINY[part]]
        ),
        json_values,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(changes)
def test_a_spoilt_config_gives_a_config_or_our_error(changes):
    spoilt = json.loads(json.dumps(TINY))
    for (*place, name), value in changes:
        table = spoilt
        for part in place:
            table = table[part] if isinstance(table.get(part), dict) else {}
        table[name] = value
    try:
        config = config_from_reference(spoilt)
    except ConfigError:
        return
    assert config_from_reference(config_to_reference(config)) == config


def test_the_size_of_banned_repeats_is_found_where_old_files_have_it(folder):
    place = folder(config={"text_config": {"no_repeat_ngram_size": 3}})
    assert read_generation_config(place) == {"no_repeat_ngram_size": 3}
    folder(generation_config={"eos_token_id": 2, "no_repeat_ngram_size": None})
    assert read_generation_config(place) == {"eos_token_id": 2, "no_repeat_ngram_size": 3}
    folder(generation_config={"no_repeat_ngram_size": 0})
    assert read_generation_config(place) == {"no_repeat_ngram_size": 0}


def test_a_folder_may_have_no_generation_settings(folder):
    assert read_generation_config(folder(config={"text_config": None})) == {}


@pytest.mark.parametrize("presence", [-0.1, 1.5, "0.2", True, [0.2]])
def test_a_presence_that_is_no_probability_is_refused(folder, presence):
    with pytest.raises(CheckpointError, match="min_presence is"):
        read_generation_config(folder(config={}, generation_config={"min_presence": presence}))


@pytest.mark.parametrize("size", [-1, 2.5, "3", True, [3]])
def test_a_senseless_size_of_banned_repeats_is_refused(folder, size):
    with pytest.raises(CheckpointError, match="no_repeat_ngram_size is"):
        read_generation_config(folder(config={}, generation_config={"no_repeat_ngram_size": size}))
