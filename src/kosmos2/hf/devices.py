"""Where tensors go: the device that code asks for, or the one there is.

Scripts written for a GPU say `.to("cuda:0")` and `device_map={"": 0}`. Where there is none they run
all the same, on the CPU, after a notice.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from kosmos2.errors import ConfigError
from kosmos2.hf.notices import once

Wish = str | int | torch.device | Mapping[str, "str | int | torch.device"] | None


def device_of(wish: Wish) -> torch.device:
    """The device of a name, a number, or a `device_map` that names one for everything.

    Raises:
        ConfigError: no device, or a map that spreads the network over several.
    """
    if isinstance(wish, Mapping):
        places = {str(place): place for place in wish.values()}
        if len(places) != 1:
            raise ConfigError(
                f"device_map names {len(places)} devices; this network stays whole: "
                'give one, as in device_map={"": 0}'
            )
        wish = next(iter(places.values()))
    if wish is None:
        return torch.device("cpu")
    if wish in ("auto", "balanced", "balanced_low_0", "sequential"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(wish, int):
        wish = f"cuda:{wish}"
    try:
        device = torch.device(wish)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{wish!r} is no device; say 'cpu' or 'cuda:0'") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        once(f"there is no CUDA here, so {device} means the CPU")
        return torch.device("cpu")
    return device
