"""What tokenizer and processors return: a dict of lists or tensors that moves as one.

    inputs = processor(images=picture, text=prompt, return_tensors="pt").to("cuda")
    inputs["input_ids"], inputs.input_ids, model.generate(**inputs)

Values are keys and attributes alike, and `**inputs` hands each on by its name.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch

from kosmos2.errors import InputError
from kosmos2.hf.devices import Wish, device_of
from kosmos2.hf.notices import once

TENSOR_TYPES = ("pt", "np")


class BatchFeature(UserDict[str, Any]):
    """Named values, as keys and as attributes."""

    def __init__(self, data: Mapping[str, Any] | None = None, tensor_type: str | None = None):
        """Hold values by name.

        Args:
            data: the values, which other code may still change under its own name.
            tensor_type: `pt` or `np` makes tensors or arrays of them; without, they stay.

        Raises:
            InputError: rows of different lengths, or a tensor type that is none.
        """
        super().__init__(data)
        self.convert_to_tensors(tensor_type)

    def __getitem__(self, key: str | slice) -> Any:
        """A value by its name, or with a slice the same rows of every value."""
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.data.items()}
        if not isinstance(key, str):
            raise KeyError(f"{key!r} is no name; this holds {self._names()}")
        return self.data[key]

    def __getattr__(self, name: str) -> Any:
        if name == "data":  # copying and unpickling ask before there is any
            raise AttributeError(name)
        if name not in self.data:
            raise AttributeError(f"nothing here is called {name!r}; this holds {self._names()}")
        return self.data[name]

    def convert_to_tensors(self, tensor_type: str | None = None) -> Self:
        """Make tensors (`pt`) or arrays (`np`) of all values that hold numbers, in place."""
        if tensor_type is None:
            return self
        kind = _tensor_type(tensor_type)
        for name, value in self.data.items():
            if _holds_numbers(value):
                self.data[name] = _as_tensor(name, value, kind)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move all tensors to a device, and those of floating point to a dtype, in place.

        Raises:
            InputError: neither a device nor a dtype was given.
            ConfigError: a device that there cannot be.
        """
        device, dtype, rest = _place(args, kwargs)

        def moved(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                cast = dtype if value.is_floating_point() else None
                return value.to(device=device or value.device, dtype=cast, **rest)
            if isinstance(value, list | tuple):
                return type(value)(map(moved, value))
            return value

        if self.data and not any(map(_holds_tensors, self.data.values())):
            once("nothing here is a tensor, so .to() moved nothing; ask for return_tensors='pt'")
        self.data = {name: moved(value) for name, value in self.data.items()}
        return self

    def _names(self) -> str:
        return ", ".join(self.data) or "nothing"


BatchEncoding = BatchFeature


def _tensor_type(wish: str) -> str:
    kind = getattr(wish, "value", wish)  # the reference has an enumeration of them
    if kind not in TENSOR_TYPES:
        known = " or ".join(map(repr, TENSOR_TYPES))
        raise InputError(f"return_tensors is {kind!r}; it can be {known}, or None for lists")
    return str(kind)


def _holds_numbers(value: Any) -> bool:
    """Whether a value could be a tensor; names of files and the like stay as they are."""
    if isinstance(value, list | tuple):
        return not value or _holds_numbers(value[0])
    return isinstance(value, torch.Tensor | np.ndarray | np.number | bool | int | float)


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_tensors, value[:1]))
    return isinstance(value, torch.Tensor)


def _as_tensor(name: str, value: Any, kind: str) -> torch.Tensor | np.ndarray:
    if isinstance(value, torch.Tensor):
        return value if kind == "pt" else value.numpy(force=True)
    try:
        if isinstance(value, list | tuple) and value and isinstance(value[0], torch.Tensor):
            tensor = torch.stack(tuple(value))
            return tensor if kind == "pt" else tensor.numpy(force=True)
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(_uneven(name, value)) from error
    if array.dtype == object:
        raise InputError(_uneven(name, value))
    if not array.size and not isinstance(value, np.ndarray):
        array = array.astype(np.int64)  # of no ids at all, numpy makes floats
    if kind == "np":
        return array
    # Lists go to torch as they are: its floats are single where numpy's are double.
    whole = array.dtype != np.float64 or isinstance(value, np.ndarray | np.number)
    return torch.from_numpy(array) if whole and array.ndim else torch.tensor(value)


def _uneven(name: str, value: Any) -> str:
    lengths = sorted({len(row) for row in value if hasattr(row, "__len__")})
    rows = f"rows of {', '.join(map(str, lengths))} in" if len(lengths) > 1 else "the values of"
    return f"{rows} {name!r} make no tensor; ask for padding=True (and truncation=True if too long)"


def _place(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.device | None, torch.dtype | None, dict[str, Any]]:
    """Device and dtype among the arguments of `.to`, and what else tensors take there."""
    rest = dict(kwargs)
    device: Wish = rest.pop("device", None)
    dtype: torch.dtype | None = rest.pop("dtype", None)
    for arg in args:
        if isinstance(arg, torch.dtype):
            dtype = arg
        elif isinstance(arg, str | int | torch.device) and not isinstance(arg, bool):
            device = arg
        else:
            raise InputError(f".to() takes a device or a dtype, not {arg!r}; say .to('cpu')")
    return None if device is None else device_of(device), dtype, rest
