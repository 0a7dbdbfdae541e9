"""Slices of tensors on disk: written by any number of processes, read by any other number.

torch's distributed checkpoint plans who writes what and who reads what. The files are safetensors
whose headers say where each slice belongs, as torch's own reader for that format expects; there is
no pickle among them, unlike the usual `.metadata` of such checkpoints.

    step-0000500/
        learner.safetensors ...         what all processes hold alike, by part, as without slices
        shards/shard-00001.safetensors  the first process's slices of all parts, as "learner/NAME"
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.distributed.tensor import DTensor
from torch.futures import Future

from kosmos2.errors import CheckpointError
from kosmos2.train.checkpoint import bytes_of

_INFO, _OFFSETS = "DCP_SHARDING_INFO", "saved_offsets"  # in a header, for torch's reader


def write(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write slices into a folder that all processes see; every process calls this.

    Raises:
        OSError: some process could not.
    """
    try:
        dcp.save(dict(tensors), storage_writer=_Writer(str(folder), save_distributed=True))
    except CheckpointException as error:
        failures = [failure for failure, _ in error.failures.values()]
        lack = next((one for one in failures if isinstance(one, OSError)), None)
        raise lack or OSError(str(failures[0])) from error


def read(folder: Path, part: str, like: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
    """The tensors of a part: sliced as those they are like, or else whole.

    Raises:
        CheckpointError: files are missing, foreign or damaged.
    """
    reader, begin = HuggingFaceStorageReader(str(folder)), f"{part}/"
    try:
        tensors = {
            name: _empty(stored, like(name.removeprefix(begin)))
            for name, stored in reader.read_metadata().state_dict_metadata.items()
            if name.startswith(begin) and isinstance(stored, TensorStorageMetadata)
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that this process reads for itself
            dcp.load(tensors, storage_reader=reader, no_dist=True)
    except (CheckpointException, OSError, ValueError, KeyError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise CheckpointError(f"{folder} does not hold a whole checkpoint: {reason}") from error
    return {name.removeprefix(begin): tensor for name, tensor in tensors.items()}


def _empty(stored: TensorStorageMetadata, model: Tensor | None) -> Tensor:
    """Room for a stored tensor, or for the slice of it that this process has of its like."""
    kind = stored.properties.dtype
    if isinstance(model, DTensor) and model.shape == stored.size:
        return torch.empty_like(model, dtype=kind, requires_grad=False)
    return torch.empty(stored.size, dtype=kind)


class _Writer(HuggingFaceStorageWriter):
    """torch's writer of safetensors, but equal slices give equal bytes, and are on the disk after.

    A checkpoint's manifest names the state of a run by its files' hashes; torch's files have the
    entries of their headers in another order each time.
    """

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        tensors: dict[str, Tensor] = {}
        places: dict[str, dict[str, list[int]]] = {}
        for item in sorted(plan.items, key=lambda item: item.index.fqn):
            tensor, name = planner.resolve_data(item), item.index.fqn
            assert isinstance(tensor, Tensor)
            assert item.tensor_data is not None
            tensors[name], places[name] = tensor, {_OFFSETS: list(item.tensor_data.chunk.offsets)}
        file = Path(self.path) / f"shard-{plan.storage_data['shard_index']:05}.safetensors"
        with file.open("xb") as stream:
            for data in bytes_of(tensors, {_INFO: json.dumps(places)}):
                stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        written: Future[list[WriteResult]] = Future()
        written.set_result(
            [WriteResult(item.index, tensors[item.index.fqn].nbytes, None) for item in plan.items]
        )
        return written
