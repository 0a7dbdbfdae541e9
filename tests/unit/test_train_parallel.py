"""One run over two processes: it learns what one learns, and any number goes on for any other.

Two processes are started once; what they did is what the tests look at.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from kosmos2 import Kosmos2
from kosmos2.errors import RecipeError
from kosmos2.train.batches import Batches
from kosmos2.train.checkpoint import read
from kosmos2.train.export import export
from kosmos2.train.loop import train
from kosmos2.train.parallel import Alone, launch
from kosmos2.train.parallel.consolidate import consolidate
from kosmos2.train.parallel.ranks import Ranks
from processes import OTHERS, TinyRows, everything, go_back, recipe, together

NEARLY = {"rtol": 1e-5, "atol": 2e-6}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(recipe(), folder / "alone", rows=TinyRows())
    for name, other in OTHERS.items():
        train(other, folder / name, rows=TinyRows(all_see=True))
    together(everything, folder)
    return folder


def steps(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["report"] for line in lines if "report" in line]


def state_hash(run: Path) -> str:
    return read(run / "step-0000004").state_hash


def learnt(run: Path) -> dict[str, torch.Tensor]:
    return consolidate(run)[0].state_dict()


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_of_one(runs, way):
    assert len(steps(runs / way)) == 4
    for ours, alone in zip(steps(runs / way), steps(runs / "alone"), strict=True):
        for name in ("loss", "words", "places", "norm"):
            assert ours[name] == pytest.approx(alone[name], rel=1e-5), name
        assert ours["kinds"] == pytest.approx(alone["kinds"], rel=1e-5)


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns(runs, way):
    torch.testing.assert_close(learnt(runs / way), learnt(runs / "alone"), **NEARLY)


@pytest.mark.parametrize("name", OTHERS)
def test_rows_compared_with_all_and_adapters_cost_the_same_in_slices(runs, name):
    for ours, alone in zip(steps(runs / f"{name}, fsdp"), steps(runs / name), strict=True):
        assert ours["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert ours["norm"] == pytest.approx(alone["norm"], rel=1e-4)


def test_losses_would_tell_a_mean_of_means(runs):
    """The rows of the two processes differ so much in length that it is another number."""
    batches = Batches(TinyRows(), steps=1, step_rows=8)[0]
    counts = (batches.labels != -100).sum(dim=1)
    assert abs(counts[::2].sum() / counts[1::2].sum() - 1) > 0.05


def test_what_two_processes_began_one_ends(runs, tmp_path):
    learner = train(recipe(), go_back(runs / "fsdp", tmp_path / "run"), rows=TinyRows())
    torch.testing.assert_close(learner.state_dict(), learnt(runs / "alone"), **NEARLY)


@pytest.mark.parametrize("way", ["alone, then fsdp", "fsdp, then ddp"])
def test_what_others_began_two_processes_end(runs, way):
    assert any(line.get("resumed") == "step-0000002" for line in log_of(runs / way))
    torch.testing.assert_close(learnt(runs / way), learnt(runs / "alone"), **NEARLY)


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_two_processes_stopped_and_resumed_are_bit_for_bit_uninterrupted(runs):
    stopped, whole = runs / "dropout, stopped", runs / "dropout"
    assert any(line.get("resumed") == "step-0000002" for line in log_of(stopped))
    assert steps(stopped) == steps(whole)
    assert state_hash(stopped) == state_hash(whole)


def test_slices_are_safetensors_without_a_pickle_beside_them(runs):
    files = [path for path in (runs / "fsdp" / "step-0000004").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    shards = [path for path in files if path.parent.name == "shards"]
    sizes = [path.stat().st_size for path in shards]
    assert len(sizes) == 2
    assert max(sizes) < 1.2 * min(sizes)  # each process wrote its half


def test_a_damaged_slice_is_passed_over(runs, tmp_path):
    damaged = shutil.copytree(runs / "fsdp", tmp_path / "damaged")
    shard = damaged / "step-0000004" / "shards" / "shard-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    before = go_back(runs / "fsdp", tmp_path / "before")
    torch.testing.assert_close(learnt(damaged), learnt(before), rtol=0, atol=0)


def test_gathered_rows_come_from_all_and_gradients_go_back(runs):
    first, second = json.loads((runs / "seen.json").read_text())
    rows = [[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]
    assert first["gathered"]["rows"] == second["gathered"]["rows"] == rows
    # Of (1 + 2) times the square of each row: twice the row, three times.
    assert first["gathered"]["gradient"] == [[6.0, 6.0]]
    assert second["gathered"]["gradient"] == [[12.0, 12.0]] * 2


def test_a_disk_that_is_full_for_one_process_stops_all_and_loses_nothing(runs):
    (first, told, code), (second, also_told, also) = (
        seen["full disk"] for seen in json.loads((runs / "seen.json").read_text())
    )
    assert (first, second) == ("SaveError", "ElsewhereError")
    assert code == also == "74"
    assert told == also_told
    assert "No space left" in told
    names = sorted(path.name for path in (runs / "fsdp").glob("step-*"))
    assert names == ["step-0000002", "step-0000004"]


def test_dropout_differs_between_processes(runs):
    first, second = json.loads((runs / "seen.json").read_text())
    assert first["drawn"] != second["drawn"]


def test_every_row_comes_to_exactly_one_process():
    ranks = []
    for rank in range(4):
        one = Ranks.__new__(Ranks)
        one.rank, one.world = rank, 4
        ranks.append(one)
    taken = [
        name
        for one in ranks
        for batch in Batches(TinyRows(), steps=2, step_rows=16, of=2, share=one.share)
        for name in batch.names
    ]
    assert sorted(taken) == sorted(f"row {i}" for i in range(32))
    with pytest.raises(RecipeError, match="6 rows a micro-batch cannot be shared by 4 processes"):
        ranks[0].share(range(6))


def test_one_process_is_alone_whatever_the_recipe_says(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert type(launch("fsdp", "cpu")) is Alone
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert type(launch("ddp", "cpu")) is Alone


def test_processes_that_cannot_find_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RecipeError, match="torchrun --nproc-per-node 2"):
        launch("ddp", "cpu")


def test_slices_become_a_model_that_answers(runs, tmp_path):
    export(*consolidate(runs / "fsdp"), tmp_path / "model")
    there = Kosmos2.load(runs / "model").network.state_dict()  # made of the learner, not the files
    torch.testing.assert_close(Kosmos2.load(tmp_path / "model").network.state_dict(), there)


def test_the_reference_library_loads_what_two_processes_learnt_and_gives_the_same_logits(runs):
    transformers = pytest.importorskip(
        "transformers", reason="transformers is what we compare with"
    )
    theirs = transformers.Kosmos2ForConditionalGeneration.from_pretrained(runs / "model").eval()
    learner, _, _ = consolidate(runs / "fsdp")
    row = Batches(TinyRows(), steps=1, step_rows=1)[0]
    pixels = torch.rand(1, 3, 24, 24)
    with torch.inference_mode():
        ours = learner.network(row.ids, pixels=pixels, slots=row.slots)
        given = {"pixel_values": pixels, "image_embeds_position_mask": row.slots.long()}
        torch.testing.assert_close(
            ours, theirs(input_ids=row.ids, **given).logits, atol=1e-4, rtol=1e-4
        )
