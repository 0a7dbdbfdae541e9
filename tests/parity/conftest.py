"""The same random network twice: ours, and the reference library's."""

import pytest
import torch

from kosmos2.config import Config
from kosmos2.model import Network
from kosmos2.weights.names import config_to_reference, ours_to_theirs

transformers = pytest.importorskip("transformers", reason="transformers is what we compare with")


def loud_network(config: Config, seed: int = 0) -> Network:
    """Random weights large enough that every part leaves its mark on the output."""
    random = torch.Generator().manual_seed(seed)
    network = Network(config)
    network.initialise(random)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.1)
    return network.eval()


def twin_of(network: Network, **settings):
    """The reference's model with our parameters under its own names."""
    config = transformers.Kosmos2Config(**config_to_reference(network.config), **settings)
    twin = transformers.Kosmos2ForConditionalGeneration(config)
    theirs = {ours_to_theirs(name): value for name, value in network.state_dict().items()}
    missing, extra = twin.load_state_dict(theirs, strict=False)
    assert extra == []
    assert set(missing) <= {"text_model.lm_head.weight"}
    twin.tie_weights()
    return twin.eval()


@pytest.fixture(scope="session")
def ours() -> Network:
    return loud_network(Config.tiny())


@pytest.fixture(scope="session")
def theirs(ours):
    return twin_of(ours, attn_implementation="eager")
