"""Held-out phrases: what share of them the model finds, before training and after.

The question is the plainest there is: `<grounding><phrase>a dog</phrase>` and one box back. It is a
hit where its overlap with any true box (intersection over union) is at least one half. The answers
and a few of the pictures are kept in the run folder, so that a report can be made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import nn
from torch.nn.utils import parametrize

from kosmos2.data.sample import Picture
from kosmos2.drawing import whole
from kosmos2.errors import DataError
from kosmos2.geometry import Box
from kosmos2.grounder import Kosmos2, tasks
from kosmos2.model import Network
from kosmos2.options import Options
from kosmos2.tokenizer import Tokenizer
from kosmos2.train.watching.exercises import Exercise, exercises, scene_exercises

__all__ = [
    "Answer",
    "Exam",
    "Exercise",
    "HeldOut",
    "exercises",
    "scene_exercises",
    "store",
    "stored",
]

HIT = 0.5  # overlap that counts as found
FOLDER = "held_out"  # in the run folder
_SHOWN = 8  # pictures that are kept
_LONGEST_PX = 640  # of those
_OPTIONS = Options(max_boxes=1, max_new_tokens=16)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said of one phrase."""

    name: str  # where the picture came from
    number: int  # of the picture
    phrase: str
    truth: tuple[Box, ...]
    found: Box | None

    @property
    def overlap(self) -> float:
        """With the true box that fits best."""
        return max((self.found.iou(box) for box in self.truth), default=0.0) if self.found else 0.0


@dataclass(frozen=True, slots=True)
class HeldOut:
    """All answers at one step, and the first pictures, small enough to keep."""

    step: int  # of the whole run; 0 is before it
    answers: tuple[Answer, ...]
    pictures: tuple[Image.Image, ...] = ()

    @property
    def hits(self) -> int:
        """Phrases found."""
        return sum(answer.overlap >= HIT for answer in self.answers)

    @property
    def accuracy(self) -> float:
        """Share of phrases found (accuracy@0.5)."""
        return self.hits / len(self.answers)

    @property
    def mean_iou(self) -> float:
        """Mean overlap; a phrase without a box has none."""
        return sum(answer.overlap for answer in self.answers) / len(self.answers)

    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"held out, after step {self.step:,}: {self.hits:,} of {len(self.answers):,} phrases "
            f"found (accuracy@0.5 {self.accuracy:.3f}), mean IoU {self.mean_iou:.3f}"
        )

    def of(self, number: int) -> tuple[Answer, ...]:
        """The answers about one picture."""
        return tuple(answer for answer in self.answers if answer.number == number)


class Exam:
    """Exercises that can be set again and again; taking it changes nothing of the network."""

    def __init__(
        self, exercises: Sequence[Exercise], tokenizer: Tokenizer, *, batch: int = 16
    ) -> None:
        if not exercises:
            raise DataError("no held-out row has a phrase with a box; hold out more rows, or none")
        self.exercises, self.tokenizer, self.batch = tuple(exercises), tokenizer, batch

    def take(self, network: Network, step: int) -> HeldOut:
        """Ask for every phrase."""
        answers: list[Answer] = []
        shown: list[Image.Image] = []
        with _resting(network), parametrize.cached():
            model = Kosmos2(network, self.tokenizer, no_repeat_ngram_size=0, batch=self.batch)
            for first in range(0, len(self.exercises), self.batch):
                part = self.exercises[first : first + self.batch]
                pictures = [exercise.picture.open() for exercise in part]
                shown += map(_small, pictures[: max(0, _SHOWN - len(shown))])
                seen = model.see(tuple(pictures))
                asks = [
                    ask for one, what in zip(seen, part) for ask in tasks.ground(one, what.phrases)
                ]
                said = iter(model.answer(asks, _OPTIONS))
                for number, exercise in enumerate(part, first):
                    for words, truth in zip(exercise.phrases, exercise.truth):
                        boxes = [box for entity in next(said).entities for box in entity.boxes]
                        found = boxes[0] if boxes else None
                        answers.append(Answer(exercise.name, number, words, truth, found))
        return HeldOut(step, tuple(answers), tuple(shown))


def store(found: HeldOut, run: Path) -> None:
    """Write answers and pictures into the run folder."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(found.pictures):
        if not (folder / f"{number}.jpg").exists():
            with whole(folder / f"{number}.jpg") as draft:
                picture.save(draft, format="JPEG", quality=88)
    answers = [
        {
            "name": answer.name,
            "picture": answer.number,
            "phrase": answer.phrase,
            "truth": [box.corners for box in answer.truth],
            "found": answer.found and answer.found.corners,
            "score": answer.found and answer.found.score,
        }
        for answer in found.answers
    ]
    figures = {"step": found.step, "accuracy": found.accuracy, "mean_iou": found.mean_iou}
    with whole(folder / f"step-{found.step:07d}.json") as draft:
        draft.write_text(json.dumps({**figures, "answers": answers}, indent=1), encoding="utf-8")


def stored(run: Path) -> list[HeldOut]:
    """What was kept in a run folder, earliest step first; nothing where nothing was.

    Raises:
        DataError: a file there is not what `store` writes.
    """
    folder = run / FOLDER
    pictures = []
    for number in range(_SHOWN):
        if (folder / f"{number}.jpg").is_file():
            pictures.append(Picture(folder / f"{number}.jpg").open())
    return [_read(file, tuple(pictures)) for file in sorted(folder.glob("step-*.json"))]


def _read(file: Path, pictures: tuple[Image.Image, ...]) -> HeldOut:
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        answers = tuple(
            Answer(
                str(one["name"]),
                int(one["picture"]),
                str(one["phrase"]),
                tuple(map(_box, one["truth"])),
                _box(one["found"], one["score"]) if one["found"] else None,
            )
            for one in held["answers"]
        )
        if not answers:
            raise ValueError("no answers")
        return HeldOut(int(held["step"]), answers, pictures)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{file} does not hold held-out answers ({error!r}); remove it to go without them"
        ) from error


def _box(corners: Sequence[float], score: float | None = None) -> Box:
    x1, y1, x2, y2 = map(float, corners)
    return Box(x1, y1, x2, y2, score)


@contextmanager
def _resting(network: nn.Module) -> Iterator[None]:
    """Every part evaluates, and afterwards does again what it did before."""
    before = {part: part.training for part in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


def _small(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((_LONGEST_PX, _LONGEST_PX))
    return small
