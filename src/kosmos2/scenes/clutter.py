"""Small shapes of no meaning, strewn behind the things so that not every edge is a thing."""

import numpy as np
from PIL import Image, ImageDraw

from kosmos2.scenes.backgrounds import colour

MOST = 9  # shapes in a scene
_FINE = 4  # masks are drawn this many times larger, then reduced, for smooth edges


def scatter(canvas: Image.Image, rng: np.random.Generator) -> None:
    """Strew a few blobs, boxes, triangles and strokes over the canvas; some scenes stay clear."""
    count = int(rng.integers(0, MOST + 1)) if rng.random() < 0.75 else 0
    for _ in range(count):
        kind, x, y, size, narrow, turn, opacity = rng.random(7).tolist()
        tint = tuple(int(v) for v in colour(rng))
        reach = 0.02 + 0.08 * size * size  # half its extent
        ink = int(255 * (0.35 + 0.65 * opacity))
        mask = _shape(int(kind * 4), reach * canvas.width, narrow, turn, ink)
        corner = (
            round(x * canvas.width) - mask.width // 2,
            round(y * canvas.height) - mask.height // 2,
        )
        canvas.paste(tint, corner, mask)


def _shape(kind: int, reach_px: float, narrow: float, turn: float, ink: int) -> Image.Image:
    """Draw an ellipse, a rectangle, a triangle or a stroke into a mask of its own."""
    half = int(reach_px) + 1
    mask = Image.new("L", (2 * half * _FINE, 2 * half * _FINE))
    pen = ImageDraw.Draw(mask)
    middle, long = half * _FINE, reach_px * _FINE
    short = long * (0.3 + 0.7 * narrow)
    if kind == 0:
        pen.ellipse((middle - long, middle - short, middle + long, middle + short), fill=ink)
        return mask.reduce(_FINE)
    if kind == 3:
        short = long * (0.06 + 0.1 * narrow)
    angles = {1: (0.25, 0.75, 1.25, 1.75), 2: (0.0, 0.67, 1.33), 3: (0.03, 0.97, 1.03, 1.97)}[kind]
    cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    points = []
    for angle in angles:
        u, v = long * np.cos(np.pi * angle), short * np.sin(np.pi * angle)
        if kind == 3:
            v = short * np.sign(v)
        points.append((float(middle + cos * u - sin * v), float(middle + sin * u + cos * v)))
    pen.polygon(points, fill=ink)
    return mask.reduce(_FINE)
