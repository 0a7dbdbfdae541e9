"""Models from folders and into folders: `from_pretrained` and `save_pretrained`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import nn

from kosmos2.errors import CheckpointError, ConfigError
from kosmos2.hf.arguments import check_choices
from kosmos2.hf.config import Kosmos2Config
from kosmos2.hf.devices import Wish, device_of
from kosmos2.hf.folders import UnusableFolderError, folder_of
from kosmos2.hf.generation.config import GenerationConfig
from kosmos2.model import Network
from kosmos2.weights.load import DTYPES, load_network
from kosmos2.weights.save import save_network

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}B": 1000**power for power, letter in enumerate("KMGT", start=1)}
_UNITS |= {f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", start=1)}


class Pretrained(nn.Module):
    """The two methods, for a class of models."""

    network: Network
    config: Kosmos2Config
    generation_config: GenerationConfig

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *,
        config: Kosmos2Config | Mapping[str, Any] | str | PathLike[str] | None = None,
        dtype: str | torch.dtype | None = None,
        torch_dtype: str | torch.dtype | None = None,
        device_map: Wish = None,
        load_in_8bit: bool = False,
        load_in_4bit: bool = False,
        quantization_config: Any = None,
        attn_implementation: str | None = None,
        compat: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **words: Any,
    ) -> Self:
        """Read a model of the hub, of a folder, or the embedded `demo`, ready to answer.

        Args:
            pretrained_model_name_or_path: which.
            config: another configuration than the folder's; its sizes must be the same.
            dtype: float32 unless told otherwise, as before version 5 of the reference; "auto" as
                the configuration says, or as stored, which is that version's default.
            torch_dtype: the same under its older name.
            device_map: a device for all of it, or "auto".
            load_in_8bit: keep the large matrices in 8 bits each number.
            load_in_4bit: keep them in 4.
            quantization_config: says either of these, as attribute or key.
            attn_implementation: "sdpa" or "eager".
            compat: see the class.
            revision: a branch, tag or commit of the hub.
            local_files_only: never ask the network.
            words: fields of the configuration or of generation to change, and words for the hub.

        Raises:
            UnusableFolderError: no model, another kind, or none that can be read safely.
            ConfigError: an impossible or unknown wish.
        """
        wanted = _dtype_of(dtype, torch_dtype)
        bits = _bits_of(load_in_8bit, load_in_4bit, quantization_config)
        check_choices(attn_implementation, compat)
        fields = Kosmos2Config.fields().keys() | Kosmos2Config.attribute_map.keys()
        settings = {name: words.pop(name) for name in fields & words.keys()}
        answers = {
            name: words.pop(name) for name in GenerationConfig.__annotations__ & words.keys()
        }
        try:
            folder = folder_of(
                pretrained_model_name_or_path,
                revision=revision,
                local_files_only=local_files_only,
                **words,
            )
            own = _config_of(folder if config is None else config, settings)
            network = load_network(
                folder,
                device=device_of(device_map),
                dtype=own.dtype if wanted == "auto" else wanted,
                quantize=None if bits is None else f"int{bits}",
            )
            generation = GenerationConfig.of_folder(folder)
        except CheckpointError as error:
            raise UnusableFolderError(str(error)) from error
        own.dtype = network.dtype
        model = cls(
            own,
            network=_fitted(network, own),
            compat=compat,
            attn_implementation=attn_implementation,
        )
        model.generation_config = generation.filled_from(model.generation_config).merged(**answers)
        return model.eval()

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *,
        is_main_process: bool = True,
        safe_serialization: bool = True,
        max_shard_size: int | str = "50GB",
        push_to_hub: bool = False,
    ) -> None:
        """Write weights and settings to a folder, from which the reference loads them too.

        Args:
            save_directory: where to; what was there under the same names goes.
            is_main_process: False writes nothing, for training on several machines.
            safe_serialization: True only: no pickle is ever written.
            max_shard_size: weights beyond are split; bytes, or a text such as "5GB" or "200MiB".
            push_to_hub: False only.

        Raises:
            ConfigError: a wish that is not offered, or no size.
            SaveError: the folder cannot be written.
        """
        if not safe_serialization:
            raise ConfigError("safe_serialization=False would write a pickle; leave it at True")
        if push_to_hub:
            raise ConfigError(
                "push_to_hub is not offered; upload the folder with `hf upload NAME FOLDER`"
            )
        size = _bytes_of(max_shard_size)
        if not is_main_process:
            return
        folder = Path(save_directory)
        config = self.config.copy()
        config.architectures = [type(self).__name__]
        for part in (config, config.text_config, config.vision_config):
            part.dtype = self.network.dtype  # or the reference would load another
        save_network(
            folder,
            self.network,
            shard_bytes=size,
            config=config.to_diff_dict(),
            generation=self.generation_config.to_diff_dict(),
        )


def _config_of(given: Any, settings: dict[str, Any]) -> Kosmos2Config:
    """A configuration, or that of a folder, with some fields given anew."""
    if isinstance(given, str | PathLike):
        return cast(Kosmos2Config, Kosmos2Config.from_pretrained(given, **settings))
    config = Kosmos2Config.of(given).copy()
    config.update(settings)
    return config


def _fitted(network: Network, config: Kosmos2Config) -> Network:
    """The network as a configuration wants it, which may differ in rates, but not in sizes."""
    wanted = config.network_config()
    if wanted == network.config:
        return network
    with torch.device("meta"):
        other = Network(wanted)
    try:
        other.load_state_dict(network.state_dict(), assign=True)
    except RuntimeError as error:
        raise ConfigError(
            f"the weights do not fit the configuration that was given: {error}"
        ) from error
    return other.eval()


def _dtype_of(dtype: Any, torch_dtype: Any) -> Any:
    """What to keep weights as: a type, or "auto"."""
    if dtype is not None and torch_dtype is not None and dtype != torch_dtype:
        raise ConfigError(f"dtype is {dtype} but torch_dtype {torch_dtype}; give one of them")
    given = torch_dtype if dtype is None else dtype
    if given is None or given == "auto":
        return given or torch.float32
    found = getattr(torch, given.removeprefix("torch."), None) if isinstance(given, str) else given
    if found not in DTYPES.values():
        raise ConfigError(
            f"dtype is {given!r}; it can be 'auto', or torch.float32, bfloat16 or float16, also as "
            "a string"
        )
    return found


def _bits_of(eight: bool, four: bool, wishes: Any) -> int | None:
    """How many bits each number of the large matrices has, if fewer than the dtype's."""

    def wished(name: str) -> bool:
        value = wishes.get(name) if isinstance(wishes, Mapping) else getattr(wishes, name, False)
        return bool(value)

    eight, four = eight or wished("load_in_8bit"), four or wished("load_in_4bit")
    if eight and four:
        raise ConfigError("load_in_8bit and load_in_4bit are both wished for; take one")
    if wishes is not None and not (eight or four):
        raise ConfigError(
            f"quantization_config is a {type(wishes).__name__} without load_in_8bit or "
            "load_in_4bit; there are no other ways here"
        )
    return 8 if eight else 4 if four else None


def _bytes_of(size: int | str) -> int:
    """A number of bytes, also one that is written with a unit."""
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(size))
    if parts is None or parts[2].upper() not in _UNITS or not float(parts[1]):
        raise ConfigError(f"max_shard_size is {size!r}; write it as 5000000000, '5GB' or '200MiB'")
    return max(1, int(float(parts[1]) * _UNITS[parts[2].upper()]))
