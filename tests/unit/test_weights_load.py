"""Loading: every value in its place, the file left as it is, and every fault named at once."""

import io
import json
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from kosmos2.config import Config
from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.model import Network
from kosmos2.weights.load import load_network
from kosmos2.weights.names import EMBEDDING, TIED, config_to_reference, ours_to_theirs
from kosmos2.weights.save import save_network

NORM = "text_model.model.layer_norm.weight"
QUERIES = "image_to_text_projection.latent_query"
FC1 = "text_model.model.layers.2.ffn.fc1.weight"


def random_network(config=None) -> Network:
    generator = torch.Generator().manual_seed(20)
    network = Network(config or Config.tiny()).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network


def logits(network: Network) -> torch.Tensor:
    """To be compared closely, not bit by bit: memory layout decides the order of additions."""
    generator = torch.Generator().manual_seed(21)
    size, latents = network.config.vision.image_size, network.config.latents
    ids = torch.randint(4, network.config.text.vocabulary, (1, latents + 5), generator=generator)
    pixels = torch.randn(1, 3, size, size, generator=generator)
    slots = torch.arange(latents + 5)[None] < latents
    with torch.inference_mode():
        return network(ids, latents=network.look(pixels), slots=slots)


@pytest.fixture
def network():
    return random_network()


@pytest.fixture
def folder(tmp_path, network):
    save_network(tmp_path / "model", network)
    return tmp_path / "model"


def change(folder, **tensors):
    """Write the weights again with some tensors other (or, if None, gone)."""
    names = {"norm": NORM, "queries": QUERIES, "fc1": FC1, "tied": TIED, "embedding": EMBEDDING}
    stored = {name: tensor.clone() for name, tensor in load_file(folder / WHOLE).items()}
    stored |= {names.get(name, name): tensor for name, tensor in tensors.items()}
    kept = {name: tensor.contiguous() for name, tensor in stored.items() if tensor is not None}
    save_file(kept, folder / WHOLE, metadata={"format": "pt"})


WHOLE = "model.safetensors"


def test_what_was_saved_is_loaded(folder, network):
    loaded = load_network(folder)
    assert loaded.config == network.config
    assert not loaded.training
    for (name, ours), (_, other) in zip(
        network.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert torch.equal(ours, other), name
    torch.testing.assert_close(logits(loaded), logits(network))


def test_every_parameter_has_its_memory_and_can_learn(folder):
    loaded = load_network(str(folder))
    assert all(p.device.type == "cpu" and p.requires_grad for p in loaded.parameters())
    loaded.loss(torch.tensor([[0, 5, 6, 2]]), torch.tensor([[0, 5, 6, 2]])).backward()
    assert loaded.decoder.words.weight.grad is not None


def test_training_what_was_loaded_never_touches_the_file(folder):
    before = (folder / WHOLE).read_bytes()
    loaded = load_network(folder)
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1.0)
    assert (folder / WHOLE).read_bytes() == before


def test_loading_over_what_is_in_use_changes_nothing_in_memory(folder):
    """Saving puts a new file in the old one's place, so the mapped pages stay."""
    loaded = load_network(folder)
    expected = logits(loaded)
    other = random_network()
    torch.nn.init.zeros_(other.decoder.words.weight)
    save_network(folder, other)
    torch.testing.assert_close(logits(loaded), expected)
    assert not logits(load_network(folder)).any()


def test_a_network_saved_over_itself_is_still_itself(folder, network):
    save_network(folder, load_network(folder))
    torch.testing.assert_close(logits(load_network(folder)), logits(network))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_conversion_while_loading_equals_one_after(folder, network, dtype):
    loaded = load_network(folder, dtype=dtype)
    for ours, other in zip(network.parameters(), loaded.parameters(), strict=True):
        assert other.dtype == dtype
        assert torch.equal(ours.to(dtype), other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_weights_stay_as_they_are_stored(folder, network, dtype):
    save_network(folder, network, dtype=dtype)
    assert {p.dtype for p in load_network(folder).parameters()} == {dtype}


def test_a_mixture_of_types_becomes_the_widest(folder, network):
    save_network(folder, network, dtype=torch.bfloat16)
    change(folder, norm=network.decoder.last_norm.weight.detach().half())
    assert {p.dtype for p in load_network(folder).parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.complex64], ids=str)
def test_a_type_that_no_weights_have_is_refused(folder, dtype):
    with pytest.raises(ConfigError, match="dtype is torch"):
        load_network(folder, dtype=dtype)


def test_one_file_and_many_are_the_same_network(tmp_path, network):
    save_network(tmp_path, network, shard_bytes=100_000)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(shards) > 3
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    torch.testing.assert_close(logits(load_network(tmp_path)), logits(network))


def test_a_tied_output_layer_is_accepted_and_dropped(folder, network):
    change(folder, tied=network.decoder.words.weight.detach().clone())
    torch.testing.assert_close(logits(load_network(folder)), logits(network))
    save_network(folder, load_network(folder))
    assert TIED not in load_file(folder / WHOLE)


def test_an_output_layer_may_stand_for_the_embedding(folder, network):
    change(folder, tied=network.decoder.words.weight.detach().clone(), embedding=None)
    torch.testing.assert_close(logits(load_network(folder)), logits(network))


def test_an_output_layer_of_its_own_is_refused(folder, network):
    change(folder, tied=network.decoder.words.weight.detach() + 1)
    with pytest.raises(CheckpointError, match=r"lm_head.weight differs from .*embed_tokens"):
        load_network(folder)


def test_tables_of_older_files_are_ignored(folder, network):
    old = {
        "vision_model.model.embeddings.position_ids": torch.arange(26)[None],
        "text_model.model.embed_positions.weights": torch.zeros(132, 56),
    }
    change(folder, **old)
    torch.testing.assert_close(logits(load_network(folder)), logits(network))


def test_every_wrong_tensor_is_listed_at_once(folder):
    change(
        folder,
        norm=None,
        queries=torch.zeros(8, 56),
        fc1=torch.zeros(88, 56, dtype=torch.int8),
        stray=torch.zeros(1),
    )
    with pytest.raises(CheckpointError) as caught:
        load_network(folder)
    said = str(caught.value)
    assert str(folder) in said
    assert f"1 missing: {NORM};" in said
    assert "1 unknown: stray;" in said
    assert f"1 misshapen: {QUERIES} is (8, 56), not (9, 56);" in said
    assert f"1 of a type that cannot be read: {FC1} is I8" in said


def test_a_config_of_another_size_is_refused_before_memory_is_asked_for(folder):
    """The network that this config describes would take 700 GB."""
    lie = config_to_reference(Config.tiny())
    lie["text_config"] |= {"embed_dim": 14_000, "ffn_dim": 56_000, "layers": 100}
    (folder / "config.json").write_text(json.dumps(lie))
    with pytest.raises(
        CheckpointError, match=r"missing: .* and \d+ more; \d+ misshapen: "
    ) as caught:
        load_network(folder)
    assert f"{QUERIES} is (9, 56), not (9, 14000)" in str(caught.value)


def test_a_foreign_file_is_told_by_its_names(folder):
    save_file({"bert.embeddings.weight": torch.zeros(2, 2)}, folder / WHOLE)
    with pytest.raises(CheckpointError, match=r"missing: .*unknown: bert\.embeddings"):
        load_network(folder)


def test_no_weights_at_all_are_named(folder):
    (folder / WHOLE).unlink()
    with pytest.raises(CheckpointError, match="has no weights"):
        load_network(folder)


def spoilt(whole: bytes) -> dict[str, tuple[bytes, str]]:
    lie = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}'
    zipped = io.BytesIO()
    zipfile.ZipFile(zipped, "w").writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    return {
        "empty": (b"", "is empty"),
        "half": (whole[: len(whole) // 2], "cut short or damaged"),
        "one byte short": (whole[:-1], "cut short or damaged"),
        "one byte long": (whole + b"\0", "cut short or damaged"),
        "inside the header": (whole[:100], "cut short or damaged"),
        "lying header": (len(lie).to_bytes(8, "little") + lie + bytes(8), "cut short or damaged"),
        "endless header": ((2**62).to_bytes(8, "little") + whole[8:], "cut short or damaged"),
        "noise": (bytes(range(256)) * 9, "cut short or damaged"),
        "pickle": (b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.", "pickle .*from_pretrained"),
        "zipped pickle": (zipped.getvalue(), "pickle .*from_pretrained"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    }


@pytest.mark.parametrize("kind", spoilt(b"0" * 200))
def test_a_spoilt_file_is_named_with_a_way_out(folder, kind):
    whole = (folder / WHOLE).read_bytes()
    content, said = spoilt(whole)[kind]
    (folder / WHOLE).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors .*{said}"):
        load_network(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "generation_config.json", WHOLE,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "kosmos-2.pt", "weights.pth", "pytorch_model.bin.index.json"],
)
def test_a_pickle_is_refused_with_the_way_to_convert_it(folder, name):
    (folder / WHOLE).rename(folder / name)
    with pytest.raises(CheckpointError, match=f"{name}, a pickle.*save_pretrained"):
        load_network(folder)


def test_a_header_of_640_bytes_is_not_taken_for_a_pickle(tmp_path):
    """Such a file starts with the very bytes 80 02 of a pickle."""
    header = b'{"stray":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(640)
    tmp_path.joinpath(WHOLE).write_bytes((640).to_bytes(8, "little") + header + bytes(4))
    tmp_path.joinpath("config.json").write_text(json.dumps(config_to_reference(Config.tiny())))
    with pytest.raises(CheckpointError, match="1 unknown: stray"):
        load_network(tmp_path)


@pytest.fixture
def sharded(tmp_path, network):
    save_network(tmp_path / "shards", network, shard_bytes=200_000)
    return tmp_path / "shards"


def rewrite_index(folder, change):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    (folder / "model.safetensors.index.json").write_text(json.dumps(change(index)))


def test_missing_shards_are_listed_together(sharded):
    first, second, *_ = sorted(sharded.glob("*.safetensors"))
    first.unlink()
    second.unlink()
    with pytest.raises(CheckpointError, match=f"lacks 2 of .*{first.name}, {second.name}"):
        load_network(sharded)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "weights.bin", ""])
def test_an_index_cannot_point_elsewhere(sharded, name):
    rewrite_index(sharded, lambda index: {"weight_map": {**index["weight_map"], NORM: name}})
    with pytest.raises(CheckpointError, match="safetensors files beside it"):
        load_network(sharded)


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}, []])
def test_an_index_that_says_nothing_is_refused(sharded, index):
    rewrite_index(sharded, lambda _: index)
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        load_network(sharded)


def test_a_tensor_in_two_shards_is_refused(sharded, network):
    shard = sorted(sharded.glob("*.safetensors"))[-1]
    first = ours_to_theirs(next(name for name, _ in network.named_parameters()))
    save_file({**load_file(shard), first: torch.zeros(1)}, shard, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"is in both model-00001-of.* and {shard.name}"):
        load_network(sharded)


def test_a_cut_shard_is_named(sharded):
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{shard.name} is cut short"):
        load_network(sharded)
