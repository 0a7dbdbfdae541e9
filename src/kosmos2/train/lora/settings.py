"""What learns under LoRA, and beside what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal

from kosmos2.errors import RecipeError


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """Thin matrices beside the large ones; the change is their product times alpha / rank.

    A target is the end of a layer's name ("query") or a pattern for the whole of it
    ("decoder.layers.*.ffn.*"). The tower is left out unless it is asked for: then nothing of what
    it computed has to be kept for the way back.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05  # of what the thin matrices read
    targets: tuple[str, ...] = ("decoder.layers.*", "connector.*")
    base: Literal["float32", "bfloat16", "int8"] = "float32"  # what the large ones are held as

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise RecipeError(f"rank is {self.rank!r}; give a whole number of at least 1")
        if not self.alpha > 0:
            raise RecipeError(f"alpha is {self.alpha}; give a number above 0")
        if not 0 <= self.dropout < 1:
            raise RecipeError(f"dropout is {self.dropout}; give a number in [0, 1)")
        if self.base not in ("float32", "bfloat16", "int8"):
            raise RecipeError(f"base is {self.base!r}; there are float32, bfloat16 and int8")
        if not self.targets:
            raise RecipeError("targets is empty; name the layers that learn, as 'query'")

    def among(self, layers: Iterable[str]) -> list[str]:
        """Those of these layers that are targets.

        Raises:
            RecipeError: a target that is no layer, with the nearest that is one.
        """
        layers = list(layers)
        found = {target: [n for n in layers if _is_meant(n, target)] for target in self.targets}
        for target, names in found.items():
            if not names:
                ends = {name.rpartition(".")[2] for name in layers}
                near = get_close_matches(target, [*ends, *layers], n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {sorted(ends)}"
                raise RecipeError(f"lora.targets: no linear layer is called {target!r}; {hint}")
        meant = set().union(*found.values())
        return [name for name in layers if name in meant]


def _is_meant(name: str, target: str) -> bool:
    return f".{name}".endswith(f".{target}") or fnmatchcase(name, target)
