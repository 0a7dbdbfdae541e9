"""Scenes as files: a folder of JPEG pictures and `truth.jsonl`, one line of truth for each."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from kosmos2.errors import InputError
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import Scene, Thing, compose
from kosmos2.scenes.world import FIRST, World

log = logging.getLogger(__name__)

TRUTH = "truth.jsonl"
QUALITY = 92


def write_scenes(
    folder: str | Path,
    count: int,
    seed: int,
    side_px: int = 448,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    world: World = FIRST,
    overwrite: bool = False,
) -> Path:
    """Draw scenes 0 to `count` - 1 of the stream `seed` into a folder and return it.

    Args:
        folder: Made if it is not there; must be empty unless `overwrite`.
        count: How many scenes.
        seed: Which stream; the same seed gives the same pictures.
        side_px: Width and height of each picture.
        on_progress: Called with (scenes done, `count`) after each scene.
        world: What the scenes are made of.
        overwrite: Replace the scenes already in the folder (all of them; other files stay).
    """
    folder = Path(folder)
    if count < 1 or side_px < 16:
        raise InputError(f"{count} scenes of {side_px} pixels: at least 1 scene and 16 pixels")
    _clear(folder, overwrite=overwrite)
    with (folder / TRUTH).open("w", encoding="utf-8") as truth:
        for index in range(count):
            scene = compose(seed, index, world)
            name = f"scene_{index:06d}.jpg"
            Image.fromarray(draw_scene(scene, side_px)).save(folder / name, quality=QUALITY)
            truth.write(json.dumps(_line(scene, name, side_px)) + "\n")
            if on_progress is not None:
                on_progress(index + 1, count)
    log.info("wrote %d scenes of seed %d into %s", count, seed, folder)
    return folder


def _line(scene: Scene, name: str, side_px: int) -> dict[str, object]:
    return {
        "file": name,
        "width": side_px,
        "height": side_px,
        "seed": scene.seed,
        "index": scene.index,
        "world": scene.world.name,
        "things": [_told(thing) for thing in scene.things],
    }


def _told(thing: Thing) -> dict[str, object]:
    told: dict[str, object] = {"noun": thing.noun, "box": [round(v, 6) for v in thing.box.corners]}
    return told | {"colour": thing.colour} if thing.colour else told


def _clear(folder: Path, *, overwrite: bool) -> None:
    """Make the folder; leave no picture of an earlier run beside a truth that does not know it."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, and scenes need a folder; name another place")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not overwrite:
        raise InputError(f"{folder} is not empty; name an empty folder, or ask to overwrite it")
    for old in [*folder.glob("scene_*.jpg"), *folder.glob(TRUTH)]:
        old.unlink()
