"""The training benchmark on networks so small that its times mean nothing, but its losses do."""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kosmos2.config import Config
from kosmos2.data.rows import IGNORED
from kosmos2.geometry import CELLS
from kosmos2.train import vocabulary

pytest.importorskip("transformers", reason="transformers is what we compare with")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
WORDS = vocabulary.build().size


@pytest.fixture(scope="module")
def room():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        names = ("training", "training_rows", "training_peers")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="module")
def size(room):
    tiny = Config.tiny(vocabulary=WORDS + 11)
    config = room.training.without_dropout(replace(tiny, text=replace(tiny.text, positions=300)))
    return room.training.Size(config=config, rows=2, steps=2, quick_steps=1)


@pytest.fixture(scope="module")
def shards(room, tmp_path_factory):
    return room.training_rows.write_shards(tmp_path_factory.mktemp("shards"), 40, side_px=48)


@pytest.fixture(scope="module")
def rows(room, size, shards):
    made = room.training_rows.prepared(shards, size.config)
    assert len(made) == 40
    return [made[position] for position in range(10)]


def test_rows_are_grounded_pairs_of_a_larger_vocabulary(rows, size):
    assert len({row.name for row in rows}) == 10
    for row in rows:
        assert len(row.pixels) == 1
        assert row.kinds == ("caption",)
        places = row.labels[row.corners[:, 0] >= 0]
        assert len(places) >= 2, "a caption with boxes"
        assert places.min() >= size.config.text.vocabulary - CELLS
        words = row.labels[(row.labels != IGNORED) & (row.corners[:, 0] < 0)]
        assert words.max() < WORDS - CELLS


def test_what_a_caption_ties_to_boxes_are_its_nouns(room):
    scene = room.training_rows.compose(0, 3, room.training_rows.SECOND)
    said = room.training_rows._pair(room.training_rows.detailed(scene))
    tied = {said["caption"][start:end] for start, end, *_ in said["ref_exps"]}
    assert tied
    assert all(words == words.strip() for words in tied)
    assert len(said["ref_exps"]) == len(scene.things)


def test_both_sides_learn_the_same_and_every_step_is_told(room, rows, size, tmp_path):
    found = room.training.compare(size, rows, tmp_path, extra=1)
    losses = found["losses"]
    assert len(losses["ours"]) == len(losses["reference"]) == 5
    assert losses["ours"][-1] < losses["ours"][0]
    assert losses["differ_first"] < room.training.CLOSE
    assert found["steps_timed"] == 5 - room.training.WARM_UP
    assert found["times_faster"]["least"] <= found["times_faster"]["median"]
    able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert set(found["samples_per_s"]) == {
        "ours", "reference", "reference, freed memory kept",
        "reference, freed memory kept, AdamW not fused",
        *(["ours, bfloat16"] if able else []),
    }  # fmt: skip


def test_lessons_of_one_look_are_learnt_as_if_each_had_a_look_of_its_own(room, size, tmp_path):
    drawn = room.training_rows.lessons_of(size.config)
    rows = [drawn[position] for position in range(10)]
    assert min(len(row.kinds) for row in rows) >= 3
    found = room.training.compare(replace(size, lessons=True), rows, tmp_path, extra=0)
    assert found["samples_in_a_row"] == sum(len(row.kinds) for row in rows) / 10
    assert found["losses"]["differ_first"] < room.training.CLOSE


def test_lessons_that_are_set_apart_keep_the_picture_and_lose_nothing(room, size):
    row = room.training_rows.lessons_of(size.config)[4]
    alone = room.training_rows.apart(row)
    assert tuple(one.kinds[0] for one in alone) == row.kinds
    learnt = [label for one in alone for label in one.labels if label != IGNORED]
    assert learnt == [label for label in row.labels if label != IGNORED]
    for one in alone:
        assert one.slots.sum() == size.config.latents
        assert list(one.positions) == list(range(one.positions[0], one.positions[0] + len(one.ids)))


def test_other_weights_would_be_noticed(room, rows, size, tmp_path, monkeypatch):
    network_of = room.training.network_of

    def another(config):  # on our side; the other process makes its own
        network = network_of(config)
        network.decoder.layers[0].ffn.widen.bias.data += 0.5
        return network

    monkeypatch.setattr(room.training, "network_of", another)
    found = room.training.compare(size, rows, tmp_path, extra=0)
    assert found["losses"]["differ_first"] > room.training.CLOSE


def test_a_ratio_is_of_the_two_samples_of_a_step(room):
    warm = [(9.0, 5.0)] * room.training.WARM_UP
    ours = [*warm, (1.0, 4.0), (2.0, 3.0), (1.0, 2.0)]
    theirs = [*warm, (1.5, 4.0), (5.0, 3.0), (2.0, 2.5)]
    samples = [99] * room.training.WARM_UP + [8, 16, 8]
    found = room.training.figures(samples, ours, theirs, {"other": [4.0]})
    assert found["times_faster"] == {"median": 2.0, "least": 1.5, "most": 2.5}
    assert found["samples_per_s"] == {"ours": 8.0, "reference": 4.0, "other": 2.0}
    assert found["losses"]["differ_most"] == pytest.approx(0.2)


@pytest.mark.parametrize(("times", "code"), [(1.5, 0), (1.2, 1)])
def test_a_goal_that_is_missed_is_told_and_ends_with_1(
    room, size, times, code, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(room.training, "sizes", lambda: {"small": size})
    monkeypatch.setattr(room.training, "keep_freed", lambda: None)  # other tests share the process
    monkeypatch.setattr(room.training, "write_shards", lambda *_: None)
    found = {
        "times_faster": {"median": times}, "losses": {"differ_first": 1e-6, "differ_most": 1e-5},
        "loading": {"rows_per_s": 60.0, "times_used_up": 6.0},
    }  # fmt: skip
    monkeypatch.setattr(room.training, "measure", lambda *_: found)
    out = tmp_path / "new" / "training.json"
    assert room.training.main(["--quick", "--out", str(out)]) == code
    told = json.loads(out.read_text())
    assert told == json.loads(capsys.readouterr().out)
    assert [goal["kept"] for goal in told["goals"]] == [code == 0, True, True, True]


def test_one_worker_loads_rows(room, size, shards):
    made = room.training_rows.prepared(shards, size.config)
    assert room.training.load(made, each=2, count=3) > 0
