"""The peer on the other runtime, on a network so small that its figures mean nothing."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kosmos2.config import Config

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
WAYS = ("int8", "fp32")


@pytest.fixture
def peer(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("peer_openvino")


@pytest.mark.parametrize("gone", [{"openvino"}, {"nncf"}, {"openvino", "nncf"}])
def test_what_is_not_installed_is_named(peer, monkeypatch, gone):
    monkeypatch.setattr(peer, "find_spec", lambda name: None if name in gone else object())
    with pytest.raises(peer.Unable) as raised:
        peer.Peer("nowhere", None, "int8")
    assert all(f"no {name}" in str(raised.value) for name in gone)
    assert "kosmos2[bench]" in str(raised.value)


def test_what_is_not_converted_is_said_with_the_command_that_does_it(peer, monkeypatch, tmp_path):
    monkeypatch.setattr(peer, "find_spec", lambda name: object())
    with pytest.raises(peer.Unable, match=r"openvino_conversion\.py .* --way int8"):
        peer.Peer(str(tmp_path), None, "int8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    for library in ("openvino", "nncf", "transformers"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        checkpoint = importlib.import_module("checkpoint")
        tiny = Config.tiny()
        text = dataclasses.replace(tiny.text, positions=512, layers=2)
        return checkpoint.make(
            tmp_path_factory.mktemp("bench") / "tiny", dataclasses.replace(tiny, text=text)
        )


@pytest.fixture(scope="module")
def found(folder) -> dict:
    out = folder.parent / "bench.json"
    peers = ["transformers", *(f"openvino-{way}" for way in WAYS)]
    words = ["--case", "first_token,decode_b1,follow,decode_b4", "--peers", ",".join(peers)]
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--checkpoint", str(folder)]
    ran = subprocess.run(
        [*command, *words, "--out", str(out)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(out.read_text())


def test_graphs_that_are_not_rounded_write_the_tokens_of_the_reference(found):
    for case in ("first_token", "decode_b1"):
        assert found["cases"][case]["peers"]["openvino-fp32"]["same_tokens"]["min"] == 1, case
    follow = found["cases"]["follow"]["peers"]
    assert follow["openvino-fp32"]["same_next_tokens"]["median"] == 1
    assert follow["openvino-int8"]["same_next_tokens"]["median"] >= 0.5


def test_one_answer_at_a_time_is_compared_and_the_rest_says_so(found):
    for way in WAYS:
        assert "one answer" in found["cases"]["decode_b4"]["skipped"][f"openvino-{way}"]


def test_the_figures_say_what_was_run(found):
    int8, fp32 = (found["peers"][f"openvino-{way}"] for way in WAYS)
    assert "NNCF" in int8["conversion"]
    assert set(int8["versions"]) == {"openvino", "nncf"}
    assert int8["settings"]["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == "128"
    assert fp32["step_bytes"] / 4 < int8["step_bytes"] < fp32["step_bytes"] / 2


@pytest.mark.parametrize("way", WAYS)
def test_keys_and_values_stay_inside_the_attention(found, folder, peer, way):
    script = """if True:
        import json, sys
        from pathlib import Path
        import peer_openvino
        from workload import World
        folder, way = sys.argv[1:]
        reader = peer_openvino.Peer(folder, World.of(folder), way).reader
        ran = reader.get_runtime_model().get_ops()
        print(json.dumps([operation.get_rt_info()["layerType"].astype(str) for operation in ran]))
    """
    said = subprocess.run(
        [sys.executable, "-c", script, str(folder), way],
        capture_output=True,
        check=True,
        env=ENVIRONMENT | {"PYTHONPATH": str(BENCHMARKS)},
    )
    kinds = json.loads(said.stdout.splitlines()[-1])
    assert kinds.count("ScaledDotProductAttention") == 2
    assert kinds.count("MemoryInput") == 4
    assert "Gather" not in kinds, "keys are copied outside of the attention in every step"


def test_a_checkpoint_is_converted_once_and_again_when_it_changes(found, folder, peer):
    assert all(peer.is_converted(folder, way) for way in WAYS)
    file = folder / "model.safetensors"
    times = file.stat()
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 10**9))
    assert not peer.is_converted(folder, "int8")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert peer.is_converted(folder, "int8")
