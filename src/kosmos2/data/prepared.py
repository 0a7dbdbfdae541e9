"""Rows ready to be learnt from, by position: drawn, looked at, put into words, encoded, packed.

Everything is decided by (seed, source, epoch, index): any worker makes the same row, at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kosmos2.config import Config
from kosmos2.data.dialogue import unplaced
from kosmos2.data.encoding import CORNERS, encode
from kosmos2.data.mixture import Drawn, Mixture, no_more
from kosmos2.data.rows import Row, pack
from kosmos2.data.sample import Sample, Turn
from kosmos2.data.spans import placed
from kosmos2.data.tolerance import Bad
from kosmos2.data.transforms import Seen, has_sides, see, with_sides_swapped
from kosmos2.data.wording import Wording, lessons_of, shown
from kosmos2.errors import DataError, InputError
from kosmos2.geometry import Box
from kosmos2.tokenizer import Tokenizer


class Prepared:
    """What loader workers run.

    Args:
        mixture: the samples.
        wordings: how those of each source are taught.
        config: of the network.
        tokenizer: of the model.
        seed: of all that is decided by lot here.
        mark: what more a row knows of a labelled picture, whose boxes are where it is seen.
    """

    def __init__(
        self,
        mixture: Mixture,
        wordings: Sequence[Wording],
        config: Config,
        tokenizer: Tokenizer,
        *,
        seed: int,
        mark: Callable[[Sample], Mapping[str, Any]] | None = None,
    ) -> None:
        if len(wordings) != len(mixture.readers):
            raise DataError(
                f"{len(wordings)} wordings for {len(mixture.readers)} sources; give one for each"
            )
        self.mixture, self.wordings = mixture, tuple(wordings)
        self.config, self.tokenizer = config, tokenizer
        self.seed, self.mark = seed, mark

    def __len__(self) -> int:
        """Rows of all sources together; positions go on beyond them, round by round."""
        return self.mixture.rows

    def __getitem__(self, position: int) -> Row:
        """The row at a position; samples that cannot be used give way, and are told in `bad`.

        Raises:
            DataError: there is no good sample far and wide.
        """
        if position < 0:
            raise IndexError(position)
        bad: list[Bad] = []
        for drawn in self.mixture.candidates(position):
            try:
                row = self._row(drawn)
            except InputError as error:
                bad.append(Bad.of(error, drawn.sample.name))
                continue
            if row is not None:
                return replace(row, bad=(*drawn.bad, *bad))
        raise no_more(self.mixture.readers[drawn.source], [*drawn.bad, *bad])

    __call__ = __getitem__

    def _row(self, drawn: Drawn) -> Row | None:
        """A sample as a row; None where nothing is labelled and nothing can be asked for."""
        wording = self.wordings[drawn.source]
        rng = np.random.default_rng([self.seed, drawn.source, drawn.epoch, drawn.index])
        classes = self.mixture.readers[drawn.source].classes
        mirrored = _may_be_mirrored(drawn.sample, classes, wording) and rng.random() < wording.flip
        sample = _with_sides_swapped(drawn.sample) if mirrored else drawn.sample
        looks = self._looks(sample, wording, mirrored)
        # What is there but out of sight must not be asked for as something that is not there.
        there = {turn.text for turn in sample.turns}
        absent = [name for name in classes if name not in there]
        seen = _placed(sample, looks)
        lessons = lessons_of(seen, wording, rng, classes=absent)
        if not lessons and not sample.turns:
            return None
        most, inside = self._room(sample, len(looks), wording)
        tokens = [
            encode(
                lesson,
                self.tokenizer,
                latents=self.config.latents,
                cells=CORNERS[wording.corners],
            ).cut(most)
            for lesson in lessons
        ]
        tokens = [one for one in tokens if one.teaches]
        if not tokens:
            raise DataError(
                f"{sample.name}: nothing to learn from it: all boxes are out of sight, or no "
                f"lesson begins within {most} tokens"
            )
        if inside:
            looks = looks[: sum(map(sum, (one.slots for one in tokens))) // self.config.latents]
        row = pack(self._pixels(looks), tokens, self.config, self.tokenizer, most, name=sample.name)
        told = self.mark(seen) if self.mark and sample.kind == "objects" else {}
        return replace(row, **told)

    def _looks(self, sample: Sample, wording: Wording, mirrored: bool) -> list[Seen]:
        """The pictures in the order they are shown, as many as a row can hold."""
        side = self.config.vision.image_size
        room = max((self.config.text.positions - 1) // (self.config.latents + 2), 1)
        return [
            see(sample.pictures[number].open(), side, wording.transform, mirrored=mirrored)
            for number in shown(sample)[:room]
        ]

    def _room(self, sample: Sample, pictures: int, wording: Wording) -> tuple[int, bool]:
        """Tokens of all lessons at most; and whether the pictures are among them."""
        block = pictures * (self.config.latents + 2)
        room = self.config.text.positions - 1
        if sample.kind in ("dialogue", "interleaved"):
            return min(wording.most_tokens + block, room), True
        return min(wording.most_tokens, room - block), False

    def _pixels(self, looks: Sequence[Seen]) -> np.ndarray:
        side = self.config.vision.image_size
        pixels = [look.pixels for look in looks]
        return np.stack(pixels) if pixels else np.zeros((0, side, side, 3), np.uint8)


def _may_be_mirrored(sample: Sample, classes: Sequence[str], wording: Wording) -> bool:
    if not sample.pictures or wording.flip_words:
        return bool(sample.pictures)
    texts = [turn.text for turn in sample.turns]
    return not any(map(has_sides, (*texts, *classes)))


def _with_sides_swapped(sample: Sample) -> Sample:
    def swapped(turn: Turn) -> Turn:
        text, spans = with_sides_swapped(turn.text, turn.spans)
        return replace(turn, text=text, spans=spans)

    return replace(sample, turns=tuple(map(swapped, sample.turns)))


def _placed(sample: Sample, looks: Sequence[Seen]) -> Sample:
    """The same with boxes where they are in the picture shown last before them, as it is seen."""
    last = len(looks) - 1 if unplaced(sample.turns) else -1
    turns: list[Turn] = []
    for turn in sample.turns:
        last += turn.picture is not None
        place = looks[last].place if 0 <= last < len(looks) else _nowhere
        turns.append(replace(turn, spans=placed(turn.spans, place)))
    return replace(sample, turns=tuple(turns))


def _nowhere(box: Box) -> Box | None:
    return None
