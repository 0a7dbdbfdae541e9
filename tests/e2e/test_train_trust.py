"""Training that can be trusted with a week of work, seen from outside: real processes, real ends.

Every run here must end in the bits of the run that nobody disturbed. What happens at each single
call to the disk is in `test_train_run_folder`; all losses, states and files are compared by
`benchmarks/train_resume.py`, which also runs the longer matrix of kills.
"""

import errno
import importlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from kosmos2.train.run_folder import RunFolder

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def resume():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("train_resume")


@pytest.fixture(scope="module")
def trainer(resume):
    trainer = resume.Trainer()
    yield trainer
    trainer.close()


@pytest.fixture(scope="module")
def recipe(resume, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    file.write_text(resume.RECIPE)
    return file


@pytest.fixture(scope="module")
def whole(resume, trainer, recipe, tmp_path_factory):
    """All of the run that nobody disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    training = trainer.start(str(recipe), "--out", str(out))
    assert training.wait() == 0, training.said
    return resume.story(out)


@pytest.fixture
def train(trainer, recipe, tmp_path):
    """Begins a training into a folder, or goes on with it."""

    def start(*more: str, out: Path = tmp_path / "run"):
        return trainer.start(str(recipe), "--out", str(out), *more)

    return start


def stopped(resume, train, run: Path, after: int) -> None:
    """A run that was asked to stop after some step, and did."""
    training = train()
    resume.wait_for(training, run, after)
    training.ask(signal.SIGTERM)
    assert training.wait() == 75, training.said


def files(folder: Path) -> dict[str, bytes]:
    """All of a run but its lock and what is only looked at."""
    kept = [*folder.glob("step-*/*"), folder / "log.jsonl", folder / "recipe.toml"]
    return {str(path): path.read_bytes() for path in kept}


def test_a_run_killed_at_random_moments_is_the_run_that_nobody_killed(
    resume, trainer, recipe, whole, tmp_path
):
    words = [str(recipe), "--out", str(tmp_path / "run"), "--set", "train.workers=2"]
    told = resume.kill_again_and_again(trainer, words, tmp_path / "run", 3, random.Random())
    assert resume.compare(whole, resume.story(tmp_path / "run")) == [], told
    assert told["most_steps_lost"] <= resume.SAVE_EVERY


def test_a_run_asked_to_stop_saves_exits_75_and_goes_on_to_the_same_bits(
    resume, train, whole, tmp_path
):
    """By a signal to all processes of the run, those that load data too."""
    run = tmp_path / "run"
    rng = random.Random()
    steps = sorted(rng.sample(range(1, resume.STEPS - 15), 3))
    for number, step in zip((signal.SIGTERM, signal.SIGUSR1, signal.SIGINT), steps):
        ahead = max(step, resume.last_step(run) + 1)  # the one before may have gone beyond
        training = train("--set", "train.workers=2")
        resume.wait_for(training, run, ahead)
        training.ask(number)
        assert training.wait() == 75, training.said
        newest = max(run.glob("step-???????"))
        assert f"stopped after step {int(newest.name[5:])}, which is saved" in training.said
        assert resume.last_step(run) == int(newest.name[5:]), "not a step was lost"
    assert train().wait() == 0
    assert not resume.compare(whole, only(whole, resume.story(run)))


def only(like: dict, story: dict) -> dict:
    """A story without the states of stops, which an undisturbed run does not save."""
    return {name: told for name, told in story.items() if name in like or "state" not in name}


def test_a_damaged_newest_checkpoint_costs_an_interval_and_no_more(resume, train, whole, tmp_path):
    run = tmp_path / "run"
    stopped(resume, train, run, after=8)
    newest = max(run.glob("step-???????"))
    file = newest / "learner.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    training = train()
    assert training.wait() == 0
    assert f"{newest} is damaged: learner.safetensors is not as it was written" in training.said
    assert not resume.compare(whole, only(whole, resume.story(run)))


def test_where_no_checkpoint_is_good_nothing_is_overwritten_and_the_exit_code_is_66(
    resume, train, tmp_path
):
    run = tmp_path / "run"
    stopped(resume, train, run, after=7)
    for path in run.glob("step-???????"):
        (path / "optimiser.safetensors").write_bytes(b"\x80\x04.")  # a pickle, of nothing
    before = files(run)
    training = train()
    assert training.wait() == 66
    assert "has no good checkpoint" in training.said
    assert files(run) == before


def test_another_recipe_is_refused_with_the_line_and_another_pace_is_not(
    resume, train, whole, tmp_path
):
    run = tmp_path / "run"
    stopped(resume, train, run, after=4)
    before = files(run)
    training = train("--set", "train.seed=3")
    assert training.wait() == 64
    assert "'seed = 2', and the recipe given says 'seed = 3'" in training.said
    assert files(run) == before
    assert train("--set", "train.workers=2", "--set", "train.save_every=20").wait() == 0
    state = f"state {resume.STEPS}"
    assert resume.story(run)[state] == whole[state]


def test_a_folder_that_another_process_trains_into_is_refused_by_its_number(train, tmp_path):
    with RunFolder.open(tmp_path / "run", "a recipe"):
        training = train()
        assert training.wait() == 73
        assert f"is being trained into by process {os.getpid()} on" in training.said
    assert (tmp_path / "run" / "recipe.toml").read_text() == "a recipe"


@pytest.fixture
def small_disk():
    """A disk of 8 MB, where this may be had."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if not made or made.returncode:
        folder.rmdir()
        pytest.skip("only root may mount a small disk to fill")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_loses_nothing_and_with_room_again_the_run_goes_on(
    resume, train, whole, small_disk
):
    run = small_disk / "run"
    filler = small_disk / "filler"
    training = train(out=run)
    resume.wait_for(training, run, 5)
    room = shutil.disk_usage(small_disk).free
    try:
        filler.write_bytes(bytes(max(0, room - 4096)))
    except OSError as full:  # the run has written meanwhile: there is no room either way
        if full.errno != errno.ENOSPC:
            raise
    assert training.wait() == 74, training.said
    assert "No space left on device; the checkpoints before it are intact" in training.said
    assert not list(run.glob("*.tmp"))
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = train(out=run)
    assert again.wait() == 0, again.said
    assert not resume.compare(whole, resume.story(run))
