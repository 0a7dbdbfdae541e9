"""The loop: what a plain loop would do, in parts, after stops, and never past a wrong number."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from kosmos2 import Kosmos2
from kosmos2.data.readers.kept import Kept
from kosmos2.data.rows import Row
from kosmos2.data.sources import open_source
from kosmos2.data.tolerance import Bad
from kosmos2.errors import DataError, InputError, RecipeError
from kosmos2.model.quantised import kind_of, quantise
from kosmos2.scenes.world import FIRST, NEW
from kosmos2.train import feed
from kosmos2.train.batches import collate
from kosmos2.train.begin import begin
from kosmos2.train.checkpoint import found, read
from kosmos2.train.export import export
from kosmos2.train.feed import Among, exam_of, rows_of
from kosmos2.train.learner import Learner, counted
from kosmos2.train.loop import BAD_BATCH, NotFinite, Stopped, train
from kosmos2.train.recipe import Data, Lora, Model, Recipe, Stage, Train
from kosmos2.train.schedule import rate_at, spread_at
from kosmos2.train.watching.watcher import Watcher
from kosmos2.weights.load import load_network
from processes import CONFIG, TinyRows

SCENES = Data.from_table({"format": "scenes"}, "data")
SHARED = {"rate": 1e-3, "warm_up": 2, "schedule": "constant-then-linear", "fall": 0.5}
SEE = Stage(name="see", heads="dense", tell=False, steps=3, rows=2, spread=(1.0, 0.5), **SHARED)
TELL = Stage(
    name="tell", heads="dense", steps=3, rows=2, spread=(1.0, 0.5), place_weight=3.0,
    see_weight=0.5, **SHARED,
)  # fmt: skip
PLAIN = Stage(steps=4, rows=4, rate=1e-2, warm_up=2)


def recipe(*stages: Stage, dropout: float | None = None, **train) -> Recipe:
    text = dataclasses.replace(CONFIG.text, positions=400)
    settings = {"seed": 5, "precision": "float32", "workers": 0, "log_every": 1, **train}
    return Recipe(
        model=Model(
            start="scratch", config=dataclasses.replace(CONFIG, text=text), dropout=dropout
        ),
        data=(SCENES,),
        stage=stages or (PLAIN,),
        train=Train(**settings),
    )


class Told(Watcher):
    """Remembers the steps."""

    def __init__(self) -> None:
        self.steps: list = []

    def step(self, progress) -> None:
        self.steps.append(progress)


def learnt(recipe: Recipe, folder: Path, **how) -> dict[str, torch.Tensor]:
    state = train(recipe, folder, **how).state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_both_stages_of_the_embedded_model_are_a_plain_loop_bit_for_bit(tmp_path):
    """The loop that made the embedded model, in a few lines."""
    both = recipe(SEE, TELL, weight_decay=0.02, shared_cells=True)
    told = Told()
    ours = learnt(both, tmp_path, watchers=[told])

    torch.manual_seed(5)
    begun = begin(both)
    learner = Learner(begun.network).train()
    matrices = [one for one in learner.parameters() if one.dim() > 1]
    vectors = [one for one in learner.parameters() if one.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)
    losses = []
    for stage in both.stage:
        rows = rows_of(both, stage, begun)
        for step in range(stage.steps):
            batch = collate([rows[step * stage.rows + i] for i in range(stage.rows)])
            for group in optimiser.param_groups:
                group["lr"] = rate_at(stage, step)
            loss, _ = learner.loss(batch, stage, spread_at(stage, step), counted(batch))
            optimiser.zero_grad()
            loss.backward()
            clip_grad_norm_(learner.parameters(), 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
    same(ours, learner.state_dict())
    assert [progress.report.loss for progress in told.steps] == losses


@pytest.mark.parametrize("stage", [PLAIN, dataclasses.replace(TELL, rows=4, steps=4)])
def test_a_step_in_parts_learns_what_it_learns_whole(tmp_path, stage):
    rows = TinyRows() if stage is PLAIN else None
    runs = {}
    for parts in (1, 2, 4):
        asked, told = recipe(dataclasses.replace(stage, accumulate=parts), clip=0.5), Told()
        state = learnt(asked, tmp_path / str(parts), rows=rows, watchers=[told])
        runs[parts] = state, [(p.report.loss, p.report.norm) for p in told.steps]
    for parts in (2, 4):
        np.testing.assert_allclose(runs[parts][1], runs[1][1], rtol=2e-5)
        torch.testing.assert_close(runs[parts][0], runs[1][0], rtol=1e-4, atol=3e-5)


@pytest.mark.parametrize("stops", [(1,), (4,), (2, 3), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_stopped_and_resumed_is_the_uninterrupted_one_bit_for_bit(tmp_path, stops, workers):
    """With everything that has a memory: dropout, an average, two stages, micro-batches."""
    if workers and len(stops) > 2:
        pytest.skip("seen without them")
    stages = (PLAIN, dataclasses.replace(PLAIN, name="more", steps=2, accumulate=2))
    asked = recipe(*stages, dropout=0.2, ema=0.9, workers=workers)
    whole = learnt(asked, tmp_path / "whole", rows=TinyRows())
    for stop in stops:
        done = len(found(tmp_path / "cut")) and int(found(tmp_path / "cut")[-1].name[-7:])
        answers = iter([False] * (stop - done - 1) + [True])
        with pytest.raises(Stopped, match=f"after step {stop}"):
            train(asked, tmp_path / "cut", rows=TinyRows(), should_stop=lambda it=answers: next(it))
    same(learnt(asked, tmp_path / "cut", rows=TinyRows()), whole)
    last = [read(found(tmp_path / name)[-1]).state_hash for name in ("cut", "whole")]
    assert last[0] == last[1]


def test_a_run_that_is_done_is_not_done_again(tmp_path):
    whole = learnt(recipe(), tmp_path, rows=TinyRows())
    told = Told()
    same(learnt(recipe(), tmp_path, rows=TinyRows(), watchers=[told]), whole)
    assert told.steps == []


class Spoilt(TinyRows):
    """One row is of pixels that no number can stand for."""

    def __init__(self, spoilt: int) -> None:
        super().__init__()
        self.spoilt = spoilt

    def __getitem__(self, position: int) -> Row:
        row = super().__getitem__(position)
        if position == self.spoilt:
            row = dataclasses.replace(row, weights=np.full_like(row.weights, np.nan))
        return row


def test_a_loss_that_is_no_number_stops_before_the_weights_change(tmp_path):
    with pytest.raises(NotFinite, match=r"step 3 of stage 'train': nothing was learnt") as stopped:
        train(recipe(save_every=1), tmp_path, rows=Spoilt(10))
    assert stopped.value.exit_code == 4
    told = json.loads((tmp_path / BAD_BATCH).read_text())
    assert (told["whole"], told["loss"]) == (3, "nan")
    assert told["rows"] == ["row 8", "row 9", "row 10", "row 11"]
    assert [path.name for path in found(tmp_path)] == ["step-0000001", "step-0000002"]
    short = recipe(dataclasses.replace(PLAIN, steps=4))
    whole = learnt(dataclasses.replace(short, train=recipe(save_every=1).train), tmp_path / "w",
                   rows=TinyRows(), watchers=())  # fmt: skip
    assert whole  # and the run without it goes to its end
    assert read(found(tmp_path)[-1]).state_hash == _hash_at(tmp_path / "w", 2)


def _hash_at(folder: Path, step: int) -> str:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return next(one["state_hash"] for one in lines if one.get("saved") == f"step-{step:07d}")


def test_wrong_numbers_may_be_passed_over_if_the_recipe_says_so(tmp_path):
    asked = recipe(skip_nonfinite=1)
    told = Told()
    state = learnt(asked, tmp_path, rows=Spoilt(5), watchers=[told])
    assert len(told.steps) == 4
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_weights_stay_as_they_were_where_the_very_first_step_is_wrong(tmp_path):
    asked = recipe()
    begun = begin(asked)
    before = {name: one.clone() for name, one in begun.network.state_dict().items()}
    with pytest.raises(NotFinite):
        train(asked, tmp_path, begun=begun, rows=Spoilt(0))
    same(before, begun.network.state_dict())


def test_gradients_are_clipped_to_the_recipes_norm(tmp_path):
    """Clipped hard, AdamW learns alike; a plain step shows it, so the norm itself is looked at."""
    told = Told()
    train(recipe(clip=1e-3), tmp_path / "a", rows=TinyRows(), watchers=[told])
    again = Told()
    train(recipe(clip=0.0), tmp_path / "b", rows=TinyRows(), watchers=[again])
    assert told.steps[0].report.norm == again.steps[0].report.norm > 1e-3


def test_the_log_tells_steps_rates_and_losses_by_kind(tmp_path):
    told = Told()
    train(recipe(PLAIN, dataclasses.replace(PLAIN, name="more")), tmp_path, rows=TinyRows(),
          watchers=[told])  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "report" in line]
    assert [line["whole"] for line in steps] == list(range(1, 9))
    assert [line["step"] for line in steps] == [1, 2, 3, 4] * 2
    assert set(steps[0]["report"]["kinds"]) == {"caption"}
    last = told.steps[-1]
    assert (last.stage, last.step, last.steps, last.left_s) == ("more", 4, 4, 0.0)
    assert last.rows_per_s > 0
    assert last.tokens_per_s > last.rows_per_s
    assert 0 < last.share_of_peak < 1


class Bads(TinyRows):
    """Every row took the place of a bad one."""

    def __getitem__(self, position: int) -> Row:
        return dataclasses.replace(super().__getitem__(position), bad=(Bad(f"b{position}", "cut"),))


def test_too_many_bad_rows_stop_the_run_and_are_named(tmp_path):
    with pytest.raises(DataError, match=r"b0: cut"):
        train(recipe(), tmp_path / "strict", rows=Bads())
    train(recipe(bad_share=0.5), tmp_path / "mild", rows=Bads())


@pytest.mark.parametrize("share", [0.25, 1 / 3, 0.5, 0.9])
def test_two_kinds_of_rows_take_turns_and_none_is_lost(share):
    class Others(TinyRows):
        def __getitem__(self, position: int) -> Row:
            return dataclasses.replace(super().__getitem__(position), name=f"other {position}")

    names = [Among(TinyRows(), Others(), share)[position].name for position in range(300)]
    ones = [name for name in names if name.startswith("row")]
    others = [name for name in names if name.startswith("other")]
    assert ones == [f"row {number}" for number in range(len(ones))]
    assert others == [f"other {number}" for number in range(len(others))]
    for end in (10, 100, 300):
        assert abs(sum(name.startswith("row") for name in names[:end]) - share * end) <= 1


def test_rows_that_are_held_out_are_never_trained_on(tmp_path):
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"text number {number}")
    (tmp_path / "all.txt").write_text("\n".join(f"line {number}" for number in range(50)))
    data = Data.from_table({"path": str(tmp_path / "all.txt"), "format": "text"}, "data")
    asked = dataclasses.replace(recipe(held_out=5), data=(SCENES, data))
    rows = rows_of(asked, asked.stage[0], begin(asked))
    assert isinstance(rows, Among)
    kept = rows.one.mixture.readers[0]
    assert isinstance(kept, Kept)
    assert len(kept) == 45
    everywhere = dataclasses.replace(asked, train=dataclasses.replace(asked.train, held_out=0))
    assert len(rows_of(everywhere, asked.stage[0], begin(asked)).one.mixture.readers[0]) == 50


def test_a_source_is_opened_once_for_all_stages_and_what_they_are_measured_on(
    tmp_path, monkeypatch
):
    (tmp_path / "all.txt").write_text("\n".join(f"line {number}" for number in range(50)))
    data = Data.from_table({"path": str(tmp_path / "all.txt"), "format": "text"}, "data")
    stages = (PLAIN, dataclasses.replace(PLAIN, name="more"))
    asked = dataclasses.replace(recipe(*stages, held_out=5), data=(data,))
    opened = []
    monkeypatch.setattr(feed, "open_source", lambda it: opened.append(it) or open_source(it))
    begun = begin(asked)
    exam_of(asked, begun)
    one, more = (rows_of(asked, stage, begun).mixture.readers[0] for stage in asked.stage)
    assert opened == [data.source]
    assert one.reader is more.reader
    assert sum(one.blocks) == 45
    rows_of(asked, PLAIN, begin(asked))
    assert len(opened) == 2  # another run opens its own


def test_scenes_are_measured_in_the_world_that_is_taught():
    new = Data.from_table({"format": "scenes", "world": "new"}, "data")
    asked = dataclasses.replace(recipe(held_out=12), data=(new,))
    exam = exam_of(asked, begin(asked))
    assert exam is not None
    words = {word for one in exam.exercises for phrase in one.phrases for word in phrase.split()}
    assert words & set(NEW.nouns)
    assert not words & set(FIRST.nouns)


def test_scenes_are_measured_on_those_of_another_seed():
    asked = recipe(held_out=6)
    exam = exam_of(asked, begin(asked))
    assert exam is not None
    assert 6 <= sum(len(one.phrases) for one in exam.exercises) <= 9
    assert exam_of(recipe(), begin(asked)) is None


def test_a_stage_without_anything_to_learn_from_is_told():
    asked = dataclasses.replace(recipe(), data=())
    with pytest.raises(RecipeError, match=r"stage 'train' has no data; give it"):
        rows_of(asked, asked.stage[0], begin(asked))


def test_what_lies_on_a_patch_is_known_of_scenes_only(tmp_path):
    (tmp_path / "all.txt").write_text("a\nb\n")
    data = Data.from_table({"path": str(tmp_path / "all.txt")}, "data")
    asked = dataclasses.replace(recipe(SEE), data=(data,))
    with pytest.raises(RecipeError, match="known of scenes only"):
        rows_of(asked, asked.stage[0], begin(asked))


def test_the_average_is_what_is_left_at_the_end(tmp_path):
    plain = learnt(recipe(), tmp_path / "plain", rows=TinyRows())
    averaged = learnt(recipe(ema=0.5), tmp_path / "ema", rows=TinyRows())
    name = "network.decoder.layers.0.ffn.widen.weight"
    assert not torch.equal(plain[name], averaged[name])
    torch.testing.assert_close(plain[name], averaged[name], atol=0.05, rtol=0)
    # Checkpoints hold the last step's own weights: with an average or without, the same.
    kept = [read(found(tmp_path / run)[-1]).part("learner")[name] for run in ("plain", "ema")]
    assert torch.equal(kept[0], kept[1])


def test_a_tokenizer_of_another_size_is_refused():
    asked = recipe()
    text = dataclasses.replace(asked.model.config.text, vocabulary=1100)
    config = dataclasses.replace(asked.model.config, text=text)
    with pytest.raises(InputError, match="vocabulary is 1100"):
        begin(dataclasses.replace(asked, model=Model(start="scratch", config=config)))


def test_what_is_exported_is_what_was_learnt_with_its_locations_as_plain_words(tmp_path):
    asked = recipe(shared_cells=True, save_as="float16")
    begun = begin(asked)
    learner = train(asked, tmp_path / "run", begun=begun, rows=TinyRows())
    shared = learner.network.decoder.words.weight.detach().clone()
    export(learner, begun, asked, tmp_path / "model")
    model = Kosmos2.load(tmp_path / "model")
    torch.testing.assert_close(model.network.decoder.words.weight, shared.half().float())
    assert model.no_repeat_ngram_size == 0
    assert model.complete(None, "An image of", max_new_tokens=2).tokens == 2


@pytest.mark.parametrize("base", ["float32", "int8"])
def test_thin_matrices_are_exported_alone_and_merged_where_that_can_be(tmp_path, base):
    pytest.importorskip("peft")
    asked = dataclasses.replace(recipe(save_as="float32"), lora=Lora(rank=2, base=base))
    begun = begin(asked)
    before = begun.network.decoder.layers[0].ffn.widen.weight.detach().clone()
    learner = train(asked, tmp_path / "run", begun=begun, rows=TinyRows())
    export(learner, begun, asked, tmp_path / "run" / "model")
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "run" / "model").is_dir() == (base == "float32")
    if base == "float32":
        network = load_network(tmp_path / "run" / "model")
        after = network.decoder.layers[0].ffn.widen.weight
        assert not torch.allclose(after, before)
        assert torch.linalg.matrix_rank(after - before, rtol=1e-3) <= 2


def test_thin_matrices_and_shared_locations_do_not_go_together(tmp_path):
    asked = dataclasses.replace(recipe(shared_cells=True), lora=Lora(rank=2))
    with pytest.raises(RecipeError, match="shared_cells"):
        train(asked, tmp_path, rows=TinyRows())


def test_an_int8_base_is_rounded_while_it_is_read_as_it_would_be_afterwards(tmp_path):
    asked = recipe()
    begun = begin(asked)
    Kosmos2(begun.network, begun.tokenizer).save(tmp_path, dtype=torch.float32)
    lora = dataclasses.replace(
        asked, model=Model(start=str(tmp_path)), lora=Lora(rank=2, base="int8")
    )
    few = begin(lora).network
    assert kind_of(few) == "int8"
    same(few.state_dict(), quantise(load_network(tmp_path), "int8").state_dict())
    exact = dataclasses.replace(lora, lora=Lora(rank=2))
    assert kind_of(begin(exact).network) is None
    # A word that is new is given to floats.
    worded = dataclasses.replace(lora, model=dataclasses.replace(lora.model, new_words=True))
    assert kind_of(begin(worded).network) is None
    learnt = train(lora, tmp_path / "run", rows=TinyRows()).network
    assert kind_of(learnt) == "int8"
