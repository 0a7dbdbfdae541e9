"""A network becomes a folder in the layout of the reference: all of it, or nothing.

Each file is written under a temporary name and flushed to the disk; only when every one is there do
they get their names. A full disk, a signal or a crash leaves what was there before. Tensors go to
the file one at a time, so saving needs no second copy of the weights.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.model import Network
from kosmos2.weights.names import config_to_reference, ours_to_theirs
from kosmos2.weights.stored import INDEX, SHARDS, WHOLE

log = logging.getLogger(__name__)

SHARD_BYTES = 5_000_000_000
ALIGNED = 64  # bytes; tensors that start on such a border are as quick mapped as copied
SPELLED = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}


class SaveError(CheckpointError):
    """Files that could not be written; what was there before is still there."""

    exit_code = 74


def save_network(
    folder: str | Path,
    network: Network,
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    generation: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json, generation_config.json and the weights, so that the reference loads them.

    Weights of more than `shard_bytes` are split over several files, with an index. `generation`
    adds to the generation settings, for instance `{"no_repeat_ngram_size": 3}`. Weight files of an
    earlier save in the same folder go; everything else in it stays.

    Raises:
        SaveError: the disk is full, or the folder cannot be written; nothing has changed.
    """
    if shard_bytes < 1:
        raise ConfigError(f"shard_bytes is {shard_bytes}; give at least 1")
    if dtype is not None and dtype not in SPELLED:
        raise ConfigError(f"dtype is {dtype}; weights are float32, bfloat16 or float16")
    tensors = {ours_to_theirs(name): p.detach() for name, p in network.named_parameters()}
    if any(tensor.is_meta for tensor in tensors.values()):
        raise CheckpointError(f"nothing to save to {folder}: the network has no weights yet")
    text = network.config.text
    ids = {"bos_token_id": text.bos, "eos_token_id": text.eos, "pad_token_id": text.pad}
    shards = _split(tensors, dtype, shard_bytes)
    with _together(Path(folder)) as files:
        for name, shard in shards.items():
            with files.writing(name) as stream:
                _write_tensors(stream, shard, dtype)
        if len(shards) > 1:
            _write_json(files, INDEX, _index(shards, dtype))
        _write_json(files, "generation_config.json", {**ids, **(generation or {})})
        _write_json(files, "config.json", config_to_reference(network.config))
        files.obsolete = (WHOLE, INDEX, SHARDS)
    log.info("saved %d tensors to %s", len(tensors), folder)


class _Files:
    """Files of one folder that appear together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: dict[Path, Path] = {}  # final name to temporary one
        self.obsolete: tuple[str, ...] = ()  # patterns; matching files that are not ours go

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to; when it closes it is on the disk, but not yet under its name."""
        temporary = self.folder / f".{name}.{secrets.token_hex(4)}.tmp"
        self.waiting[self.folder / name] = temporary
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())

    def appear(self) -> None:
        """Give every file its name, then remove those of an earlier save."""
        for final, temporary in self.waiting.items():
            temporary.replace(final)
        for pattern in self.obsolete:
            for old in self.folder.glob(pattern):
                if old not in self.waiting:
                    old.unlink()
        if os.name == "posix":  # elsewhere folders cannot be opened, nor need they be
            handle = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def vanish(self) -> None:
        """Remove what has not got its name."""
        for temporary in self.waiting.values():
            temporary.unlink(missing_ok=True)


@contextmanager
def _together(folder: Path) -> Iterator[_Files]:
    files, is_new = _Files(folder), not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield files
        files.appear()
    except OSError as error:
        place = next(reversed(files.waiting), folder)
        raise SaveError(
            f"cannot write {place}: {error.strerror or error}; nothing was changed there. "
            "Free some space or choose another folder, and save again"
        ) from error
    finally:
        files.vanish()
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _split(
    tensors: dict[str, Tensor], dtype: torch.dtype | None, shard_bytes: int
) -> dict[str, dict[str, Tensor]]:
    """File names and what goes into each: as much as fits, and at least one tensor."""
    shards: list[dict[str, Tensor]] = []
    room = 0
    for name, tensor in tensors.items():
        size = _bytes(tensor, dtype)
        if not shards or size > room:
            shards.append({})
            room = shard_bytes
        shards[-1][name] = tensor
        room -= size
    if len(shards) == 1:
        return {WHOLE: shards[0]}
    count = len(shards)
    return {
        f"model-{number:05}-of-{count:05}.safetensors": shard
        for number, shard in enumerate(shards, start=1)
    }


def _index(shards: dict[str, dict[str, Tensor]], dtype: torch.dtype | None) -> dict[str, Any]:
    total = sum(_bytes(tensor, dtype) for shard in shards.values() for tensor in shard.values())
    return {
        "metadata": {"total_size": total},
        "weight_map": {name: file for file, shard in shards.items() for name in shard},
    }


def _write_tensors(stream: BinaryIO, tensors: dict[str, Tensor], dtype: torch.dtype | None) -> None:
    """The safetensors format: length of the header, header, and the tensors' bytes in its order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + _bytes(tensor, dtype)
        header[name] = {
            "dtype": SPELLED[dtype or tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNED)
    stream.write(len(text).to_bytes(8, "little"))
    stream.write(text)
    for tensor in tensors.values():
        plain = tensor.to("cpu", dtype or tensor.dtype).contiguous()
        stream.write(plain.flatten().view(torch.uint8).numpy().data)


def _write_json(files: _Files, name: str, values: dict[str, Any]) -> None:
    with files.writing(name) as stream:
        stream.write(json.dumps(values, indent=2).encode() + b"\n")


def _bytes(tensor: Tensor, dtype: torch.dtype | None) -> int:
    return tensor.numel() * (dtype or tensor.dtype).itemsize
