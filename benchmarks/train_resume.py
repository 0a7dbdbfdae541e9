"""Whether a training run that is killed, again and again, ends in the same bits.

    python benchmarks/train_resume.py [--kills 1 2 3 20] [--workers 0 2] [--to results/...json]

A tiny network is trained by `kosmos2 train` with all that has a memory: two stages, dropout, a
moving average, micro-batches, processes that load data, held-out phrases. Each run is killed
(SIGKILL) at random moments, many of them while it saves, and started again until it is done. It
must then be the run that nobody killed: every loss that was logged, the hash of every state that
was saved (parameters, optimiser, average, random numbers, place in the data), and the files of the
model. No kill may cost more steps than there are between two checkpoints. Exit code 1 if it is not
so.

Each training is a process of its own. It is forked from one that has imported everything and
computed nothing, so that a start takes a moment; `--plain` starts Python anew each time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STEPS, SAVE_EVERY = 40, 3
RECIPE = f"""\
name = "tiny"
about = "too small to learn much, with all that has a memory"

[model]
start = "scratch"
dropout = 0.2

[model.config]
latents = 4
vision = {{ image_size = 24, patch_size = 12, width = 24, layers = 1, heads = 3, ffn_width = 9 }}
text = {{ width = 32, layers = 1, heads = 4, ffn_width = 48, positions = 400 }}

[train]
shared_cells = true
ema = 0.9
precision = "float32"
save_every = {SAVE_EVERY}
log_every = 1
held_out = 1
measure_every = 16

[[data]]
format = "scenes"

[[stage]]
name = "see"
heads = "dense"
tell = false
steps = 10
rows = 2
rate = 1e-3
spread = [1.0, 0.5]

[[stage]]
name = "tell"
heads = "dense"
steps = {STEPS - 10}
rows = 2
accumulate = 2
rate = 1e-3
spread = [1.0, 0.5]
"""

FORKS = """
import json, os, signal, sys
os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch
import kosmos2.train.loop, kosmos2.train.export, kosmos2.train.watching.report
import kosmos2.train.watching.tensorboard, kosmos2.train.watching.live, kosmos2.train.recipe.shipped
from kosmos2.cli import main
for line in sys.stdin:
    words, errors = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os._exit(main(words))
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Training:
    """A process that trains; it can be signalled, and waited for."""

    def __init__(self, trainer: Trainer, pid: int) -> None:
        self._trainer, self.pid = trainer, pid
        self._before = trainer.errors.stat().st_size
        self._code: int | None = None

    @property
    def said(self) -> str:
        """What it wrote for people to read."""
        return self._trainer.errors.read_bytes()[self._before :].decode()

    @property
    def lives(self) -> bool:
        """Whether it is there, and no mere entry in the system's table."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state != "Z"

    def kill(self) -> None:
        """End it at once; what it started finds out by itself."""
        os.kill(self.pid, signal.SIGKILL)

    def ask(self, number: int) -> None:
        """Send a signal to it and to all that it started, as a terminal or a scheduler does."""
        os.killpg(self.pid, number)

    def wait(self) -> int:
        """Its exit code, negative for the signal that ended it."""
        if self._code is None:
            self._code = self._trainer.code(self)
        return self._code


class Trainer:
    """Starts trainings, one at a time."""

    def __init__(self, *, plain: bool = False) -> None:
        self.errors = Path(tempfile.mkstemp(prefix="train-resume-", suffix=".log")[1])
        self._plain, self._child = plain, None
        if not plain:
            self._forks: Any = subprocess.Popen(
                [sys.executable, "-c", FORKS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def start(self, *words: str) -> Training:
        """Begin `kosmos2 train WORDS`."""
        if self._plain:
            with self.errors.open("ab") as errors:
                command = [sys.executable, "-m", "kosmos2", "train", *words]
                environment = os.environ | {"OMP_NUM_THREADS": "1"}
                self._child = subprocess.Popen(
                    command, stderr=errors, env=environment, start_new_session=True
                )
            return Training(self, self._child.pid)
        print(json.dumps([["train", *words], str(self.errors)]), file=self._forks.stdin, flush=True)
        return Training(self, int(self._forks.stdout.readline()))

    def code(self, training: Training) -> int:
        """Wait for the one that was started last."""
        if self._plain:
            assert self._child is not None
            return self._child.wait()
        return int(self._forks.stdout.readline())

    def close(self) -> None:
        """Start no more."""
        if not self._plain:
            self._forks.stdin.close()
            self._forks.wait()
        self.errors.unlink()


def lines(folder: Path) -> list[dict[str, Any]]:
    """What a run logged, but for a line that a kill cut short."""
    file = folder / "log.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def last_step(folder: Path) -> int:
    """The last step that a run logged."""
    return max((line["whole"] for line in lines(folder) if "whole" in line), default=0)


def wait_for(training: Training, folder: Path, step: int) -> None:
    """Until a run has come so far."""
    until = time.monotonic() + 300
    while last_step(folder) < step:
        if not training.lives or time.monotonic() > until:
            raise RuntimeError(f"the run never came to step {step}: {training.said}")
        time.sleep(0.002)


def story(folder: Path) -> dict[str, Any]:
    """All of a run that another has to share to be the same run."""
    said = lines(folder)
    reports = {f"step {line['whole']}": line["report"] for line in said if "whole" in line}
    states = {f"state {line['step']}": line["state_hash"] for line in said if "state_hash" in line}
    model = {
        f"model/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted((folder / "model").iterdir())
        if file.is_file()
    }
    return {**reports, **states, **model}


def kill_again_and_again(
    trainer: Trainer, words: Sequence[str], folder: Path, kills: int, rng: random.Random
) -> dict[str, Any]:
    """Train, killed so many times at random moments, until done; what became of it."""
    began, lost, killed, resumed = time.perf_counter(), 0, [], []
    for target in sorted(rng.sample(range(1, STEPS), kills)):
        training = trainer.start(*words)
        wait_for(training, folder, target)
        time.sleep(rng.uniform(0.0, 0.03))
        training.kill()
        code = training.wait()
        if code != -signal.SIGKILL:
            raise RuntimeError(f"the run ended with {code}: {training.said}")
        killed.append(last_step(folder))
        there = sorted(int(path.name[5:]) for path in folder.glob("step-???????"))
        resumed.append(there[-1] if there else 0)
        lost = max(lost, killed[-1] - resumed[-1])
    training = trainer.start(*words)
    if training.wait():
        raise RuntimeError(f"the run ended with {training.wait()}: {training.said}")
    return {
        "killed_after_steps": killed,
        "gone_on_from_steps": resumed,
        "most_steps_lost": lost,
        "seconds": round(time.perf_counter() - began, 1),
    }


def compare(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Where two runs differ."""
    return [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]


def matrix(
    folder: Path, kills: Sequence[int], workers: Sequence[int], seed: int, *, plain: bool = False
) -> dict[str, Any]:
    """Every number of kills with every number of workers, against the run that nobody killed."""
    recipe = folder / "tiny.toml"
    recipe.write_text(RECIPE)
    trainer, runs = Trainer(plain=plain), []

    def words(out: Path, count: int) -> list[str]:
        return [str(recipe), "--out", str(out), "--set", f"train.workers={count}"]

    try:
        kill_again_and_again(trainer, words(folder / "whole", 0), folder / "whole", 0, _rng(seed))
        whole = story(folder / "whole")
        for count in workers:
            for number in kills:
                out = folder / f"{number} kills, {count} workers"
                rng = _rng(seed, number, count)
                told = kill_again_and_again(trainer, words(out, count), out, number, rng)
                differs = compare(whole, story(out))
                same = not differs and told["most_steps_lost"] <= SAVE_EVERY
                run = {"kills": number, "workers": count, "same": same, "differs": differs[:5]}
                runs.append(run | told)
                print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    finally:
        trainer.close()
    return {
        "steps": STEPS,
        "save_every": SAVE_EVERY,
        "compared": len(whole),  # losses, states and files
        "last_state": whole.get(f"state {STEPS}"),
        "same": all(run["same"] for run in runs),
        "runs": runs,
    }


def _rng(*numbers: int) -> random.Random:
    return random.Random(repr(numbers))


def main() -> int:
    """Run the matrix; 1 if any run ended in other bits."""
    parser = argparse.ArgumentParser(description="are killed training runs resumed bit for bit?")
    parser.add_argument("--kills", type=int, nargs="+", default=[1, 2, 3, 20])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--plain", action="store_true", help="start Python anew each time")
    parser.add_argument("--to", type=Path, help="a file for the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = matrix(Path(folder), asked.kills, asked.workers, asked.seed, plain=asked.plain)
    text = json.dumps(figures, indent=1)
    print(text)
    if asked.to:
        asked.to.write_text(text + "\n")
    return 0 if figures["same"] else 1


if __name__ == "__main__":
    sys.exit(main())
