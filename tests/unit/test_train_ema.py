"""The moving average: what the formula says, lent for a while, and put back."""

import pytest
import torch
from torch import nn

from kosmos2.errors import RecipeError
from kosmos2.train.ema import Average, average_of
from kosmos2.train.recipe import Train


def moved(learner: nn.Linear, steps: int) -> list[torch.Tensor]:
    """The weights after each of some made-up steps, the first those before any."""
    seen = [learner.weight.detach().clone()]
    for step in range(steps):
        with torch.no_grad():
            learner.weight += torch.full_like(learner.weight, float(step + 1))
        seen.append(learner.weight.detach().clone())
    return seen


def test_it_is_the_weighted_sum_of_what_was():
    most = 0.9
    learner = nn.Linear(2, 2)
    average = Average(learner, most)
    expected = learner.weight.detach().clone()
    for step in range(1, 31):
        with torch.no_grad():
            learner.weight += torch.randn_like(learner.weight)
        average.update()
        keep = min(most, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * learner.weight.detach()
    torch.testing.assert_close(average.held["weight"], expected)


def test_it_is_lent_and_taken_back():
    learner = nn.Linear(2, 2)
    average = Average(learner, 0.5)
    before, *_, after = moved(learner, 3)
    average.update()
    held = average.held["weight"].clone()
    assert not torch.equal(held, after)
    with average.instead():
        assert torch.equal(learner.weight, held)
    assert torch.equal(learner.weight, after)
    assert torch.equal(average.held["weight"], held)
    average.settle()
    assert torch.equal(learner.weight, held)
    assert not torch.equal(held, before)


def test_what_does_not_learn_has_no_average():
    learner = nn.Linear(2, 2)
    learner.bias.requires_grad_(False)
    assert list(Average(learner, 0.5).held) == ["weight"]


def test_a_share_of_the_start_is_in_the_end():
    learner = nn.Linear(2, 2)
    average = Average(learner, 0.0, start_share=0.25)
    before, *_, after = moved(learner, 3)
    average.update()
    expected = 0.75 * after + 0.25 * before
    with average.instead():
        torch.testing.assert_close(learner.weight.detach(), expected)
    assert torch.equal(learner.weight, after), "training goes on from what was learnt"
    average.settle()
    torch.testing.assert_close(learner.weight.detach(), expected)


def test_a_recipe_says_what_is_kept():
    learner = nn.Linear(2, 2)
    assert average_of(learner, Train()) is None
    assert (average_of(learner, Train(ema=0.9)).keep) == 0.9
    assert (average_of(learner, Train(start_share=0.3)).start_share) == 0.3
    with pytest.raises(RecipeError, match="start_share = 1"):
        Train(start_share=1.0)


def test_it_goes_on_where_it_stopped():
    learner = nn.Linear(3, 3)
    one, other = Average(learner, 0.99), Average(learner, 0.99)
    moved(learner, 2)
    one.update()
    other.load_state_dict({name: tensor.clone() for name, tensor in one.state_dict().items()})
    moved(learner, 1)
    one.update()
    other.update()
    assert torch.equal(one.held["weight"], other.held["weight"])
    with pytest.raises(ValueError, match="averages of 1 parameters, not of these 2"):
        one.load_state_dict({"weight": learner.weight, "steps": torch.tensor(1)})
