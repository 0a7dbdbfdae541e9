"""The light a scene is seen in and the camera that sees it: one look for the whole picture."""

import io
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from kosmos2.scenes.backgrounds import enlarge

_TILE = 512  # side of the noise that all pictures cut theirs from


class _Share(NamedTuple):
    blur: float
    noise: float
    jpeg: float


class _Reach(NamedTuple):
    blur: tuple[float, float]
    noise: tuple[float, float]
    jpeg: tuple[int, int]


_OFTEN, _ROUGH_OFTEN = _Share(0.15, 0.35, 0.1), _Share(0.25, 0.4, 0.25)
_MILD = _Reach((0.002, 0.006), (2, 10), (25, 80))
_ROUGH = _Reach((0.002, 0.010), (2, 14), (20, 90))


@dataclass(frozen=True, slots=True)
class Light:
    """How the finished canvas is tinted, lit, blurred, made noisy and compressed."""

    tone: list[int]  # three tables of 256: what becomes of each value of each channel
    field: np.ndarray | None  # float32 (3, 3): light over the picture, 1 for unchanged
    blur: float  # radius in fractions of the side, 0 for sharp
    noise: float  # standard deviation of 255, 0 for none
    noise_at: tuple[int, int]
    jpeg: int  # quality, 0 for none

    @classmethod
    def draw(cls, rng: np.random.Generator, *, rough: bool = False) -> "Light":
        """Draw a look: mostly mild, now and then poor; rough ones are so more often, and worse."""
        brightness, contrast, gamma = rng.normal(0, 1, 3)
        cast = rng.normal(0, 0.05, 3)
        values = np.linspace(0, 1, 256) ** np.exp(0.18 * gamma)
        values = (values - 0.5) * np.exp(0.15 * contrast) + 0.5 + 0.06 * brightness
        tone = np.clip(np.outer(np.exp(cast - cast.mean()), values) * 255, 0, 255).astype(np.uint8)
        lit, blurred, noisy, squeezed = rng.random(4)
        field = rng.uniform(0.7, 1.2, (3, 3)).astype(np.float32)
        often, poor = (_ROUGH_OFTEN, _ROUGH) if rough else (_OFTEN, _MILD)
        return cls(
            tone=tone.ravel().tolist(),
            field=field if lit < 0.5 else None,
            blur=float(rng.uniform(*poor.blur)) if blurred < often.blur else 0.0,
            noise=float(rng.uniform(*poor.noise)) if noisy < often.noise else 0.0,
            noise_at=(int(rng.integers(_TILE)), int(rng.integers(_TILE))),
            jpeg=int(rng.integers(*poor.jpeg)) if squeezed < often.jpeg else 0,
        )

    def on(self, canvas: Image.Image) -> np.ndarray:
        """Return what the camera makes of the canvas: uint8 (S, S, 3)."""
        seen = canvas.point(self.tone)
        if self.blur:
            seen = seen.filter(ImageFilter.GaussianBlur(self.blur * canvas.width))
        pixels = np.asarray(seen)
        if self.field is not None:
            pixels = pixels * enlarge(self.field, canvas.width)[:, :, None]
        if self.noise:
            pixels = pixels + _grain(self.noise_at, canvas.width) * np.float32(self.noise)
        if pixels.dtype != np.uint8:
            pixels = np.clip(pixels, 0, 255).astype(np.uint8)
        if self.jpeg:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=self.jpeg)
            pixels = np.asarray(Image.open(file))
        return np.array(pixels)  # the caller's own, to write on


def _grain(at: tuple[int, int], side_px: int) -> np.ndarray:
    """Cut standard normal noise (S, S, 3) from the tile, which repeats itself."""
    tile = _tile()
    if max(at) + side_px <= _TILE:
        return tile[at[0] : at[0] + side_px, at[1] : at[1] + side_px]
    rows, columns = ((start + np.arange(side_px)) % _TILE for start in at)
    return tile[rows[:, None], columns]


@cache
def _tile() -> np.ndarray:
    return np.random.Generator(np.random.PCG64(0)).standard_normal((_TILE, _TILE, 3), np.float32)
