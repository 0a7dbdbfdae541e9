"""A network becomes a folder in the layout of the reference: all of it, or nothing.

Each file is written under a temporary name and flushed to the disk; only when every one is there do
they get their names. A full disk, a signal or a crash leaves what was there before. Tensors go to
the file one at a time, so saving needs no second copy of the weights.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.model import Network
from kosmos2.model.quantised import FIXED, Packing, kind_of, tensors
from kosmos2.weights.names import config_to_reference, mark_of, ours_to_theirs
from kosmos2.weights.stored import INDEX, SHARDS, WHOLE

log = logging.getLogger(__name__)

SHARD_BYTES = 5_000_000_000
ALIGNED = 64  # bytes; tensors that start on such a border are as quick mapped as copied
SPELLED = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
    torch.uint8: "U8",
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
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json, generation_config.json and the weights, so that the reference loads them.

    Weights of more than `shard_bytes` are split over several files, with an index. `generation`
    adds to the generation settings, for instance `{"no_repeat_ngram_size": 3}`; `config` to what
    config.json says of the network. Weight files of an earlier save in the same folder go;
    everything else in it stays.

    A quantised network is saved as it is, and only this library reads it: config.json says so in a
    way that makes the reference refuse the folder, and `dtype` is only of what is not quantised.

    Raises:
        SaveError: the disk is full, or the folder cannot be written; nothing has changed.
    """
    if shard_bytes < 1:
        raise ConfigError(f"shard_bytes is {shard_bytes}; give at least 1")
    if dtype is not None and (dtype not in SPELLED or not dtype.is_floating_point):
        raise ConfigError(f"dtype is {dtype}; weights are float32, bfloat16 or float16")
    weights = {ours_to_theirs(name): _Weight.of(name, one, dtype) for name, one in tensors(network)}
    if any(weight.is_missing for weight in weights.values()):
        raise CheckpointError(f"nothing to save to {folder}: the network has no weights yet")
    text = network.config.text
    ids = {"bos_token_id": text.bos, "eos_token_id": text.eos, "pad_token_id": text.pad}
    sizes = config_to_reference(network.config)
    settings = {**sizes, **(config or {}), **mark_of(kind_of(network))}
    shards = _split(weights, shard_bytes)
    with together(Path(folder)) as files:
        for name, shard in shards.items():
            with files.writing(name) as stream:
                _write_weights(stream, shard)
        if len(shards) > 1:
            write_json(files, INDEX, _index(shards))
        write_json(files, "generation_config.json", {**ids, **(generation or {})})
        write_json(files, "config.json", settings)
        files.obsolete = (WHOLE, INDEX, SHARDS)
    log.info("saved %d tensors to %s", len(weights), folder)


@dataclass(frozen=True, slots=True)
class _Weight:
    """One tensor, and the type it is written in."""

    tensor: Tensor | Packing
    dtype: torch.dtype

    @classmethod
    def of(cls, name: str, tensor: Tensor | Packing, dtype: torch.dtype | None) -> Self:
        fixed = dtype is None or name.endswith(FIXED)
        return cls(tensor, tensor.dtype if fixed or dtype is None else dtype)

    @property
    def is_missing(self) -> bool:
        return isinstance(self.tensor, Tensor) and self.tensor.is_meta

    @property
    def bytes(self) -> int:
        return math.prod(self.tensor.shape) * self.dtype.itemsize

    def plain(self) -> Tensor:
        tensor = self.tensor.detach() if isinstance(self.tensor, Tensor) else self.tensor.plain()
        return tensor.to("cpu", self.dtype).contiguous()


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
def together(folder: Path) -> Iterator[_Files]:
    """Files that appear in a folder together, or not at all.

    Raises:
        SaveError: one could not be written; nothing has changed.
    """
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


def _split(weights: dict[str, _Weight], shard_bytes: int) -> dict[str, dict[str, _Weight]]:
    """File names and what goes into each: as much as fits, and at least one tensor."""
    shards: list[dict[str, _Weight]] = []
    room = 0
    for name, weight in weights.items():
        if not shards or weight.bytes > room:
            shards.append({})
            room = shard_bytes
        shards[-1][name] = weight
        room -= weight.bytes
    if len(shards) == 1:
        return {WHOLE: shards[0]}
    count = len(shards)
    return {
        f"model-{number:05}-of-{count:05}.safetensors": shard
        for number, shard in enumerate(shards, start=1)
    }


def _index(shards: dict[str, dict[str, _Weight]]) -> dict[str, Any]:
    total = sum(weight.bytes for shard in shards.values() for weight in shard.values())
    return {
        "metadata": {"total_size": total},
        "weight_map": {name: file for file, shard in shards.items() for name in shard},
    }


def write_tensors(stream: BinaryIO, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as they are, in the safetensors format."""
    _write_weights(stream, {name: _Weight(one, one.dtype) for name, one in tensors.items()})


def _write_weights(stream: BinaryIO, weights: dict[str, _Weight]) -> None:
    """The safetensors format: length of the header, header, and the tensors' bytes in its order."""
    # The widest numbers first: then all of them start where their type may start.
    weights = dict(sorted(weights.items(), key=lambda item: -item[1].dtype.itemsize))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, weight in weights.items():
        begin, end = end, end + weight.bytes
        header[name] = {
            "dtype": SPELLED[weight.dtype],
            "shape": list(weight.tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNED)
    stream.write(len(text).to_bytes(8, "little"))
    stream.write(text)
    for weight in weights.values():
        stream.write(weight.plain().flatten().view(torch.uint8).numpy().data)


def write_json(files: _Files, name: str, values: dict[str, Any]) -> None:
    """A table of settings."""
    with files.writing(name) as stream:
        stream.write(json.dumps(values, indent=2).encode() + b"\n")
