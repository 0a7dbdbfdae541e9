"""The same weights for pictures of another size: how the embedded model's last training began.

    mkdir before && git archive 1be21f5 src/kosmos2/assets/demo | tar -x -C before
    python scripts/enlarge_pictures.py before/src/kosmos2/assets/demo start 256
    kosmos2 train results/embedded-recipe-3.toml --model start --out runs/demo

Positions of patches are stretched, and everything else is as it was; the network has to get used to
it, so this is a beginning, and no model to use.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from begin_second_edition import POSITIONS, stretched

from kosmos2 import Kosmos2
from kosmos2.model import Network
from kosmos2.tokenizer import Tokenizer
from kosmos2.weights.load import load_network


def main() -> None:
    """Read the one, write the other."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("before", type=Path, help="the folder of a model")
    reader.add_argument("start", type=Path, help="a new folder")
    reader.add_argument("pixels", type=int, help="a side of the pictures from now on")
    wishes = reader.parse_args()
    before = load_network(wishes.before, dtype=torch.float32)
    vision = replace(before.config.vision, image_size=wishes.pixels)
    network = Network(replace(before.config, vision=vision))
    state = before.state_dict()
    network.load_state_dict(state | {POSITIONS: stretched(state[POSITIONS], vision.side)})
    words = Tokenizer.load(wishes.before)
    Kosmos2(network, words, no_repeat_ngram_size=0).save(wishes.start, dtype=torch.float32)


if __name__ == "__main__":
    main()
