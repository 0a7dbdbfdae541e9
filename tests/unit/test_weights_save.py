"""Saving: all of it or nothing, whatever the disk, the signals and the folder are up to."""

import errno
import json
import os
import resource

import pytest
import torch
from safetensors import safe_open

from kosmos2.config import Config
from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.model import Network
from kosmos2.weights import save
from kosmos2.weights.load import load_network, read_generation_config
from kosmos2.weights.save import SaveError, save_network


@pytest.fixture(scope="module")
def network():
    built = Network(Config.tiny())
    built.initialise(torch.Generator().manual_seed(30))
    return built


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_holds_the_weights_and_both_configs(tmp_path, network):
    save_network(tmp_path / "new" / "model", network, generation={"no_repeat_ngram_size": 3})
    assert set(contents(tmp_path / "new" / "model")) == {
        "config.json", "generation_config.json", "model.safetensors",
    }  # fmt: skip
    expected = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "no_repeat_ngram_size": 3}
    assert read_generation_config(tmp_path / "new" / "model") == expected


def test_saving_twice_writes_the_same_bytes(tmp_path, network):
    save_network(tmp_path / "one", network)
    save_network(tmp_path / "two", network)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_tensors_start_on_borders_that_make_mapped_memory_quick(tmp_path, network):
    save_network(tmp_path, network)
    with (tmp_path / "model.safetensors").open("rb") as stream:
        assert (8 + int.from_bytes(stream.read(8), "little")) % 64 == 0


@pytest.mark.parametrize("shard_bytes", [1, 50_000, 300_000, 10**9])
def test_no_shard_is_larger_than_asked_unless_one_tensor_is(tmp_path, network, shard_bytes):
    save_network(tmp_path, network, shard_bytes=shard_bytes)
    seen = set()
    for path in tmp_path.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            size = sum(file.get_tensor(name).nbytes for name in names)
        assert size <= shard_bytes or len(names) == 1
        assert not seen & names
        seen |= names
    assert len(seen) == len(list(network.parameters()))


def test_the_index_says_what_is_where(tmp_path, network):
    save_network(tmp_path, network, shard_bytes=200_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * sum(p.numel() for p in network.parameters())
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / file, framework="pt") as shard:
            assert name in shard.keys()  # noqa: SIM118


@pytest.mark.parametrize(("first", "second"), [(10**9, 10**5), (10**5, 10**9), (10**5, 10**6)])
def test_no_weights_of_an_earlier_save_stay_behind(tmp_path, network, first, second):
    """A forgotten model.safetensors would be read instead of the new shards."""
    (tmp_path / "tokenizer.json").write_text("{}")
    save_network(tmp_path, network, shard_bytes=first)
    other = Network(Config.tiny())
    other.initialise(torch.Generator().manual_seed(31))
    save_network(tmp_path, other, shard_bytes=second)
    save_network(tmp_path / "alone", other, shard_bytes=second)
    assert set(contents_of_files(tmp_path)) == {*contents(tmp_path / "alone"), "tokenizer.json"}
    loaded = load_network(tmp_path)
    assert torch.equal(loaded.decoder.words.weight, other.decoder.words.weight)


def contents_of_files(folder):
    return [path.name for path in folder.iterdir() if path.is_file()]


@pytest.fixture
def small_disk():
    """Files may not grow beyond 100 kB: the same failure, in the same place, as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_a_file_that_does_not_fit_leaves_nothing(tmp_path, network):
    with pytest.raises(
        SaveError, match=r"cannot write .*model\.safetensors: .*nothing was changed"
    ):
        save_network(tmp_path / "new", network)
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_the_earlier_save(tmp_path, network, monkeypatch):
    save_network(tmp_path, network)
    before = contents(tmp_path)
    written = []

    def full(handle):
        written.append(handle)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    other = Network(Config.tiny())
    other.initialise()
    with pytest.raises(SaveError, match="No space left on device") as caught:
        save_network(tmp_path, other, shard_bytes=200_000)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 74
    assert contents(tmp_path) == before


def test_every_file_is_on_the_disk_before_any_has_its_name(tmp_path, network, monkeypatch):
    events = []
    flush, original = os.fsync, save.Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("flush"), flush(handle)))
    monkeypatch.setattr(
        save.Path, "replace", lambda a, b: (events.append("name"), original(a, b))[1]
    )
    save_network(tmp_path, network, shard_bytes=10**9)
    assert events == ["flush"] * 3 + ["name"] * 3 + ["flush"]  # the last is the folder's own


def test_an_interrupt_leaves_nothing_half_written(tmp_path, network, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_network(tmp_path / "new", network)
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path, network):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(SaveError, match="taken"):
        save_network(tmp_path / "taken", network)
    assert (tmp_path / "taken").read_text() == "mine"


def test_nothing_to_save_is_said_so(tmp_path):
    with torch.device("meta"):
        empty = Network(Config.tiny())
    with pytest.raises(CheckpointError, match="no weights yet"):
        save_network(tmp_path / "new", empty)
    assert not (tmp_path / "new").exists()


def test_senseless_settings_are_refused(tmp_path, network):
    with pytest.raises(ConfigError, match="shard_bytes is 0"):
        save_network(tmp_path, network, shard_bytes=0)
    with pytest.raises(ConfigError, match=r"dtype is torch\.int8"):
        save_network(tmp_path, network, dtype=torch.int8)
