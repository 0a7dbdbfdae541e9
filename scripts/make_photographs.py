"""Cut the photographs that lie behind scenes out of the samples of scikit-image and scikit-learn.

    python scripts/make_photographs.py

Only needed to change them: the pictures it makes are shipped with the package, with their NOTICE.
Only samples in the public domain, under CC0 or under CC BY are used, and of those only parts that
show none of the nouns whole.
"""

import sys
from importlib import resources
from pathlib import Path

from PIL import Image

OUT = Path(__file__).resolve().parents[1] / "src" / "kosmos2" / "assets" / "backgrounds"
SIDE_PX = 224
QUALITY = 78

# What comes out: the sample, and the square of it (left, top, side) in its pixels.
CROPS: dict[str, tuple[str, int, int, int]] = {
    "suit": ("skimage/astronaut.png", 120, 240, 250),
    "helmet": ("skimage/astronaut.png", 270, 330, 182),
    "wood": ("skimage/coffee.png", 0, 200, 200),
    "table": ("skimage/coffee.png", 400, 0, 200),
    "blur": ("skimage/chelsea.png", 341, 60, 110),
    "towers": ("skimage/rocket.jpg", 0, 60, 280),
    "dusk": ("skimage/rocket.jpg", 370, 30, 270),
    "launchpad": ("skimage/rocket.jpg", 30, 227, 200),
    "galaxies": ("skimage/hubble_deep_field.jpg", 0, 0, 430),
    "deep_sky": ("skimage/hubble_deep_field.jpg", 520, 40, 400),
    "far_sky": ("skimage/hubble_deep_field.jpg", 300, 430, 440),
    "eye": ("skimage/retina.jpg", 260, 240, 620),
    "vessels": ("skimage/retina.jpg", 640, 520, 620),
    "bricks": ("skimage/brick.png", 0, 0, 300),
    "paving": ("skimage/brick.png", 200, 200, 312),
    "lawn": ("skimage/grass.png", 0, 0, 256),
    "meadow": ("skimage/grass.png", 180, 180, 332),
    "gravel": ("skimage/gravel.png", 0, 0, 300),
    "stones": ("skimage/gravel.png", 300, 300, 212),
    "field": ("skimage/camera.png", 330, 312, 182),
    "campus": ("skimage/camera.png", 312, 130, 190),
    "lake": ("sklearn/china.jpg", 325, 90, 220),
    "pavilion": ("sklearn/china.jpg", 90, 150, 240),
    "bushes": ("sklearn/china.jpg", 400, 205, 222),
    "sky": ("sklearn/china.jpg", 340, 0, 200),
}
_HOMES = {"skimage": "skimage.data", "sklearn": "sklearn.datasets.images"}


def main() -> None:
    """Cut and write all of them."""
    OUT.mkdir(parents=True, exist_ok=True)
    total = 0
    for name, (sample, left, top, side) in CROPS.items():
        home, file = sample.split("/")
        with (resources.files(_HOMES[home]) / file).open("rb") as opened:
            picture = Image.open(opened).convert("RGB")
        cut = picture.crop((left, top, left + side, top + side))
        path = OUT / f"{name}.jpg"
        cut.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS).save(path, quality=QUALITY)
        total += path.stat().st_size
    sys.stdout.write(f"{len(CROPS)} photographs, {total / 1024:.0f} KiB, in {OUT}\n")


if __name__ == "__main__":
    main()
