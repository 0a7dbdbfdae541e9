"""The same command line for two processes as for one, and one goes on where two were stopped."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kosmos2 import Kosmos2
from kosmos2.train.recipe import Data, Many
from processes import go_back, recipe

TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["report"]["loss"] for line in lines if "report" in line]


def test_two_processes_train_by_the_command_of_one(tmp_path):
    scenes = Data.from_table({"format": "scenes"}, "data")
    whole = replace(recipe(), data=(scenes,), parallel=Many(how="fsdp"))
    (tmp_path / "recipe.toml").write_text(whole.to_toml())
    command = ["-m", "kosmos2", "train", tmp_path / "recipe.toml", "--out"]

    done = run(*TWO, *command, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path / "two")) == 4
    assert (tmp_path / "two" / "step-0000004" / "shards" / "shard-00002.safetensors").is_file()
    answer = Kosmos2.load(tmp_path / "two" / "model").complete(None, "a dog", max_new_tokens=2)
    assert answer.tokens == 2

    one = go_back(tmp_path / "two", tmp_path / "one")
    done = run(*command, one)
    assert done.returncode == 0, done.stderr
    assert losses(one) == pytest.approx(losses(tmp_path / "two"), rel=1e-5)
