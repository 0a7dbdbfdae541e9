"""Reading `sentencepiece.bpe.model`: pieces, scores and the table that normalises text.

The file is one protobuf message. Few of its fields matter here, so a reader of the wire
format is enough:

    ModelProto       1 pieces (repeated)   2 trainer_spec   3 normalizer_spec
    SentencePiece    1 piece   2 score   3 type
    TrainerSpec      3 model_type
    NormalizerSpec   2 precompiled_charsmap

https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kosmos2.errors import CheckpointError

UNIGRAM = 1  # the released file is a unigram model, whatever its name says
NORMAL = 1
HEAD = ("<unk>", "<s>", "</s>")  # what must come before the ordinary pieces

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class SentencepieceFile:
    """The ordinary pieces with their log-probabilities, and the normalisation table."""

    pieces: tuple[tuple[str, float], ...]
    charsmap: bytes

    @classmethod
    def load(cls, path: Path) -> "SentencepieceFile":
        """Read a file.

        Raises:
            CheckpointError: the file is not a sentencepiece model, is cut, or is of another kind.
        """
        try:
            return _parse(path.read_bytes())
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, struct.error) as error:
            raise CheckpointError(
                f"{path} is not the sentencepiece model of KOSMOS-2: {error}; fetch the file again"
            ) from error


def check_charsmap(charsmap: bytes) -> None:
    """Refuse a table that would send its reader, which does not look, out of bounds.

    The table is a 4-byte length, a double-array trie of that length, and the replacements as
    NUL-terminated strings. A trie unit is a leaf holding an offset into the replacements, or leads
    to the units that differ from (its own index xor its offset) in the lowest byte.

    Raises:
        ValueError: the table is cut or damaged.
    """
    length = int.from_bytes(charsmap[:4], "little")
    if len(charsmap) < 8 or length % 4 or not 0 < length <= len(charsmap) - 4:
        raise ValueError("its normalisation table is cut short")
    units = np.frombuffer(charsmap, dtype="<u4", count=length // 4, offset=4).astype(np.int64)
    leaf = units >> 31 == 1
    offset = (units >> 10) << ((units & (1 << 9)) >> 6)
    children = (np.arange(len(units)) ^ offset) | 0xFF
    if (children[~leaf] >= len(units)).any():
        raise ValueError("its normalisation table is damaged")
    words = np.frombuffer(charsmap, dtype=np.uint8, offset=4 + length)
    starts = units[leaf] & 0x7FFFFFFF
    if (starts >= len(words)).any() or (words[starts] & 0xC0 == 0x80).any():
        raise ValueError("its normalisation table is damaged")


def _parse(data: bytes) -> SentencepieceFile:
    pieces: list[tuple[str, float]] = []
    kinds: list[int] = []
    charsmap, model_type = b"", UNIGRAM
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(_message(value)))
            (score,) = struct.unpack("<f", _message(piece.get(2, bytes(4))))
            pieces.append((_message(piece.get(1, b"")).decode("utf-8"), score))
            kinds.append(_number(piece.get(3, NORMAL)))
        elif number == 2:
            model_type = _number(dict(_fields(_message(value))).get(3, UNIGRAM))
        elif number == 3:
            charsmap = _message(dict(_fields(_message(value))).get(2, b""))
    if model_type != UNIGRAM:
        raise ValueError(f"its model type is {model_type}, not {UNIGRAM} (unigram)")
    if tuple(text for text, _ in pieces[: len(HEAD)]) != HEAD:
        raise ValueError(f"its pieces do not begin with {' '.join(HEAD)}")
    if any(kind != NORMAL for kind in kinds[len(HEAD) :]):
        raise ValueError("it has control, byte or user-defined pieces")
    if charsmap:
        check_charsmap(charsmap)
    return SentencepieceFile(pieces=tuple(pieces[len(HEAD) :]), charsmap=charsmap)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values, in order; fixed-width values stay bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"no protobuf field starts at byte {at}")
        if at + length > len(data):
            raise ValueError(f"it is cut short after {len(data)} bytes")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError(f"it is cut short after {len(data)} bytes")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"no number ends before byte {at}")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where bytes belong")
    return value


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("bytes stand where a number belongs")
    return value
