"""What the server and the engine's process say to each other: JSON, and at most one array.

A message is the length of the JSON (32 bits, big end first), the JSON, and the array's numbers:
bytes (of pictures) or float32.
Reading one runs nothing, whatever it says.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Hashable
from dataclasses import asdict, fields
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, UInt8

from kosmos2.engine import Cancelled, Filter, Grammar, Late, Request, Tags, Token
from kosmos2.errors import Busy, ConfigError, EngineError, InputError, PromptError
from kosmos2.geometry import Box
from kosmos2.grounder import Located
from kosmos2.options import Options

Array = Float32[np.ndarray, "*any"] | UInt8[np.ndarray, "*any"]
_BYTES, _FLOATS = "|u1", "<f4"
# A token as it is sent: id, logprob, location_logprob, finish, top.
Sent = tuple[int, float, float | None, Any, Any]

_LENGTH: Final = struct.Struct(">I")
_OPTIONS: Final = tuple(field.name for field in fields(Options))
_KINDS: Final = {
    kind.__name__: kind
    for kind in (Busy, Cancelled, ConfigError, EngineError, InputError, Late, PromptError)
}


def pack(note: dict[str, Any], array: Array | None = None) -> bytes:
    """A message."""
    if array is not None:
        kind = _BYTES if array.dtype == np.uint8 else _FLOATS
        note = note | {"shape": array.shape, "kind": kind}
    written = json.dumps(note, separators=(",", ":")).encode()
    data = b"" if array is None else np.ascontiguousarray(array, kind).tobytes()
    return b"".join((_LENGTH.pack(len(written)), written, data))


def unpack(message: bytes) -> tuple[dict[str, Any], Array | None]:
    """The note and the array of a message."""
    (length,) = _LENGTH.unpack_from(message)
    start = _LENGTH.size + length
    note: dict[str, Any] = json.loads(message[_LENGTH.size : start])
    if "shape" not in note:
        return note, None
    kind = _BYTES if note["kind"] == _BYTES else _FLOATS
    return note, np.frombuffer(message, kind, offset=start).reshape(note["shape"]).copy()


def note_of_request(request: Request) -> dict[str, Any]:
    """A request without its latents.

    Raises:
        EngineError: it has rules that only this process knows.
    """
    return {
        "prompt": request.prompt,
        "eos": request.eos,
        "pad": request.pad,
        "locations": (request.locations.start, request.locations.stop),
        "slots": request.slots,
        "prefix_key": request.prefix_key,
        "prefix_length": request.prefix_length,
        "options": {name: getattr(request.options, name) for name in _OPTIONS},
        "stop_ids": sorted(request.stop_ids),
        "no_repeat_ngram_size": request.no_repeat_ngram_size,
        "filters": [_note_of_filter(each) for each in request.filters],
        "own_logprobs": request.own_logprobs,
        "deadline_s": request.deadline_s,
    }


def request_of_note(note: dict[str, Any], tags: Tags) -> Request:
    """The request; its grammar is about these tags."""
    options = note["options"]
    return Request(
        prompt=tuple(note["prompt"]),
        eos=note["eos"],
        pad=note["pad"],
        locations=range(*note["locations"]),
        slots=tuple(note["slots"]),
        prefix_key=_hashable(note["prefix_key"]),
        prefix_length=note["prefix_length"],
        options=Options(**(options | {"stop": tuple(options["stop"])})),
        stop_ids=frozenset(note["stop_ids"]),
        no_repeat_ngram_size=note["no_repeat_ngram_size"],
        filters=tuple(
            Grammar(tags=tags, **(each | {"stops": frozenset(each["stops"])}))
            for each in note["filters"]
        ),
        own_logprobs=note["own_logprobs"],
        deadline_s=note["deadline_s"],
    )


def sent_of_token(token: Token) -> Sent:
    """A token, to be sent."""
    return token.id, token.logprob, token.location_logprob, token.finish, token.top


def token_of_sent(sent: Sent) -> Token:
    """A token that was sent."""
    id, logprob, location_logprob, finish, top = sent
    return Token(
        id=id,
        logprob=logprob,
        location_logprob=location_logprob,
        finish=finish,
        top=tuple((id, logprob) for id, logprob in top),
    )


def note_of_error(error: BaseException) -> tuple[str, str]:
    """An error as what is known of its kind, and its words."""
    kind = next((each.__name__ for each in type(error).__mro__ if each.__name__ in _KINDS), None)
    return (kind, str(error)) if kind else ("EngineError", f"{type(error).__name__}: {error}")


def error_of_note(note: tuple[str, str]) -> Exception:
    """An error of that kind."""
    kind, words = note
    return _KINDS[kind](words)


def note_of_located(found: Located) -> dict[str, Any]:
    """Where a phrase may be."""
    return asdict(found)


def located_of_note(note: dict[str, Any]) -> Located:
    """Where a phrase may be."""
    return Located(
        phrase=note["phrase"],
        boxes=tuple(Box(**box) for box in note["boxes"]),
        presence=note["presence"],
        heat=tuple(map(tuple, note["heat"])),
    )


def _note_of_filter(each: Filter) -> dict[str, Any]:
    if not isinstance(each, Grammar):
        raise EngineError(f"a {type(each).__name__} stays in this process; only grammars travel")
    return {
        "stops": sorted(each.stops),
        "limit": each.limit,
        "max_boxes": each.max_boxes,
        "more_above": each.more_above,
        "min_presence": each.min_presence,
    }


def _hashable(read: Any) -> Hashable:
    """Tuples, which JSON knows as lists."""
    return tuple(map(_hashable, read)) if isinstance(read, list) else read
