"""Rows of ids made equally long: where they are cut, and what fills them up.

A user says it in many words (`padding`, `truncation`, `max_length`, `pad_to_multiple_of`); here
they become two numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from kosmos2.errors import InputError
from kosmos2.hf.notices import once

Side = Literal["left", "right"]

PADDING = ("longest", "max_length", "do_not_pad")
TRUNCATION = ("longest_first", "only_first", "do_not_truncate")

# What stands where there is no token; `labels` as in losses, which leave -100 out.
FILLERS = {
    "attention_mask": 0,
    "token_type_ids": 0,
    "special_tokens_mask": 1,
    "image_embeds_position_mask": 0,
    "labels": -100,
}


class KindError(InputError, TypeError):
    """A value of the wrong type: a TypeError to code written for the reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """How long rows of ids may be, and shall be."""

    cut: int | None  # more ids than this are dropped
    fill: int | Literal["longest"] | None  # shorter rows are filled up to this
    multiple: int = 1  # the filled length is rounded up to one of it

    def filled(self, lengths: Sequence[int]) -> int:
        """Up to where rows of these lengths are filled: 0 for not at all."""
        if self.fill is None:
            return 0
        length = max(lengths, default=0) if self.fill == "longest" else self.fill
        return -(-length // self.multiple) * self.multiple


def lengths_of(
    padding: bool | str,
    truncation: bool | str | None,
    max_length: int | None,
    pad_to_multiple_of: int | None,
    *,
    limit: int | None,
    verbose: bool = True,
) -> Lengths:
    """What a user's words mean.

    Args:
        padding: True or `longest`, `max_length`, False or `do_not_pad`.
        truncation: True, `longest_first` or `only_first`; False or `do_not_truncate`.
        max_length: the length to cut at and, if so asked, to fill up to.
        pad_to_multiple_of: the filled length is a multiple of this.
        limit: what stands for max_length where none is given.
        verbose: whether to give notice of words that have no effect.

    Raises:
        InputError: words that are none, or contradict each other.
    """
    if max_length is not None:
        max_length = _whole("max_length", max_length)
    multiple = _whole("pad_to_multiple_of", pad_to_multiple_of or 0) or 1
    if max_length is not None and padding is False and truncation is None:
        truncation = True  # Quirk: max_length alone cuts, beside padding=True it does not.
    fills = _one_of("padding", padding, PADDING)
    cuts = _one_of("truncation", False if truncation is None else truncation, TRUNCATION)
    truncates = cuts != "do_not_truncate"
    to_length = fills == "max_length"
    if verbose and max_length is not None and not truncates and not to_length:
        once("max_length has no effect without truncation=True or padding='max_length'")
    length = limit if max_length is None else max_length
    if verbose and length is None and (truncates or to_length):
        word = "truncation" if truncates else "padding='max_length'"
        once(f"{word} has no effect without max_length; this tokenizer has no limit of its own")
    fill: int | Literal["longest"] | None = None
    if fills != "do_not_pad":
        fill = length if to_length else "longest"
    cut = length if truncates else None
    if cut is not None and fill is not None and cut % multiple:
        raise InputError(
            f"max_length={cut} is no multiple of pad_to_multiple_of={multiple}, "
            "so rows cannot be cut at it; change one of them"
        )
    return Lengths(cut=cut, fill=fill, multiple=multiple)


def pad_rows(
    data: Mapping[str, Any], to: Lengths, *, side: Side, pad: int, mask: bool
) -> dict[str, Any]:
    """The same rows, equally long, with their masks.

    Args:
        data: `input_ids`, one row or a list of rows, and whatever goes with each.
        to: the length.
        side: where it is filled up.
        pad: the id that fills.
        mask: whether to add an `attention_mask` where there is none.

    Raises:
        InputError: no ids, or not as many rows of one thing as of another.
    """
    values = {name: as_lists(value) for name, value in data.items()}
    ids = values["input_ids"]
    single = not isinstance(ids[0], list)
    if single:
        values = {name: [value] for name, value in values.items()}
        ids = [ids]
    if not all(isinstance(row, list) and all(isinstance(id, int) for id in row) for row in ids):
        raise InputError("input_ids are to be one row of ids, or a list of rows")
    if mask:
        values.setdefault("attention_mask", [[1] * len(row) for row in ids])
    for name, rows in values.items():
        if not isinstance(rows, list) or len(rows) != len(ids):
            count = len(rows) if isinstance(rows, list) else "no"
            raise InputError(f"{len(ids)} rows of input_ids, but {count} of {name!r}; match them")
    wanted = to.filled([len(row) for row in ids])
    for name, filler in {"input_ids": pad, **FILLERS}.items():
        if name in values:
            values[name] = [_filled(row, wanted, side, filler) for row in values[name]]
    return {name: rows[0] for name, rows in values.items()} if single else values


def as_lists(value: Any) -> Any:
    """Tensors and arrays as lists, however they are nested; all else as it is."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [as_lists(part) for part in value]
    return value


def side_of(name: str, wish: object) -> Side:
    """A side, by its name."""
    if wish == "left" or wish == "right":
        return wish
    raise InputError(f"{name} is {wish!r}; it can be 'left' or 'right'")


def _filled(row: Any, length: int, side: Side, filler: int) -> Any:
    if not isinstance(row, list):
        return row  # one label for the whole row, for instance
    missing = [filler] * (length - len(row))
    return missing + row if side == "left" else row + missing


def _whole(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError as error:
        raise KindError(f"{name} is {value!r}; it is to be a whole number") from error
    if number < 0:
        raise InputError(f"{name} is {number}; it cannot be negative")
    return number


def _one_of(name: str, wish: Any, known: tuple[str, ...]) -> str:
    """One of the known words, of which True is the first and False the last."""
    wish = getattr(wish, "value", wish)  # the reference has enumerations of them
    if isinstance(wish, bool):
        return known[0] if wish else known[-1]
    if wish not in known:
        words = ", ".join(map(repr, known))
        raise InputError(f"{name} is {wish!r}; it can be True, False, {words}")
    return str(wish)
