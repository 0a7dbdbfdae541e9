"""What the network is: its sizes, and nothing about where it runs or what is asked of it.

`Config()` is the released model, microsoft/kosmos-2-patch14-224. At full size many numbers coincide
(16 is the vision heads and the patch grid, 64 the latents and the head width, 1024 the vision width
and the cells, 2048 the text width and the positions), so code always names the size it means and
`Config.tiny()` makes every size different.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Self

from kosmos2.errors import ConfigError

# A config is read before memory is asked for: these keep a lying file from asking for all of it.
LARGEST = {
    "image_size": 4096,
    "patch_size": 512,
    "width": 32_768,
    "ffn_width": 262_144,
    "layers": 512,
    "heads": 1024,
    "vocabulary": 4_000_000,
    "positions": 1_000_000,
    "latents": 16_384,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """The tower that turns pixels into patch vectors."""

    image_size: int = 224  # pixels per side, after resizing
    patch_size: int = 14  # pixels per side
    width: int = 1024
    layers: int = 24
    heads: int = 16
    ffn_width: int = 4096
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _check_sizes(self, "vision")
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"vision.image_size {self.image_size} is not a whole number of patches of "
                f"{self.patch_size} pixels; make it a multiple"
            )

    @property
    def side(self) -> int:
        """Patches along one edge."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches in all."""
        return self.side**2

    @property
    def vectors(self) -> int:
        """What the tower puts out: the class vector, then the patches."""
        return self.patches + 1

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """The decoder that reads latents and words and writes words."""

    vocabulary: int = 65_037  # rows of the embedding, tags and cells included
    width: int = 2048
    layers: int = 24
    heads: int = 32
    ffn_width: int = 8192
    positions: int = 2048  # longest sequence it was trained for
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    norm_eps: float = 1e-5
    scale_embedding: bool = True  # multiply embeddings by the root of the width
    bos: int = 0
    pad: int = 1
    eos: int = 2

    def __post_init__(self) -> None:
        _check_sizes(self, "text")
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"text.{name} is {getattr(self, name)}; give a number in [0, 1)")
        for name in ("bos", "pad", "eos"):
            if not 0 <= getattr(self, name) < self.vocabulary:
                raise ConfigError(
                    f"text.{name} is {getattr(self, name)}, outside a vocabulary of "
                    f"{self.vocabulary}"
                )
        if self.width % 2:
            raise ConfigError(f"text.width {self.width} is odd; sine and cosine need a half each")

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def embedding_scale(self) -> float:
        """What embeddings, of words and of latents alike, are multiplied by."""
        return float(self.width) ** 0.5 if self.scale_embedding else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The whole network."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    latents: int = 64  # vectors that the decoder sees of one picture

    def __post_init__(self) -> None:
        _check_sizes(self, "config")

    @classmethod
    def tiny(cls, *, vocabulary: int = 1103) -> Self:
        """A network for tests in which no two sizes are equal, nor equal to the 32 x 32 cells."""
        return cls(
            vision=VisionConfig(
                image_size=30, patch_size=6, width=36, layers=2, heads=3, ffn_width=72
            ),
            text=TextConfig(
                vocabulary=vocabulary,
                width=56,
                layers=4,
                heads=7,
                ffn_width=88,
                positions=130,
            ),
            latents=9,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown names are refused, with the nearest known one."""
        values = dict(values)
        vision = _build(VisionConfig, values.pop("vision", {}), "vision.")
        text = _build(TextConfig, values.pop("text", {}), "text.")
        return _build(cls, {**values, "vision": vision, "text": text}, "")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, ready for JSON."""
        return asdict(self)


def _build(kind: type, values: Any, place: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"config {place.rstrip('.')} is {type(values).__name__}, not a table")
    known = [f.name for f in fields(kind)]
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {place}{near[0]}?" if near else f"; known: {', '.join(known)}"
            raise ConfigError(f"config has no setting {place}{name}{hint}")
    return kind(**values)


def _check_sizes(config: Any, place: str) -> None:
    for name, largest in LARGEST.items():
        value = getattr(config, name, None)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
            raise ConfigError(
                f"{place}.{name} is {value!r}; give a whole number from 1 to {largest}"
            )
    if hasattr(config, "heads") and config.width % config.heads:
        raise ConfigError(
            f"{place}.width {config.width} cannot be shared by {config.heads} heads; "
            "make it a multiple"
        )
