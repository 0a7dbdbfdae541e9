"""The benchmark end to end, on a network so small that its figures mean nothing."""

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kosmos2.config import Config

pytest.importorskip("transformers", reason="transformers is what we compare with")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CASES = "first_token,decode_b1,decode_b4,phrases,arrivals,captions"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        checkpoint = importlib.import_module("checkpoint")
        tiny = Config.tiny()
        text = dataclasses.replace(tiny.text, positions=512, layers=2)
        return checkpoint.make(
            tmp_path_factory.mktemp("bench") / "tiny", dataclasses.replace(tiny, text=text)
        )


def command(folder: Path, *more: str) -> list[str]:
    script = str(BENCHMARKS / "run.py")
    return [sys.executable, script, "--quick", "--checkpoint", str(folder), *more]


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("results") / "bench.json"
    peers = "transformers,kosmos2-fp32,kosmos2-int8,kosmos2-nonsense,openvino-nonsense"
    words = command(folder, "--case", CASES, "--peers", peers, "--out", str(out))
    ran = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert "decode_b1" in ran.stdout
    return json.loads(out.read_text())


def test_every_case_has_figures_of_every_peer_that_runs(found):
    assert list(found["cases"]) == CASES.split(",")
    for name, case in found["cases"].items():
        assert set(case["peers"]) == {"transformers", "kosmos2-fp32", "kosmos2-int8"}, name
        assert case["skipped"] == {}, name
        for peer, figures in case["peers"].items():
            for what, figure in figures.items():
                assert 0 < figure["min"] <= figure["median"] <= figure["max"] or (
                    what == "same_tokens" and peer != "kosmos2-fp32"
                ), (name, peer, what)


def test_float32_writes_the_tokens_of_the_reference(found):
    for name, case in found["cases"].items():
        if name != "phrases":  # the grammar is ours alone
            assert case["peers"]["kosmos2-fp32"]["same_tokens"]["min"] == 1, name


def test_a_ratio_is_of_the_two_samples_of_a_round(found):
    peers = found["cases"]["first_token"]["peers"]
    own, other = (peers[name]["seconds"] for name in ("kosmos2-fp32", "transformers"))
    ratios = [b / a for a, b in zip(own["samples"], other["samples"], strict=True)]
    assert own["better"]["min"] == pytest.approx(min(ratios))
    assert own["better"]["max"] == pytest.approx(max(ratios))


def test_the_grammar_knows_two_of_five_tokens(found):
    figures = found["cases"]["phrases"]["peers"]["kosmos2-fp32"]
    assert figures["forced"]["median"] == pytest.approx(0.4)


def test_the_bytes_of_a_step_are_those_of_the_decoder(found):
    fp32, int8 = (found["peers"][f"kosmos2-{way}"]["step_bytes"] for way in ("fp32", "int8"))
    assert fp32 == found["peers"]["transformers"]["step_bytes"]
    assert fp32 / 4 < int8 < fp32 / 2  # norms and biases stay


def test_what_cannot_run_is_skipped_with_the_reason(found):
    assert "nonsense" in found["skipped"]["kosmos2-nonsense"]
    assert "openvino" in found["skipped"]["openvino-nonsense"]


def test_the_machine_is_measured(found):
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["bytes_a_second"] > 1e8
    assert found["machine"]["operations_a_second"] > 1e8


def test_a_case_measured_alone_replaces_only_itself(folder, tmp_path):
    out = tmp_path / "bench.json"
    out.write_text(json.dumps({"cases": {"first_token": 1, "phrases": 2}, "peers": {}}))
    words = ("--case", "first_token", "--peers", "kosmos2-fp32", "--out", str(out))
    subprocess.run(command(folder, *words), check=True, capture_output=True, env=ENVIRONMENT)
    cases = json.loads(out.read_text())["cases"]
    assert cases["phrases"] == 2
    assert "kosmos2-fp32" in cases["first_token"]["peers"]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="looks at /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopping_leaves_no_process_and_no_file(folder, tmp_path, how):
    out = tmp_path / "bench.json"
    words = ("--case", "arrivals", "--peers", "kosmos2-fp32", "--out", str(out))
    driver = subprocess.Popen(
        command(folder, *words),
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | {"TMPDIR": str(tmp_path)},  # a killed driver cannot tidy up
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        for line in driver.stderr:
            if "--- arrivals" in line:
                break
        children = children_of(driver.pid)
        assert len(children) == 2, "a peer and the machine"
        driver.send_signal(how)
        driver.wait(20)
    finally:
        driver.kill()
        driver.stderr.close()
    assert not out.exists()
    until = time.monotonic() + 20
    while any(alive(child) for child in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(child) for child in children)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Neither gone nor only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
