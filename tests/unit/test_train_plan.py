"""The plan's figures are the published ones, and those of the network itself."""

import dataclasses

import pytest
import torch

from kosmos2.errors import DataError, RecipeError
from kosmos2.model import Network
from kosmos2.train.batches import Batches
from kosmos2.train.begin import begin
from kosmos2.train.feed import rows_of
from kosmos2.train.learner import counted
from kosmos2.train.loop import learner_of
from kosmos2.train.plan import plan
from kosmos2.train.plan.memory import kept
from kosmos2.train.recipe import Data, Lora, Model, Recipe, Stage, Train
from kosmos2.train.recipe.shipped import NAMES, named, with_data
from processes import CONFIG

SCENES = Data.from_table({"format": "scenes"}, "data")


def tiny(**train) -> Recipe:
    """Some steps on scenes, of a network that is built in no time."""
    text = dataclasses.replace(CONFIG.text, positions=500)
    config = dataclasses.replace(CONFIG, text=text)
    return Recipe(
        model=Model(start="scratch", config=config),
        data=(SCENES,),
        stage=(Stage(steps=10, rows=4, accumulate=2, rate=1e-3),),
        train=Train(precision="float32", **train),
    )


def test_the_papers_figures_come_out():
    """arXiv 2306.14824, section 3.3 and table 7; what can be worked out of them."""
    whole = plan(named("paper"), "256xV100")
    stage = whole.stages[0]
    assert stage.tokens == pytest.approx(419_000, rel=1e-3)
    assert stage.tokens * stage.stage.steps == pytest.approx(25e9, rel=0.01)
    assert [round(share.rows) for share in stage.shares] == [93, 1117, 1117, 47]
    words, pairs, grounded, documents = stage.shares
    assert words.rows * words.tokens == pytest.approx(185_000, rel=1e-3)
    assert (pairs.rows + grounded.rows) * pairs.tokens == pytest.approx(215_000, rel=1e-3)
    assert documents.rows * documents.tokens == pytest.approx(19_000, rel=1e-3)
    assert grounded.rows * stage.stage.steps == pytest.approx(67e6, rel=1e-2)
    assert grounded.epochs(stage.stage.steps) == pytest.approx(0.74, abs=0.005)
    assert whole.parameters == pytest.approx(1.66e9, rel=0.01)
    assert whole.learns == whole.parameters  # the paper updates all of them
    # 6 x 1.3 B x 25 B for the decoder, a tower on every picture, and all of it a third again.
    assert stage.flops * stage.stage.steps == pytest.approx(3.6e20, rel=0.1)
    shown = "\n".join(whole.lines())
    for figure in ("419 K a step", "25.1 B in all", "67 M in all", "0.74 epochs", "60,000 steps"):
        assert figure in shown
    assert [round(share.rows) for share in whole.stages[1].shares] == [117, 351, 1404, 30, 15]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_of_the_package_has_a_plan(name):
    recipe = named(name)
    if not any(recipe.data_of(stage) for stage in recipe.stage):
        recipe = with_data(recipe, ["nowhere/*.tar"])
    assert len(list(plan(recipe).lines())) > 4


def test_data_may_come_later_but_what_is_there_must_be_right(tmp_path):
    nowhere = with_data(named("finetune"), [str(tmp_path / "later.json")])
    assert "later.json: 3 rows a step, 686 in all" in "\n".join(plan(nowhere).lines())
    (tmp_path / "later.json").write_text('{"nothing": "that is known"}')
    with pytest.raises(DataError, match="no format that is known"):
        plan(nowhere)


def test_parameters_are_those_of_the_network():
    recipe = tiny(freeze=("vision.*",))
    whole = plan(recipe)
    assert recipe.model.config is not None
    network = Network(recipe.model.config)
    assert whole.parameters == sum(one.numel() for one in network.parameters())
    frozen = sum(one.numel() for one in network.vision.parameters())
    assert whole.learns == whole.parameters - frozen
    assert (whole.memory.weights, whole.memory.moments) == (4 * whole.parameters, 8 * whole.learns)


def test_thin_matrices_are_counted_as_they_are_attached():
    pytest.importorskip("peft")
    recipe = dataclasses.replace(tiny(), lora=Lora(rank=3))
    learner = learner_of(recipe, begin(recipe))
    learns = sum(one.numel() for one in learner.parameters() if one.requires_grad)
    assert plan(recipe).learns == learns


def test_tokens_are_those_of_the_rows():
    recipe = tiny()
    rows = rows_of(recipe, recipe.stage[0], begin(recipe))
    mean = sum((rows[i].segments >= 0).sum() for i in range(16)) / 16
    assert plan(recipe).stages[0].tokens == pytest.approx(4 * mean)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_about_what_is_kept_for_the_way_back(checkpointing):
    """Counted by listening to what autograd saves, on a network wide enough to matter."""
    recipe = tiny(checkpointing=checkpointing)
    text = dataclasses.replace(CONFIG.text, width=128, ffn_width=512, layers=4, positions=500)
    vision = dataclasses.replace(
        CONFIG.vision, image_size=96, width=96, ffn_width=384, layers=6, heads=3
    )
    config = dataclasses.replace(CONFIG, text=text, vision=vision)
    recipe = dataclasses.replace(recipe, model=Model(start="scratch", config=config))
    begun = begin(recipe)
    learner, stage = learner_of(recipe, begun), recipe.stage[0]
    batch = Batches(rows_of(recipe, stage, begun), steps=1, step_rows=4, of=2)[0]
    own = {one.data_ptr() for one in learner.parameters()}
    held: dict[int, int] = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = learner.loss(batch, stage, 0.0, counted(batch))
    counts = sum(held.values())
    assert float(loss.detach()) > 0
    planned = kept(config, plan(recipe).stages[0], recipe)
    if checkpointing:  # one block more is kept while it is computed again: nobody hears of that
        plain = dataclasses.replace(
            recipe, train=dataclasses.replace(recipe.train, checkpointing=False)
        )
        assert counts * 0.7 < planned < kept(config, plan(plain).stages[0], plain) / 2
    else:
        assert counts * 0.7 < planned < counts * 1.4


def test_the_machine_is_named_by_number_and_kind():
    assert (plan(tiny(), "8").gpus, plan(tiny(), "8").kind) == (8, "H100")
    assert (plan(tiny(), "256xV100").gpus, plan(tiny(), "2xa100").kind) == (256, "A100")
    for wrong in ("many", "0", "3xAbacus"):
        with pytest.raises(RecipeError, match="known: T4"):
            plan(tiny(), wrong)
