"""What looking up and scoring teach the words is one gradient, the sum of both."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kosmos2.config import Config
from kosmos2.model import Network
from kosmos2.model.words import Words

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])  # 1 is padding


@pytest.fixture
def words():
    words = Words(11, 6, padding_idx=1)
    with torch.no_grad():
        words.weight.normal_(generator=torch.Generator().manual_seed(0))
    return words


def cost(words, *, looks=True, scores=True):
    """A number that depends on both ways through the words, or on one."""
    x = words(IDS).tanh() if looks else torch.ones(2, 5, 6)
    return (words.score(x) if scores else x).square().sum()


def gradient(words, **ways):
    words.zero_grad()
    cost(words, **ways).backward()
    return words.weight.grad


@pytest.mark.parametrize(
    "ways", [{}, {"scores": False}, {"looks": False}], ids=["both", "looked up", "scored"]
)
def test_the_gradient_is_that_of_both_ways(words, ways):
    two = gradient(words, **ways).clone()
    with words.one_gradient():
        one = gradient(words, **ways)
    assert one.layout == torch.strided
    torch.testing.assert_close(one, two)
    assert two.any()


def test_no_other_matrix_as_large_is_made(words):
    def wide(once):
        made = []

        class Watch(torch.utils._python_dispatch.TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                out = func(*args, **(kwargs or {}))
                if isinstance(out, torch.Tensor) and out.shape == words.weight.shape:
                    made.append(None if out.is_sparse else out.untyped_storage().data_ptr())
                return out

        words.zero_grad()
        with words.one_gradient() if once else torch.enable_grad():
            loss = cost(words)
        with Watch():
            loss.backward()
        return set(made) - {None, words.weight.untyped_storage().data_ptr()}

    assert len(wide(once=True)) == 1
    assert len(wide(once=False)) > 1


def test_several_turns_add_up(words):
    with words.one_gradient():
        first = gradient(words).clone()
        cost(words).backward()
    torch.testing.assert_close(words.weight.grad, 2 * first)


def test_part_of_the_words_may_be_scored(words):
    def part():
        words.zero_grad()
        words.score(words(IDS), slice(2, 5)).square().sum().backward()
        return words.weight.grad.clone()

    two = part()
    with words.one_gradient():
        torch.testing.assert_close(part(), two)


@pytest.mark.parametrize("case", ["no gradients", "frozen"])
def test_what_does_not_learn_is_the_plain_embedding(words, case):
    words.weight.requires_grad_(case != "frozen")
    with torch.set_grad_enabled(case != "no gradients"), words.one_gradient():
        assert torch.equal(words(IDS), F.embedding(IDS, words.weight))
        assert not words(IDS).requires_grad


def test_afterwards_all_is_as_before(words):
    with pytest.raises(ZeroDivisionError), words.one_gradient():
        _ = 1 / 0
    words(IDS).sum().backward()
    assert words.weight.grad.layout == torch.strided
    assert isinstance(words, nn.Embedding)
    assert list(words.state_dict()) == ["weight"]


def test_a_network_learns_the_same_as_with_two(monkeypatch):
    config, random = Config.tiny(), torch.Generator().manual_seed(3)
    network = Network(config).eval()  # no dropout
    network.initialise(random)
    ids = torch.randint(4, config.text.vocabulary, (2, 12), generator=random)
    found = []
    for once in (True, False):
        if not once:
            monkeypatch.setattr(Words, "one_gradient", lambda self: torch.enable_grad())
        network.zero_grad()
        loss = network.loss(ids, ids)
        loss.backward()
        found.append([loss.detach(), network.decoder.words.weight.grad.clone()])
    torch.testing.assert_close(*found)
