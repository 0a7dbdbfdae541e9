"""What lies behind the things: a dozen families of pictures, each a pure function of a generator.

A family paints uint8 (S, S, 3) for any S. Shapes are formulas in fractions of the side, or small
random lattices enlarged smoothly, so one generator state looks the same at every size. The single
random numbers are drawn before anything that depends on S.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

Painter = Callable[[np.random.Generator, int], np.ndarray]


def paint(family: str, rng: np.random.Generator, side_px: int) -> np.ndarray:
    """Paint one background: uint8 (S, S, 3)."""
    return FAMILIES[family](rng, side_px)


@lru_cache(maxsize=8)
def grid(side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (1, S) and y (S, 1): where the middles of the pixels lie, in fractions."""
    middles = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px
    return middles[None, :], middles[:, None]


def colour(rng: np.random.Generator) -> np.ndarray:
    """Draw a colour, float32 (3,) from 0 to 255: any hue, often muted, dark as well as bright."""
    hue, muted, light = rng.random(3)
    rainbow = np.cos(2 * np.pi * (hue + np.array([0.0, 1 / 3, 2 / 3]))) * 0.5 + 0.5
    light = 0.15 + 0.85 * light**0.7
    return (255 * light * (1 + (rainbow - 1) * 0.75 * muted**1.5)).astype(np.float32)


def near(rng: np.random.Generator, base: np.ndarray, reach: float) -> np.ndarray:
    """Draw a colour near another: lighter or darker by up to `reach` of 255, hardly tinted."""
    shift = rng.uniform(-reach, reach) + rng.uniform(-12, 12, 3)
    return np.clip(base + shift, 0, 255).astype(np.float32)


def enlarge(lattice: np.ndarray, side_px: int) -> np.ndarray:
    """Enlarge a small lattice, uint8 (n, m[, 3]) or float32 (n, m), smoothly to the picture."""
    return np.asarray(Image.fromarray(lattice).resize((side_px, side_px), Image.Resampling.BICUBIC))


def _mix(share: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Blend two colours by a share (S, S), (1, S) or (S, 1) of the other, in 256 steps."""
    table = one + np.linspace(0, 1, 256, dtype=np.float32)[:, None] * (other - one)
    steps = (np.clip(share, 0, 1) * 255).astype(np.uint8)
    return table.astype(np.uint8)[steps]


def _edge(distance: np.ndarray, side_px: int) -> np.ndarray:
    """Turn a signed distance (in fractions of the side) into a share with a one-pixel edge."""
    return np.clip(distance * side_px + 0.5, 0, 1)


def _turned(rng: np.random.Generator, side_px: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    x, y = grid(side_px)
    angle = rng.uniform(-spread, spread)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def _wave(value: np.ndarray, period: float, width: float, side_px: int) -> np.ndarray:
    """Bands of `width` (a share of the period) along a coordinate, edges one pixel soft."""
    fold = np.abs((value / period) % 1 - 0.5)  # 0 in the middle of a band, 0.5 between bands
    return _edge((width / 2 - fold) * period, side_px)


def flat(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """One colour, nothing else."""
    return np.broadcast_to(colour(rng).astype(np.uint8), (side_px, side_px, 3)).copy()


def gradient(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """Two colours, one fading into the other in some direction."""
    one, other = colour(rng), colour(rng)
    u, _ = _turned(rng, side_px, np.pi)
    low, high = u.min(), u.max()
    return _mix((u - low) / (high - low), one, other)


def landscape(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """Sky over a wavy horizon, ground below it."""
    zenith = np.array([60, 120, 205], np.float32) + rng.uniform(-55, 45, 3).astype(np.float32)
    haze = np.array([215, 225, 235], np.float32) + rng.uniform(-45, 20, 3).astype(np.float32)
    grounds = np.array([[90, 150, 65], [200, 180, 130], [235, 238, 245], [125, 95, 70]], np.float32)
    ground = near(rng, grounds[rng.integers(len(grounds))], 20)
    near_ground = near(rng, ground, 55)
    level, tilt = rng.uniform(0.35, 0.75), rng.uniform(-0.12, 0.12)
    hills, phase, bumps = rng.uniform(0.0, 0.05), rng.uniform(0, 6.3), rng.uniform(3, 9)
    grain = rng.integers(96, 160, (24, 12), dtype=np.uint8)
    x, y = grid(side_px)
    horizon = (level + tilt * (x - 0.5) + hills * np.sin(bumps * x + phase)).astype(np.float32)
    sky = _mix(y / horizon.min(), zenith, haze)
    depth = (y - level) / (1 - level) + (enlarge(grain, side_px) - 128.0) / 160
    earth = _mix(depth, ground, near_ground)
    below = (255 * _edge(y - horizon, side_px)).astype(np.uint8)
    sky = np.broadcast_to(sky, earth.shape).copy()
    layers = (Image.fromarray(layer) for layer in (earth, sky, below))
    return np.asarray(Image.composite(*layers))


def checks(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """A chequered cloth, sometimes turned."""
    one = colour(rng)
    other = near(rng, one, 70) if rng.random() < 0.6 else colour(rng)
    size = rng.uniform(0.05, 0.22)
    u, v = _turned(rng, side_px, 0.8)
    a = np.clip(np.sin(u * np.float32(np.pi / size)) * size * side_px, -1, 1)
    b = np.clip(np.sin(v * np.float32(np.pi / size)) * size * side_px, -1, 1)
    return _mix(a * b * 0.5 + 0.5, one, other)


def stripes(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """Parallel bands of two colours."""
    one = colour(rng)
    other = near(rng, one, 80) if rng.random() < 0.6 else colour(rng)
    period, width = rng.uniform(0.06, 0.35), rng.uniform(0.2, 0.8)
    u, _ = _turned(rng, side_px, np.pi)
    return _mix(_wave(u, period, width, side_px), one, other)


def dots(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """A polka-dotted paper."""
    one = colour(rng)
    other = near(rng, one, 90) if rng.random() < 0.5 else colour(rng)
    period, radius = rng.uniform(0.07, 0.2), rng.uniform(0.12, 0.4)
    u, v = _turned(rng, side_px, 0.8)
    du, dv = (u / period) % 1 - 0.5, (v / period) % 1 - 0.5
    return _mix(_edge((radius - np.sqrt(du * du + dv * dv)) * period, side_px), one, other)


def clouds(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """Smooth noise between two colours, coarse with something finer in it."""
    one, other = colour(rng), colour(rng)
    cells, weight = int(rng.integers(3, 8)), rng.uniform(0.2, 0.6)
    share = np.zeros((side_px, side_px), np.float32)
    for octave in range(3):
        many = cells * 2**octave + octave  # not a multiple, so that no two lattices line up
        lattice = rng.random((many, many), dtype=np.float32)
        share += enlarge(lattice, side_px) * np.float32(weight**octave * (1 - weight))
    return _mix(share, one, other)


def blotches(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """Many colours out of focus."""
    cells = int(rng.integers(2, 7))
    base, strength = colour(rng), rng.uniform(0.3, 1.0)

    def layer(many: int) -> Image.Image:
        lattice = base + (rng.uniform(0, 255, (many, many, 3)) - base) * strength
        return Image.fromarray(enlarge(lattice.astype(np.uint8), side_px))

    return np.asarray(Image.blend(layer(cells), layer(cells + 2), 0.45))


def bokeh(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """Lights out of focus over a darker gradient."""
    one, other = colour(rng) * 0.55, colour(rng) * 0.55
    tones = [colour(rng) for _ in range(3)]
    lights = [rng.random(5) for _ in range(int(rng.integers(5, 14)))]
    _, y = grid(side_px)
    lit = Image.fromarray(np.ascontiguousarray(
        np.broadcast_to(_mix(y, one, other), (side_px, side_px, 3))
    ))  # fmt: skip
    for x, y0, size, strength, tone in lights:
        radius = 0.03 + 0.11 * size
        width = max(2, round(2 * radius * side_px))
        disc = _disc(width, int(8 * strength))
        corner = (round((x - radius) * side_px), round((y0 - radius) * side_px))
        rgb = np.minimum(tones[int(tone * len(tones))] + 60, 255)
        lit.paste(tuple(int(v) for v in rgb), corner, disc)
    return np.asarray(lit)


@lru_cache(maxsize=512)
def _disc(width_px: int, strength: int) -> Image.Image:
    x, y = grid(width_px)
    away = np.sqrt((x - 0.5) ** 2 + (y - 0.5) ** 2) * 2  # 1 at the rim
    rim = 0.75 + 0.25 * np.clip((away - 0.6) / 0.3, 0, 1)
    opacity = rim * np.clip((1 - away) * 8, 0, 1) * (0.15 + 0.0625 * strength)
    return Image.fromarray((255 * opacity).astype(np.uint8))


def wood(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """Planks with a grain along them, lying or standing."""
    light = np.array([190, 140, 90], np.float32) * np.float32(rng.uniform(0.45, 1.15))
    light = np.clip(light + rng.uniform(-20, 20, 3), 0, 255).astype(np.float32)
    dark = light * np.float32(rng.uniform(0.5, 0.75))
    planks = int(rng.integers(2, 7))
    tones = rng.uniform(0, 0.45, planks).astype(np.float32)
    grain = rng.integers(0, 256, (int(rng.integers(30, 64)), 4), dtype=np.uint8)
    upright = rng.random() < 0.5
    _, y = grid(side_px)
    along = y * planks
    tone = tones[along.astype(int)]
    seam = _wave(along + 0.5, 1.0, 0.04, side_px // planks)
    share = enlarge(grain, side_px) * np.float32(0.5 / 255) + tone + seam
    board = _mix(share, light, dark)
    return board.transpose(1, 0, 2) if upright else board


def fabric(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """A weave: threads both ways, under uneven folds."""
    one = colour(rng)
    other = near(rng, one, 60)
    threads = rng.uniform(18, 40)
    folds = rng.integers(0, 256, (4, 4), dtype=np.uint8)
    depth = rng.uniform(0.2, 0.6)
    x, y = grid(side_px)
    turn = np.float32(2 * np.pi * threads)
    weave = np.sin(turn * x) * np.sin(turn * y) * np.float32(0.3) + np.float32(0.5)
    return _mix(weave + (enlarge(folds, side_px) * np.float32(1 / 255) - 0.5) * depth, one, other)


def room(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """A wall, a skirting board and a floor of boards that run away from us."""
    wall, floor = colour(rng), colour(rng) * np.float32(0.8)
    shade, joint = near(rng, wall, 45), near(rng, floor, 50)
    level, boards = rng.uniform(0.5, 0.8), rng.uniform(5, 12)
    papered, period = rng.random() < 0.5, rng.uniform(0.05, 0.15)
    vanish = rng.uniform(0.3, 0.7)
    x, y = grid(side_px)
    pattern = _wave(x, period, 0.5, side_px) if papered else x * np.float32(0.8)
    upper = _mix(pattern, wall, shade)
    away = (x - vanish) / (y - np.float32(level) + np.float32(0.25))
    lower = _mix(_wave(away, 4 / boards, 0.93, side_px // 8), joint, floor)
    skirting = np.clip(wall + 35, 0, 255).astype(np.uint8)
    picture = np.where((y < level)[:, :, None], upper, lower)
    picture[(y[:, 0] > level - 0.03) & (y[:, 0] < level)] = skirting
    return picture


def bricks(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """A brick or tile wall."""
    brick = colour(rng) * np.float32(0.9)
    mortar = near(rng, brick, 80)
    rows, ratio, shift = int(rng.integers(4, 11)), rng.uniform(1.0, 2.6), rng.choice([0.0, 0.5])
    tones = rng.uniform(0, 0.5, (rows, 32)).astype(np.float32)
    x, y = grid(side_px)
    v = y * np.float32(rows)
    row = v.astype(int)
    u = x * np.float32(rows / ratio) + (row % 2) * np.float32(shift)
    joint = np.maximum(
        _wave(u + 0.5, 1.0, 0.1 / ratio, side_px // rows), _wave(v + 0.5, 1.0, 0.1, side_px // rows)
    )
    return _mix(tones[row, u.astype(int)] + joint, brick, mortar)


def grass(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """Fine growth seen from above: lawn, sand, gravel or carpet."""
    bases = np.array([[85, 140, 60], [205, 185, 140], [130, 130, 130], [150, 70, 80]], np.float32)
    base = near(rng, bases[rng.integers(len(bases))], 35)
    dark = base * np.float32(rng.uniform(0.45, 0.8))
    tall = int(rng.integers(28, 64))
    fine = rng.integers(0, 256, (tall, 64), dtype=np.uint8)
    coarse = rng.integers(0, 256, (5, 5), dtype=np.uint8)
    fine_share = enlarge(fine, side_px) * np.float32(0.65 / 255)
    share = fine_share + enlarge(coarse, side_px) * np.float32(0.35 / 255)
    return _mix(share, base, dark)


FAMILIES: dict[str, Painter] = {
    painter.__name__: painter
    for painter in (
        flat, gradient, landscape, checks, stripes, dots, clouds, blotches, bokeh, wood, fabric,
        room, bricks, grass,
    )
}  # fmt: skip
