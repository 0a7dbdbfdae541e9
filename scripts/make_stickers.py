"""Render the stickers of `kosmos2.scenes` from the Noto Color Emoji font.

    python scripts/make_stickers.py [FONT]

Only needed to change the cast: the pictures it makes are shipped with the package. The font is in
Debian's package fonts-noto-color-emoji.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kosmos2.scenes.stickers import NOUNS, VISIBLE

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
SIZE = 109  # the one size at which the font has bitmaps
OUT = Path(__file__).resolve().parents[1] / "src" / "kosmos2" / "assets" / "stickers"

EMOJI = {
    "dog": "🐶", "cat": "🐱", "fish": "🐟", "turtle": "🐢", "elephant": "🐘", "butterfly": "🦋",
    "frog": "🐸", "penguin": "🐧", "owl": "🦉", "octopus": "🐙", "crab": "🦀", "bee": "🐝",
    "snake": "🐍", "pig": "🐷", "rabbit": "🐰", "panda": "🐼", "duck": "🦆", "flamingo": "🦩",
    "apple": "🍎", "banana": "🍌", "pizza": "🍕", "hamburger": "🍔", "donut": "🍩", "cake": "🎂",
    "watermelon": "🍉", "pineapple": "🍍", "carrot": "🥕", "mushroom": "🍄", "avocado": "🥑",
    "pumpkin": "🎃", "car": "🚗", "bus": "🚌", "train": "🚂", "bicycle": "🚲", "airplane": "✈",
    "rocket": "🚀", "boat": "⛵", "house": "🏠", "tent": "⛺", "chair": "🪑", "ladder": "🪜",
    "clock": "⏰", "umbrella": "☂", "cup": "☕", "key": "🔑", "book": "📕", "hammer": "🔨",
    "bucket": "🪣", "candle": "🕯", "camera": "📷", "robot": "🤖", "guitar": "🎸", "drum": "🥁",
    "hat": "🎩", "shoe": "👟", "shirt": "👕", "crown": "👑", "diamond": "💎", "backpack": "🎒",
    "gift": "🎁", "balloon": "🎈", "bell": "🔔", "anchor": "⚓", "magnet": "🧲", "tree": "🌳",
    "sunflower": "🌻", "cactus": "🌵", "rainbow": "🌈", "snowman": "⛄", "fire": "🔥",
    "horse": "🐴", "cow": "🐮", "tiger": "🐯", "lion": "🦁", "monkey": "🐵", "mouse": "🐭",
    "giraffe": "🦒", "zebra": "🦓", "whale": "🐳", "snail": "🐌", "parrot": "🦜", "swan": "🦢",
    "sheep": "🐑", "lemon": "🍋", "pear": "🍐", "cherry": "🍒", "strawberry": "🍓",
    "lollipop": "🍭", "sandwich": "🥪", "egg": "🥚", "coconut": "🥥", "cookie": "🍪",
    "truck": "🚚", "tractor": "🚜", "motorcycle": "🏍", "helicopter": "🚁", "ship": "🚢",
    "castle": "🏰", "church": "⛪", "sofa": "🛋", "bed": "🛏", "lamp": "💡", "television": "📺",
    "telephone": "☎", "laptop": "💻", "wrench": "🔧", "pencil": "✏", "envelope": "✉",
    "globe": "🌍", "lock": "🔒", "axe": "🪓", "trumpet": "🎺", "ball": "⚽", "trophy": "🏆",
    "dress": "👗", "sock": "🧦", "rose": "🌹", "star": "⭐", "heart": "❤", "flag": "🚩",
    "fox": "🦊", "ladybug": "🐞", "dinosaur": "🦕", "eggplant": "🍆", "teapot": "🫖",
    "skull": "💀", "moon": "🌙", "kite": "🪁", "volcano": "🌋", "microphone": "🎤",
}  # fmt: skip


def render(character: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw one character as the font has it, up to the edges of what is visible of it.

    Text drawn on a transparent canvas comes out with its faint edges darkened, so it is drawn on
    black and on white: the difference says how opaque each pixel is.
    """
    black, white = (_written(character, font, behind) for behind in (0, 255))
    alpha = 255 - (white - black).mean(axis=2, keepdims=True)
    rgb = np.where(alpha > 0, black * 255 / np.maximum(alpha, 1), 0)
    picture = np.concatenate([rgb, alpha], axis=2).round().clip(0, 255).astype(np.uint8)
    rows, columns = np.nonzero(picture[:, :, 3] >= VISIBLE)
    return Image.fromarray(
        picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].copy()
    )


def _written(character: str, font: ImageFont.FreeTypeFont, behind: int) -> np.ndarray:
    canvas = Image.new("RGB", (2 * SIZE, 2 * SIZE), (behind, behind, behind))
    ImageDraw.Draw(canvas).text((SIZE // 4, SIZE // 4), character, font=font, embedded_color=True)
    return np.asarray(canvas, dtype=np.float64)


def main() -> None:
    """Render every noun."""
    if set(EMOJI) != set(NOUNS):
        sys.exit(f"nouns without emoji or the reverse: {sorted(set(EMOJI) ^ set(NOUNS))}")
    font = ImageFont.truetype(sys.argv[1] if len(sys.argv) > 1 else FONT, SIZE)
    OUT.mkdir(parents=True, exist_ok=True)
    total = 0
    for noun in NOUNS:
        path = OUT / f"{noun}.png"
        render(EMOJI[noun], font).save(path, optimize=True)
        total += path.stat().st_size
    sys.stdout.write(f"{len(NOUNS)} stickers, {total / 1024:.0f} KiB, in {OUT}\n")


if __name__ == "__main__":
    main()
