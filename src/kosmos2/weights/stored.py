"""Weight files on disk: which there are, and what their headers say, before a tensor is read.

Only safetensors are opened: a JSON header of names, types and shapes, then bytes. What a header
promises is checked against the file by the safetensors library, without reading those bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from kosmos2.errors import CheckpointError

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.bin.index.json")
CONVERT = (
    "convert it once, where you trust it, with the transformers library: "
    "Kosmos2ForConditionalGeneration.from_pretrained(OLD).save_pretrained(NEW)"
)
LARGEST_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file, as the file's header describes it."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str  # as safetensors spells it: F32, BF16, ...


def catalogue(folder: Path) -> dict[str, Stored]:
    """Every tensor that a folder holds, by the reference's name, from the headers alone.

    Raises:
        CheckpointError: no weights, only pickles, a shard missing, a file cut or not safetensors.
    """
    found: dict[str, Stored] = {}
    for file in weight_files(folder):
        with opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118  (it is no dict)
                if name in found:
                    raise CheckpointError(
                        f"{name} is in both {found[name].file.name} and {file.name} of {folder}; "
                        "remove the file that does not belong"
                    )
                header = tensors.get_slice(name)
                found[name] = Stored(file, name, tuple(header.get_shape()), header.get_dtype())
    return found


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights: one, or the shards that its index names.

    Raises:
        CheckpointError: there are none, or not all of them.
    """
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if not (folder / INDEX).is_file():
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise CheckpointError(
                f"{folder} has its weights only as {pickles[0]}, a pickle, which can run any code "
                f"when it is opened, so it never is here; {CONVERT}"
            )
        raise CheckpointError(f"{folder} has no weights: neither {WHOLE} nor {INDEX} is in it")
    table = read_json(folder / INDEX).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise CheckpointError(f"{folder / INDEX} has no weight_map that says what is where")
    names = sorted({str(name) for name in table.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"{folder / INDEX} points to {name!r}; weights are safetensors files beside it"
            )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of its {len(names)} weight files: "
            f"{', '.join(missing)}; download or copy them again"
        )
    return [folder / name for name in names]


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A weight file, its header checked and its bytes mapped into memory, not read.

    Raises:
        CheckpointError: it is cut, its header lies, or it is something else.
    """
    try:
        tensors = safe_open(file, framework="pt")
    except SafetensorError as error:
        raise CheckpointError(f"{file} {_instead(file)} ({error})") from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be opened: {error}") from error
    with tensors as handle:
        yield handle


def read_json(file: Path) -> dict[str, Any]:
    """A table of settings beside the weights.

    Raises:
        CheckpointError: no file, no JSON, no table.
    """
    try:
        if file.stat().st_size > LARGEST_JSON_BYTES:
            raise CheckpointError(f"{file} is {file.stat().st_size:,} bytes; that is no settings")
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{file.parent} has no {file.name}; is it the folder of a model?"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # bad UTF-8, bad JSON, a tower of brackets
        raise CheckpointError(f"{file} is not JSON: {error}; download or copy it again") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} holds a {type(values).__name__}; it should be a table")
    return values


def _instead(file: Path) -> str:
    """What a file that is not safetensors seems to be, and what to do about it."""
    with file.open("rb") as stream:
        start = stream.read(16)
    if not start:
        return "is empty; download or copy it again"
    if start.startswith(b"PK\x03\x04") or (start[0] == 0x80 and start[1:2] in b"\2\3\4\5"):
        return f"is a pickle under another name, and is not opened: it could run code; {CONVERT}"
    if start.startswith(b"version https://"):
        return "is only a pointer of Git LFS; fetch the file itself with `git lfs pull`"
    return "is cut short or damaged; download or copy it again"
