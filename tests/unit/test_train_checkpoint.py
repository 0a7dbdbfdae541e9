"""A checkpoint on disk: whole and proven, or not there; and nothing in it that could run."""

import errno
import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from crashing_disk import CrashingDisk, Killed
from kosmos2.errors import CheckpointError
from kosmos2.train import checkpoint
from kosmos2.weights.save import SaveError

PARTS = {
    "learner": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.5, -0.0])},
    "random": {"cpu": torch.arange(40, dtype=torch.uint8)},
}
NOTES = {"step": 12, "position": 96, "more": {"bad": 1}}


def written(folder: Path, step: int = 12, parts=PARTS, notes=NOTES) -> Path:
    path = folder / f"step-{step:07d}"
    checkpoint.write(path, step, parts, notes)
    return path


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    kinds = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32,
             torch.int16, torch.int8, torch.uint8, torch.bool]  # fmt: skip
    tensors = {str(kind): torch.tensor([3, 0, 1]).to(kind) for kind in kinds}
    tensors |= {
        "turned": torch.arange(12.0).reshape(3, 4).T,
        "part": torch.arange(12.0)[3:7],
        "scalar": torch.tensor(0.1),
        "empty": torch.empty(0, 3),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0]),
    }
    path = written(tmp_path, parts={"learner": tensors})
    for found in (checkpoint.read(path).part("learner"), load_file(path / "learner.safetensors")):
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert found[name].shape == tensor.shape
            bits = [one.contiguous().flatten().view(torch.uint8) for one in (found[name], tensor)]
            assert torch.equal(*bits)
    assert checkpoint.read(path).notes == NOTES


def test_the_hash_of_a_state_is_that_of_its_manifest_in_whatever_order_it_comes(tmp_path):
    path = written(tmp_path)
    turned = {part: dict(reversed(PARTS[part].items())) for part in reversed(PARTS)}
    hashes = {
        checkpoint.read(path).state_hash,
        hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest(),
        checkpoint.state_hash(12, PARTS, NOTES),
        checkpoint.state_hash(12, turned, dict(reversed(NOTES.items()))),
    }
    assert len(hashes) == 1


def test_one_turned_bit_in_any_file_is_noticed(tmp_path):
    path = written(tmp_path)
    for file in path.iterdir():
        data = file.read_bytes()
        for bit in range(0, 8 * len(data), 13):
            turned = bytearray(data)
            turned[bit // 8] ^= 1 << bit % 8
            file.write_bytes(turned)
            with pytest.raises(CheckpointError, match="damaged"):
                checkpoint.read(path)
        file.write_bytes(data)
    assert checkpoint.read(path).notes == NOTES


@pytest.mark.parametrize("name", ["learner.safetensors", "notes.json", "manifest.json"])
def test_a_cut_or_missing_file_is_noticed_and_named(tmp_path, name):
    file = written(tmp_path) / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=name):
        checkpoint.read(file.parent)
    file.unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        checkpoint.read(file.parent)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"files": 3}', '{"files": {"..": {}}}', "[" * 9999]
)
def test_something_else_in_the_place_of_a_manifest_is_damage(tmp_path, text):
    path = written(tmp_path)
    (path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match="manifest"):
        checkpoint.read(path)


def test_a_checkpoint_under_the_name_of_another_step_is_refused(tmp_path):
    path = written(tmp_path).rename(tmp_path / "step-0000013")
    with pytest.raises(CheckpointError, match="manifest"):
        checkpoint.read(path)


def test_a_pickle_that_the_manifest_vouches_for_is_still_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path = written(tmp_path)
    (path / "learner.safetensors").write_bytes(pickle.dumps(Bomb()))
    manifest = json.loads((path / "manifest.json").read_text())
    files = {n: checkpoint.measured_file(path / n) for n in manifest["files"]}
    (path / "manifest.json").write_bytes(checkpoint._manifest(12, files))
    saved = checkpoint.read(path)
    with pytest.raises(CheckpointError, match="is a pickle under another name") as refused:
        saved.part("learner")
    assert refused.value.exit_code == 65
    assert not (tmp_path / "ran").exists()


def test_files_written_beside_the_tensors_are_vouched_for_too(tmp_path):
    def more(draft: Path) -> None:
        (draft / "shards").mkdir()
        (draft / "shards" / "a").write_bytes(b"of another process")

    path = tmp_path / "step-0000012"
    checkpoint.write(path, 12, PARTS, NOTES, more)
    checkpoint.read(path)
    (path / "shards" / "a").write_bytes(b"of another program")
    with pytest.raises(CheckpointError, match="shards/a"):
        checkpoint.read(path)


def calls_of_a_save(tmp_path: Path, monkeypatch) -> list[str]:
    folder = tmp_path / "counted"
    folder.mkdir()
    with monkeypatch.context() as patch:
        disk = CrashingDisk(patch)
        written(folder)
    assert not disk.unsynced, "all bytes are waited for"
    assert not disk.unlisted, "the folder knows of its files"
    assert not disk.unnamed, "and its own folder of it"
    return disk.calls


def test_a_power_cut_at_any_call_leaves_a_good_checkpoint_or_none(tmp_path, monkeypatch):
    calls = calls_of_a_save(tmp_path, monkeypatch)
    named = len(calls) - calls[::-1].index("rename")
    for at in range(len(calls)):
        folder = tmp_path / str(at)
        folder.mkdir()
        with monkeypatch.context() as patch:
            disk = CrashingDisk(patch, at)
            with pytest.raises(Killed):
                written(folder)
        if at >= named:
            checkpoint.read(*checkpoint.found(folder))  # only the process died: its name is there
        disk.lose()
        for path in checkpoint.found(folder):
            checkpoint.read(path)


def test_a_disk_full_at_any_call_leaves_no_draft(tmp_path, monkeypatch):
    calls = calls_of_a_save(tmp_path, monkeypatch)
    for at in range(calls.index("rename") + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        with monkeypatch.context() as patch:
            CrashingDisk(patch, at, "full")
            with pytest.raises(SaveError, match=r"No space left .* intact") as refused:
                written(folder)
        assert refused.value.exit_code == 74
        assert not list(folder.iterdir())
    written(folder)  # and with room again it works


def test_a_disk_that_keeps_something_else_is_found_out_before_the_name_is_given(
    tmp_path, monkeypatch
):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, bytes(len(data))))
    with pytest.raises(SaveError, match="is no manifest"):
        written(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_broken_disk_is_an_error_of_the_disk(tmp_path, monkeypatch):
    def broken(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(SaveError, match="Input/output error"):
        written(tmp_path)


def test_tensors_are_written_without_a_second_copy_of_them(tmp_path):
    tensors = {str(number): torch.zeros(2**18) for number in range(64)}  # a MiB each
    assert max(len(data) for data in checkpoint.bytes_of(tensors)) == 2**20
    pieces = iter(checkpoint.bytes_of(tensors))
    next(pieces)
    tensors["0"].fill_(7)
    assert memoryview(next(pieces)).cast("f")[5] == 7, "the tensor's own memory is written"
