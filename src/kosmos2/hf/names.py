"""A model's tensors go by the reference's names: in state dicts, out and in, and in lists.

Within, the network has names of its own; `kosmos2.weights.names` translates. The hooks also work
where a model is a part of another module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kosmos2.errors import CheckpointError
from kosmos2.weights.names import EMBEDDING, TIED, ours_to_theirs, theirs_to_ours

WITHIN = "network."
_ENDS = (".weight", ".bias", ".class_vector", ".queries")


def speak_reference(model: nn.Module) -> None:
    """Let `state_dict` and `load_state_dict` of a model use the reference's names.

    A model whose `tied` is true also has the output layer, which is the embedding once more.
    """
    model.register_state_dict_post_hook(_write)
    model.register_load_state_dict_pre_hook(_read)
    model.register_load_state_dict_post_hook(_report)


def theirs(name: str) -> str:
    """The reference's name of a tensor of the network; one that it has no name for keeps ours.

    Quantised weights have such: the reference stores them in its own ways.
    """
    return ours_to_theirs(name) if name.endswith(_ENDS) else WITHIN + name


def named(tensors: Iterator[tuple[str, nn.Parameter]], prefix: str) -> Iterator[Any]:
    """Named parameters of the network, by the reference's names."""
    for name, tensor in tensors:
        yield prefix + theirs(name), tensor


def _write(model: Any, state: dict[str, Tensor], prefix: str, _: dict[str, Any]) -> None:
    start = prefix + WITHIN
    for name in [name for name in state if name.startswith(start)]:
        state[prefix + theirs(name.removeprefix(start))] = state.pop(name)
    if model.tied:
        state[prefix + TIED] = state[prefix + EMBEDDING]


def _read(
    model: nn.Module,
    state: dict[str, Tensor],
    prefix: str,
    _: dict[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Translate what is known; torch itself reports the rest as unexpected."""
    tied, embedding = state.get(prefix + TIED), state.get(prefix + EMBEDDING)
    if tied is not None and embedding is None:
        state[prefix + EMBEDDING] = tied
    elif tied is not None and embedding is not None and not torch.equal(tied, embedding):
        errors.append(
            f"{prefix + TIED} differs from {prefix + EMBEDDING}; this network uses one for both"
        )
    for name in [name for name in state if name.startswith(prefix)]:
        try:
            ours = theirs_to_ours(name.removeprefix(prefix))
        except CheckpointError:
            continue
        tensor = state.pop(name)
        if ours is not None:
            state[prefix + WITHIN + ours] = tensor


def _report(model: nn.Module, keys: Any) -> None:
    """Say what is missing by the reference's names as well."""
    for position, name in enumerate(keys.missing_keys):
        before, within, ours = name.partition(WITHIN)
        if within:
            keys.missing_keys[position] = before + theirs(ours)
