"""One checkpoint on disk: a folder that is there whole, and can prove it, or not there at all.

Tensors go to safetensors files and the rest to JSON: nothing here could run code when read.
`manifest.json` is written last and holds the SHA-256 of every file. It is a pure function of what
was saved, so its own SHA-256 names the state of a run: two runs that have the same `state_hash` at
a step are the same run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kosmos2.errors import CheckpointError
from kosmos2.train.files import DRAFT, Bytes, bytes_of, measured, measured_file, sync, writing
from kosmos2.weights.save import SaveError
from kosmos2.weights.stored import opened

Parts = Mapping[str, Mapping[str, Tensor]]

MANIFEST, NOTES = "manifest.json", "notes.json"
_NAME = re.compile(r"step-(\d{7,})")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose files are what they were when it was written."""

    path: Path
    step: int
    notes: dict[str, Any]
    state_hash: str

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of a part, mapped from the file: copy them, for the file may go.

        Raises:
            CheckpointError: there is no such part, or its file is something else.
        """
        file = self.path / f"{name}.safetensors"
        if not file.is_file():
            raise CheckpointError(f"{self.path} has no {file.name}; it is of another recipe")
        with opened(file) as tensors:
            return {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118


def found(folder: Path) -> list[Path]:
    """Folders with the name of a checkpoint, oldest first; whether one is good, `read` says."""
    names = ((_NAME.fullmatch(path.name), path) for path in folder.glob("step-*"))
    return [path for _, path in sorted((int(match[1]), path) for match, path in names if match)]


def write(
    final: Path,
    step: int,
    parts: Parts,
    notes: Mapping[str, Any],
    more: Callable[[Path], None] | None = None,
) -> str:
    """Write a checkpoint and give it its name once all of it is on the disk, and proves good.

    Returns the hash of the state, which its manifest is a function of.

    Args:
        final: its name; nothing has it yet.
        step: steps done.
        parts: tensors, by file and name.
        notes: plain values; with no times or machines in them, so that equal runs have equal notes.
        more: writes files of its own into the folder that it is given.

    Raises:
        SaveError: the disk is full or broken; what was there before still is, and nothing else.
    """
    draft = final.with_name(final.name + DRAFT)
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        if more:
            more(draft)
        files = {}
        for name, stream in _files(parts, notes):
            with writing(draft / name) as put:
                files[name] = measured(stream, put)
        for path in sorted(path for path in draft.rglob("*") if path.is_file()):
            name = path.relative_to(draft).as_posix()
            if name not in files:
                sync(path)
                files[name] = measured_file(path)
        with writing(draft / MANIFEST) as put:
            put(_manifest(step, files))
        for folder in [path for path in draft.rglob("*") if path.is_dir()]:
            sync(folder)
        sync(draft)
        try:
            proof = verify(draft, step)
        except CheckpointError as error:  # the disk said yes and kept something else
            raise OSError(str(error)) from error
        os.rename(draft, final)  # noqa: PTH104  (as the other calls that a crash may follow)
        sync(final.parent)
        return proof
    except OSError as error:
        raise SaveError(
            f"step {step} cannot be saved in {final.parent}: {error.strerror or error}; the "
            "checkpoints before it are intact. Free some space there and give the same command"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def state_hash(step: int, parts: Parts, notes: Mapping[str, Any]) -> str:
    """What the manifest of such a checkpoint would hash to, without writing one."""
    files = {name: measured(stream) for name, stream in _files(parts, notes)}
    return hashlib.sha256(_manifest(step, files)).hexdigest()


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors as a file of them would be."""
    sha256: str = measured(bytes_of(tensors))["sha256"]
    return sha256


def verify(path: Path, step: int) -> str:
    """Read every byte of a checkpoint and compare it with the manifest; returns the state's hash.

    Raises:
        CheckpointError: a file is missing, cut or changed, or the manifest itself is.
    """
    try:
        raw = (path / MANIFEST).read_bytes()
        manifest = json.loads(raw)
        files: dict[str, dict[str, Any]] = manifest["files"]
        if raw != _manifest(step, files):
            raise CheckpointError(f"{path} is damaged: {MANIFEST} is not as it was written")
        for name, entry in files.items():
            if measured_file(path / name) != entry:
                raise CheckpointError(f"{path} is damaged: {name} is not as it was written")
    except FileNotFoundError as error:
        missing = Path(error.filename or MANIFEST).name
        raise CheckpointError(f"{path} is damaged: {missing} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {MANIFEST} is no manifest") from error
    return hashlib.sha256(raw).hexdigest()


def read(path: Path) -> Checkpoint:
    """Open a checkpoint, its bytes compared with its manifest first.

    Raises:
        CheckpointError: it is damaged.
    """
    match = _NAME.fullmatch(path.name)
    if not match:
        raise CheckpointError(f"{path} is no checkpoint; those are called step-0000123")
    step = int(match[1])
    proof = verify(path, step)
    try:
        notes = json.loads((path / NOTES).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} has no {NOTES} that can be read") from error
    return Checkpoint(path, step, notes, proof)


def _files(parts: Parts, notes: Mapping[str, Any]) -> Iterator[tuple[str, Iterator[Bytes]]]:
    for name, tensors in parts.items():
        yield f"{name}.safetensors", bytes_of(tensors)
    text = json.dumps(dict(notes), indent=1, sort_keys=True) + "\n"
    yield NOTES, iter([text.encode()])


def _manifest(step: int, files: Mapping[str, Any]) -> bytes:
    values = {"format": _FORMAT, "step": step, "files": files}
    return json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"
