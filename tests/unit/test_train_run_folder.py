"""A run folder: one process, one recipe, two good checkpoints, and nothing lost by any end."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crashing_disk import CrashingDisk, Killed
from kosmos2.errors import CheckpointError, RecipeError
from kosmos2.train import checkpoint
from kosmos2.train.lock import Locked
from kosmos2.train.run_folder import NoCheckpoint, RunFolder
from kosmos2.weights.save import SaveError

RECIPE = 'name = "small"\n\n[train]\nseed = 2\nworkers = 1\n\n[[stage]]\nname = "see"\nsteps = 9\n'


def save(run: RunFolder, *steps: int) -> None:
    for step in steps:
        run.save(step, {"learner": {"weight": torch.full((3,), float(step))}}, {"step": step})


def steps(folder: Path) -> list[int]:
    return [int(path.name[5:]) for path in checkpoint.found(folder)]


def newest(folder: Path) -> int:
    """The step that a run in it would go on from, having loaded what was saved then."""
    loaded = []
    with RunFolder.open(folder, RECIPE) as run:
        found = run.newest(lambda saved: loaded.append(float(saved.part("learner")["weight"][1])))
    step = found.step if found else 0
    assert not step or loaded[-1] == step
    return step


def everything(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): path.read_bytes() for path in files if path.name != "run.lock"}


def test_the_last_two_checkpoints_are_kept_and_the_newest_is_loaded(tmp_path):
    with RunFolder.open(tmp_path, RECIPE) as run:
        assert run.newest(lambda saved: pytest.fail("there is none")) is None
        save(run, 3, 6, 9, 12)
    assert steps(tmp_path) == [9, 12]
    assert newest(tmp_path) == 12


def test_a_step_that_is_saved_already_is_not_written_again(tmp_path):
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3, 6)
        before = (tmp_path / "step-0000006" / "manifest.json").stat()
        save(run, 6)
        assert (tmp_path / "step-0000006" / "manifest.json").stat() == before
    assert steps(tmp_path) == [3, 6]


def test_a_kill_or_a_power_cut_at_any_call_costs_no_more_than_one_interval(tmp_path, monkeypatch):
    with RunFolder.open(tmp_path / "counted", RECIPE) as run, monkeypatch.context() as patch:
        save(run, 3, 6)
        disk = CrashingDisk(patch)
        save(run, 9)
    calls = disk.calls
    assert "unlink" in calls, "something old was removed meanwhile"
    for at in range(len(calls)):
        for loses in (False, True):
            folder = tmp_path / f"{at}{loses}"
            with RunFolder.open(folder, RECIPE) as run, monkeypatch.context() as patch:
                save(run, 3, 6)
                disk = CrashingDisk(patch, at)
                with pytest.raises(Killed):
                    save(run, 9)
                if loses:
                    disk.lose()
            step = newest(folder)
            assert step == 9 or (step == 6 and at <= calls.index("rename") + 1)
            with RunFolder.open(folder, RECIPE) as run:
                save(run, 12, 15)
            assert steps(folder) == [12, 15]
            assert not list(folder.glob("*.tmp"))


def test_a_disk_full_at_any_call_leaves_the_older_ones_and_can_be_gone_on_from(
    tmp_path, monkeypatch
):
    with RunFolder.open(tmp_path / "counted", RECIPE) as run, monkeypatch.context() as patch:
        save(run, 3, 6)
        disk = CrashingDisk(patch)
        save(run, 9)
    named = disk.calls.index("rename")
    for at in range(len(disk.calls)):
        folder = tmp_path / str(at)
        with RunFolder.open(folder, RECIPE) as run:
            save(run, 3, 6)
            before = everything(folder)
            with monkeypatch.context() as patch:
                CrashingDisk(patch, at, "full")
                if at <= named + 1:
                    with pytest.raises(SaveError, match="No space left") as refused:
                        save(run, 9)
                    assert refused.value.exit_code == 74
                else:
                    save(run, 9)  # it is there; what could not be done is only told
            if at <= named:
                assert everything(folder) == before
        assert newest(folder) == (6 if at <= named else 9)
        with RunFolder.open(folder, RECIPE) as run:
            save(run, 12)
        assert newest(folder) == 12


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["learner.safetensors", "notes.json", "manifest.json"])
def test_a_damaged_newest_is_passed_over_loudly_and_kept_aside(tmp_path, caplog, name):
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3, 6)
    flip(tmp_path / "step-0000006" / name)
    with caplog.at_level(logging.WARNING):
        assert newest(tmp_path) == 3
    assert f"{tmp_path / 'step-0000006'} is damaged" in caplog.text
    assert "PASSED OVER" in caplog.text
    assert (tmp_path / "step-0000006.damaged" / name).is_file()
    with RunFolder.open(tmp_path, RECIPE) as run:
        run.newest(lambda saved: None)
        save(run, 6, 9)
    assert steps(tmp_path) == [6, 9]


def test_where_all_are_damaged_nothing_is_touched_and_the_code_is_66(tmp_path):
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3, 6)
    (tmp_path / "step-0000003" / "notes.json").unlink()
    flip(tmp_path / "step-0000006" / "learner.safetensors")
    before = everything(tmp_path)
    for _ in range(2):
        with pytest.raises(NoCheckpoint, match=r"learner\.safetensors .*notes\.json") as refused:
            newest(tmp_path)
        assert refused.value.exit_code == 66
        assert everything(tmp_path) == before


def test_a_state_that_cannot_be_put_back_counts_as_damage(tmp_path):
    def load(saved: checkpoint.Checkpoint) -> None:
        if saved.step == 6:
            raise CheckpointError(f"{saved.path} is of another learner")

    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3, 6)
        found = run.newest(load)
    assert found is not None
    assert found.step == 3


def test_a_damaged_one_does_not_count_among_the_two_that_are_kept(tmp_path):
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3, 6)
    flip(tmp_path / "step-0000006" / "learner.safetensors")
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 9)  # without having looked at what is there
        assert steps(tmp_path) == [3, 6, 9], "3 is still one of the last two good ones"
        save(run, 12)
    assert steps(tmp_path) == [9, 12]


def test_the_new_one_is_compared_before_an_old_one_goes(tmp_path, monkeypatch):
    seen = []
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3, 6)
        real = checkpoint.verify
        monkeypatch.setattr(
            checkpoint, "verify", lambda *words: (seen.append(steps(tmp_path)), real(*words))[1]
        )
        save(run, 9)
    assert seen == [[3, 6]]


def test_an_old_one_that_will_not_go_is_left(tmp_path, monkeypatch, caplog):
    def refuse(path, *words, **more):
        raise PermissionError(1, "Operation not permitted")

    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3, 6)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", refuse)
            save(run, 9)
    assert "step-0000003 cannot be removed: Operation not permitted" in caplog.text
    assert newest(tmp_path) == 9


def test_another_recipe_is_refused_with_the_line_that_differs(tmp_path):
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3)
    for other, words in [
        (
            RECIPE.replace("steps = 9", "steps = 8"),
            r"line 9 of \[\[stage\]\] 'steps = 9'.*'steps = 8'",
        ),
        (RECIPE + "rows = 3\n", r"line 10 of \[\[stage\]\] 'nothing'.*'rows = 3'"),
        (RECIPE.replace("seed = 2\n", ""), r"line 4 of \[train\] 'seed = 2'.*'nothing'"),
    ]:
        with pytest.raises(RecipeError, match=words) as refused:
            RunFolder.open(tmp_path, other)
        assert refused.value.exit_code == 64
    assert (tmp_path / "recipe.toml").read_text() == RECIPE
    assert newest(tmp_path) == 3


def test_what_changes_only_how_a_run_goes_may_change_on_the_way(tmp_path):
    more = RECIPE.replace("workers = 1", "workers = 0\nsave_every = 7")
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3)
    with RunFolder.open(tmp_path, more):
        assert (tmp_path / "recipe.toml").read_text() == more
    with pytest.raises(RecipeError, match="seed"):
        RunFolder.open(tmp_path, more.replace("seed = 2\nworkers", "seed = 3\nworkers"))


def test_before_the_first_checkpoint_a_recipe_may_still_change(tmp_path):
    RunFolder.open(tmp_path, "a mistake").close()
    with RunFolder.open(tmp_path, RECIPE):
        assert (tmp_path / "recipe.toml").read_text() == RECIPE


def test_checkpoints_without_a_recipe_are_not_gone_on_from(tmp_path):
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3)
    (tmp_path / "recipe.toml").unlink()
    with pytest.raises(RecipeError, match=r"no recipe\.toml"):
        RunFolder.open(tmp_path, RECIPE)


def test_a_second_run_in_the_folder_is_refused_by_name_and_let_in_afterwards(tmp_path):
    run = RunFolder.open(tmp_path, RECIPE)
    with pytest.raises(Locked, match=f"by process {os.getpid()} on ") as refused:
        RunFolder.open(tmp_path, RECIPE)
    assert refused.value.exit_code == 73
    run.close()
    run.close()
    with RunFolder.open(tmp_path, RECIPE) as run:
        save(run, 3)
    with pytest.raises(RecipeError):
        RunFolder.open(tmp_path, "another")
    assert newest(tmp_path) == 3, "who was refused holds nothing"


HOLDS = """
import os, sys, time
from pathlib import Path
from kosmos2.train.lock import Lock
lock = Lock.take(Path(sys.argv[1]))
if not os.fork():  # as those that load data are
    print(os.getpid(), flush=True)  # by now it has let go
time.sleep(60)
"""


def test_a_killed_process_holds_nothing_though_what_it_forked_lives_on(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        try:
            with pytest.raises(Locked, match=f"by process {process.pid} on "):
                RunFolder.open(tmp_path, RECIPE)
            process.kill()
            process.wait()
            os.kill(child, 0)  # still there
            RunFolder.open(tmp_path, RECIPE).close()
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


def said(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("cut", ['{"step": 4, "lo', '{"step": 4}'])
def test_the_log_of_a_resumed_run_has_no_line_of_steps_that_never_were(tmp_path, cut):
    with RunFolder.open(tmp_path, RECIPE) as run:
        run.newest(lambda saved: None)
        run.log({"step": 3, "loss": 1.0})
        save(run, 4)
        run.log({"step": 5, "loss": 0.9})
        run.log({"step": 2, "whole": 7, "loss": 0.8})  # the second step of the second stage
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write(cut)  # and there the power went
    assert newest(tmp_path) == 4
    lines = said(tmp_path)
    assert [line["step"] for line in lines] == [3, 4, 4]
    assert lines[1]["saved"] == lines[2]["resumed"] == "step-0000004"
    assert lines[1]["state_hash"] == lines[2]["state_hash"]


def test_a_run_that_begins_again_begins_its_log_again(tmp_path):
    with RunFolder.open(tmp_path, RECIPE) as run:
        run.log({"step": 2})
    assert newest(tmp_path) == 0
    assert said(tmp_path) == []


def test_a_log_without_room_loses_a_line_and_stops_nothing(tmp_path, monkeypatch, caplog):
    with RunFolder.open(tmp_path, RECIPE) as run:
        run.log({"step": 1})
        with monkeypatch.context() as patch:
            CrashingDisk(patch, 0, "full")
            run.log({"step": 2})
        with monkeypatch.context() as patch:
            real = os.write
            patch.setattr(os, "write", lambda handle, data: real(handle, data[:4]))
            run.log({"step": 3})
        run.log({"step": 4})
    assert [line["step"] for line in said(tmp_path)] == [1, 4]
    assert caplog.text.count("lacks a line") == 2


def test_what_a_kill_left_is_cleared_away_and_a_place_that_cannot_be_is_named(tmp_path):
    (tmp_path / "step-0000003.tmp").mkdir()
    (tmp_path / "log.jsonl.tmp").touch()
    RunFolder.open(tmp_path, RECIPE).close()
    assert {path.name for path in tmp_path.iterdir()} == {"run.lock", "recipe.toml"}
    with pytest.raises(SaveError, match=r"cannot train into .*recipe.toml/x: Not a directory"):
        RunFolder.open(tmp_path / "recipe.toml" / "x", RECIPE)
