"""From prompts to rows of ids and masks, with or without pictures, padded as by the reference.

With pictures the reference leaves padding to its processor: a list is padded in any case, on the
tokenizer's side, and one text never. Where that, or cutting, is not what a call seems to ask for,
there is a notice; where a picture would be cut, an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kosmos2.errors import PromptError
from kosmos2.hf.bboxes import insert_boxes
from kosmos2.hf.encoding import BatchFeature
from kosmos2.hf.notices import once
from kosmos2.hf.padding import lengths_of
from kosmos2.hf.picture_block import PictureBlock, block_text
from kosmos2.hf.raw_pictures import SWAPPED, flattened
from kosmos2.hf.tokenizer import Kosmos2Tokenizer

COMPAT = "transformers-5"


@dataclass(frozen=True, slots=True)
class PromptRows:
    """Encodes prompts with one tokenizer."""

    tokenizer: Kosmos2Tokenizer
    compat: str | None = None

    def encode(
        self,
        text: str | list[str],
        images: Any,
        words: dict[str, Any],
        *,
        num_image_tokens: int,
        bboxes: Any = None,
        first_image_token_id: int | None = None,
        add_special_tokens: bool = True,
        add_eos_token: bool = False,
    ) -> dict[str, Any]:
        """Ids and masks of prompts, with or without pictures."""
        block = PictureBlock.of(
            self.tokenizer, num_image_tokens, bos=add_special_tokens, first=first_image_token_id
        )
        written = self.written(text, images, bboxes, num_image_tokens)
        # Without an end, the start is part of the text: quirk, so the tokenizer cuts it like words.
        if add_special_tokens and not add_eos_token:
            written = [self.tokenizer.bos_token + one for one in written]
        words = words | {"add_special_tokens": add_special_tokens and add_eos_token}
        texts = written[0] if isinstance(text, str) else written
        if images is None:
            return dict(self.tokenizer(texts, **words))
        return self._with_pictures(texts, block, words)

    def written(self, texts: Any, images: Any, bboxes: Any, slots: int) -> list[str]:
        """Each text with the picture's place in front and boxes in."""
        if not isinstance(texts, str | list | tuple):
            raise PromptError(f"text is a {type(texts).__name__}, not a string; {SWAPPED}")
        single = isinstance(texts, str)
        examples = [texts] if isinstance(texts, str) else list(texts)
        for number, one in enumerate(examples):
            if not isinstance(one, str):
                raise PromptError(
                    f"text {number} is a {type(one).__name__}; give a list of strings"
                )
        if images is not None:
            self._check_one_each(images, len(examples))
        if not single and bboxes is not None:
            if not isinstance(bboxes, list):
                raise PromptError("bboxes is no list; give a list with one list for each text")
            if len(bboxes) != len(examples):
                raise PromptError(
                    f"{len(bboxes)} lists of boxes for {len(examples)} texts; give one each"
                )
        own = [bboxes] if single else bboxes or [None] * len(examples)
        block = "" if images is None else block_text(slots)
        return [
            insert_boxes(block + one.strip(), boxes, "bboxes" if single else f"bboxes[{number}]")
            for number, (one, boxes) in enumerate(zip(examples, own))
        ]

    def _check_one_each(self, images: Any, texts: int) -> None:
        pictures = images if isinstance(images, list) else [images]
        if len(pictures) != texts:
            raise PromptError(
                f"{len(pictures)} pictures for {texts} texts; give a list with one for each text"
            )
        for number, picture in enumerate(pictures):
            # Quirk: the reference lets this pass, and the network has pictures without a place.
            if self.compat is None and (count := len(flattened(picture))) != 1:
                raise PromptError(
                    f"text {number} has {count} pictures; give one for each text: "
                    "the reference's prompt has one place"
                )

    def _with_pictures(
        self, texts: str | list[str], block: PictureBlock, words: dict[str, Any]
    ) -> dict[str, Any]:
        """Ids and masks where each text begins with a picture's place."""
        tensors, padding = words.get("return_tensors"), words.get("padding", False)
        # Of words for padding that are none, one text would never hear.
        multiple = words.get("pad_to_multiple_of")
        fills = lengths_of(padding, False, 1, multiple, limit=None, verbose=False).fill is not None
        alone = {"return_tensors": None, "padding": False}
        alone["verbose"] = words.get("verbose", True) and not fills
        data = dict(self.tokenizer(texts, **words | alone))
        names = [name for name in data if name in ("input_ids", "attention_mask")]
        single = isinstance(texts, str)
        if single:
            data |= {name: [data[name]] for name in names}
        self._check_cut(data["input_ids"], block, words)
        if words.get("verbose", True):
            self._notice_ignored(data["input_ids"], words, single=single, fills=fills)
        lengths = [len(ids) for ids in data["input_ids"]]
        data["input_ids"] = [block.filled(ids) for ids in data["input_ids"]]
        data["image_embeds_position_mask"] = [block.mask(len(ids)) for ids in data["input_ids"]]
        names.append("image_embeds_position_mask")
        if not single:
            # The reference pads its longest row by itself, and the others as far as that went.
            longest = max(range(len(lengths)), key=lambda row: (lengths[row], row))
            again = words | {"return_tensors": None, "padding": padding, "verbose": False}
            length = len(self.tokenizer([texts[longest]], **again)["input_ids"][0])
            if length != min(lengths):
                for name in names:
                    filler = self.tokenizer.inner.pad if name == "input_ids" else 0
                    data[name] = padded(data[name], length, filler, self.tokenizer.padding_side)
        rows = {name: data[name] for name in names}
        if single and tensors is None:
            rows = {name: value[0] for name, value in rows.items()}
        return data | dict(BatchFeature(rows, tensors))

    def _check_cut(self, rows: list[list[int]], block: PictureBlock, words: dict[str, Any]) -> None:
        """Refuse to cut a picture."""
        if self.compat == COMPAT or all(map(block.whole, rows)):
            return
        needed = len(block.head) + bool(words["add_special_tokens"])
        limit = words.get("max_length")
        limit = self.tokenizer.model_max_length if limit is None else limit
        if self.tokenizer.truncation_side == "left":
            raise PromptError(
                f"max_length {limit} cuts from the left, where the picture is; "
                "set processor.tokenizer.truncation_side = 'right'"
            )
        raise PromptError(
            f"max_length is {limit}, but <s>, the picture and </s> if asked for take {needed} ids; "
            f"give max_length={needed} or more: words go first, a picture stays whole"
        )

    def _notice_ignored(
        self, rows: list[list[int]], words: dict[str, Any], *, single: bool, fills: bool
    ) -> None:
        """Say what has no effect with pictures, or another than it seems."""
        if single and fills:
            once("one text with a picture is never padded; give lists of both, to have padding")
        if words.get("pad_to_multiple_of") and not fills:
            once("pad_to_multiple_of has no effect without padding; say padding=True")
        side = words.get("padding_side")
        if side is not None and side != self.tokenizer.padding_side:
            once(
                "padding_side has no effect in a call with pictures; "
                f"set processor.tokenizer.padding_side = {side!r}"
            )
        limit = words.get("max_length")
        if limit is not None and words.get("truncation") is None and max(map(len, rows)) >= limit:
            once(
                "max_length cuts texts with pictures even without truncation; "
                "say truncation=True if that is meant, or leave max_length out"
            )


def padded(rows: list[list[int]], length: int, filler: int, side: str = "right") -> list[list[int]]:
    """Rows filled up to a length, those that are longer as they are."""
    fillers = [[filler] * (length - len(row)) for row in rows]
    if side == "left":
        return [more + row for more, row in zip(fillers, rows)]
    return [row + more for more, row in zip(fillers, rows)]
