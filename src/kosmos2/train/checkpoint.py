"""A training run on disk: parameters, optimiser and place, written so that a kill loses little.

Each checkpoint is a folder that appears whole, by a rename, once all its files are on the disk. The
last two are kept. Only tensors and JSON are written: nothing that could run code when read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from kosmos2.errors import CheckpointError

_NAME = re.compile(r"step-(\d{7})$")
_KEEP = 2


def save(
    folder: Path, step: int, learner: nn.Module, optimiser: torch.optim.Optimizer, notes: dict
) -> Path:
    """Write checkpoint `step` and drop all but the last two."""
    final = folder / f"step-{step:07d}"
    draft = folder / f"{final.name}.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file(_own(learner.state_dict()), draft / "learner.safetensors")
    state = optimiser.state_dict()["state"]
    moments = {f"{i}.{k}": v for i, held in state.items() for k, v in held.items()}
    save_file(_own(moments), draft / "optimiser.safetensors")
    (draft / "notes.json").write_text(json.dumps({"step": step, **notes}, indent=1))
    for file in draft.iterdir():
        _sync(file)
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    _sync(folder)
    for old in found(folder)[:-_KEEP]:
        shutil.rmtree(old)
    return final


def found(folder: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.search(path.name))


def restore(path: Path, learner: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Put everything back as it was; returns the notes.

    Raises:
        CheckpointError: the folder is not a checkpoint of this learner.
    """
    try:
        learner.load_state_dict(load_file(path / "learner.safetensors"))
        moments = load_file(path / "optimiser.safetensors")
        notes = json.loads((path / "notes.json").read_text())
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of this recipe ({type(error).__name__}); "
            "remove it to go on from the one before, or train into another folder"
        ) from error
    state = optimiser.state_dict()
    state["state"] = {}
    for name, value in moments.items():
        index, key = name.split(".", 1)
        state["state"].setdefault(int(index), {})[key] = value
    optimiser.load_state_dict(state)
    return notes


def _own(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
