"""What a server must survive: requests that have hurt others, as one list.

    everything   all of it, each item at each door where it can be said
    a_little     each item once, the doors taking turns: for tests

    addresses    pictures by address, on this machine and near it
    pictures     pictures that are damaged, huge, foreign or just odd
    words        texts, and values of fields
    documents    JSON that is none, and some that is
    heads        request lines and headers, byte by byte
    doors        how each route is told of a picture and words

Each request says which statuses, and which codes of a refusal, are right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import cycle

from hostile import addresses, documents, pictures, words
from hostile.doors import DOORS, Door, Hostile, golden

__all__ = ["DOORS", "Hostile", "a_little", "everything", "golden"]

Turns = Callable[[str, tuple[Door, ...]], Iterator[Door]]


def everything() -> Iterator[Hostile]:
    """Every item at every door; what takes long at two of them only."""
    return _all(lambda _, doors: iter(doors))


def a_little() -> Iterator[Hostile]:
    """Every item at one door."""
    turns: dict[tuple[str, int], Iterator[Door]] = {}

    def next_one(kind: str, doors: tuple[Door, ...]) -> Iterator[Door]:
        yield next(turns.setdefault((kind, len(doors)), cycle(doors)))

    return _all(next_one)


def _all(turns: Turns) -> Iterator[Hostile]:
    for name, url in addresses.everything():
        for door in turns("address", DOORS):
            yield door.ask(f"address {name}", url, door.words, *addresses.REFUSED)
    for picture in pictures.everything():
        doors = (DOORS[0], DOORS[5]) if picture.slow else DOORS
        for door in turns("picture", doors):
            yield door.ask(f"picture {picture.name}", picture.url, door.words, *picture.right)
    for name, text in words.texts():
        for door in turns("words", tuple(door for door in DOORS if door.words)):
            yield door.ask(f"words {name}", pictures.golden_url(), text, {200, 400}, words.REFUSED)
    for name, change, right in words.changes():
        yield DOORS[0].changed(f"field {name}", pictures.golden_url(), change, *right)
    for name, data in documents.broken():
        for door in turns("broken", DOORS):
            yield door.raw(f"broken {name}", data, {400}, {"invalid_json"})
    for name, data in documents.whole():
        for door in turns("whole", DOORS):
            yield door.raw(f"whole {name}", data, {400}, documents.NOT_FOR_US)
    for door in DOORS:
        yield from _bodies(door)


def _bodies(door: Door) -> Iterator[Hostile]:
    """What is wrong with a body before anybody reads it."""
    good = json.dumps(door.body(pictures.golden_url(), door.words)).encode()
    for packing in ("gzip", "deflate", "br", "zstd", "identity, gzip"):
        yield door.raw(
            f"packed {packing}",
            good,
            {415},
            {"unsupported_encoding"},
            {"content-encoding": packing},
        )
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/xml", "", "*/*"):
        yield door.raw(
            f"of type {kind}", good, {415}, {"unsupported_media_type"}, {"content-type": kind}
        )
    yield door.raw("too large", b" " * (16 * 2**20 + 1), {413}, {"body_too_large"})
    yield door.raw("empty", b"", {400}, documents.NOT_FOR_US)
    elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    yield door.raw("from another site", good, {403}, {"cross_site_refused"}, elsewhere)
    yield door.raw("by another name", good, {421}, {"host_not_allowed"}, {"host": "evil.example"})
