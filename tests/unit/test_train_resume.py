"""A training run: stopped and gone on with, it ends where the uninterrupted one ends."""

import dataclasses
import json

import pytest
import torch

from kosmos2 import Kosmos2
from kosmos2.config import Config, TextConfig, VisionConfig
from kosmos2.errors import CheckpointError, EngineError, InputError
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import checkpoint, vocabulary
from kosmos2.train.export import export
from kosmos2.train.loop import Stopped, train
from kosmos2.train.recipe import Recipe, Stage

HOW = {"workers": 0, "bf16": False}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return vocabulary.build()


@pytest.fixture(scope="module")
def recipe(tokenizer) -> Recipe:
    config = Config(
        vision=VisionConfig(image_size=48, patch_size=12, width=24, layers=1, heads=3, ffn_width=9),
        text=TextConfig(
            vocabulary=tokenizer.size, width=32, layers=2, heads=4, ffn_width=48, positions=500,
            dropout=0.0, attention_dropout=0.0,
        ),
        latents=16,
    )  # fmt: skip
    common = {"scenes": 2, "rate": 1e-3, "warm_up": 2, "fall": 0.5, "spread": (1.0, 0.5)}
    stages = (Stage(name="see", steps=3, **common), Stage(name="tell", steps=3, **common))
    return Recipe(seed=5, config=config, stages=stages)


@pytest.fixture(scope="module")
def uninterrupted(recipe, tokenizer, tmp_path_factory):
    return train(recipe, tmp_path_factory.mktemp("whole"), tokenizer, **HOW).state_dict()


@pytest.mark.parametrize("stops", [(1,), (3,), (2, 4), (1, 2, 3, 4, 5)])
def test_a_run_stopped_and_resumed_is_bit_for_bit_the_uninterrupted_one(
    recipe, tokenizer, uninterrupted, tmp_path, stops
):
    for stop in stops:
        done = len(checkpoint.found(tmp_path)) and int(checkpoint.found(tmp_path)[-1].name[-7:])
        answers = iter([False] * (stop - done - 1) + [True])
        with pytest.raises(Stopped, match=f"after step {stop}"):
            train(recipe, tmp_path, tokenizer, should_stop=lambda it=answers: next(it), **HOW)
    resumed = train(recipe, tmp_path, tokenizer, **HOW).state_dict()
    assert resumed.keys() == uninterrupted.keys()
    for name, tensor in uninterrupted.items():
        assert torch.equal(resumed[name], tensor), name


def test_only_the_last_two_checkpoints_are_kept(recipe, tokenizer, tmp_path):
    train(recipe, tmp_path, tokenizer, save_every=1, **HOW)
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-0000005", "step-0000006"]


def test_a_kill_while_saving_leaves_the_checkpoint_before(
    recipe, tokenizer, uninterrupted, tmp_path, monkeypatch
):
    real, calls = checkpoint._sync, []

    def dies(path):
        calls.append(path)
        if len(calls) == 7:  # in the second checkpoint, before it gets its name
            raise KeyboardInterrupt
        real(path)

    monkeypatch.setattr(checkpoint, "_sync", dies)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, tokenizer, save_every=2, **HOW)
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-0000002"]
    monkeypatch.setattr(checkpoint, "_sync", real)
    resumed = train(recipe, tmp_path, tokenizer, **HOW).state_dict()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in uninterrupted.items())


def test_a_damaged_checkpoint_is_refused_by_name(recipe, tokenizer, tmp_path):
    train(recipe, tmp_path, tokenizer, **HOW)
    file = checkpoint.found(tmp_path)[-1] / "learner.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="step-0000006"):
        train(recipe, tmp_path, tokenizer, **HOW)


def test_a_loss_that_is_no_number_stops_before_anything_is_learnt(recipe, tokenizer, tmp_path):
    stages = tuple(dataclasses.replace(stage, rate=1e30) for stage in recipe.stages)
    with pytest.raises(EngineError, match="nothing was learnt"):
        train(dataclasses.replace(recipe, stages=stages), tmp_path, tokenizer, **HOW)


def test_a_tokenizer_of_another_size_is_refused(recipe, tokenizer, tmp_path):
    text = dataclasses.replace(recipe.config.text, vocabulary=1100)
    other = dataclasses.replace(recipe, config=dataclasses.replace(recipe.config, text=text))
    with pytest.raises(InputError, match="1100"):
        train(other, tmp_path, tokenizer, **HOW)


def test_what_is_exported_loads_and_answers(recipe, tokenizer, tmp_path):
    learner = train(recipe, tmp_path / "run", tokenizer, **HOW)
    export(learner, tokenizer, tmp_path / "model")
    model = Kosmos2.load(tmp_path / "model")
    shared = learner.network.decoder.words.weight
    torch.testing.assert_close(model.network.decoder.words.weight, shared.half().float())
    assert model.no_repeat_ngram_size == 0
    assert model.complete(None, "An image of", max_new_tokens=2).tokens == 2


def test_the_log_tells_every_twentieth_step(recipe, tokenizer, tmp_path):
    stage = dataclasses.replace(recipe.stages[0], steps=21)
    train(dataclasses.replace(recipe, stages=(stage,)), tmp_path, tokenizer, **HOW)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20]
    assert lines[0]["report"]["loss"] > 0
