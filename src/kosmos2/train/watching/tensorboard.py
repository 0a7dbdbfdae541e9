"""A run as TensorBoard shows it: losses by kind, speed, held-out figures, pictures with boxes.

tensorboard --logdir RUN/tensorboard
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from kosmos2.drawing import draw
from kosmos2.errors import ConfigError
from kosmos2.layout import line_px
from kosmos2.markup import Entity
from kosmos2.palette import HALO, colour
from kosmos2.train.watching.held_out import Answer, HeldOut
from kosmos2.train.watching.watcher import Progress, Run, Watcher, numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # in the run folder
_SIDE_PX = 448  # the longer one of a picture
_SPEEDS = ("rows_per_s", "tokens_per_s", "share_of_peak")
_GAP = 4  # pixels between the dashes of a true box, in widths of its line


def needed() -> None:
    """Refuse where TensorBoard is not installed.

    Raises:
        ConfigError: it is not; the message says how to get it.
    """
    try:
        import torch.utils.tensorboard as there
    except ImportError as error:
        raise ConfigError(
            f"curves for TensorBoard need {error.name or 'tensorboard'}, which is not installed; "
            "pip install 'kosmos2[train]' brings it"
        ) from error
    del there


class Board(Watcher):
    """Writes event files into the run folder; a resumed run goes on in the same curves.

    Args:
        every: steps between two points of a curve.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, every: int = 10) -> None:
        needed()
        self.every = every
        self._run: Run | None = None
        self._writer: SummaryWriter | None = None

    def start(self, run: Run) -> None:
        """Open the files; points of steps that will come again are struck out."""
        from torch.utils.tensorboard import SummaryWriter

        self._run = run
        _in_a_second_of_its_own(run.folder / FOLDER)
        self._writer = SummaryWriter(str(run.folder / FOLDER), purge_step=run.done + 1)

    def step(self, progress: Progress) -> None:
        """A point on every curve."""
        if self._run is None or self._writer is None:
            return
        step = self._run.whole(progress.stage, progress.step)
        if step % self.every and progress.step not in (1, progress.steps):
            return
        for name, value in numbers(progress.report):
            self._writer.add_scalar(f"train/{name}", value, step)
        for name in _SPEEDS:
            value = getattr(progress, name)
            if value is not None:
                self._writer.add_scalar(f"speed/{name}", value, step)

    def held_out(self, found: HeldOut) -> None:
        """Figures and pictures."""
        if self._writer is None:
            return
        self._writer.add_scalar("held_out/accuracy_at_0.5", found.accuracy, found.step)
        self._writer.add_scalar("held_out/mean_iou", found.mean_iou, found.step)
        for number, picture in enumerate(found.pictures):
            pixels = np.array(marked(picture, found.of(number)))
            name = f"held_out/{number:02d}"
            self._writer.add_image(name, pixels, found.step, dataformats="HWC")
        self._writer.flush()

    def end(self) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _in_a_second_of_its_own(folder: Path) -> None:
    """Wait until a new event file will be read after those that are there.

    Files are read in the order of their names: the second, the host, the process and a count,
    each as text. Of one second, "10" would come before "9", and the points that a resumed run
    strikes out would be the new ones.
    """
    seconds = {path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")}
    while f"{int(time.time()):010d}" in seconds:
        time.sleep(0.01)


def marked(picture: Image.Image, answers: tuple[Answer, ...]) -> Image.Image:
    """The picture with what was found drawn whole and named, and what is true dashed."""
    scale = _SIDE_PX / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    canvas = picture.resize(size, Image.Resampling.BICUBIC)
    pencil = ImageDraw.Draw(canvas)
    line = max(1, round(line_px(*size)))
    for index, answer in enumerate(answers):
        for box in answer.truth:
            corners = [round(edge) for edge in box.scaled("px", *size)]
            _dashed(pencil, corners, line, colour(index))
    found = [
        Entity(answer.phrase, 0, 0, (answer.found,) if answer.found else ()) for answer in answers
    ]
    return draw(canvas, found)


def _dashed(
    pencil: ImageDraw.ImageDraw, corners: list[int], line: int, tint: tuple[int, int, int]
) -> None:
    left, top, right, bottom = corners
    right, bottom = max(right - 1, left), max(bottom - 1, top)
    step = _GAP * line
    for ground, width, short in ((HALO, line + 2, 0), (tint, line, 1)):
        for x in range(left, right, 2 * step):
            end = min(x + step, right)
            for y in (top, bottom):
                pencil.line((x + short, y, end - short, y), fill=ground, width=width)
        for y in range(top, bottom, 2 * step):
            end = min(y + step, bottom)
            for x in (left, right):
                pencil.line((x, y + short, x, end - short), fill=ground, width=width)
