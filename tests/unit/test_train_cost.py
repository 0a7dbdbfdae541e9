"""The scores turned into their own gradient are what PyTorch's cross-entropy gives."""

import pytest
import torch
import torch.nn.functional as F

from kosmos2.train import cost
from kosmos2.train.cost import costs


@pytest.fixture
def given():
    random = torch.Generator().manual_seed(4)
    hidden = torch.randn(37, 16, generator=random)
    words = torch.randn(211, 16, generator=random)
    labels = torch.randint(0, 211, (37,), generator=random)
    weights = torch.rand(37, generator=random)
    return hidden, words, labels, weights


def road(way, given):
    hidden, words, labels, weights = given
    leaves = [one.clone().requires_grad_() for one in (hidden, words)]
    each = way(F.linear(*leaves), labels)
    (each * weights).sum().backward()
    return [each.detach(), *(leaf.grad for leaf in leaves)]


def plain(scores, labels):
    return F.cross_entropy(scores, labels, reduction="none")


@pytest.mark.parametrize("piece", [1, 5 * 211, 2**22], ids=["row by row", "by five", "at once"])
def test_costs_and_gradients_are_those_of_cross_entropy(piece, given, monkeypatch):
    monkeypatch.setattr(cost, "_PIECE", piece)
    for one, other in zip(road(costs, given), road(plain, given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_some_may_cost_nothing_and_scores_may_be_huge():
    scores = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1.0, 2.0]], requires_grad=True)
    labels = torch.tensor([2, 0])
    each = costs(scores * 1.0, labels)
    assert each[0] == 2e4
    each[1:].sum().backward()
    assert torch.equal(scores.grad[0], torch.zeros(3))
    torch.testing.assert_close(scores.grad[1], scores[1].detach().softmax(0) - torch.eye(3)[0])


def test_no_tokens_cost_nothing():
    scores = torch.zeros(0, 7, requires_grad=True)
    each = costs(scores * 1.0, torch.zeros(0, dtype=torch.long))
    each.sum().backward()
    assert scores.grad.shape == (0, 7)


def test_nothing_as_large_is_kept_beside_the_scores():
    scores = torch.randn(6, 9, requires_grad=True) * 1.0
    place = scores.data_ptr()
    seen = []
    scores.register_hook(lambda grad: seen.append(grad.data_ptr()))
    costs(scores, torch.arange(6)).sum().backward()
    assert seen == [place]


def test_walking_back_twice_is_refused():
    scores = torch.randn(2, 3, requires_grad=True) * 1.0
    total = costs(scores, torch.tensor([0, 1])).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute them again"):
        total.backward()
