"""What the second edition of the embedded model began with: the first's weights in its own shape.

    mkdir first && git archive c606c17 src/kosmos2/assets/demo | tar -x -C first
    python scripts/begin_second_edition.py first/src/kosmos2/assets/demo start
    kosmos2 train results/embedded-recipe.toml --model start --out runs/second
    kosmos2 train results/embedded-recipe-2.toml --model runs/second/model --out runs/third

Positions of patches are stretched, a word that both know keeps its embedding, one that is new gets
one near the middle of the others, and everything else is as it was.

Shapes: W words and tags, D text width, P patches, V vision width.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kosmos2 import Kosmos2
from kosmos2.model import Network
from kosmos2.tokenizer import Tokenizer
from kosmos2.tokenizer.stream import SPACE
from kosmos2.train import vocabulary
from kosmos2.train.new_words import beside
from kosmos2.train.recipe.shipped import named
from kosmos2.weights.load import load_network

SIDE_PX = 192  # of its pictures until `enlarge_pictures.py`
POSITIONS, WORDS = "vision.positions.weight", "decoder.words.weight"


def pieces(tokenizer: Tokenizer) -> list[str]:
    """Its vocabulary, in order; tags and locations, which both have, come after it."""
    return [piece for piece, _ in json.loads(tokenizer.backend.to_str())["model"]["vocab"]]


def stretched(positions: Tensor, patches: int) -> Tensor:
    """Positions (1 + P, V) for so many patches a side, by bicubic interpolation."""
    side = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, size=(patches, patches), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], grid[0].flatten(1).T])


def with_words(known: Tensor, old: list[str], new: list[str]) -> Tensor:
    """Embeddings (W, D) of the new vocabulary."""
    at = {piece: number for number, piece in enumerate(old)}
    others = known[[i for piece, i in at.items() if piece.startswith(SPACE) and len(piece) > 2]]
    fresh = iter(beside(others, sum(piece not in at for piece in new), seed=1))
    rows = [known[at[piece]] if piece in at else next(fresh) for piece in new]
    return torch.cat([torch.stack(rows), known[len(old) :]])


def main() -> None:
    """Read the one, write the other."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("first", type=Path, help="the folder of the first edition")
    reader.add_argument("start", type=Path, help="a new folder")
    wishes = reader.parse_args()
    first = load_network(wishes.first, dtype=torch.float32).state_dict()
    old, new = Tokenizer.load(wishes.first), vocabulary.build()
    recipe = named("demo").model.config
    assert recipe is not None
    config = replace(recipe, vision=replace(recipe.vision, image_size=SIDE_PX))
    state = first | {
        POSITIONS: stretched(first[POSITIONS], config.vision.side),
        WORDS: with_words(first[WORDS], pieces(old), pieces(new)),
    }
    assert len(state[WORDS]) == new.size
    network = Network(config)
    network.load_state_dict(state)
    Kosmos2(network, new, no_repeat_ngram_size=0).save(wishes.start, dtype=torch.float32)


if __name__ == "__main__":
    main()
