"""The tables of a recipe: what is learnt from, in which stages, and how.

Every value is checked where it is built; a message names the setting, and whoever reads the file
puts the table's place before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kosmos2.config import Config
from kosmos2.errors import RecipeError
from kosmos2.train.recipe.data import SCENES, Data, between, least
from kosmos2.train.recipe.schema import build


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """What a run begins with."""

    start: str = "demo"  # "scratch", "demo" (the embedded model), a folder, or a hub name
    config: Config | None = None  # the sizes, for "scratch" only
    # Whose words "scratch" reads: "scenes" (the small vocabulary), a folder, or a hub name.
    tokenizer: str = SCENES
    dropout: float | None = None  # of the decoder, instead of the one that its config names
    new_words: bool = False  # class names that it could only spell get pieces of their own

    @classmethod
    def from_table(cls, table: Any, place: str) -> Model:
        """A table of TOML; a vocabulary that is left out is that of the words it reads."""
        sizes = table.get("config") if isinstance(table, Mapping) else None
        if isinstance(sizes, Mapping) and table.get("tokenizer", SCENES) == SCENES:
            from kosmos2.train.vocabulary import build as vocabulary

            text = sizes.get("text", {})
            if isinstance(text, Mapping) and "vocabulary" not in text:
                text = {"vocabulary": vocabulary().size, **text}
                table = {**table, "config": {**sizes, "text": text}}
        return build(cls, table, place)

    def __post_init__(self) -> None:
        if self.start == "scratch" and self.config is None:
            raise RecipeError("start = 'scratch' needs the sizes; add a [model.config] table")
        if self.start != "scratch" and self.config is not None:
            raise RecipeError(f"{self.start} has its own sizes; leave config out")
        if self.dropout is not None:
            between(self, "dropout", 0.0, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stretch of training with one goal, one rate and one mixture of rows."""

    name: str = "train"
    heads: Literal["none", "dense", "contrastive"] = "none"  # thrown away at the end
    tell: bool = True  # whether words and locations are learnt
    steps: int
    rows: int  # a step, over all processes and micro-batches
    accumulate: int = 1  # micro-batches that a step's rows come in
    rate: float
    warm_up: int = 0  # steps
    schedule: Literal["linear", "constant-then-linear", "cosine"] = "linear"
    fall: float = 1.0  # share of the steps, the last ones, over which "constant-then-linear" falls
    spread: tuple[float, float] = (0.0, 0.0)  # of the bell around a true cell, in cells; 0: none
    place_weight: float = 1.0  # of a location beside a word
    see_weight: float = 1.0  # of the heads beside words
    data: tuple[Data, ...] = ()  # the recipe's own, if none

    def __post_init__(self) -> None:
        for name in ("steps", "rows", "accumulate"):
            least(self, name, 1)
        for name in ("rate", "warm_up", "place_weight", "see_weight"):
            least(self, name, 0)
        between(self, "fall", 0.0, 1.0)
        if min(self.spread) < 0:
            raise RecipeError(f"spread is {list(self.spread)}; give cells from 0 up")
        if self.rows % self.accumulate:
            raise RecipeError(
                f"rows = {self.rows} cannot be shared by accumulate = {self.accumulate}; "
                "make it a multiple"
            )
        if not self.tell and self.heads == "none":
            raise RecipeError("nothing is learnt with tell = false and heads = 'none'")
        if self.heads == "contrastive" and self.accumulate > 1:
            raise RecipeError(
                "contrastive rows are compared with all others of their step, and micro-batches "
                "do not see each other; give accumulate = 1, and checkpointing if memory is short"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """How all stages learn."""

    seed: int = 2
    betas: tuple[float, float] = (0.9, 0.98)  # of AdamW
    eps: float = 1e-6
    weight_decay: float = 0.01  # of matrices; vectors have none
    clip: float = 1.0  # largest norm of all gradients together; 0: never clipped
    freeze: tuple[str, ...] = ()  # parameters by name: "vision.*", "decoder.words.weight"
    layer_decay: float = 1.0  # the rate of a layer beside that of the one above it
    shared_cells: bool = False  # locations learn as rows and columns
    ema: float = 0.0  # how much of the moving average stays each step; 0: none is kept
    start_share: float = 0.0  # of the weights that it began with, in those at the end
    checkpointing: bool = False  # compute a layer's insides twice rather than keep them
    precision: Literal["float32", "bfloat16", "auto"] = "auto"  # of what is multiplied
    compile: bool = False
    workers: int = 1  # processes that make rows meanwhile
    save_every: int = 500  # steps
    log_every: int = 20  # steps
    held_out: int = 0  # rows of the first source that are never trained on, to measure with
    measure_every: int = 0  # steps between two measurements on them; 0: at the end only
    skip_nonfinite: int = 0  # steps in a row whose loss may be no number
    bad_share: float = 0.01  # of the rows may be unreadable
    save_as: Literal["float16", "bfloat16", "float32"] = "float16"  # how the model is stored

    def __post_init__(self) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise RecipeError(f"betas is {list(self.betas)}; give two numbers in [0, 1)")
        for name in ("seed", "weight_decay", "clip", "workers", "held_out", "measure_every",
                     "skip_nonfinite"):  # fmt: skip
            least(self, name, 0)
        for name in ("save_every", "log_every"):
            least(self, name, 1)
        for name in ("layer_decay", "ema", "start_share", "bad_share"):
            between(self, name, 0.0, 1.0)
        if 1 in (self.ema, self.start_share) or self.layer_decay == 0:
            raise RecipeError(
                "ema = 1, start_share = 1 and layer_decay = 0 learn nothing; give less, or more"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Many:
    """How several processes share a run; `torchrun` starts them."""

    how: Literal["none", "ddp", "fsdp"] = "none"


def as_table(one: Any) -> dict[str, Any]:
    """A value of these as TOML would hold it: what is None or empty is left out."""
    table: dict[str, Any] = {}
    for name in one.__slots__:
        held = getattr(one, name)
        if held is None or held == ():
            continue
        if hasattr(held, "to_dict"):
            held = held.to_dict()
        elif isinstance(held, tuple):
            held = [it.to_table() if isinstance(it, Data) else it for it in held]
        table[name] = held
    return table
