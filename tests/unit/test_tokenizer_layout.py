"""A vocabulary of any size, its layout, and what a folder without a good one is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kosmos2.errors import CheckpointError, PromptError
from kosmos2.geometry import CELLS
from kosmos2.markup import TAGS, cell_tag
from kosmos2.tokenizer import Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz<>/_&0123456789."
PIECES = [("▁", -9.0), ("▁a", -3.0), ("▁dog", -4.0), *((letter, -8.0) for letter in LETTERS)]


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return Tokenizer.from_pieces(PIECES)


@pytest.fixture
def saved(small: Tokenizer, tmp_path: Path) -> Path:
    small.save(tmp_path)
    return tmp_path


def respell(folder: Path, change) -> Path:
    """Change the description in `tokenizer.json`."""
    path = folder / "tokenizer.json"
    layout = json.loads(path.read_text())
    change(layout)
    path.write_text(json.dumps(layout))
    return folder


def test_ids_lie_in_the_order_of_the_layout(small: Tokenizer) -> None:
    assert (small.bos, small.pad, small.eos, small.unk, small.first_slot) == (0, 1, 2, 3, 4)
    mask = 4 + len(PIECES)
    assert [small.tag(tag) for tag in TAGS] == list(range(mask + 1, mask + 1 + len(TAGS)))
    assert small.cells == range(small.size - CELLS, small.size)
    assert [small.cell(k) for k in (0, 44, CELLS - 1)] == [small.cells[k] for k in (0, 44, -1)]


def test_a_saved_tokenizer_is_the_same_tokenizer(small: Tokenizer, saved: Path) -> None:
    text = "<grounding> a dog<phrase> a </phrase> xyz!\u00e9 <patch_index_0007>"
    again = Tokenizer.load(saved)
    for markup in (True, False):
        assert again.encode(text, markup=markup) == small.encode(text, markup=markup)
    assert (again.size, again.cells) == (small.size, small.cells)


@pytest.mark.parametrize("tag", [*TAGS, "<s>", "</s>", "<pad>", "<unk>", "<mask>", cell_tag(1023)])
def test_a_tag_among_words_is_characters(small: Tokenizer, tag: str) -> None:
    ids = small.encode(f"a {tag} dog", markup=False)
    literals = {small.tag(name) for name in TAGS} | set(small.cells) | {0, 1, 2, 4 + len(PIECES)}
    assert not literals & set(ids)
    assert small.decode(ids) == f"a {tag} dog"
    assert len(small.encode(f"a {tag} dog")) == 3


def test_a_tag_in_full_width_letters_is_characters_too(small: Tokenizer) -> None:
    """Normalising turns them into the letters of the tag, after text was parted at tags."""
    assert small.decode(small.encode("＜s＞", markup=False)) == "<s>"
    assert small.decode(small.encode("＜／s＞", markup=False)) == "</s>"


@pytest.mark.parametrize("text", ["a dog", "", "  ", "dog.a  b\n c", "z9"])
def test_words_without_tags_are_the_same_as_markup_and_as_words(
    small: Tokenizer, text: str
) -> None:
    assert small.encode(text) == small.encode(text, markup=False)
    assert small._words.encode(text, add_special_tokens=False).ids == small.encode(text)


def test_ids_without_meaning_decode_to_nothing(small: Tokenizer) -> None:
    assert small.decode([small.size, 10**9, *small.encode("a dog"), -1]) == "a dog"


def test_specials_are_decoded_only_when_asked_for(small: Tokenizer) -> None:
    ids = [small.bos, *small.encode("a<grounding>"), small.eos]
    assert small.decode(ids) == "a<grounding>"
    assert small.decode(ids, skip_special=False) == "<s> a<grounding></s>"


def test_half_a_character_is_refused(small: Tokenizer) -> None:
    with pytest.raises(PromptError, match=r"U\+D83D\) at 2"):
        small.encode("a \ud83d")


def test_unknown_tags_and_cells_are_refused(small: Tokenizer) -> None:
    with pytest.raises(PromptError, match="'<dog>' is no tag"):
        small.tag("<dog>")
    for cell in (-1, CELLS):
        with pytest.raises(PromptError, match="no cell"):
            small.cell(cell)


def test_a_folder_without_a_tokenizer_is_told_which_files_would_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither tokenizer\.json nor sentencepiece"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"model": {"type": "Unigram"}}'],
    ids=["empty", "cut", "list", "no model", "not text", "nested", "half a model"],
)
def test_a_broken_tokenizer_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.load(tmp_path)
    assert str(path) in str(caught.value)
    assert "copy the file again" in str(caught.value)


def test_a_tokenizer_json_cut_in_half_is_named(saved: Path) -> None:
    path = saved / "tokenizer.json"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="broken"):
        Tokenizer.load(saved)


def test_another_kind_of_model_is_refused(saved: Path) -> None:
    respell(saved, lambda layout: layout["model"].update(type="WordPiece"))
    with pytest.raises(CheckpointError, match="WordPiece model, not a Unigram one"):
        Tokenizer.load(saved)


def test_missing_tags_are_listed(saved: Path) -> None:
    def drop(layout) -> None:
        layout["added_tokens"] = [
            token for token in layout["added_tokens"] if "phrase" not in token["content"]
        ]

    with pytest.raises(CheckpointError, match=r"lacks <phrase>, </phrase>; take"):
        Tokenizer.load(respell(saved, drop))


def test_many_missing_tags_are_counted(saved: Path) -> None:
    def drop(layout) -> None:
        layout["added_tokens"] = layout["added_tokens"][:5]

    with pytest.raises(CheckpointError, match=r"lacks .* and 1032 more"):
        Tokenizer.load(respell(saved, drop))


def test_locations_out_of_order_are_refused(saved: Path) -> None:
    def swap(layout) -> None:
        one, other = layout["added_tokens"][-2:]
        one["content"], other["content"] = other["content"], one["content"]

    with pytest.raises(CheckpointError, match=r"gives <patch_index_1022> the id \d+, not \d+"):
        Tokenizer.load(respell(saved, swap))


def test_a_tag_that_is_only_a_piece_is_refused() -> None:
    pieces = [*PIECES, ("<grounding>", -3.0)]
    layout = json.loads(Tokenizer.from_pieces(pieces).backend.to_str())
    layout["added_tokens"] = [t for t in layout["added_tokens"] if t["content"] != "<grounding>"]
    from tokenizers import Tokenizer as Backend

    with pytest.raises(CheckpointError, match="<grounding> among its pieces"):
        Tokenizer(Backend.from_str(json.dumps(layout)))


def test_a_piece_given_twice_is_refused() -> None:
    with pytest.raises(CheckpointError, match="a piece twice"):
        Tokenizer.from_pieces([("a", -1.0), ("a", -2.0)])


def test_padding_and_truncation_of_a_file_are_not_applied(small: Tokenizer, saved: Path) -> None:
    def ask(layout) -> None:
        layout["truncation"] = {
            "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0,
        }  # fmt: skip
        layout["padding"] = {
            "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": None,
            "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>",
        }  # fmt: skip

    text = "a dog and a dog"
    assert Tokenizer.load(respell(saved, ask)).encode(text) == small.encode(text)
