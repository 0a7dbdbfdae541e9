"""Plain phrases to ask a model for, of rows that it is never trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kosmos2.data.instructions import uncapital
from kosmos2.data.sample import Picture, Sample
from kosmos2.data.spans import kept
from kosmos2.data.templates import phrase
from kosmos2.data.wording import Wording
from kosmos2.errors import DataError
from kosmos2.geometry import Box
from kosmos2.scenes import sentences
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import compose
from kosmos2.scenes.world import SHIPPED, World

_EACH = 4  # phrases of one picture, so that many pictures are asked about


@dataclass(frozen=True, slots=True)
class Exercise:
    """A picture that is never trained on, phrases, and the true boxes of each."""

    name: str
    picture: Picture
    phrases: tuple[str, ...]
    truth: tuple[tuple[Box, ...], ...]


def exercises(
    samples: Iterable[Sample], most: int = 200, *, wording: Wording | None = None
) -> list[Exercise]:
    """At most that many plain phrases about the pictures of some samples.

    Phrases of a caption are taken as they stand there, classes of a labelling export as the first
    template has them: a dog, two dogs. Dialogues and documents are passed over: what they name may
    be in another picture.
    """
    wording = wording or Wording()
    found, room = [], most
    for sample in samples:
        places = _places(sample, wording) if room > 0 else {}
        asked = list(places.items())[: min(_EACH, room)]
        if asked and _opens(sample.pictures[0]):
            room -= len(asked)
            truth = tuple(tuple(boxes) for _, boxes in asked)
            phrases = tuple(words for words, _ in asked)
            found.append(Exercise(sample.name, sample.pictures[0], phrases, truth))
    return found


def _opens(picture: Picture) -> bool:
    """Whether a picture can be read; training counts and names those that cannot."""
    try:
        picture.open()
    except DataError:
        return False
    return True


def _places(sample: Sample, wording: Wording) -> dict[str, list[Box]]:
    """What a sample names, and where it is."""
    places: dict[str, list[Box]] = {}
    for turn in sample.turns if sample.kind in ("pair", "objects") else ():
        if sample.kind == "objects":
            boxes = [box for span in turn.spans for box in span.boxes]
            template = (wording.of_one if len(boxes) == 1 else wording.of_many)[0]
            places.setdefault(phrase(template, turn.text, len(boxes)), []).extend(boxes)
            continue
        for span in kept(
            turn.text,
            turn.spans,
            mode=wording.mode,
            least_score=wording.least_score,
            contained=wording.contained,
        ):
            words = uncapital(" ".join(turn.text[span.start : span.end].split()))
            places.setdefault(words, []).extend(span.boxes)
    return {words: boxes for words, boxes in places.items() if words and boxes}


def scene_exercises(seed: int, most: int, side_px: int, world: World = SHIPPED) -> list[Exercise]:
    """The same of a world's drawn scenes; the seed should be one that nothing is trained on."""
    found: list[Exercise] = []
    room, index = most, 0
    while room > 0:
        scene = compose(seed, index, world)
        asked = [e for e in sentences.find(scene) if e.asked.split()[0] in ("a", "an")]
        asked = asked[: min(_EACH, room)]
        if asked:
            picture = Picture(draw_scene(scene, side_px))
            phrases = tuple(example.asked for example in asked)
            truth = tuple(example.truth for example in asked)
            found.append(Exercise(f"scene {seed}:{index}", picture, phrases, truth))
            room -= len(asked)
        index += 1
    return found
