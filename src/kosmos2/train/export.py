"""From a training run to a model that anybody can load."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.utils import parametrize

from kosmos2.grounder import Kosmos2
from kosmos2.model import Network
from kosmos2.model.quantised import kind_of
from kosmos2.train import cells
from kosmos2.train.begin import Begun
from kosmos2.train.learner import Learner
from kosmos2.train.lora import detach, save_adapter
from kosmos2.train.lora.attaching import attached
from kosmos2.train.recipe import Recipe

ADAPTER = "adapter"  # beside the model
_WORDS = "decoder.words"


def export(learner: Learner, begun: Begun, recipe: Recipe, folder: Path) -> None:
    """Write what was learnt in the layout of the released weights.

    Throw-away heads stay behind, and shared rows and columns become plain embeddings. What LoRA
    learnt is written by itself into `adapter`, and merged into the model, unless that is int8:
    then the adapter is all there is. The learner is of no use for training afterwards.
    """
    network = learner.network
    if attached(network):
        assert recipe.lora is not None
        save_adapter(network, folder.parent / ADAPTER)
        if kind_of(network) is not None:
            return
        detach(network)
    if parametrize.is_parametrized(network.get_submodule(_WORDS)):
        plain = Network(network.config)
        plain.load_state_dict(cells.merged(network, _WORDS))
        network = plain
    model = Kosmos2(
        network.cpu(),
        begun.tokenizer,
        no_repeat_ngram_size=begun.no_repeat_ngram_size,
        min_presence=begun.min_presence,
    )
    model.save(folder, dtype=getattr(torch, recipe.train.save_as))
