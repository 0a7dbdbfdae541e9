"""Every call of the tokenizer against the reference's, on the very same folder."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kosmos2.geometry import CELLS
from kosmos2.hf.tokenizer import Kosmos2Tokenizer
from kosmos2.markup import TAGS, cell_tag
from kosmos2.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers", reason="transformers is the reference")

WORDS = [
    "a", "the snowman", "naïve", "日本語", "北京欢迎你", "😀", "e\u0301", "don't", "3.14", "x.",
    ",", "<", "<s>", "</s>", "<pad>", "<unk>", "<mask>", *TAGS, "</doc", "<patch_index_1024>", "",
]  # fmt: skip
BLANKS = [" ", " ", "", "  ", "\n", "\t", "\u3000", "\u00a0", "\u200b"]


@dataclass(frozen=True)
class Pair:
    """The same vocabulary twice."""

    ours: Kosmos2Tokenizer
    theirs: Any
    folder: Path

    def on(self, padding_side: str, truncation_side: str) -> None:
        for tokenizer in (self.ours, self.theirs):
            tokenizer.padding_side = padding_side
            tokenizer.truncation_side = truncation_side


def pair(tokenizer: Tokenizer, folder: Path) -> Pair:
    Kosmos2Tokenizer(tokenizer).save_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    return Pair(Kosmos2Tokenizer.from_pretrained(folder), theirs, folder)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("demo")
    return pair(Kosmos2Tokenizer.from_pretrained("demo").inner, folder)


@pytest.fixture(scope="module")
def released(sentencepiece_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("released")
    (folder / "sentencepiece.bpe.model").symlink_to(sentencepiece_model)
    return pair(Tokenizer.load(folder), tmp_path_factory.mktemp("resaved"))


@pytest.fixture(params=["demo", "released"])
def both(request: pytest.FixtureRequest) -> Iterator[Pair]:
    found: Pair = request.getfixturevalue(request.param)
    found.on("right", "right")
    yield found
    found.on("right", "right")


def text(draw: random.Random) -> str:
    words = [*WORDS, cell_tag(draw.randrange(CELLS))]
    return "".join(draw.choice(words) + draw.choice(BLANKS) for _ in range(draw.randrange(9)))


def ids(draw: random.Random, size: int) -> list[int]:
    return [
        draw.choice([draw.randrange(size), draw.randrange(6)]) for _ in range(draw.randrange(9))
    ]


def arguments(draw: random.Random) -> dict[str, Any]:
    """A call as users make it, now and then with a mistake in it."""
    call: dict[str, Any] = {
        "add_special_tokens": draw.random() < 0.7,
        "padding": draw.choice([False, True, "longest", "max_length", "do_not_pad"]),
        "truncation": draw.choice(
            [None, False, True, "longest_first", "only_first", "do_not_truncate"]
        ),
        "max_length": draw.choice([None, 2, 3, 5, 8, 12, 40]),
        "pad_to_multiple_of": draw.choice([None, None, 1, 3, 8]),
        "padding_side": draw.choice([None, "left", "right"]),
        "return_tensors": draw.choice([None, None, "pt", "np"]),
        "return_length": draw.random() < 0.3,
        "return_attention_mask": draw.choice([None, None, True, False]),
        "return_token_type_ids": draw.choice([None, None, True, False]),
        "return_special_tokens_mask": draw.random() < 0.3,
        "return_offsets_mapping": draw.random() < 0.3,
    }
    call = {name: value for name, value in call.items() if draw.random() < 0.6}
    if draw.random() < 0.1:
        wrong = {
            "padding": ["short", None, 1.5],
            "truncation": ["short", 3],
            "return_tensors": ["tf2", "jaxx"],
            "max_length": ["7", 7.0] if call.get("truncation") is True else [],
            "padding_side": ["top"] if call.get("padding") is True else [],
        }
        name = draw.choice(list(wrong))
        if wrong[name]:
            call[name] = draw.choice(wrong[name])
    return call


def texts(draw: random.Random) -> Any:
    if draw.random() < 0.05:
        return draw.choice([None, 5, b"a", ["a", 5], ["a", None], [5], ["a\ud800"], {"a": 1}])
    if draw.random() < 0.4:
        return text(draw)
    rows = [text(draw) for _ in range(draw.randrange(1, 5))]
    return tuple(rows) if draw.random() < 0.1 else rows


def outcome(function: Callable[..., Any], *given: Any, **call: Any) -> tuple[str, Any]:
    """What a call gives, or how it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = function(*given, **call)
    except (ValueError, TypeError) as error:
        return "error", error
    return "value", plain(value)


def plain(value: Any) -> Any:
    """Values that == compares, with the types of what holds numbers."""
    if hasattr(value, "items"):
        return [(name, plain(inner)) for name, inner in value.items()]
    if isinstance(value, torch.Tensor | np.ndarray):
        return type(value).__name__, str(value.dtype), tuple(value.shape), str(value.tolist())
    return value


def agree(ours: tuple[str, Any], theirs: tuple[str, Any]) -> bool:
    if theirs[0] == "error":
        kind = ValueError if isinstance(theirs[1], ValueError) else TypeError
        return ours[0] == "error" and isinstance(ours[1], kind)
    if "('ndarray', 'object'" in str(theirs) or ("[[], " in str(theirs) and ours != theirs):
        # Uneven rows become an array of arrays, or no ids at all where the first row is empty.
        return ours[0] == "error" and "padding=True" in str(ours[1])
    return ours == theirs


def test_thousands_of_random_calls_give_what_the_reference_gives(both: Pair) -> None:
    draw = random.Random(21)
    kinds = {"value": 0, "error": 0}
    for _ in range(3_000):
        both.on(draw.choice(["left", "right"]), draw.choice(["left", "right"]))
        given, call = texts(draw), arguments(draw)
        ours = outcome(both.ours, given, **call)
        theirs = outcome(both.theirs, given, **call)
        assert agree(ours, theirs), (given, call, ours, theirs)
        kinds[theirs[0]] += 1
    assert kinds["value"] > 2_000
    assert kinds["error"] > 200


def test_rows_padded_later_are_as_in_the_reference(both: Pair) -> None:
    draw = random.Random(22)
    for _ in range(1_000):
        both.on(draw.choice(["left", "right"]), "right")
        encoded = [both.ours(text(draw)) for _ in range(draw.randrange(1, 5))]
        call = arguments(draw)
        names = {"padding", "max_length", "pad_to_multiple_of", "padding_side", "return_tensors"}
        call = {name: call[name] for name in names & call.keys() if call[name] != 7}
        rows: Any = [dict(row) for row in encoded]
        if draw.random() < 0.3:
            rows = {name: [row[name] for row in rows] for name in rows[0]}
        elif draw.random() < 0.3:
            rows = rows[0]
        elif draw.random() < 0.3:
            rows = [{"input_ids": torch.tensor(row["input_ids"])} for row in rows]
        again = [dict(row) for row in rows] if isinstance(rows, list) else dict(rows)
        ours = outcome(both.ours.pad, rows, **call)
        theirs = outcome(both.theirs.pad, again, **call)
        assert agree(ours, theirs), (rows, call, ours, theirs)


def test_ids_decode_as_in_the_reference_in_every_shape(both: Pair) -> None:
    draw = random.Random(23)
    size = len(both.ours)
    for _ in range(2_000):
        rows = [ids(draw, size + 3) for _ in range(draw.randrange(4))]
        even = [[draw.randrange(size) for _ in range(4)] for _ in range(draw.randrange(1, 4))]
        given = draw.choice(
            [
                rows, even, torch.tensor(even), np.array(even), [np.array(row) for row in even],
                [torch.tensor(row) for row in even], even[0], torch.tensor(even[0]), even[0][0],
                torch.tensor(even[0][0]), tuple(even[0]), [torch.tensor(id) for id in even[0]],
                {"input_ids": even[0]}, "ids", None, [1.5], ["a"], [even], [even[0], 3],
                torch.rand(3),
            ]
        )  # fmt: skip
        skip, tidy = draw.random() < 0.5, draw.choice([None, True, False])
        for verb in ("decode", "batch_decode"):
            calls = [getattr(side, verb) for side in (both.ours, both.theirs)]
            ours, theirs = (
                outcome(call, given, skip, clean_up_tokenization_spaces=tidy) for call in calls
            )
            assert agree(ours, theirs), (verb, given, skip, tidy, ours, theirs)


def test_spaces_are_tidied_as_in_the_reference(both: Pair) -> None:
    words = both.ours("a , b . c ! ' d ? it 's n't 're").input_ids
    rows = [random.Random(seed).sample(words, len(words)) for seed in range(200)]
    ours = both.ours.batch_decode(rows, clean_up_tokenization_spaces=True)
    assert ours == both.theirs.batch_decode(rows, clean_up_tokenization_spaces=True)
    assert ours != both.ours.batch_decode(rows)


def test_tokens_and_ids_convert_as_in_the_reference(both: Pair) -> None:
    draw = random.Random(24)
    vocabulary = [*both.ours.get_vocab(), "no such token", ""]
    size = len(both.ours)
    for _ in range(500):
        tokens = draw.choice(
            [draw.choice(vocabulary), draw.sample(vocabulary, 4), [], 5, None, ["a", 5]]
        )
        row = ids(draw, size + 3)
        given = draw.choice(
            [row, torch.tensor(row), np.array(row, int), draw.randrange(size), size, None, 2.5, "a"]
        )
        skip, around = draw.random() < 0.5, draw.random() < 0.5
        written = text(draw)
        calls: list[tuple[str, Any, dict[str, Any]]] = [
            ("convert_tokens_to_ids", tokens, {}),
            ("convert_ids_to_tokens", given, {"skip_special_tokens": skip}),
            ("tokenize", written, {"add_special_tokens": around}),
            ("encode", written, {"add_special_tokens": around}),
            ("convert_tokens_to_string", both.ours.tokenize(written), {}),
        ]
        for verb, value, words in calls:
            ours = outcome(getattr(both.ours, verb), value, **words)
            theirs = outcome(getattr(both.theirs, verb), value, **words)
            assert agree(ours, theirs), (verb, value, words, ours, theirs)


@pytest.mark.parametrize(
    "name",
    [
        "all_special_ids", "all_special_tokens", "chat_template", "is_fast", "model_input_names",
        "model_max_length", "padding_side", "pad_token_type_id", "special_tokens_map",
        "truncation_side", "vocab_size", "clean_up_tokenization_spaces",
        *(f"{kind}_token{end}" for end in ("", "_id")
          for kind in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")),
    ],
)  # fmt: skip
def test_what_it_says_of_itself_is_as_in_the_reference(both: Pair, name: str) -> None:
    assert getattr(both.ours, name) == getattr(both.theirs, name)


def test_the_vocabulary_is_that_of_the_reference(both: Pair) -> None:
    assert len(both.ours) == len(both.theirs)
    assert both.ours.get_vocab() == both.ours.vocab == both.theirs.get_vocab()
    assert both.ours.get_added_vocab() == both.theirs.get_added_vocab()
    assert both.ours.num_special_tokens_to_add() == both.theirs.num_special_tokens_to_add()
    assert both.ours.add_tokens([*TAGS]) == 0


def test_it_reads_what_the_reference_writes(both: Pair, tmp_path: Path) -> None:
    draw = random.Random(25)
    both.on("left", "left")
    both.theirs.save_pretrained(tmp_path)
    again = Kosmos2Tokenizer.from_pretrained(tmp_path)
    rows = [text(draw) for _ in range(200)]
    assert again(rows).data == both.theirs(rows).data == both.ours(rows).data


def test_it_is_the_tokenizer_of_the_sentencepiece_folder_too(
    released: Pair, sentencepiece_model: Path, tmp_path: Path
) -> None:
    """As the reference builds it when there is no tokenizer.json: another class, the same ids."""
    (tmp_path / "sentencepiece.bpe.model").symlink_to(sentencepiece_model)
    tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(tmp_path)
    pictures = transformers.CLIPImageProcessorPil(use_square_size=True)
    theirs = transformers.Kosmos2Processor(pictures, tokenizer).tokenizer
    draw = random.Random(26)
    rows = [text(draw) for _ in range(1_000)]
    ours = Kosmos2Tokenizer.from_pretrained(tmp_path)(rows, padding=True, return_tensors="pt")
    for name, value in theirs(rows, padding=True, return_tensors="pt").items():
        assert torch.equal(ours[name], value), name


def test_both_refuse_chats(both: Pair) -> None:
    for side in (both.ours, both.theirs):
        with pytest.raises(ValueError, match="chat template"):
            side.apply_chat_template([{"role": "user", "content": "What is this?"}])
