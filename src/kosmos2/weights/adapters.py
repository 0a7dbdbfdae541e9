"""LoRA adapters on disk, in the layout of the `peft` library: small changes to large matrices.

An adapter is a pair of thin matrices for each layer that it changes; their product, scaled, is
added to the layer's weights. `peft` itself is not needed to read, write or merge one. A file names
layers as we do, or as the reference library does: both are read, and either can be written.

Shapes: N outputs, K inputs, R rank of the change.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.model import Network
from kosmos2.model.quantised import Int8Linear
from kosmos2.weights.names import ours_to_theirs, theirs_to_ours
from kosmos2.weights.save import together, write_json, write_tensors
from kosmos2.weights.stored import opened, read_json

SETTINGS, TENSORS = "adapter_config.json", "adapter_model.safetensors"

_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
# Settings of peft that make an adapter more than pairs of matrices, and what they are when not.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": (None, "none"),
    "init_lora_weights": (None, True, False, "gaussian", "orthogonal", "eva"),
    **{
        name: (None, False, [], {})
        for name in (
            "alpha_pattern", "fan_in_fan_out", "layer_replication", "lora_bias", "modules_to_save",
            "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora",
        )
    },
}  # fmt: skip
_LISTED = 5  # complaints in an error


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to one layer's weights: `up @ down`, scaled."""

    down: Float[Tensor, "R K"]
    up: Float[Tensor, "N R"]
    scale: float

    def whole(self) -> Float32[Tensor, "N K"]:
        """The change itself."""
        return (self.up.float() @ self.down.float()) * self.scale


@dataclass(frozen=True, slots=True)
class Adapter:
    """Changes by our names of the layers; `dropout` is what it was trained with."""

    changes: Mapping[str, Change]
    dropout: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)  # of its settings: kept, not understood

    @torch.no_grad()
    def add_to(self, network: Network, name: str) -> None:
        """Change one layer of a network, if there is a change for it.

        The sum is made in float32, and then rounded to the type of the weights.
        """
        change = self.changes.get(name)
        if change is not None:
            weight = network.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            weight.copy_(weight.float() + change.whole().to(weight.device))


def linear_layers(network: nn.Module) -> dict[str, nn.Linear | Int8Linear]:
    """The layers that an adapter may change, by name."""
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear | Int8Linear)}


def merge_adapter(network: Network, adapter: Adapter) -> Network:
    """Add all changes to a network's weights, in place, and return it.

    Raises:
        ConfigError: the weights are quantised or packed.
    """
    for name in adapter.changes:
        if not isinstance(network.get_submodule(name), nn.Linear):
            raise ConfigError(
                f"{name} is quantised or packed; merge the adapter into the plain network, while "
                "it is loaded: load_network(folder, adapter=...)"
            )
    for name in adapter.changes:
        adapter.add_to(network, name)
    return network


def read_adapter(folder: str | Path, network: Network) -> Adapter:
    """Read an adapter that changes layers of this network; it may be hollow.

    Raises:
        CheckpointError: no adapter, one of another model or another kind, or damaged.
    """
    folder = Path(folder)
    settings = _read_settings(folder)
    if not (folder / TENSORS).is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        raise CheckpointError(
            f"{folder} has no {TENSORS}"
            + ("; its .bin is a pickle and is never opened: save it anew with peft" * pickled)
        )
    with opened(folder / TENSORS) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    halves, complaints = _halves(tensors, network)
    layers, changes = linear_layers(network), {}
    for name, pair in halves.items():
        layer, down, up = layers[name], pair.get("A"), pair.get("B")
        if down is None or up is None:
            complaints.append(f"{name} has only one of its two matrices")
            continue
        wanted = (up.shape[0], down.shape[-1]), down.shape[0]
        if wanted != ((layer.out_features, layer.in_features), up.shape[-1]):
            complaints.append(
                f"{name} is {tuple(up.shape)} x {tuple(down.shape)}, "
                f"for weights of {(layer.out_features, layer.in_features)}"
            )
            continue
        root = math.sqrt(len(down)) if settings.get("use_rslora") else len(down)
        changes[name] = Change(down, up, settings["lora_alpha"] / root)
    if complaints or not changes:
        more = f" and {len(complaints) - _LISTED} more" * (len(complaints) > _LISTED)
        raise CheckpointError(
            f"the adapter in {folder} does not fit this model: "
            f"{'; '.join(complaints[:_LISTED]) or 'it changes nothing'}{more}. "
            "Give the model that it was trained on"
        )
    notes = {name: settings.get(name) for name in ("base_model_name_or_path", "revision")}
    return Adapter(changes, float(settings.get("lora_dropout") or 0.0), notes)


def write_adapter(folder: str | Path, adapter: Adapter, *, reference: bool = False) -> None:
    """Write an adapter, all or nothing; with `reference`, under the reference library's names.

    Raises:
        ConfigError: its changes have several ranks or scales, for which there is no setting.
        SaveError: the disk is full, or the folder cannot be written; nothing has changed.
    """
    changes = {(_theirs(name) if reference else name): c for name, c in adapter.changes.items()}
    sizes = {(len(change.down), change.scale) for change in changes.values()}
    if len(sizes) != 1:
        raise ConfigError(f"an adapter has one rank and one scale, this one has {len(sizes)}")
    [(rank, scale)] = sizes
    tensors = {
        f"base_model.model.{name}.lora_{half}.weight": tensor
        for name, change in sorted(changes.items())
        for half, tensor in (("A", change.down), ("B", change.up))
    }
    alpha = scale * rank
    settings = {
        **adapter.notes,
        "peft_type": "LORA",
        "task_type": None,
        "r": rank,
        "lora_alpha": round(alpha) if math.isclose(alpha, round(alpha)) else alpha,
        "lora_dropout": adapter.dropout,
        "target_modules": sorted(changes),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    with together(Path(folder)) as files:
        with files.writing(TENSORS) as stream:
            write_tensors(stream, tensors)
        write_json(files, SETTINGS, settings)


def _read_settings(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(f"there is no adapter {folder}; give a folder with {SETTINGS}")
    settings = read_json(folder / SETTINGS)
    place = folder / SETTINGS
    if settings.get("peft_type") != "LORA":
        raise CheckpointError(f"{place}: peft_type is {settings.get('peft_type')!r}, not 'LORA'")
    for name, plain in _PLAIN.items():
        if settings.get(name) not in plain:
            raise CheckpointError(
                f"{place}: {name} is {json.dumps(settings[name])[:60]}; only plain LoRA can be "
                "read. Merge it where it was trained and save the whole model"
            )
    alpha = settings.get("lora_alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise CheckpointError(f"{place}: lora_alpha is {alpha!r}; it should be a number")
    return settings


def _halves(
    tensors: Mapping[str, Tensor], network: Network
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Matrices by our names of the layers, and complaints about those that have no place."""
    layers = linear_layers(network)
    halves: dict[str, dict[str, Tensor]] = {}
    complaints = []
    for full, tensor in tensors.items():
        parts = _NAME.fullmatch(full)
        name = None if parts is None else _ours(parts[1], layers)
        if parts is None or name is None:
            complaints.append(f"no layer for {full}")
        elif tensor.ndim != 2 or not tensor.is_floating_point():
            complaints.append(f"{full} is no matrix of floats")
        else:
            halves.setdefault(name, {})[parts[2]] = tensor
    return halves, complaints


def _theirs(name: str) -> str:
    return ours_to_theirs(f"{name}.weight").removesuffix(".weight")


def _ours(name: str, layers: Container[str]) -> str | None:
    """Our name of a layer that either of us could mean."""
    if name in layers:
        return name
    try:
        ours = (theirs_to_ours(f"{name}.weight") or "").removesuffix(".weight")
    except CheckpointError:
        return None
    return ours if ours in layers else None
