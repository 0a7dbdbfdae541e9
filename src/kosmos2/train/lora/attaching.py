"""Thin matrices go into a network and out of it, or into its weights and out of them again.

`peft` makes and runs them; the network stays the object that it was, and is used as ever.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from kosmos2.errors import ConfigError
from kosmos2.model import Network
from kosmos2.model.joined import join, separate
from kosmos2.model.layers import Attention
from kosmos2.model.quantised import Int8Linear, check_passable, kind_of, let_pass, quantise
from kosmos2.train.lora.settings import Lora
from kosmos2.weights.adapters import linear_layers


def attach(network: Network, settings: Lora) -> Network:
    """Put thin matrices beside the targets, in place, and return the network.

    Only they learn from then on: they are the network's only parameters that want gradients. At
    first they change nothing. A float network becomes what `settings.base` says; one that is int8
    already is taken as it is.

    Raises:
        RecipeError: a target that is not there.
        ConfigError: a base that cannot be had of this network, or it has an adapter already.
    """
    peft, int8_layer = _peft()
    check_bare(network)
    _become(network, settings.base)
    targets = settings.among(linear_layers(network))
    for name, attention in network.named_modules():
        heard = {f"{name}.{part}" for part in ("query", "key", "value")}
        if isinstance(attention, Attention) and heard & set(targets):
            separate(attention)  # what is answered as one would not ask the layers themselves
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        bias="none",
    )
    config._register_custom_module({Int8Linear: int8_layer})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unsupported layer type .*Int8Linear")
        peft.inject_adapter_in_model(config, network)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # peft makes them as the base is: too coarse
    return network


def attached(network: nn.Module) -> dict[str, Any]:
    """The layers of peft's in a network, by the name of what they stand beside."""
    return {name: module for name, module in network.named_modules() if hasattr(module, "lora_A")}


def check_bare(network: Network) -> None:
    """Raise a ConfigError if nothing can be attached to the network."""
    if attached(network):
        raise ConfigError("the network has an adapter already; detach that one first")
    check_passable(network)


def merge(network: Network) -> Network:
    """Add the changes to the weights: the same answers, without the thin products.

    Raises:
        ConfigError: an int8 base, or no adapter.
    """
    for layer in _all(network):
        if not layer.merged:
            layer.merge()
    return network


def unmerge(network: Network) -> Network:
    """Take the changes out of the weights again.

    Float32 weights come back within two roundings, 2**-23 of weight and change together; to the
    bit they are only in the folder that they came from.

    Raises:
        ConfigError: no adapter.
    """
    for layer in _all(network):
        if layer.merged:
            layer.unmerge()
    return network


def detach(network: Network, *, merged: bool = True) -> Network:
    """Take the adapter off, its changes added to the weights or forgotten, and return the network.

    It is then a plain one again, which `weights.save.save_network` writes in the released layout.

    Raises:
        ConfigError: changes that cannot be merged, into an int8 base; or no adapter.
    """
    (merge if merged else unmerge)(network)
    for name, layer in attached(network).items():
        network.set_submodule(name, layer.get_base_layer())
    del network.peft_config
    if kind_of(network) is not None:
        join(network)
        return let_pass(network.eval(), False)
    return network.requires_grad_(True)


def _become(network: Network, base: str) -> None:
    kind = kind_of(network)
    if base == "int8":
        let_pass(network if kind else quantise(network, base))
    elif kind is not None:
        raise ConfigError(f"lora.base is {base}, but the network is {kind}; load it as {base}")
    elif base == "bfloat16":
        network.to(torch.bfloat16)


def _all(network: Network) -> list[Any]:
    layers = list(attached(network).values())
    if not layers:
        raise ConfigError("the network has no adapter; attach one first")
    return layers


def _peft() -> tuple[Any, Any]:
    try:
        import peft

        from kosmos2.train.lora.layers import LoraInt8
    except ImportError as error:
        raise ConfigError(
            f"LoRA needs peft, which cannot be imported ({error}); "
            "install it with: pip install 'kosmos2[train]'"
        ) from error
    return peft, LoraInt8
