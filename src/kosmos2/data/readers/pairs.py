"""One picture and what is said about it, with GRIT's two lists of boxes where there are any.

A row of GRIT has caption, noun_chunks and ref_exps, whatever file it stands in. Each row of the two
lists is [start, end, x1, y1, x2, y2, score]: characters of the caption, fractions of the picture.
Both become spans; which are taught, and from which score on, is a matter of wording. So is that
spans lie in one another: the released rows do, and are cleaned when they are taught.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kosmos2.data.readers.boxes import grit_spans
from kosmos2.data.sample import Picture, Sample, Turn
from kosmos2.errors import DataError

CAPTIONS = ("caption", "text", "txt", "title")


def pair(name: str, row: Mapping[str, Any], picture: Picture) -> Sample:
    """A row with a caption; its offsets count in it, so it is taken as it stands."""
    status = row.get("status")
    if status not in (None, "success"):
        raise DataError(f"was not downloaded: {row.get('error_message') or status}")
    caption = next((row[key] for key in CAPTIONS if row.get(key) is not None), None)
    if not isinstance(caption, str) or not caption.strip():
        raise DataError("has no caption")
    spans = (
        *grit_spans(row.get("ref_exps") or (), expression=True),
        *grit_spans(row.get("noun_chunks") or (), expression=False),
    )
    return Sample(name, "pair", (Turn(caption, spans),), (picture,))
