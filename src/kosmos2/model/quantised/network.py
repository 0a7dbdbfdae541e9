"""A network's matrices, one by one, in few bits.

`int8` is every matrix: the tower's, the connector's, the decoder's and the words. `int4` is the
decoder's blocks, which are three quarters of all weights and what each new token has to read; the
tower and the connector, which read many rows at once and gain nothing from it, and the words, on
which every choice between tokens rests, stay int8. Norms, positions, queries and the tower's first
convolution are small and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kosmos2.errors import ConfigError
from kosmos2.model.joined import join
from kosmos2.model.network import Network
from kosmos2.model.quantised.frozen import Frozen, Packing
from kosmos2.model.quantised.int4 import Int4Linear
from kosmos2.model.quantised.int8 import Int8Linear, Int8Words

KINDS = ("int8", "int4")
WORDS = "decoder.words"
BLOCKS = "decoder.layers."


def quantise(network: Network, kind: str) -> Network:
    """Replace every matrix of the network, in place, and return it, ready to answer.

    Raises:
        ConfigError: another kind, or a network that is quantised or packed already.
    """
    check_kind(kind)
    already = kind_of(network)
    if already is not None:
        raise ConfigError(f"the network is {already} already; quantise the float one it came from")
    if any(isinstance(module, Frozen) and not module.rounds for module in network.modules()):
        raise ConfigError("the network is packed, to answer in float32; quantise a plain one")
    for name in matrices(network):
        settle(network, name, kind)
    join(network)
    return network.requires_grad_(False).eval()


def check_kind(kind: str) -> None:
    """Raise a ConfigError if there is no such kind."""
    if kind not in KINDS:
        raise ConfigError(f"quantize is {kind!r}; there are {' and '.join(KINDS)}")


def kind_of(network: Network) -> str | None:
    """How a network is quantised, if it is."""
    if not isinstance(network.decoder.words, Int8Words):
        return None
    return "int4" if any(isinstance(m, Int4Linear) for m in network.modules()) else "int8"


def matrices(network: Network) -> list[str]:
    """The modules that are quantised, or would be, the largest first."""
    found = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | Frozen) or name == WORDS
    }
    sizes = {name: sum(tensor.numel() for tensor in _own(found[name])) for name in found}
    return sorted(found, key=lambda name: -sizes[name])


def check_passable(network: Network) -> None:
    """Raise a ConfigError for int4 and for packed weights: nothing can learn beside those."""
    for module in network.modules():
        if isinstance(module, Int4Linear):
            raise ConfigError("gradients pass int8 weights, not int4; load with quantize='int8'")
        if isinstance(module, Frozen) and not module.rounds:
            raise ConfigError(module.why_frozen)


def let_pass(network: Network, passes: bool = True) -> Network:
    """Let gradients through int8 weights, to adapters beside them, or no longer; they stay fixed.

    Raises:
        ConfigError: the network has other weights through which there is no way back.
    """
    check_passable(network)
    for module in network.modules():
        if isinstance(module, Frozen):
            module.passes = passes
    return network


def hollow(network: Network, kind: str) -> None:
    """Put in quantised layers that wait for their weights, without memory yet."""
    for name in matrices(network):
        network.set_submodule(name, _twin(name, network.get_submodule(name), kind))


def settle(network: Network, name: str, kind: str) -> None:
    """Make one matrix, whose weights are there, ready to answer; quantise it if it is not yet."""
    module = network.get_submodule(name)
    if not isinstance(module, Frozen):
        twin = _twin(name, module, kind)
        assert isinstance(module.weight, Tensor)
        twin.fill(module.weight.detach())
        if isinstance(module, nn.Linear):
            twin.bias = module.bias
        network.set_submodule(name, twin)
        module = twin
    module.settle()
    module.eval()


def tensors(network: Network) -> Iterator[tuple[str, Tensor | Packing]]:
    """All that a network is stored as, by name; what is packed can be unpacked one by one."""
    yield from network.named_parameters()
    for name, module in network.named_modules():
        for own, buffer in module.named_buffers(recurse=False):
            if own not in module._non_persistent_buffers_set:
                yield f"{name}.{own}", buffer
        if isinstance(module, Frozen):
            for own, packed in module.stored().items():
                yield f"{name}.{own}", packed


def _twin(name: str, module: nn.Module, kind: str) -> Int8Linear | Int4Linear | Int8Words:
    """The layer that takes the place of a float one."""
    with torch.device("meta"):
        if isinstance(module, nn.Embedding):
            return Int8Words(*module.weight.shape, dtype=module.weight.dtype)
        assert isinstance(module, nn.Linear)
        inputs, outputs = module.in_features, module.out_features
        coarse = kind == "int4" and name.startswith(BLOCKS) and Int4Linear.suits(inputs, outputs)
        layer = Int4Linear if coarse else Int8Linear
        return layer(inputs, outputs, bias=module.bias is not None, dtype=module.weight.dtype)


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]
