"""Reading sentencepiece files: against a second writer of the format, and damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kosmos2.errors import CheckpointError
from kosmos2.sentencepiece_file import SentencepieceFile, check_charsmap
from kosmos2.tokenizer import Tokenizer

HEAD = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
WORDS = [("▁a", -1.5, None), ("▁dog", -2.25, 1), ("é", -3.0, None)]


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text: str, score: float, kind: int | None) -> bytes:
    body = field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
    return field(1, body + (b"" if kind is None else varint(3 << 3) + varint(kind)))


def model(pieces, *, model_type: int = 1, more: bytes = b"") -> bytes:
    trainer = field(2, varint(3 << 3) + varint(model_type) + varint(40 << 3) + varint(2**40))
    return b"".join(piece(*one) for one in pieces) + trainer + more


def write(folder: Path, data: bytes) -> Path:
    path = folder / "sentencepiece.bpe.model"
    path.write_bytes(data)
    return path


def test_pieces_and_scores_are_read_in_order(tmp_path: Path) -> None:
    file = SentencepieceFile.load(write(tmp_path, model(HEAD + WORDS)))
    assert file.pieces == tuple((text, score) for text, score, _ in WORDS)
    assert file.charsmap == b""


def test_a_sentencepiece_file_makes_a_tokenizer(tmp_path: Path) -> None:
    write(tmp_path, model(HEAD + WORDS))
    assert Tokenizer.load(tmp_path).encode("a dog é") == [4, 5, 3, 6]


def test_tokenizer_json_comes_before_sentencepiece(tmp_path: Path) -> None:
    Tokenizer.from_pieces([("▁b", -1.0)]).save(tmp_path)
    write(tmp_path, model(HEAD + WORDS))
    assert Tokenizer.load(tmp_path).encode("b") == [4]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "do not begin with <unk>"),
        (b"hello, world", "cut short|no protobuf"),
        (b"\xff" * 100, "no number ends"),
        (model(WORDS), "do not begin with <unk>"),
        (model(HEAD + WORDS, model_type=2), "model type is 2"),
        (model([*HEAD, ("<0x41>", 0.0, 6)]), "control, byte or user-defined"),
        (model(HEAD + WORDS, more=field(3, field(2, b"\x08\0\0\0"))), "table is cut short"),
        (model(HEAD + WORDS, more=field(3, field(2, b"\x08\0\0\0" + b"a" * 20))), "damaged"),
        (b"\x08\x01", "a number stands"),
    ],
    ids=[
        "empty", "text", "ones", "no specials", "bpe", "byte piece", "cut table", "wild table",
        "wrong wire type",
    ],
)  # fmt: skip
def test_a_foreign_or_damaged_file_is_named(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        Tokenizer.load(tmp_path)
    assert str(path) in str(caught.value)
    assert "fetch the file again" in str(caught.value)


def test_a_file_cut_anywhere_is_refused_or_short(tmp_path: Path) -> None:
    """A cut between two fields cannot be seen, but it never reads as something else."""
    whole = model(HEAD + WORDS)
    for cut in range(len(whole)):
        path = write(tmp_path, whole[:cut])
        try:
            pieces = SentencepieceFile.load(path).pieces
        except CheckpointError:
            continue
        assert pieces == tuple((text, score) for text, score, _ in WORDS)[: len(pieces)]


def test_the_released_file_is_read_whole(sentencepiece_model: Path) -> None:
    file = SentencepieceFile.load(sentencepiece_model)
    assert len(file.pieces) == 63_997
    assert [text for text, _ in file.pieces[:3]] == [".", "▁the", ","]
    assert file.pieces[-1][0] == "⟨"
    check_charsmap(file.charsmap)


def test_a_flipped_bit_in_the_released_table_is_refused_or_harmless(
    sentencepiece_model: Path,
) -> None:
    """The library that reads the table does not look where it reads; ours looks first."""
    from tokenizers import normalizers

    charsmap = SentencepieceFile.load(sentencepiece_model).charsmap
    refused = 0
    for at in range(4, len(charsmap), len(charsmap) // 20):
        for bit in (0, 7):
            damaged = bytearray(charsmap)
            damaged[at] ^= 1 << bit
            try:
                check_charsmap(bytes(damaged))
            except ValueError:
                refused += 1
                continue
            try:
                table = normalizers.Precompiled(bytes(damaged))
            except Exception:  # noqa: BLE001  replacements that are no text: said when loading
                continue
            for start in range(0, 0x3000, 512):
                table.normalize_str("".join(map(chr, range(start, start + 512))))
    assert refused
