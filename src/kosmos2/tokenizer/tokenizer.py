"""Text to ids and back, with the ids of tags and locations looked up once.

The `tokenizers` library does the work, on `tokenizer.json` as it is or on what the reference builds
from `sentencepiece.bpe.model`: text is parted at every literal tag, then at whitespace, and every
word gets a `▁` in front and the most probable pieces.
"""

import json
import logging
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer as Backend

from kosmos2.errors import CheckpointError, PromptError
from kosmos2.geometry import CELLS
from kosmos2.markup import SPECIALS, TAGS, cell_tag
from kosmos2.sentencepiece_file import SentencepieceFile
from kosmos2.tokenizer.build import BOS, EOS, MASK, PAD, UNK, build, check_layout, read_json
from kosmos2.tokenizer.stream import TextStream

log = logging.getLogger(__name__)

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SENTENCEPIECE = "sentencepiece.bpe.model"

REFERENCE_SETTINGS = {
    "tokenizer_class": "PreTrainedTokenizerFast",  # which takes tokenizer.json as it is
    "bos_token": BOS,
    "cls_token": BOS,
    "eos_token": EOS,
    "sep_token": EOS,
    "pad_token": PAD,
    "unk_token": UNK,
    "mask_token": MASK,
    "clean_up_tokenization_spaces": False,
}


class Tokenizer:
    """A vocabulary of pieces, tags and locations."""

    bos: int
    pad: int
    eos: int
    unk: int
    first_slot: int  # the first of the ids that hold the places of latents
    cells: range  # ids of the locations, in the order of their cells

    def __init__(self, backend: Backend, place: str = "the tokenizer") -> None:
        """Take over a backend of the `tokenizers` library.

        Raises:
            CheckpointError: specials, tags or locations are missing or out of order.
        """
        backend.no_padding()
        backend.no_truncation()
        ids = backend.get_vocab(with_added_tokens=True)
        added = {str(token.content) for token in backend.get_added_tokens_decoder().values()}
        check_layout(ids, added, place)
        self.backend = backend
        self.size = max(ids.values()) + 1
        self.bos, self.pad, self.eos, self.unk = (ids[name] for name in (BOS, PAD, EOS, UNK))
        self.first_slot = self.unk + 1
        self.cells = range(ids[cell_tag(0)], ids[cell_tag(0)] + CELLS)
        self._tags = {tag: ids[tag] for tag in TAGS}
        self._texts = {id: text for text, id in ids.items()}
        self._special = {ids[name] for name in SPECIALS if name in ids}
        self._literals = frozenset([*added, *SPECIALS])
        self._openings = {literal[:1] for literal in self._literals}

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read the tokenizer of a model folder.

        Raises:
            CheckpointError: none there, broken, or of another layout.
        """
        folder = Path(folder)
        if (folder / TOKENIZER_JSON).is_file():
            path = folder / TOKENIZER_JSON
            tokenizer = cls(read_json(path), str(path))
        elif (folder / SENTENCEPIECE).is_file():
            path = folder / SENTENCEPIECE
            file = SentencepieceFile.load(path)
            tokenizer = cls(build(file.pieces, file.charsmap, str(path)), str(path))
        else:
            raise CheckpointError(
                f"{folder} has neither {TOKENIZER_JSON} nor {SENTENCEPIECE}; "
                "copy one of them from the folder of the original model"
            )
        log.info("read %d tokens from %s", tokenizer.size, path)
        return tokenizer

    @classmethod
    def from_pieces(
        cls, pieces: Iterable[tuple[str, float]], *, charsmap: bytes | None = None
    ) -> Self:
        """Lay out a vocabulary of one's own.

        Args:
            pieces: ordinary pieces with their log-probabilities; `▁` stands for a space.
            charsmap: sentencepiece's normalisation table; without one, the nearest plain rules.
        """
        place = "the tokenizer made from pieces"
        return cls(build(tuple(pieces), charsmap or b"", place), place)

    def save(self, folder: Path | str) -> None:
        """Write files that this class and the reference library read."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            TOKENIZER_JSON: self.backend.to_str(pretty=True),
            TOKENIZER_CONFIG: json.dumps(REFERENCE_SETTINGS, indent=2) + "\n",
        }
        for name, content in files.items():
            # Whoever reads the folder meanwhile sees the old file or the new one, never half of it.
            part = folder / f"{name}.part"
            part.write_text(content, encoding="utf-8")
            part.replace(folder / name)

    def encode(self, text: str, *, markup: bool = True) -> list[int]:
        """The ids of a text, without `<s>` and `</s>` around it.

        Args:
            text: any text.
            markup: whether tags in the text are tags; otherwise they are characters like others.

        Raises:
            PromptError: the text holds half a character (a lone surrogate).
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise PromptError(
                f"the text has half a character (U+{ord(text[error.start]):04X}) "
                f"at {error.start}; decode it again"
            ) from error
        words = self._words if not markup and self._may_hold_literals(text) else self.backend
        ids: list[int] = words.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of ids; tags and locations stay, `<s>` and its kind go unless asked for."""
        stream = self.stream(skip_special=skip_special)
        return "".join(map(stream.push, ids)) + stream.finish()

    def stream(self, *, skip_special: bool = True) -> TextStream:
        """Decode ids one at a time."""
        return TextStream(self._texts, self._special if skip_special else frozenset())

    def tag(self, name: str) -> int:
        """The id of one of `markup.TAGS`."""
        if name not in self._tags:
            raise PromptError(f"{name!r} is no tag; tags are {' '.join(TAGS)}")
        return self._tags[name]

    def cell(self, number: int) -> int:
        """The id of the location tag of a cell."""
        if not 0 <= number < CELLS:
            raise PromptError(f"no cell {number}; cells go from 0 to {CELLS - 1}")
        return self.cells[number]

    def _may_hold_literals(self, text: str) -> bool:
        """Whether the text, as typed or once normalised, has a letter that begins a literal."""
        normalizer = self.backend.normalizer
        seen = text if normalizer is None else text + normalizer.normalize_str(text)
        return not self._openings.isdisjoint(seen)

    @cached_property
    def _words(self) -> Backend:
        """The same pieces without any literal; slower to make, so only when words look like tags.

        Literals leave the list of added tokens. In the list of pieces, ids must stay where they
        are, so they become something that text parted at whitespace never holds.
        """
        layout = json.loads(self.backend.to_str())
        layout["added_tokens"] = []
        layout["post_processor"] = None
        for piece in layout["model"]["vocab"]:
            if piece[0] in self._literals:
                piece[0] = f" {piece[0]} "
        return Backend.from_str(json.dumps(layout))
