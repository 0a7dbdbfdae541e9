"""Calls of a processor at random: what people write, what they get wrong, and what is odd."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
from PIL import Image

WORDS = [
    "a", "dog", "An image of", "naïve", "日本語", "😀", "e\u0301", "<phrase>", "</phrase>",
    "<object>", "<patch_index_0044>", "</object>", "<grounding>", "</s>", "<s>", "<pad>",
    "<image>", "</image>", "\u200b", "\n", "3.14", "<", "\u3000", "don't",
    "<patch_index_2000>", "word " * 25,
]  # fmt: skip
PHRASES = ["<phrase> a dog</phrase>", "<phrase>fire</phrase>", "<phrase> two\u3000men </phrase>"]
CORNERS = [
    (0.1, 0.2, 0.5, 0.6), (0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.51, 0.51), (0.999, 0.2, 1.0, 1.0),
]  # fmt: skip
ODD_BOXES = [
    (2000, 3), (-1, 5), (True, False), (-0.2, 0.1, 0.5, 0.5), (0.1, 0.1, 1.2, 0.4),
    (0.0, 0.0, 1e-19, 0.5), tuple(np.float64([0.1, 0.2, 0.5, 0.6])),
]  # fmt: skip
WRONG_BOXES: list[Any] = [
    (0, 0, 1, 1), (0.0, 0.0, 1, 1), (np.int64(4), np.int64(9)),
    tuple(np.float32([0.1, 0.2, 0.5, 0.6])), [44, 863], [0.1, 0.2, 0.5, 0.6], [None], [[(1, 2)]],
    (1,), (1, 2, 3), (), (1.0, 2.0), "4463", 44, {}, (0.5, 0.5, 0.5, 0.9), (0.9, 0.1, 0.2, 0.3),
    (float("nan"), 0.1, 0.5, 0.9), (0.1, 0.1, float("inf"), 0.9), (None, None), ((1, 2), (3, 4)),
    np.array([1, 2]), [(1, 2), None],
]  # fmt: skip
PICTURES = [
    Image.fromarray(np.random.default_rng(side).integers(0, 256, (side, 7, 3), np.uint8))
    for side in (3, 9)
] + [Image.new("RGBA", (4, 5), (200, 30, 90, 128)), Image.new("L", (5, 5), 70)]


class Calls:
    """A stream of keyword arguments, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def likely(self, chance: float) -> bool:
        return self.draw.random() < chance

    def text(self) -> str:
        some = [*WORDS, *PHRASES * 4]
        count = self.draw.choice([0, 1, 2, 3, 5, 9])
        return "".join(
            self.draw.choice(some) + self.draw.choice(["", " ", "  "]) for _ in range(count)
        )

    def box(self) -> tuple:
        if self.likely(0.15):
            return self.draw.choice(ODD_BOXES)
        cells = self.draw.randrange(1024), self.draw.randrange(1024)
        return self.draw.choice([cells, self.draw.choice(CORNERS)])

    def boxes(self, text: str) -> Any:
        """For one text; every tenth time of a wrong type, every tenth of a wrong number."""
        if self.likely(0.05):
            return self.draw.choice([(44, 863), {}, "boxes", 7, np.array([[1, 2]])])
        count = len(re.findall(r"<phrase>.+?</phrase>", text)) + self.likely(0.1)
        boxes: list[Any] = []
        for _ in range(count):
            several = [self.box() for _ in range(self.draw.randrange(4))]
            boxes.append(self.draw.choice([None, self.box(), self.box(), several]))
        if boxes and self.likely(0.15):
            boxes[self.draw.randrange(len(boxes))] = self.draw.choice(WRONG_BOXES)
        return boxes

    def subject(self) -> dict[str, Any]:
        """Texts, pictures and boxes."""
        batch = self.draw.choice([0, 0, 1, 2, 3])
        texts = [self.text() for _ in range(batch or 1)]
        text: Any = texts if batch else texts[0]
        boxes: Any = [self.boxes(one) if self.likely(0.8) else None for one in texts]
        boxes = boxes if batch else boxes[0]
        pictures: Any = [self.draw.choice(PICTURES) for _ in range(batch or 1)]
        images = self.draw.choice(
            [
                pictures,
                pictures,
                pictures if batch > 1 else pictures[0],
                [[one] for one in pictures],
            ]
        )
        subject = {"text": text, "images": images, "bboxes": boxes}
        for name, chance in (("text", 0.04), ("images", 0.25), ("bboxes", 0.4)):
            if self.likely(chance):
                del subject[name]
        if self.likely(0.04):
            subject[self.draw.choice([*subject] or ["text"])] = self.draw.choice(
                [
                    PICTURES[0],
                    PICTURES[:2],
                    "a text",
                    ["one", "two"],
                    7,
                    [None],
                    [7],
                    ("a", "b"),
                    [],
                ]
            )
        return subject

    def words(self) -> dict[str, Any]:
        """Everything else."""
        pick = self.draw.choice
        lengths = [None, None, 0, 1, 2, 12, 40, 65, 66, 67, 68, 69, 70, 72, 80, 96, 128]
        menu: dict[str, Any] = {
            "padding": pick([False, True, True, "longest", "max_length", "do_not_pad", "wide"]),
            "truncation": pick(
                [None, True, True, False, "longest_first", "only_first", "do_not_truncate", "end"]
            ),
            "max_length": pick(lengths) if self.likely(0.97) else pick([-1, 7.5, "9"]),
            "pad_to_multiple_of": pick([None, 8, 7, 16]),
            "return_tensors": pick([None, "pt", "np", "tf"] if self.likely(0.1) else ["pt", "np"]),
            "add_eos_token": pick([True, False]),
            "add_special_tokens": pick([True, False]),
            "return_length": pick([True, False]),
            "return_attention_mask": pick([None, True, True, False]),
            "return_special_tokens_mask": True,
            "padding_side": pick(["left", "right", None]),
            "num_image_tokens": pick([64, 5, 1]),
            "first_image_token_id": pick([None, 10]),
            "verbose": False,
            "do_normalize": pick([True, False]),
        }
        words = {name: menu[name] for name in self.draw.sample([*menu], self.draw.randrange(6))}
        if self.likely(0.1):
            words = self.grouped(words)
        return words

    def grouped(self, words: dict[str, Any]) -> dict[str, Any]:
        """The same in dictionaries; some twice, which is an error."""
        pictures = {"do_normalize", "num_image_tokens", "first_image_token_id"}
        groups: dict[str, dict[str, Any]] = {"text_kwargs": {}, "images_kwargs": {}}
        for name, value in words.items():
            groups["images_kwargs" if name in pictures else "text_kwargs"][name] = value
        # A default that is given plainly cannot be told from one that is not.
        telling = {name: value for name, value in words.items() if value not in (None, False, True)}
        return {**groups, **(telling if self.likely(0.1) else {})}

    def next(self) -> dict[str, Any]:
        return {**self.subject(), **self.words()}
