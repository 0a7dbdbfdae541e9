"""What a stage learns from: its sources, read or drawn, as rows by position.

Rows that are read come from one mixture of all sources; those that are drawn (scenes) are spread
evenly among them. A few rows of the first source may be kept out of it all, to measure with.
"""

from __future__ import annotations

from math import floor

import numpy as np

from kosmos2.data.mixture import Mixture
from kosmos2.data.prepared import Prepared
from kosmos2.data.readers.kept import Kept
from kosmos2.data.readers.reader import Reader
from kosmos2.data.rows import Row, Rows
from kosmos2.data.sample import Sample
from kosmos2.data.sources import Source, open_source
from kosmos2.errors import DataError, RecipeError
from kosmos2.scenes.world import SHIPPED, World
from kosmos2.train.begin import Begun
from kosmos2.train.dense import Marks, extra
from kosmos2.train.recipe import Data, Recipe, Stage
from kosmos2.train.scene_rows import SceneRows, world_of_scenes
from kosmos2.train.watching.held_out import Exam, Exercise, exercises, scene_exercises

_MOST_HELD = 0.2  # of a source's rows, whatever number is asked for
_UNSEEN = 1_000_003  # added to a seed: scenes that are never trained on


def rows_of(recipe: Recipe, stage: Stage, begun: Begun) -> Rows:
    """What a stage learns from; every stage draws in an order of its own.

    Raises:
        RecipeError: no data, or some that teaches nothing here.
        DataError: a source that cannot be opened.
    """
    every = recipe.data_of(stage)
    if not every:
        raise RecipeError(f"stage {stage.name!r} has no data; give it [[stage.data]], or --data")
    seed = recipe.train.seed * 10 + recipe.stage.index(stage)
    drawn = [one for one in every if one.source is None]
    read = [one for one in every if one.source is not None]
    config, reads = begun.network.config, stage.tell or stage.heads == "contrastive"
    tokenizer = begun.tokenizer if reads else None
    parts: list[tuple[Rows, float]] = [
        (
            SceneRows(
                config,
                tokenizer,
                seed=seed,
                world=_world(one),
                count=one.count,
            ),
            one.weight,
        )
        for one in drawn
    ]
    if read:
        if stage.heads == "dense" and not stage.tell:
            raise RecipeError(
                f"stage {stage.name!r} has the dense head alone, and what lies on each patch is "
                "known of scenes only; give it format = 'scenes', or heads = 'contrastive'"
            )
        held = recipe.train.held_out
        first = _first(recipe)
        sources = [one.source for one in read if one.source is not None]
        readers = [
            _opened(begun, source, held if one is first else 0, recipe.train.seed)[0]
            for one, source in zip(read, sources)
        ]
        mixture = Mixture(readers, [one.weight for one in read], seed=seed)
        wordings = [source.wording for source in sources]
        mark = Marks(config, extra(begun.classes)) if stage.heads == "dense" else None
        read_rows = Prepared(mixture, wordings, config, begun.tokenizer, seed=seed, mark=mark)
        parts.append((read_rows, sum(one.weight for one in read)))
    whole, weight = parts[0]
    for rows, more in parts[1:]:
        weight += more
        whole = Among(rows, whole, more / weight)
    return whole


def exam_of(recipe: Recipe, begun: Begun) -> Exam | None:
    """Phrases of rows that are never trained on; None if the recipe holds none out."""
    first, held = _first(recipe), recipe.train.held_out
    if first is None or not held:
        return None
    asked: list[Exercise]
    if first.source is None:
        size = begun.network.config.vision.image_size
        asked = scene_exercises(recipe.train.seed + _UNSEEN, held, size, _world(first))
    else:
        _, out = _opened(begun, first.source, held, recipe.train.seed)
        asked = exercises(_samples(out), wording=first.source.wording)
    return Exam(asked, begun.tokenizer) if asked else None


class Among:
    """Rows of one kind spread evenly among those of another; each keeps its own order."""

    def __init__(self, one: Rows, other: Rows, share: float) -> None:
        self.one, self.other, self.share = one, other, share

    def __len__(self) -> int:
        return max(len(self.one), len(self.other))

    def __getitem__(self, position: int) -> Row:
        rows, place = self.part(position)
        return rows[place]

    def part(self, position: int) -> tuple[Rows, int]:
        """Whose row it is, and at which position there."""
        before, after = floor(position * self.share), floor((position + 1) * self.share)
        return (self.one, before) if after > before else (self.other, position - before)


def _world(data: Data) -> World:
    return world_of_scenes(data.world or SHIPPED.name, data.nouns)


def _first(recipe: Recipe) -> Data | None:
    """The source that rows are held out of: the first that is read, or else the scenes."""
    every = [one for stage in recipe.stage for one in recipe.data_of(stage)]
    return next((one for one in every if one.source is not None), every[0] if every else None)


def _opened(begun: Begun, source: Source, held: int, seed: int) -> tuple[Reader, Reader]:
    """A source's rows to learn from, and those to measure with: by lot, always the same."""
    if source not in begun.readers:
        begun.readers[source] = open_source(source)
    reader = begun.readers[source]
    if not held:
        return reader, Kept(reader, ())
    count = min(held, int(len(reader) * _MOST_HELD))
    order = np.random.default_rng([seed, len(reader)]).permutation(len(reader))
    return Kept(reader, order[count:]), Kept(reader, order[:count])


def _samples(reader: Reader) -> list[Sample]:
    """Its rows; one that cannot be read is no loss here, for training counts them."""
    samples = []
    for row in range(len(reader)):
        try:
            samples.append(reader.read(row))
        except DataError:
            continue
    return samples
