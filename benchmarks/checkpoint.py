"""A folder with random weights of the released architecture, made once from a seed.

    python benchmarks/checkpoint.py [FOLDER] [--layers N]

What is timed does not depend on what weights say, only on their sizes: 1.66 B parameters, here
stored as float16 (3.3 GB), which every peer loads into the type that it is measured in. The weights
are louder than those that training starts from: with quiet ones an answer is one word, again and
again, and that two peers agree on it would say little.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import torch

from kosmos2.config import Config
from kosmos2.model import Network
from kosmos2.weights.save import save_network

ATTENTION, FFN = 2.0, 4.0  # how much louder: what a token asks for, and what it thinks


def default_folder() -> Path:
    """Where the full-size folder is kept between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "kosmos2" / "benchmarks" / "full"


def shallow(layers: int) -> Config:
    """The released sizes, but for the depth of both stacks."""
    full = Config()
    return replace(
        full, text=replace(full.text, layers=layers), vision=replace(full.vision, layers=layers)
    )


def make(folder: Path, config: Config | None = None, *, seed: int = 0) -> Path:
    """Write the folder, unless it is there already."""
    config = config or Config()
    note = folder / "made_from.json"
    made_from = {
        "seed": seed,
        "louder": {"attention": ATTENTION, "ffn": FFN},
        "config": config.to_dict(),
    }
    if note.is_file() and json.loads(note.read_text()) == made_from:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    network = Network(config)
    network.initialise(torch.Generator().manual_seed(seed))
    louder(network)
    save_network(folder, network, dtype=torch.float16, generation={"no_repeat_ngram_size": 0})
    note.write_text(json.dumps(made_from))  # last: half a folder is made again
    return folder


@torch.no_grad()
def louder(network: Network) -> None:
    """Let what a decoder writes next depend on all that came before."""
    for layer in network.decoder.layers:
        for part in (layer.attention.query, layer.attention.key):
            part.weight.mul_(ATTENTION)
        for part in (layer.ffn.widen, layer.ffn.narrow):
            part.weight.mul_(FFN)


def main() -> None:
    """Say where it is."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("folder", type=Path, nargs="?", default=default_folder())
    reader.add_argument("--layers", type=int, help="fewer than 24 in both stacks")
    wishes = reader.parse_args()
    print(make(wishes.folder, shallow(wishes.layers) if wishes.layers else None))


if __name__ == "__main__":
    main()
