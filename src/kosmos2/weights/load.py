"""A folder in the layout of the reference becomes a network: strictly, and without a second copy.

The network is built without memory, the files' headers are held against it, and only then are the
tensors put in place. On the CPU and in the type they are stored in, they stay where they are: pages
of the file, mapped privately, so that training changes the copy in memory and never the file. (As
with any mapped file: replace it if you must, but do not overwrite it while it is in use.) In any
other case they are converted one by one, the largest first.

Quantising and packing happen on the way: each matrix is read, made ready and let go before the next
is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial, reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from kosmos2.config import Config
from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.model import Network, packed, quantised
from kosmos2.model.joined import join
from kosmos2.weights.adapters import Adapter, merge_adapter, read_adapter
from kosmos2.weights.names import (
    EMBEDDING,
    IGNORABLE,
    QUANTISED,
    TIED,
    config_from_reference,
    kind_from_config,
    ours_to_theirs,
)
from kosmos2.weights.stored import Stored, catalogue, opened, read_json

log = logging.getLogger(__name__)

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
WHOLE_NUMBERS = {"I8": torch.int8, "U8": torch.uint8}
CONVERTED = ("weight", "weight_int8")  # of a matrix: the tensor that is not kept as it is read
LISTED = 10  # names of each kind in an error; a foreign file would have thousands


def load_network(
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    quantize: str | None = None,
    pack: bool = False,
    adapter: str | Path | None = None,
) -> Network:
    """Read a folder's config and weights into a network, ready to answer.

    Without `dtype` the weights stay as they are stored; a mixture becomes its widest type. With
    `quantize`, "int8" or "int4", the large matrices are rounded while they are read, and the
    network can answer but not learn; a folder that was saved quantised is loaded as it is. With
    `pack`, float32 weights on a CPU are put in the order that is quickest there, where that is
    known; such a network can only answer, too, and no longer stands on the pages of its file.
    An `adapter` is a folder with a LoRA adapter, which is merged before anything is rounded.

    Raises:
        CheckpointError: anything missing, unknown, misshapen, cut, or not safetensors.
    """
    folder, device, begun = Path(folder), torch.device(device), time.monotonic()
    if dtype is not None and dtype not in DTYPES.values():
        raise ConfigError(f"dtype is {dtype}; weights are float32, bfloat16 or float16")
    config, stored_kind = read_config(folder), _kind(folder, quantize)
    with torch.device("meta"), _Unfilled():
        network = Network(config)
    changes = Adapter({}) if adapter is None else read_adapter(adapter, network)
    if stored_kind is not None:
        _check_plain(folder, stored_kind, adapter)
        quantised.hollow(network, stored_kind)
    stored = catalogue(folder)
    _check_mark(folder, stored, stored_kind)
    sources = _matched(folder, network, stored)
    if dtype is None:
        dtype = reduce(
            torch.promote_types,
            (DTYPES[one.dtype] for name, one in sources.items() if not _is_fixed(name)),
        )
    kind = stored_kind or quantize
    if kind is not None:
        settle = partial(quantised.settle, kind=kind)
        _read_in_turn(network, sources, device, dtype, settle, changes)
    elif pack and packed.can_pack(device, dtype):
        _read_in_turn(network, sources, device, dtype, packed.settle, changes)
    else:
        network.load_state_dict(_read(sources, device, dtype), strict=True, assign=True)
        merge_adapter(network, changes)
    everything = [*network.named_parameters(), *network.named_buffers()]
    left = [name for name, tensor in everything if tensor.is_meta]
    assert not left, f"built but never filled: {left}"
    log.info("loaded %s as %s in %.1f s", folder, kind or dtype, time.monotonic() - begun)
    return network.eval()


def read_config(folder: str | Path) -> Config:
    """What network a folder holds, from its config.json.

    Raises:
        CheckpointError: no such file, or it describes what cannot be built; the field is named.
    """
    file = Path(folder) / "config.json"
    try:
        return config_from_reference(read_json(file))
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error}") from error


def read_generation_config(folder: str | Path) -> dict[str, Any]:
    """A folder's own generation settings; empty if it has none.

    Older folders keep `no_repeat_ngram_size` among the decoder's settings in config.json (the
    reference's converter put it there); it counts where generation_config.json is silent.

    Raises:
        CheckpointError: a file that is not JSON, a `no_repeat_ngram_size` that is no size, or a
            `min_presence` that is no probability.
    """
    folder = Path(folder)
    settings: dict[str, Any] = {}
    text = read_json(folder / "config.json").get("text_config")
    if isinstance(text, dict):
        settings["no_repeat_ngram_size"] = text.get("no_repeat_ngram_size")
    if (folder / "generation_config.json").is_file():
        own = read_json(folder / "generation_config.json")
        settings |= {name: value for name, value in own.items() if value is not None}
    size = settings.get("no_repeat_ngram_size")
    if size is None:
        settings.pop("no_repeat_ngram_size", None)
    elif not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise CheckpointError(
            f"{folder}: no_repeat_ngram_size is {size!r}; it should be a whole number, 0 for off"
        )
    presence = settings.get("min_presence", 0.0)
    number = isinstance(presence, int | float) and not isinstance(presence, bool)
    if not number or not 0 <= presence <= 1:
        raise CheckpointError(
            f"{folder}: min_presence is {presence!r}; it should be a number from 0 to 1"
        )
    return settings


def _kind(folder: Path, quantize: str | None) -> str | None:
    """How a folder's weights are quantised already."""
    if quantize is not None:
        quantised.check_kind(quantize)
    try:
        kind = kind_from_config(read_json(folder / "config.json"))
        if kind is not None:
            quantised.check_kind(kind)
    except ConfigError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from error
    if None not in (kind, quantize) and kind != quantize:
        raise CheckpointError(
            f"{folder} holds {kind} weights, which cannot become {quantize}; leave quantize out, "
            "or quantise the model they were made from"
        )
    return kind


def _check_plain(folder: Path, kind: str, adapter: str | Path | None) -> None:
    """Changes to weights that are rounded already would be rounded away."""
    if adapter is not None:
        raise ConfigError(
            f"{folder} holds {kind} weights, into which {adapter} cannot be merged; give the model "
            f"that they were made from, with quantize={kind!r}"
        )


def _check_mark(folder: Path, stored: dict[str, Stored], kind: str | None) -> None:
    """A config.json of one save and weights of another are told before any list of names is."""
    held = any(_is_fixed(name) for name in stored)
    if held and kind is None:
        raise CheckpointError(
            f"the weights in {folder} are quantised, but its config.json does not say how: it has "
            f"no {QUANTISED}; put back the config.json that was saved with them"
        )
    if kind is not None and not held:
        raise CheckpointError(
            f"{folder / 'config.json'} says that the weights are {kind}, but they are not "
            f"quantised; put back what was saved with it, or remove {QUANTISED} and "
            "quantization_config from it"
        )


def _read_in_turn(
    network: Network,
    sources: dict[str, Stored],
    device: torch.device,
    dtype: torch.dtype,
    settle: Callable[[Network, str], None],
    changes: Adapter,
) -> None:
    """Read what is small, then the matrices, each made ready to answer before the next is read."""
    network.decoder.words.to(dtype)  # nothing is there yet; it says in which type words are given
    matrices = quantised.matrices(network)
    ends = CONVERTED if quantised.as_in_files() else (*CONVERTED, "weight_int4")
    converted = {f"{name}.{end}" for name in matrices for end in ends}
    rest = {name: source for name, source in sources.items() if name not in converted}
    network.load_state_dict(_read(rest, device, dtype), strict=False, assign=True)
    for name in matrices:
        own = {end: sources[f"{name}.{end}"] for end in ends if f"{name}.{end}" in sources}
        tensors = _read(own, device, dtype, keep=False)
        network.get_submodule(name).load_state_dict(tensors, strict=False, assign=True)
        del tensors  # or these weights would live through the next ones' turn
        changes.add_to(network, name)
        settle(network, name)
    join(network)
    network.requires_grad_(False)


def _is_fixed(name: str) -> bool:
    return name.endswith(quantised.FIXED)


class _Unfilled(TorchFunctionMode):
    """Modules are built without random numbers.

    There is no memory to put them in, and asking for them on `meta` makes torch import its
    compiler: more than a second, and 70 MB that have nothing to do with the weights.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _matched(folder: Path, network: Network, stored: dict[str, Stored]) -> dict[str, Stored]:
    """Where each parameter is stored; every disagreement is found before any is reported."""
    if TIED in stored and EMBEDDING not in stored:
        stored[EMBEDDING] = stored.pop(TIED)  # one tensor with two names: either may be kept
    wanted = {ours_to_theirs(name): (name, one) for name, one in quantised.tensors(network)}
    missing = [name for name in wanted if name not in stored]
    unknown = [name for name in stored if name not in wanted and name not in IGNORABLE]
    misshapen, unreadable = [], []
    for name in wanted.keys() & stored.keys():
        found, shape = stored[name], tuple(wanted[name][1].shape)
        if found.shape != shape:
            misshapen.append(f"{name} is {found.shape}, not {shape}")
        types = _types(name, wanted[name][1].dtype)
        if found.dtype not in types:
            unreadable.append(f"{name} is {found.dtype}, not one of {', '.join(types)}")
    complaints = [
        f"{len(names)} {what}: {_listed(names)}"
        for what, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("misshapen", misshapen),
            ("of a type that cannot be read", unreadable),
        )
        if names
    ]
    if complaints:
        raise CheckpointError(
            f"the weights in {folder} do not fit its config.json: {'; '.join(complaints)}. "
            "If both files belong to one model, download or convert it again"
        )
    if TIED in stored and not _equal(stored[TIED], stored[EMBEDDING]):
        raise CheckpointError(
            f"{TIED} differs from {EMBEDDING} in {folder}; this network uses one for both, "
            "so a model with a separate output layer cannot be read"
        )
    return {ours: stored[theirs] for theirs, (ours, _) in wanted.items()}


def _types(name: str, dtype: torch.dtype) -> list[str]:
    """How safetensors may spell the type of a tensor."""
    fixed = {**DTYPES, **WHOLE_NUMBERS} if _is_fixed(name) else {}
    return [spelled for spelled, one in fixed.items() if one == dtype] or list(DTYPES)


def _read(
    sources: dict[str, Stored], device: torch.device, dtype: torch.dtype, *, keep: bool = True
) -> dict[str, Tensor]:
    """The tensors, mapped where they can stay as they are, otherwise converted one at a time.

    With `keep` a file stays mapped for all of its tensors together; without, each has pages of its
    own, which go when it goes.
    """
    tensors: dict[str, Tensor] = {}
    with ExitStack() as stack:
        files = {s.file for s in sources.values()} if keep else set()
        mapped = {file: stack.enter_context(opened(file)) for file in files}
        # The largest first: the page that is read besides what is kept then never adds to the peak.
        order = sorted(sources.items(), key=lambda item: -torch.Size(item[1].shape).numel())
        for name, source in order:
            own = {**DTYPES, **WHOLE_NUMBERS}[source.dtype]
            wanted = own if _is_fixed(name) else dtype
            if keep and device.type == "cpu" and own == wanted:
                tensors[name] = mapped[source.file].get_tensor(source.name)
            else:
                # Opened for this one tensor: once it is converted, its pages are let go.
                with opened(source.file) as file:
                    tensors[name] = file.get_tensor(source.name).to(device, wanted)
    return tensors


def _equal(one: Stored, other: Stored) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    with opened(one.file) as first, opened(other.file) as second:
        return torch.equal(first.get_tensor(one.name), second.get_tensor(other.name))


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
