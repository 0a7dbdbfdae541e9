"""The reference's tokenizer: its names and arguments over our own vocabulary.

    tokenizer = Kosmos2Tokenizer.from_pretrained("demo")
    tokenizer(["a snowman", "a dog"], padding=True, return_tensors="pt").input_ids
    tokenizer.decode(ids, skip_special_tokens=True)

KOSMOS-2 reads one text at a time, so there are no pairs of texts, and its weights know its tokens
only, so none can be added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
from tokenizers import Encoding
from tokenizers.processors import TemplateProcessing

from kosmos2.errors import CheckpointError, ConfigError, InputError
from kosmos2.hf.decoding import Decoding
from kosmos2.hf.encoding import BatchFeature
from kosmos2.hf.folders import folder_of
from kosmos2.hf.notices import once
from kosmos2.hf.padding import KindError, lengths_of, pad_rows, side_of
from kosmos2.hf.tokenizer_arguments import refuse_others, texts_of
from kosmos2.tokenizer import Tokenizer
from kosmos2.tokenizer.tokenizer import REFERENCE_SETTINGS, TOKENIZER_CONFIG

UNLIMITED = int(1e30)  # the reference's word for it; files hold the float nearest to it
SETTINGS = (
    "clean_up_tokenization_spaces",
    "model_input_names",
    "model_max_length",
    "padding_side",
    "truncation_side",
)


class Kosmos2Tokenizer(Decoding):
    """Text to ids and back."""

    is_fast = True
    chat_template = None

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        padding_side: str = "right",
        truncation_side: str = "right",
        model_max_length: int | None = None,
        clean_up_tokenization_spaces: bool = False,
        model_input_names: Sequence[str] = ("input_ids", "attention_mask"),
        name_or_path: str = "",
    ) -> None:
        """Dress a tokenizer of ours.

        Args:
            tokenizer: ours, which stays available as `inner`.
            padding_side: where short rows are filled up.
            truncation_side: where long rows are cut.
            model_max_length: what stands for a `max_length` that is not given.
            clean_up_tokenization_spaces: whether `decode` takes spaces before `.` and the like out.
            model_input_names: whether there is an `attention_mask` unless asked for.
            name_or_path: where it came from.
        """
        super().__init__(tokenizer)
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self.model_max_length = UNLIMITED if model_max_length is None else int(model_max_length)
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.model_input_names = list(model_input_names)
        self.name_or_path = name_or_path
        if not self.num_special_tokens_to_add():
            # Quirk: the reference adds nothing if the file says nothing. The weights want both.
            tokenizer.backend.post_processor = TemplateProcessing(
                single=f"{self.bos_token} $A {self.eos_token}",
                special_tokens=[
                    (self.bos_token, tokenizer.bos),
                    (self.eos_token, tokenizer.eos),
                ],
            )

    @classmethod
    def from_pretrained(cls, name: str | PathLike[str], **words: Any) -> Self:
        """Read the tokenizer of a model folder, of `demo`, or of a model of the hub.

        Args:
            name: folder or name.
            words: settings such as `padding_side`, which go before those of the folder; and
                `revision`, `local_files_only` and other words for the hub.

        Raises:
            CheckpointError: none there, or broken.
            ConfigError: a word that is not known.
        """
        given = {word: words.pop(word) for word in SETTINGS if word in words}
        folder = folder_of(name, **words)
        settings = {**_settings(folder / TOKENIZER_CONFIG), **given}
        return cls(Tokenizer.load(folder), name_or_path=str(name), **settings)

    def save_pretrained(self, save_directory: str | PathLike[str], **words: Any) -> tuple[str, ...]:
        """Write files that this class and the reference read, and return their names."""
        if wishes := [word for word, wish in words.items() if wish]:
            raise ConfigError(f"save_pretrained does not do {', '.join(wishes)}; leave it out")
        folder = Path(save_directory)
        self.inner.save(folder)
        path = folder / TOKENIZER_CONFIG
        settings = REFERENCE_SETTINGS | {name: getattr(self, name) for name in SETTINGS}
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return str(path), str(folder / "tokenizer.json")

    @property
    def padding_side(self) -> str:
        """Where short rows are filled up: `left` to generate, `right` to train."""
        return self._padding_side

    @padding_side.setter
    def padding_side(self, side: str) -> None:
        self._padding_side = side_of("padding_side", side)

    @property
    def truncation_side(self) -> str:
        """Where long rows are cut."""
        return self._truncation_side

    @truncation_side.setter
    def truncation_side(self, side: str) -> None:
        self._truncation_side = side_of("truncation_side", side)

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        **others: Any,
    ) -> BatchFeature:
        """Ids and masks of a text, or of a list of texts; tags in the text are tags.

        Args:
            text: a text, which gives flat lists, or a list of them, which gives a batch.
            add_special_tokens: whether `<s>` and `</s>` go around.
            padding: True or `longest`, `max_length`, or False.
            truncation: whether to cut rows at max_length; alone, max_length cuts too.
            max_length: how many ids a row may have, `<s>` and `</s>` included.
            pad_to_multiple_of: the padded length is a multiple of this.
            padding_side: `left` or `right`, before that of the tokenizer.
            return_tensors: `pt` or `np`, always as a batch.
            return_token_type_ids: zeros, one for each id.
            return_attention_mask: 1 for ids, 0 for padding; the default is as in
                `model_input_names`.
            return_special_tokens_mask: 1 for `<s>`, `</s>` and padding around the text.
            return_offsets_mapping: from which character to which an id goes.
            return_length: the padded length of each row.
            verbose: whether to give notice of what has no effect.
            others: arguments for what KOSMOS-2 has no use for, if they ask for nothing.

        Raises:
            InputError: no text, words that contradict each other, uneven rows for a tensor.
        """
        refuse_others(others)
        texts = texts_of(text)
        limit = self.model_max_length if self.model_max_length < 1e20 else None
        to = lengths_of(
            padding, truncation, max_length, pad_to_multiple_of, limit=limit, verbose=verbose
        )
        rows = self._encode(texts, add_special_tokens, to.cut)
        wanted = to.filled(list(map(len, rows)))
        side = side_of("padding_side", padding_side or self.padding_side)
        for row in rows:
            row.pad(wanted, direction=side, pad_id=self.pad_token_id, pad_token=self.pad_token)
        if verbose and max_length is None and limit is not None:
            longest = max(map(len, rows))
            if longest > limit:
                once(f"{longest} ids are more than the {limit} that model_max_length allows")
        if return_attention_mask is None:
            return_attention_mask = "attention_mask" in self.model_input_names
        if return_token_type_ids is None:
            return_token_type_ids = "token_type_ids" in self.model_input_names
        data: dict[str, list[Any]] = {"input_ids": [row.ids for row in rows]}
        if return_token_type_ids:
            data["token_type_ids"] = [row.type_ids for row in rows]
        if return_attention_mask:
            data["attention_mask"] = [row.attention_mask for row in rows]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
        if return_offsets_mapping:
            data["offset_mapping"] = [row.offsets for row in rows]
        if isinstance(text, str) and return_tensors is None:
            data = {name: values[0] for name, values in data.items()}
        if return_length:  # Quirk: a list, even of the one text.
            data["length"] = list(map(len, rows))
        return BatchFeature(data, return_tensors)

    def encode(self, text: str | Sequence[str], **words: Any) -> Any:
        """The ids alone, with `<s>` and `</s>`; takes the arguments of a call."""
        return self(text, **words)["input_ids"]

    def tokenize(self, text: str, *, add_special_tokens: bool = False) -> list[str]:
        """The tokens of one text, as they are in the vocabulary."""
        if not isinstance(text, str):
            raise KindError(f"tokenize takes one text, not {type(text).__name__}")
        (row,) = self._encode(texts_of(text), add_special_tokens, None)
        return list(row.tokens)

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchFeature:
        """Make rows that were encoded one by one equally long; a `collate_fn` for ids.

        Where the reference leaves `labels` and `image_embeds_position_mask` as they are, they are
        filled up too, with -100 and 0.

        Raises:
            InputError: no `input_ids`, or not as many rows of one thing as of another.
        """
        data: Any = encoded_inputs
        if isinstance(data, Sequence) and data and isinstance(data[0], Mapping):
            data = {name: [example[name] for example in data] for name in data[0]}
        if not isinstance(data, Mapping) or "input_ids" not in data:
            names = list(data) if isinstance(data, Mapping) else type(data).__name__
            raise InputError(f"pad takes a dict, or a list of dicts, with input_ids, not {names}")
        ids = data["input_ids"]
        if ids is None or not len(ids):
            return BatchFeature(data)
        if return_tensors is None and isinstance(ids[0], torch.Tensor):
            return_tensors = "pt"
        elif return_tensors is None and hasattr(ids[0], "tolist"):
            return_tensors = "np"
        limit = self.model_max_length if self.model_max_length < 1e20 else None
        to = lengths_of(
            padding, False, max_length, pad_to_multiple_of, limit=limit, verbose=verbose
        )
        mask = return_attention_mask
        if mask is None:
            mask = "attention_mask" in self.model_input_names
        side = side_of("padding_side", padding_side or self.padding_side)
        rows = pad_rows(data, to, side=side, pad=self.pad_token_id, mask=mask)
        return BatchFeature(rows, return_tensors)

    def apply_chat_template(self, *_: Any, **__: Any) -> Any:
        """KOSMOS-2 has no chat template.

        Raises:
            InputError: always.
        """
        raise InputError(
            "KOSMOS-2 was not trained on conversations and has no chat template; "
            "ask in its own words, as in '<grounding> Question: ... Answer:'"
        )

    def _encode(self, texts: list[str], special: bool, cut: int | None) -> list[Encoding]:
        """Cut here and not in the backend, so that two threads can ask for different lengths."""
        backend = self.inner.backend
        around = self.num_special_tokens_to_add() if special else 0
        if cut is not None and cut < around:
            raise InputError(
                f"max_length is {cut}, but {self.bos_token} and {self.eos_token} alone take "
                f"{around}; allow more, or say add_special_tokens=False"
            )
        rows: list[Encoding] = backend.encode_batch(texts, add_special_tokens=False)
        if cut is not None:
            for row in rows:
                row.truncate(cut - around, direction=self.truncation_side)
        return [backend.post_process(row, None, special) for row in rows]


def _settings(path: Path) -> dict[str, Any]:
    """What a `tokenizer_config.json` sets, if there is one."""
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        found = {name: settings[name] for name in SETTINGS if settings.get(name) is not None}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); copy it again from the original model"
        ) from error
    return found


XLMRobertaTokenizerFast = Kosmos2Tokenizer  # the name in the reference's documents
