"""A network's adapter becomes a folder, and a folder a network's adapter, to learn on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.model import Network
from kosmos2.model.quantised import kind_of
from kosmos2.train.lora.attaching import attach, attached, check_bare
from kosmos2.train.lora.settings import Lora
from kosmos2.weights.adapters import Adapter, Change, read_adapter, write_adapter


def adapter_of(network: Network) -> Adapter:
    """The adapter that is attached to a network; its tensors are the network's own.

    Raises:
        ConfigError: there is none.
    """
    changes, dropout = {}, 0.0
    for name, layer in attached(network).items():
        for which, down in layer.lora_A.items():
            scale = float(layer.scaling[which])
            changes[name] = Change(down.weight, layer.lora_B[which].weight, scale)
            dropout = float(getattr(layer.lora_dropout[which], "p", 0.0))
    if not changes:
        raise ConfigError("the network has no adapter; attach one first")
    return Adapter(changes, dropout)


def save_adapter(network: Network, folder: str | Path, *, reference: bool = False) -> None:
    """Write a network's adapter in peft's layout: adapter_config.json, adapter_model.safetensors.

    With `reference`, layers have the names of the reference library's model, and
    `peft.PeftModel.from_pretrained(its_model, folder)` takes it; this library reads both.

    Raises:
        ConfigError: there is no adapter.
        SaveError: the folder cannot be written; nothing has changed.
    """
    write_adapter(folder, adapter_of(network), reference=reference)


@torch.no_grad()
def load_adapter(
    network: Network,
    folder: str | Path,
    *,
    base: Literal["float32", "bfloat16", "int8"] | None = None,
) -> Network:
    """Attach an adapter of a folder, to learn on or to merge, and return the network.

    Without `base`, the network's weights stay as they are.

    Raises:
        CheckpointError: no adapter, one of another model or another kind, or damaged.
        ConfigError: nothing can be attached to this network.
    """
    check_bare(network)
    adapter = read_adapter(folder, network)
    sizes = {(len(change.down), change.scale) for change in adapter.changes.values()}
    if len(sizes) > 1:
        raise CheckpointError(
            f"the adapter in {folder} has {len(sizes)} ranks or scales, and can only be merged: "
            "load_network(..., adapter=...)"
        )
    [(rank, scale)] = sizes
    if base is None:
        base = "int8" if kind_of(network) == "int8" else "float32"
    targets = tuple(adapter.changes)
    attach(
        network,
        Lora(rank=rank, alpha=scale * rank, dropout=adapter.dropout, targets=targets, base=base),
    )
    for name, own in adapter_of(network).changes.items():
        own.down.copy_(adapter.changes[name].down)
        own.up.copy_(adapter.changes[name].up)
    return network
