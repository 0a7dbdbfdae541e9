"""Pieces for words that a small vocabulary can only spell: the class names of somebody's data.

The embedded model has a piece for each word of its scenes and for each letter, and letters alone
tell it next to nothing. So "gauge" becomes a piece too, with an embedding near the middle of those
of other words, and is learnt as one. The vocabulary keeps its layout; a large one, whose pieces are
parts of words, is left as it is.

Shapes: W words of the vocabulary, D text width.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Float
from tokenizers import Tokenizer as Backend
from torch import Tensor

from kosmos2.data.sources import open_source
from kosmos2.data.templates import noun_of, plural
from kosmos2.model import Network
from kosmos2.tokenizer import Tokenizer
from kosmos2.tokenizer.build import MASK
from kosmos2.tokenizer.stream import SPACE
from kosmos2.train.recipe import Recipe

log = logging.getLogger(__name__)

MOST = 1000  # words that are added
_WORDS = "decoder.words.weight"
_APART = 0.5  # how far new words lie from the middle, beside how far others do


def class_names(recipe: Recipe) -> tuple[str, ...]:
    """The classes of all labelling exports that a recipe learns from."""
    sources = {
        data.source.path: data.source
        for stage in recipe.stage
        for data in recipe.data_of(stage)
        if data.source is not None
    }
    return tuple(name for source in sources.values() for name in open_source(source).classes)


def spelled(tokenizer: Tokenizer, names: Iterable[str]) -> list[str]:
    """The words of these names, and of several such things, that have no pieces but letters."""
    words: dict[str, None] = {}
    for name in map(noun_of, names):
        for word in f"{name} {plural(name)}".split():
            pieces = [tokenizer.decode([id]).strip() for id in tokenizer.encode(word)]
            if len(word) > 1 and all(len(piece) <= 1 for piece in pieces):
                words[word] = None
    return list(words)[:MOST]


def with_words(
    network: Network, tokenizer: Tokenizer, words: list[str], seed: int
) -> tuple[Network, Tokenizer]:
    """A network and a tokenizer that know these words as well; the given ones stay as they are."""
    layout = json.loads(tokenizer.backend.to_str())
    vocabulary = layout["model"]["vocab"]
    at = next(i for i, (piece, _) in enumerate(vocabulary) if piece == MASK)
    whole = [i for i, (piece, _) in enumerate(vocabulary[:at]) if len(piece) > 2]
    # A word has to be likelier than its letters, and is as likely as the likeliest of others.
    score = max(vocabulary[i][1] for i in whole if vocabulary[i][0].startswith(SPACE))
    vocabulary[at:at] = [[SPACE + word, score] for word in words]
    for token in layout["added_tokens"]:
        token["id"] += len(words) * (token["id"] >= at)
    state = network.state_dict()
    old = state[_WORDS]
    known = [i for i in whole if vocabulary[i][0].startswith(SPACE)]
    state[_WORDS] = torch.cat([old[:at], beside(old[known], len(words), seed), old[at:]])
    text = replace(network.config.text, vocabulary=len(state[_WORDS]))
    wider = Network(replace(network.config, text=text))
    wider.load_state_dict(state)
    log.info("%d words have pieces of their own now: %s", len(words), ", ".join(words[:20]))
    return wider, Tokenizer(Backend.from_str(json.dumps(layout)), "the widened tokenizer")


def beside(known: Float[Tensor, "W D"], count: int, seed: int) -> Float[Tensor, "N D"]:
    """Rows for so many new words, around the middle of those that are known."""
    lot = torch.randn(count, known.shape[1], generator=torch.Generator().manual_seed(seed))
    return known.mean(dim=0) + _APART * known.std(dim=0) * lot
