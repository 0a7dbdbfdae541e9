"""What learns and how fast: by name, each parameter once."""

import dataclasses

import pytest
import torch

from kosmos2.errors import RecipeError
from kosmos2.model import Network
from kosmos2.train.learner import Learner
from kosmos2.train.optimiser import freeze, optimiser_of, set_rate
from kosmos2.train.recipe import Train
from processes import CONFIG


@pytest.fixture
def learner() -> Learner:
    network = Network(CONFIG)
    network.initialise(torch.Generator().manual_seed(0))
    return Learner(network)


def groups(learner: Learner, **train) -> dict[str, dict]:
    """The settings of each parameter's group, by name; every one that learns has one."""
    optimiser = optimiser_of(learner, Train(**train))
    set_rate(optimiser, 2.0)
    names = {one: name for name, one in learner.named_parameters()}
    found = [
        (names[one], {k: group[k] for k in ("lr", "weight_decay")})
        for group in optimiser.param_groups
        for one in group["params"]
    ]
    assert len(found) == len(dict(found))
    assert set(dict(found)) == {n for n, p in learner.named_parameters() if p.requires_grad}
    return dict(found)


def test_matrices_decay_and_vectors_do_not(learner):
    for name, group in groups(learner, weight_decay=0.02).items():
        matrix = learner.get_parameter(name).dim() > 1
        assert group == {"lr": 2.0, "weight_decay": 0.02 if matrix else 0.0}, name


def test_frozen_parameters_are_told_by_name(learner):
    count = freeze(learner, ["vision.*", "decoder.layers.0.*", "patch_head.*"])
    frozen = {name for name, one in learner.named_parameters() if not one.requires_grad}
    assert count == sum(learner.get_parameter(name).numel() for name in frozen)
    assert all(
        name.startswith(("network.vision.", "network.decoder.layers.0.", "patch_head."))
        for name in frozen
    )
    learns = groups(learner)
    assert "network.decoder.layers.1.ffn.widen.weight" in learns
    assert not frozen & set(learns)


def test_shared_cells_are_frozen_and_told_apart_as_the_words_they_belong_to(learner):
    freeze(learner, ["decoder.words.weight"])
    assert not learner.network.decoder.words.parametrizations.weight.original.requires_grad
    rows = learner.network.decoder.words.parametrizations.weight[0].rows
    assert rows.requires_grad


def test_a_name_that_matches_nothing_is_refused(learner):
    with pytest.raises(RecipeError, match=r"'visoin\.\*' matches no parameter; .* vision, and"):
        freeze(learner, ["visoin.*"])
    with pytest.raises(RecipeError, match="leaves nothing to learn"):
        freeze(learner, ["*"])


def test_each_layer_learns_slower_than_the_one_above_it(learner):
    rates = {name: group["lr"] for name, group in groups(learner, layer_decay=0.5).items()}
    depth = CONFIG.text.layers
    for layer in range(depth):
        share = 0.5 ** (depth - 1 - layer)
        assert rates[f"network.decoder.layers.{layer}.ffn.widen.weight"] == 2.0 * share
        assert rates[f"network.vision.layers.{layer}.ffn.widen.bias"] == 2.0 * share
    assert rates["network.vision.patch.weight"] == 2.0 * 0.5**depth
    assert rates["network.vision.positions.weight"] == 2.0 * 0.5**depth
    words = [name for name in rates if "decoder.words" in name]
    assert {rates[name] for name in words} == {2.0 * 0.5**depth}
    assert rates["network.vision.last_norm.weight"] == rates["network.connector.queries"] == 2.0


def test_it_is_adamw_as_the_recipe_says(learner):
    optimiser = optimiser_of(learner, Train(betas=(0.8, 0.9), eps=1e-5))
    assert isinstance(optimiser, torch.optim.AdamW)
    assert (optimiser.defaults["betas"], optimiser.defaults["eps"]) == ((0.8, 0.9), 1e-5)


def test_dropout_of_a_recipe_reaches_every_layer():
    from kosmos2.train.begin import begin
    from kosmos2.train.recipe import Model, Recipe, Stage

    model = Model(start="scratch", config=CONFIG, dropout=0.3)
    network = begin(Recipe(model=model, stage=(Stage(steps=1, rows=1, rate=1.0),))).network
    assert network.decoder.config.dropout == 0.3
    assert {layer.dropout for layer in network.decoder.layers} == {0.3}
    assert {layer.attention.dropout for layer in network.decoder.layers} == {0.3}
    assert network.config == dataclasses.replace(CONFIG)
