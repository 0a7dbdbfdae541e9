"""One colour per entity, the same on a picture, on a page and on a terminal.

The colours are light, so that black ink reads well on all of them; lines in these colours get a
dark halo, so that they read well on any picture.
"""

from __future__ import annotations

import colorsys

RGB = tuple[int, int, int]

HALO: RGB = (16, 18, 22)  # drawn under every line and around every label
INK: RGB = (0, 0, 0)  # text on a colour

_COLOURS: tuple[RGB, ...] = (
    (255, 107, 107),
    (77, 171, 255),
    (255, 203, 46),
    (84, 214, 121),
    (204, 140, 255),
    (255, 150, 51),
    (43, 209, 203),
    (255, 133, 196),
    (178, 224, 58),
    (140, 158, 255),
    (224, 172, 122),
    (163, 228, 255),
)
_GOLDEN_TURN = 0.618_033_988_75  # hues a golden turn apart never come close to each other soon


def colour(index: int) -> RGB:
    """The colour of entity `index`; the first dozen are chosen, the rest computed."""
    if index < len(_COLOURS):
        return _COLOURS[index]
    hue = (index * _GOLDEN_TURN) % 1.0
    lightness = (0.76, 0.82, 0.87)[index % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def css(rgb: RGB) -> str:
    """The colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def paint(text: str, index: int) -> str:
    """The text in black on its entity's colour, for a terminal of 256 colours.

    A coloured ground reads well on light and dark terminals alike. Control characters are replaced:
    words of a model or a user must not steer a terminal.
    """
    red, green, blue = (round(part / 255 * 5) for part in colour(index))
    cube = 16 + 36 * red + 6 * green + blue
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return f"\x1b[48;5;{cube};38;5;16m{shown}\x1b[0m"
