"""A scene in pixels, quickly: training draws hundreds of these a second beside itself.

Everything is placed in fractions of the side, and every random choice comes from the scene's own
number, so a scene is the same picture at any size.
"""

from functools import lru_cache

import numpy as np
from PIL import Image

from kosmos2.scenes import backgrounds
from kosmos2.scenes.clutter import scatter
from kosmos2.scenes.layout import PHOTOGRAPH, Scene, Thing, pose
from kosmos2.scenes.light import Light
from kosmos2.scenes.photographs import photograph
from kosmos2.scenes.stickers import outline, sticker

_STEP = 0.75  # each level of a sticker against the one above it
_MARGIN = 2  # clear pixels around each level, for smooth edges


def draw_scene(scene: Scene, side_px: int) -> np.ndarray:
    """Draw the scene: uint8 (side_px, side_px, 3)."""
    behind, among, light = (
        np.random.Generator(np.random.PCG64(seed)) for seed in _streams(scene.details)
    )
    if scene.background == PHOTOGRAPH:
        canvas = Image.fromarray(photograph(behind, side_px))
    else:
        canvas = Image.fromarray(backgrounds.paint(scene.background, behind, side_px))
    scatter(canvas, among)
    for thing in scene.things:
        place(canvas, thing)
    return Light.draw(light, rough=scene.world.rough).on(canvas)


def place(canvas: Image.Image, thing: Thing) -> None:
    """Put one sticker on the canvas, its visible part exactly filling its box."""
    side_px = canvas.width
    x1, y1, x2, y2 = pose(thing.noun, thing.flip, thing.angle)
    scale = (thing.box.x2 - thing.box.x1) * side_px / (x2 - x1)  # picture pixels a sticker pixel
    if (y2 - y1) > (x2 - x1):
        scale = (thing.box.y2 - thing.box.y1) * side_px / (y2 - y1)
    level, shrunk = _level(thing, scale)
    left, top = int(thing.box.x1 * side_px) - 1, int(thing.box.y1 * side_px) - 1
    right, bottom = int(thing.box.x2 * side_px) + 2, int(thing.box.y2 * side_px) + 2

    # From a pixel of the window back to one of the level: shift, turn back, mirror, scale.
    corners = outline(thing.noun)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    across = x1 - (thing.box.x1 * side_px - left) / scale
    down = y1 - (thing.box.y1 * side_px - top) / scale
    turn = np.radians(thing.angle)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    mirror = -1 if thing.flip else 1
    kx, ky = shrunk
    inverse = (
        mirror * kx * cos / scale,
        -mirror * kx * sin / scale,
        kx * (mirror * (cos * across - sin * down) + float(middle[0])) + _MARGIN,
        ky * sin / scale,
        ky * cos / scale,
        ky * (sin * across + cos * down + float(middle[1])) + _MARGIN,
    )
    size = (right - left, bottom - top)
    turned = level.transform(
        size, Image.Transform.AFFINE, inverse, resample=Image.Resampling.BICUBIC
    )
    canvas.paste(turned, (left, top), turned)


def _streams(details: int) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence(details).spawn(3)


def _level(thing: Thing, scale: float) -> tuple[Image.Image, tuple[float, float]]:
    """Return the sticker shrunk to just above `scale`, and how far it was shrunk in x and y."""
    steps = max(0, int(np.log(min(scale, 1.0)) / np.log(_STEP)))
    return _levels(thing.noun, thing.colour, steps)


@lru_cache(maxsize=4096)
def _levels(noun: str, colour: str | None, steps: int) -> tuple[Image.Image, tuple[float, float]]:
    whole = sticker(noun, colour)
    factor = _STEP**steps
    width, height = (max(2, round(length * factor)) for length in whole.size)
    small = whole.resize((width, height), Image.Resampling.LANCZOS) if steps else whole
    padded = Image.new("RGBA", (width + 2 * _MARGIN, height + 2 * _MARGIN))
    padded.paste(small, (_MARGIN, _MARGIN))
    return padded, (width / whole.width, height / whole.height)
