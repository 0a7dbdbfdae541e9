"""A checkpoint is the same network on both sides: theirs read here, ours read there."""

import json

import pytest
import torch

from kosmos2.config import Config
from kosmos2.errors import CheckpointError
from kosmos2.model import Network
from kosmos2.weights.load import load_network, read_config, read_generation_config
from kosmos2.weights.names import config_to_reference, ours_to_theirs
from kosmos2.weights.save import save_network

transformers = pytest.importorskip("transformers", reason="transformers is what we compare with")
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration  # noqa: E402


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(50)
    built = Kosmos2ForConditionalGeneration(Kosmos2Config(**config_to_reference(Config.tiny())))
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built.eval()


@pytest.fixture(scope="module")
def inputs():
    config, generator = Config.tiny(), torch.Generator().manual_seed(51)
    size, latents = config.vision.image_size, config.latents
    ids = torch.randint(4, config.text.vocabulary, (2, latents + 12), generator=generator)
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[:, 2 : 2 + latents] = True
    return ids, slots, torch.randn(2, 3, size, size, generator=generator)


def our_logits(network, inputs):
    ids, slots, pixels = inputs
    with torch.inference_mode():
        return network(ids, latents=network.look(pixels), slots=slots)


def their_logits(model, inputs):
    ids, slots, pixels = inputs
    with torch.inference_mode():
        return model(
            pixel_values=pixels, input_ids=ids, image_embeds_position_mask=slots.long()
        ).logits


@pytest.mark.parametrize("shards", ["100KB", "5GB"])
def test_what_they_write_we_read(tmp_path, theirs, inputs, shards):
    theirs.save_pretrained(tmp_path, max_shard_size=shards)
    ours = load_network(tmp_path)
    assert ours.config == Config.tiny()
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, theirs.get_parameter(ours_to_theirs(name))), name
    torch.testing.assert_close(
        our_logits(ours, inputs), their_logits(theirs, inputs), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("shard_bytes", [100_000, 5_000_000_000])
def test_what_we_write_they_read(tmp_path, inputs, shard_bytes):
    ours = Network(Config.tiny()).eval()
    generator = torch.Generator().manual_seed(52)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    save_network(tmp_path, ours, shard_bytes=shard_bytes, generation={"no_repeat_ngram_size": 3})
    model, report = Kosmos2ForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report.values()), report
    assert model.generation_config.no_repeat_ngram_size == 3
    assert (model.generation_config.bos_token_id, model.generation_config.eos_token_id) == (0, 2)
    torch.testing.assert_close(
        our_logits(ours, inputs), their_logits(model.eval(), inputs), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_its_bits_both_ways(tmp_path, theirs, dtype):
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_network(tmp_path / "theirs", dtype=dtype)
    save_network(tmp_path / "ours", ours)
    model = Kosmos2ForConditionalGeneration.from_pretrained(tmp_path / "ours", dtype="auto")
    assert model.dtype == dtype
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, model.get_parameter(ours_to_theirs(name))), name


def test_their_config_is_our_config():
    assert Kosmos2Config(**config_to_reference(Config())).to_diff_dict() == (
        Kosmos2Config(architectures=["Kosmos2ForConditionalGeneration"]).to_diff_dict()
    )
    for config in (Config(), Config.tiny()):
        written = Kosmos2Config(**config_to_reference(config)).to_json_string(use_diff=False)
        assert config_from_json(written) == config


def config_from_json(text):
    from kosmos2.weights.names import config_from_reference

    return config_from_reference(json.loads(text))


def test_their_own_configs_are_read(tmp_path):
    Kosmos2Config().save_pretrained(tmp_path)
    assert read_config(tmp_path) == Config()
    assert read_generation_config(tmp_path) == {}


def test_their_generation_settings_are_read(tmp_path, theirs):
    theirs.save_pretrained(tmp_path)
    settings = read_generation_config(tmp_path)
    assert (settings["bos_token_id"], settings["eos_token_id"], settings["pad_token_id"]) == (
        0,
        2,
        1,
    )


def test_a_file_that_the_reference_wrote_as_a_pickle_is_refused(tmp_path, theirs):
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, a pickle"):
        load_network(tmp_path)
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is a pickle under another name"):
        load_network(tmp_path)


def test_a_model_with_one_tensor_less_or_more_is_refused_by_their_names(tmp_path, theirs):
    theirs.save_pretrained(tmp_path)
    shallower = config_to_reference(Config.tiny())
    shallower["text_config"]["layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(shallower))
    with pytest.raises(
        CheckpointError, match=r"20 unknown: text_model\.model\.layers\.3\.ffn\.fc1"
    ):
        load_network(tmp_path)
