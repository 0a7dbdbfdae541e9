"""What peft is told about layers with whole-number weights.

Only imported where something is attached: peft may not be installed.
"""

from __future__ import annotations

from typing import Any, NoReturn

from peft.tuners.lora.layer import Linear as LoraLinear

from kosmos2.errors import ConfigError


class LoraInt8(LoraLinear):
    """Thin matrices beside whole numbers: answered as beside floats, but never merged into them."""

    def merge(self, *args: Any, **how: Any) -> NoReturn:
        """Refused.

        Raises:
            ConfigError: always, with the way out.
        """
        raise ConfigError(
            "an adapter cannot be merged into int8 weights, which would round it away; save it, "
            "and load the float weights with it: Kosmos2.load(folder, adapter=...)"
        )
