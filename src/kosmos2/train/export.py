"""From a training run to a model that anybody can load."""

from __future__ import annotations

from pathlib import Path

import torch

from kosmos2.grounder import Kosmos2
from kosmos2.model import Network
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import cells
from kosmos2.train.learner import Learner

# The scenes' captions list things ("a cup, a book and a dog"), which repeats runs of three tokens;
# the released weights' rule against that would cut them short.
NO_REPEAT_NGRAM_SIZE = 0


def export(learner: Learner, tokenizer: Tokenizer, folder: Path) -> None:
    """Write what was learnt in the layout of the released weights, in half precision.

    The dense heads stay behind, and the shared rows and columns become plain embeddings.
    """
    network = Network(learner.network.config)
    network.load_state_dict(cells.merged(learner.network, "decoder.words"))
    model = Kosmos2(network, tokenizer, no_repeat_ngram_size=NO_REPEAT_NGRAM_SIZE)
    model.save(folder, dtype=torch.float16)
