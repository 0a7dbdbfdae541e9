"""The backend of the `tokenizers` library, from pieces or from a file, and what we count on in it.

Ids lie in this order, in any vocabulary:

    <s> <pad> </s> <unk> | pieces | <mask> | 11 tags | 1,024 locations, one for each cell
"""

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

from kosmos2.errors import CheckpointError
from kosmos2.geometry import CELLS
from kosmos2.markup import SPECIALS, TAGS, cell_tag
from kosmos2.sentencepiece_file import check_charsmap
from kosmos2.tokenizer.stream import SPACE

BOS, PAD, EOS, UNK, MASK = SPECIALS


def build(pieces: Sequence[tuple[str, float]], charsmap: bytes, place: str) -> Tokenizer:
    """What the reference makes of a sentencepiece model."""
    specials = [(special, 0.0) for special in (BOS, PAD, EOS, UNK)]
    vocabulary = [*specials, *pieces, (MASK, 0.0)]
    if len({text for text, _ in vocabulary}) < len(vocabulary):
        raise CheckpointError(f"{place} has a piece twice; give each piece once")
    backend = Tokenizer(Unigram(vocabulary, len(specials) - 1, False))
    if charsmap:
        backend.normalizer = normalizers.Precompiled(charsmap)
    else:
        backend.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
        ]
    )
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    backend.add_special_tokens(
        [
            *(AddedToken(text, special=True, normalized=False) for text, _ in specials),
            AddedToken(MASK, special=True, normalized=False, lstrip=True),
        ]
    )
    # Whitespace before a tag goes with it; not special, so that decoding keeps them.
    literals = [*TAGS, *map(cell_tag, range(CELLS))]
    backend.add_tokens([AddedToken(text, lstrip=True, normalized=False) for text in literals])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        special_tokens=[(BOS, backend.token_to_id(BOS)), (EOS, backend.token_to_id(EOS))],
    )
    return backend


def read_json(path: Path) -> Tokenizer:
    """What `tokenizer.json` describes, if it is a tokenizer of our kind."""
    broken = f"{path} is broken or no tokenizer of KOSMOS-2"
    way_out = "copy the file again from the folder of the original model"
    try:
        text = path.read_text(encoding="utf-8")
        layout = json.loads(text)
        kind = layout["model"]["type"]
        for charsmap in _charsmaps(layout.get("normalizer")):
            check_charsmap(charsmap)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{broken} ({error}); {way_out}") from error
    if kind != "Unigram":
        raise CheckpointError(f"{path} holds a {kind} model, not a Unigram one; {way_out}")
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{broken} ({error}); {way_out}") from error


def _charsmaps(node: Any) -> Iterator[bytes]:
    """Every normalisation table in a `normalizer`, which may be a sequence of several."""
    if isinstance(node, dict):
        if isinstance(table := node.get("precompiled_charsmap"), str):
            yield base64.b64decode(table, validate=True)
        for child in node.values():
            yield from _charsmaps(child)
    elif isinstance(node, list):
        for child in node:
            yield from _charsmaps(child)


def check_layout(ids: dict[str, int], added: set[str], place: str) -> None:
    """Refuse ids of all tokens, and texts of the added ones, that are not what others count on."""
    way_out = "take the tokenizer of a KOSMOS-2 model"
    literals = [*TAGS, *map(cell_tag, range(CELLS))]
    if missing := [text for text in (BOS, PAD, EOS, UNK, *literals) if text not in ids]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(f"{place} lacks {', '.join(missing[:3])}{more}; {way_out}")
    first = ids[cell_tag(0)]
    for cell in range(CELLS):
        if (id := ids[cell_tag(cell)]) != first + cell:
            raise CheckpointError(
                f"{place} gives {cell_tag(cell)} the id {id}, not {first + cell}: "
                f"locations must follow each other; {way_out}"
            )
    if inner := [text for text in literals if text not in added]:
        raise CheckpointError(
            f"{place} has {inner[0]} among its pieces and not among its added tokens, "
            f"so text would not be parted at it; {way_out}"
        )
