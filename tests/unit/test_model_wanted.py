"""Vectors of wanted tokens alone, against all vectors with the wanted ones taken out of them."""

import pytest
import torch

from kosmos2.config import Config
from kosmos2.model import Network
from kosmos2.train.again import compute_again

WANTED = torch.tensor([[0, 1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1]], dtype=torch.bool)


def network_of() -> Network:
    network = Network(Config.tiny())
    network.initialise(torch.Generator().manual_seed(3))
    return network.eval()  # no dropout, which would be drawn otherwise for fewer tokens


def learnt(network: Network, *, alone: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What comes out, and all gradients."""
    ids = torch.arange(30, 44).view(2, 7)
    ids[1, 5:] = 1  # padding
    read = network.read(ids, wanted=WANTED) if alone else network.read(ids)[WANTED]
    weights = torch.linspace(-1, 1, read.numel()).view_as(read)
    (read * weights).sum().backward()
    gradients = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    return read.detach(), gradients


@pytest.mark.parametrize("twice", [False, True])
def test_wanted_tokens_come_out_and_teach_as_among_all(twice):
    whole, expected = learnt(network_of(), alone=False)
    network = network_of()
    if twice:
        compute_again(network)
    read, gradients = learnt(network, alone=True)
    assert read.shape == (4, network.config.text.width)
    torch.testing.assert_close(read, whole, atol=1e-6, rtol=1e-5)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4, msg=name)


def test_nothing_wanted_gives_nothing():
    network = network_of()
    nothing = torch.zeros(2, 7, dtype=torch.bool)
    assert network.read(torch.arange(30, 44).view(2, 7), wanted=nothing).shape == (0, 56)


def test_what_is_watched_is_told_as_ever():
    network, ids = network_of(), torch.arange(30, 44).view(2, 7)
    watched: list[torch.Tensor] = []
    network.read(ids, watch=watched, wanted=WANTED)
    before: list[torch.Tensor] = []
    network.read(ids, watch=before)
    assert [one.shape for one in watched] == [*(one.shape for one in before[:-1]), (4, 56)]
