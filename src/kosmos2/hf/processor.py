"""Pictures, words and boxes to what the network reads, and its answers back, as the reference does.

    processor = Kosmos2Processor.from_pretrained("demo")
    inputs = processor(images=picture, text="<grounding> An image of", return_tensors="pt")
    text, entities = processor.post_process_generation(answer)

Quirk for quirk, but for one: a `max_length` that would cut the picture is refused, where the
reference returns rows that do not fit each other. `compat="transformers-5"` returns them too.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any, Self

from kosmos2.errors import ConfigError, InputError
from kosmos2.geometry import CELLS
from kosmos2.hf.call_words import sorted_words
from kosmos2.hf.encoding import BatchFeature
from kosmos2.hf.examples_to_learn import answer_ids, with_boxes
from kosmos2.hf.folders import folder_of
from kosmos2.hf.image_processor import SETTINGS as PICTURE_SETTINGS
from kosmos2.hf.image_processor import Kosmos2ImageProcessor
from kosmos2.hf.labels import labels_for
from kosmos2.hf.notices import once
from kosmos2.hf.picture_block import PictureBlock
from kosmos2.hf.prompt_rows import COMPAT, PromptRows, padded
from kosmos2.hf.tokenizer import SETTINGS as TEXT_SETTINGS
from kosmos2.hf.tokenizer import Kosmos2Tokenizer
from kosmos2.markup import TAGS, reference_extract
from kosmos2.weights.stored import read_json

SLOTS = 64  # of the released model
SETTINGS_FILE = "processor_config.json"

Entity = tuple[str, tuple[int, int], list[tuple[float, float, float, float]]]


class Kosmos2Processor:
    """An image processor and a tokenizer that know of each other."""

    (
        eod_token,
        boi_token,
        eoi_token,
        eoc_token,
        eol_token,
        bop_token,
        eop_token,
        boo_token,
        eoo_token,
        dom_token,
        grd_token,
    ) = TAGS

    def __init__(
        self,
        image_processor: Kosmos2ImageProcessor,
        tokenizer: Kosmos2Tokenizer,
        num_patch_index_tokens: int = CELLS,
        *,
        num_image_tokens: int = SLOTS,
        compat: str | None = None,
    ) -> None:
        """Join the two.

        Args:
            image_processor: for pictures.
            tokenizer: for words.
            num_patch_index_tokens: how many places text can name; always 1024.
            num_image_tokens: the slots of a picture, unless a call says otherwise.
            compat: `transformers-5` for what the reference returns when the picture is cut.

        Raises:
            ConfigError: parts of another library, or a setting that cannot be.
        """
        for part, kind in ((image_processor, Kosmos2ImageProcessor), (tokenizer, Kosmos2Tokenizer)):
            if not isinstance(part, kind):
                raise ConfigError(
                    f"a {type(part).__name__} is no {kind.__name__}; "
                    f"load one with kosmos2.hf.{kind.__name__}.from_pretrained"
                )
        if num_patch_index_tokens != CELLS:
            raise ConfigError(
                f"num_patch_index_tokens is {num_patch_index_tokens}; the tokenizer has {CELLS}"
            )
        if compat not in (None, COMPAT):
            raise ConfigError(f"compat is {compat!r}; it can be {COMPAT!r}, or None")
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        self.num_patch_index_tokens = num_patch_index_tokens
        self.num_image_tokens = num_image_tokens
        self.tag_tokens = list(TAGS)
        self.compat = compat

    @classmethod
    def from_pretrained(
        cls, name: str | PathLike[str], *, compat: str | None = None, **words: Any
    ) -> Self:
        """Read the processor of a model folder, of `demo`, or of a model of the hub.

        Args:
            name: folder or name.
            compat: as in the constructor.
            words: settings of the tokenizer (`padding_side`) or of the image processor (`size`),
                `num_image_tokens`, and `revision`, `local_files_only` and others for the hub.

        Raises:
            CheckpointError: something of it is missing or broken.
            ConfigError: a word that is not known.
        """
        texts = {word: words.pop(word) for word in TEXT_SETTINGS if word in words}
        looks = {word: words.pop(word) for word in PICTURE_SETTINGS if word in words}
        slots = words.pop("num_image_tokens", None)
        folder = folder_of(name, **words)
        return cls(
            Kosmos2ImageProcessor.from_pretrained(folder, **looks),
            Kosmos2Tokenizer.from_pretrained(
                folder, **{word: value for word, value in texts.items() if value is not None}
            ),
            num_image_tokens=_stored_slots(folder) if slots is None else slots,
            compat=compat,
        )

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Write files that this class and the reference read."""
        self.tokenizer.save_pretrained(save_directory)
        self.image_processor.save_pretrained(save_directory)
        settings: dict[str, Any] = {
            "processor_class": "Kosmos2Processor",
            "num_patch_index_tokens": self.num_patch_index_tokens,
            "num_image_tokens": self.num_image_tokens,
        }
        path = Path(save_directory) / SETTINGS_FILE
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def __call__(
        self,
        images: Any = None,
        text: str | list[str] | None = None,
        bboxes: Any = None,
        num_image_tokens: int | None = None,
        first_image_token_id: int | None = None,
        add_special_tokens: bool = True,
        add_eos_token: bool = False,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_length: bool = False,
        verbose: bool = True,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """What the network reads: ids, masks, pixels, and where the picture's slots are.

        Args:
            images: a picture, or a list with one picture for each text.
            text: a prompt, which gives one row, or a list of them, which gives a batch.
            bboxes: boxes for the phrases of the text (see `hf.bboxes`); a list of such for a list.
            num_image_tokens: slots of a picture; the default is that of the model.
            first_image_token_id: the id in the first slot; the default is the one after `<unk>`.
            add_special_tokens: whether `<s>` comes first.
            add_eos_token: whether `</s>` comes last.
            padding: as of the tokenizer. With pictures, a list is padded in any case to its
                longest row, and one text never is.
            truncation: whether to cut rows at max_length. A picture is never cut.
            max_length: how many ids a row may have, the picture's included.
            pad_to_multiple_of: the padded length is a multiple of this.
            return_attention_mask: False leaves the mask out.
            return_length: the length of each row before padding.
            verbose: whether to give notice of arguments without effect.
            return_tensors: `pt` or `np`, always as a batch.
            kwargs: `text_kwargs`, `images_kwargs`, and what the tokenizer and the image processor
                take besides.

        Raises:
            InputError: nothing given, or pictures, texts and boxes that do not fit each other.
            ConfigError: an argument that cannot be met.
        """
        plain = {
            "bboxes": (bboxes, None),
            "num_image_tokens": (num_image_tokens, None),
            "first_image_token_id": (first_image_token_id, None),
            "add_special_tokens": (add_special_tokens, True),
            "add_eos_token": (add_eos_token, False),
            "padding": (padding, False),
            "truncation": (truncation, None),
            "max_length": (max_length, None),
            "pad_to_multiple_of": (pad_to_multiple_of, None),
            "return_attention_mask": (return_attention_mask, None),
            "return_length": (return_length, False),
            "verbose": (verbose, True),
            "return_tensors": (return_tensors, None),
        }
        given = {name: value for name, (value, default) in plain.items() if value is not default}
        words = sorted_words(given, kwargs)
        if images is None and text is None:
            raise InputError("there is neither a picture nor a text; give images, text, or both")
        if text is None and words.both.get("bboxes") is not None:
            once("bboxes without a text are ignored; they belong to its phrases")
        words.both.setdefault("num_image_tokens", self.num_image_tokens)
        prompts = PromptRows(self.tokenizer, self.compat)
        rows = {} if text is None else prompts.encode(text, images, words.text, **words.both)
        seen = {} if images is None else self.image_processor(images, **words.pictures)
        return BatchFeature({**seen, **rows})

    def training_batch(
        self,
        images: Any,
        prompts: str | list[str],
        answers: list[str],
        bboxes: list[Any] | None = None,
    ) -> BatchFeature:
        """A batch to learn from: the answers carry loss, `</s>` included, and nothing else does.

        Args:
            images: a list with one picture for each answer, or None for words alone.
            prompts: what is asked, the same for all or one for each answer.
            answers: what should be said.
            bboxes: for each example a list with one element for each phrase, those of the prompt
                first, then those of the answer. What the model should find itself belongs to
                the answer: its phrase too, since boxes go right behind phrases.

        Returns:
            `input_ids`, `attention_mask`, `pixel_values`, `image_embeds_position_mask` and
            `labels`, padded on the right, as tensors.

        Raises:
            InputError: lists of different lengths, or boxes that do not fit the phrases.
        """
        pairs = with_boxes(prompts, answers, bboxes)
        encoded = self(images, [asked for asked, _ in pairs], padding=True)
        asked = [
            [id for id, kept in zip(ids, keep) if kept]
            for ids, keep in zip(encoded["input_ids"], encoded["attention_mask"])
        ]
        said = [answer_ids(answer, self.tokenizer.inner) for _, answer in pairs]
        rows = [prompt + answer for prompt, answer in zip(asked, said)]
        longest = max(map(len, rows))
        data = {
            "input_ids": padded(rows, longest, self.tokenizer.inner.pad),
            "attention_mask": padded([[1] * len(row) for row in rows], longest, 0),
        }
        if images is not None:
            mask = PictureBlock.of(self.tokenizer, self.num_image_tokens, bos=True).mask(longest)
            data["image_embeds_position_mask"] = [mask] * len(rows)
            data["pixel_values"] = encoded["pixel_values"]
        batch = BatchFeature(data, "pt")
        batch["labels"] = labels_for(batch, prompt_lengths=[len(row) for row in asked])
        return batch

    def preprocess_examples(
        self,
        texts: str | list[str],
        images: Any = None,
        bboxes: Any = None,
        num_image_tokens: int | None = None,
    ) -> str | list[str]:
        """Texts as the tokenizer gets them: the picture's place in front, and boxes in.

        Raises:
            InputError: pictures, texts and boxes that do not fit each other.
        """
        written = PromptRows(self.tokenizer, self.compat).written(
            texts, images, bboxes, num_image_tokens or self.num_image_tokens
        )
        return written[0] if isinstance(texts, str) else written

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """The text of ids: the tokenizer's `decode`."""
        return self.tokenizer.decode(*args, **kwargs)

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """The texts of rows of ids: the tokenizer's `batch_decode`."""
        return self.tokenizer.batch_decode(*args, **kwargs)

    def post_process_generation(
        self, text: str, cleanup_and_extract: bool = True
    ) -> str | tuple[str, list[Entity]]:
        """What an answer says: clean words, and phrases with their places and boxes.

        Args:
            text: one decoded text; what stands before its last `</image>` is left out.
            cleanup_and_extract: False returns the markup as it is.

        Raises:
            InputError: not one text.
            MarkupError: a location with hundreds of digits.
        """
        if not isinstance(text, str):
            raise InputError(f"post_process_generation takes one text, not {type(text).__name__}")
        caption = text.rpartition(self.eoi_token)[2]
        return reference_extract(caption) if cleanup_and_extract else caption

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool = True, **kwargs: Any
    ) -> list[str]:
        """The markup of generated rows, without the picture in front."""
        texts = self.batch_decode(
            generated_outputs, skip_special_tokens=skip_special_tokens, **kwargs
        )
        return [text.rpartition(self.eoi_token)[2] for text in texts]

    @property
    def model_input_names(self) -> list[str]:
        """The names under which a call returns tensors."""
        ours = [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]
        return [*ours, "image_embeds_position_mask"]


def _stored_slots(folder: Path) -> int:
    """The slots of a picture, as the network has latents, or as the processor was saved."""
    for file, name in (("config.json", "latent_query_num"), (SETTINGS_FILE, "num_image_tokens")):
        if (folder / file).is_file():
            slots = read_json(folder / file).get(name)
            if isinstance(slots, int):
                return slots
    return SLOTS
