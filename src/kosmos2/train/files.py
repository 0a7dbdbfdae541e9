"""Files that are on the disk when they close, and whose bytes are measured on the way.

Tensors become safetensors one at a time: saving needs no second copy of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from kosmos2.weights.save import ALIGNED, SPELLED

DRAFT = ".tmp"  # ends the name of what has not got its name yet
Bytes = bytes | memoryview
Write = Callable[[Bytes], object]
Size = dict[str, Any]  # "bytes" and "sha256": what a manifest says of a file

_SPELLED = {
    **SPELLED,
    torch.bool: "BOOL",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
}


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    if path.is_dir() and os.name != "posix":  # folders cannot be opened there, nor need they be
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(path: Path, text: str) -> None:
    """Write a small file so that it is there whole, or as it was before."""
    draft = path.with_name(path.name + DRAFT)
    draft.unlink(missing_ok=True)
    with writing(draft) as put:
        put(text.encode())
    os.replace(draft, path)  # noqa: PTH105  (as the other calls that a crash may follow)
    sync(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[Write]:
    """A new file to write to; on the disk when it closes."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)

    def put(data: Bytes) -> None:
        left = memoryview(data)
        while len(left):
            left = left[os.write(handle, left) :]

    try:
        yield put
        os.fsync(handle)
    finally:
        os.close(handle)


def bytes_of(
    tensors: Mapping[str, Tensor], marks: Mapping[str, str] | None = None
) -> Iterator[Bytes]:
    """A safetensors file: length of the header, header, and each tensor in the header's order.

    Equal tensors give equal bytes. `marks` are texts for the header.
    """
    # The widest numbers first: then all of them start where their type may start.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(marks or {})}}
    end = 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.dtype.itemsize
        header[name] = {
            "dtype": _SPELLED[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNED)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        plain = tensors[name].detach()
        if isinstance(plain, DTensor):  # slices that several processes hold, and all come here
            plain = plain.full_tensor()
        plain = plain.to("cpu").contiguous()
        yield plain.flatten().view(torch.uint8).numpy().data


def measured(stream: Iterable[Bytes], put: Write = len) -> Size:
    """Size and SHA-256 of bytes that are handed on to `put`, by default to nobody."""
    digest, size = hashlib.sha256(), 0
    for data in stream:
        digest.update(data)
        size += len(data)
        put(data)
    return {"bytes": size, "sha256": digest.hexdigest()}


def measured_file(path: Path) -> Size:
    """Size and SHA-256 of a file, read from first to last."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"bytes": stream.tell(), "sha256": digest}
