"""Small random networks for many tests, and the same ones in the reference library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kosmos2.config import Config
from kosmos2.model import Network
from kosmos2.weights.names import config_to_reference, ours_to_theirs

if TYPE_CHECKING:
    from transformers import Kosmos2ForConditionalGeneration


def loud_network(config: Config, seed: int = 0, *, noise: float = 0.5) -> Network:
    """A network so loud that every part leaves its mark, and yet not sure of its words.

    With the usual small weights, answers would hardly depend on picture and prompt; with loud words
    they would hardly depend on anything else.
    """
    random = torch.Generator().manual_seed(seed)
    network = Network(config)
    network.initialise(random)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random) * noise)
        words = network.decoder.words.weight
        words.copy_(torch.randn(words.shape, generator=random) * 0.1)
    return network.eval()


def twin_of(network: Network, **settings) -> Kosmos2ForConditionalGeneration:
    """The reference's model with our parameters under its own names."""
    import transformers

    config = transformers.Kosmos2Config(**config_to_reference(network.config), **settings)
    twin = transformers.Kosmos2ForConditionalGeneration(config)
    theirs = {ours_to_theirs(name): value for name, value in network.state_dict().items()}
    missing, extra = twin.load_state_dict(theirs, strict=False)
    assert extra == []
    assert set(missing) <= {"text_model.lm_head.weight"}
    twin.tie_weights()
    return twin.eval()
