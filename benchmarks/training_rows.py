"""What the training benchmark learns from: grounded pairs, or several lessons a picture.

Pairs lie in shards as GRIT's are downloaded. The benchmark makes them itself, from scenes on
photographs: a JPEG, its caption, and the boxes of what the caption names. They are read back by the
trainer's own readers, so that loading them costs what it costs a user. Lessons are those that the
embedded model learnt from.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from kosmos2.config import Config
from kosmos2.data.mixture import Mixture
from kosmos2.data.prepared import Prepared
from kosmos2.data.rows import IGNORED, PICTURE, Row, Rows
from kosmos2.data.sources import Source, open_source
from kosmos2.data.wording import Wording
from kosmos2.geometry import CELLS
from kosmos2.scenes.draw import draw_scene
from kosmos2.scenes.layout import compose
from kosmos2.scenes.sentences import Example, Link, detailed
from kosmos2.scenes.world import SECOND
from kosmos2.train import vocabulary
from kosmos2.train.scene_rows import SceneRows

SHARD = 32  # rows
SIDE_PX, QUALITY = 512, 90  # of a picture as it is stored
_COLUMNS = ("ids", "slots", "segments", "positions", "labels", "corners", "weights")


def write_shards(folder: Path, count: int, *, seed: int = 0, side_px: int = SIDE_PX) -> Path:
    """Write so many pairs, a shard after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, count, SHARD):
        with tarfile.open(folder / f"{first // SHARD:05d}.tar", "w") as tar:
            for index in range(first, min(first + SHARD, count)):
                scene = compose(seed, index, SECOND)
                jpeg = io.BytesIO()
                Image.fromarray(draw_scene(scene, side_px)).save(jpeg, "JPEG", quality=QUALITY)
                said = _pair(detailed(scene))
                for ending, data in (
                    ("jpg", jpeg.getvalue()),
                    ("json", json.dumps(said).encode()),
                    ("txt", said["caption"].encode()),
                ):
                    member = tarfile.TarInfo(f"{index:09d}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


def _pair(example: Example) -> dict[str, Any]:
    """A caption and GRIT's rows [start, end, x1, y1, x2, y2, score] about it."""
    text, boxes = "", []
    for part in example.answer:
        if isinstance(part, Link):
            start = len(text) + len(part.words) - len(part.words.lstrip())
            end = len(text) + len(part.words)
            boxes += [[start, end, *box.corners, 1.0] for box in part.boxes]
        text += part.words if isinstance(part, Link) else part
    shift = len(text) - len(text.lstrip())
    moved = [[start - shift, end - shift, *rest] for start, end, *rest in boxes]
    return {"caption": text.strip(), "ref_exps": moved, "noun_chunks": moved}


def prepared(folder: Path, config: Config, *, seed: int = 0) -> Rows:
    """The shards as rows for a network, every caption with its boxes."""
    tokenizer, wording = vocabulary.build(), Wording(boxes_share=1.0)
    mixture = Mixture([open_source(Source(path=str(folder)))], [1.0], seed=seed)
    rows = Prepared(mixture, [wording], config, tokenizer, seed=seed)
    return Widened(rows, tokenizer.size, config.text.vocabulary)


def lessons_of(config: Config, *, seed: int = 0) -> Rows:
    """Scenes as rows for a network: phrases, questions and captions, several about each."""
    tokenizer = vocabulary.build()
    rows = Even(SceneRows(config, tokenizer, seed=seed))
    return Widened(rows, tokenizer.size, config.text.vocabulary)


def apart(row: Row) -> list[Row]:
    """Each lesson with the picture, as a row of its own."""
    alone = []
    for number, kind in enumerate(row.kinds, start=1):
        kept = (row.segments == PICTURE) | (row.segments == number)
        columns = {name: getattr(row, name)[kept] for name in _COLUMNS}
        columns["segments"] = columns["segments"].clip(max=1)
        alone.append(replace(row, **columns, kinds=(kind,)))
    return alone


class Even:
    """Rows in which whatever is learnt weighs one, as in the reference's loss."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Row:
        row = self.rows[position]
        return replace(row, weights=(row.labels != IGNORED).astype(row.weights.dtype))


class Widened:
    """Rows of a small vocabulary in a larger one, whose locations are the last words too."""

    def __init__(self, rows: Rows, small: int, large: int) -> None:
        self.rows, self.small, self.more = rows, small, large - small

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Row:
        row = self.rows[position]
        if not self.more:
            return row
        ids, labels = (
            held + self.more * (held >= self.small - CELLS) for held in (row.ids, row.labels)
        )
        return replace(row, ids=ids, labels=labels)


class Held:
    """Rows that were made before."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.held = rows

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, position: int) -> Row:
        return self.held[position]
