"""Loading takes the memory of the weights and hardly more: no second copy at any moment."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kosmos2.config import Config, TextConfig, VisionConfig
from kosmos2.model import Network
from kosmos2.weights.save import save_network

CONFIG = Config(
    vision=VisionConfig(image_size=28, patch_size=7, width=60, layers=1, heads=3, ffn_width=90),
    text=TextConfig(vocabulary=20_001, width=520, layers=13, heads=5, ffn_width=2000, positions=64),
    latents=8,
)

# Loads, touches every page, and tells the peak of resident memory since just before, file pages
# included. Linux resets that peak when a 5 is written to clear_refs.
CHILD = """
import sys, torch
from pathlib import Path
from kosmos2.weights.load import load_network
import kosmos2.weights.save

def kib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

torch.ones(300, 300) @ torch.ones(300, 300)
torch.ones(300, 300).bfloat16().float().sum()
Path("/proc/self/clear_refs").write_text("5")
before = kib("VmHWM")
dtype = getattr(torch, sys.argv[2]) if sys.argv[2] != "as stored" else None
network = load_network(sys.argv[1], dtype=dtype)
total = sum(float(p.detach().flatten()[::512].sum()) for p in network.parameters())
if len(sys.argv) > 3:
    kosmos2.weights.save.save_network(sys.argv[3], network)
held = sum(p.nbytes for p in network.parameters())
print((kib("VmHWM") - before) * 1024, held)
"""


def measure(*arguments: str | Path) -> tuple[int, int]:
    run = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    peak, held = map(int, run.stdout.split())
    return peak, held


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of resident memory is read from Linux's /proc")
    torch.manual_seed(40)
    network = Network(CONFIG)
    network.initialise()
    path = tmp_path_factory.mktemp("memory") / "model"
    save_network(path, network, shard_bytes=90_000_000)
    return path


@pytest.mark.parametrize("dtype", ["as stored", "bfloat16"])
def test_loading_peaks_at_most_a_fifth_above_the_weights(folder, dtype):
    peak, held = measure(folder, dtype)
    assert held > 80_000_000
    assert held <= 1.2 * peak, "less than the weights was measured: the measure is broken"
    assert peak <= 1.2 * held, f"peak {peak:,} bytes for {held:,} bytes of weights"


def test_saving_needs_no_second_copy_either(folder, tmp_path):
    peak, held = measure(folder, "as stored", tmp_path / "again")
    assert peak <= 1.2 * held, f"peak {peak:,} bytes for {held:,} bytes of weights"
    assert load_size(tmp_path / "again") == pytest.approx(load_size(folder), rel=0.01)


def load_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
