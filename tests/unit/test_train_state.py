"""The state of a run: put back, the next step is bit for bit the one that would have come."""

import gc
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from kosmos2.errors import CheckpointError
from kosmos2.train import cells, checkpoint
from kosmos2.train.ema import Average
from kosmos2.train.state import State


class Net(nn.Module):
    """Words, as the network shares them, a matrix, dropout and a norm."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(1030, 8)
        self.line = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        cells.share(self.words)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.norm(nn.functional.dropout(self.line(self.words(ids)), 0.4, self.training))


def state(seed: int, *, frozen: bool = False, **how) -> State:
    net = Net(seed)
    if frozen:
        for name, parameter in net.named_parameters():
            parameter.requires_grad = name.startswith("line")
    optimiser = torch.optim.AdamW(
        [{"params": [p for p in net.parameters() if p.requires_grad], "lr": 0.01}],
        **{"fused": True, **how},
    )
    return State(net, optimiser, Average(net, 0.9), lean=frozen)


def advance(run: State, steps: int = 1) -> list[str]:
    """Go on by some steps; the losses, to the bit."""
    losses = []
    for _ in range(steps):
        run.optimiser.zero_grad()
        ids = torch.arange(9) + run.position  # data is a function of the position
        loss = run.learner(ids % 1030).pow(2).mean()
        loss.backward()
        run.optimiser.step()
        run.average.update()
        run.step, run.position = run.step + 1, run.position + 9
        run.more["seen"] = run.position
        losses.append(float(loss.detach()).hex())
    return losses


def saved(run: State, folder: Path) -> checkpoint.Checkpoint:
    path = folder / f"step-{run.step:07d}"
    checkpoint.write(path, run.step, run.parts(), run.notes())
    return checkpoint.read(path)


@pytest.mark.parametrize("how", [{}, {"fused": False, "foreach": False}, {"amsgrad": True}])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("at", [0, 3])
def test_a_state_put_back_goes_on_bit_for_bit(tmp_path, how, frozen, at):
    run = state(1, frozen=frozen, **how)
    advance(run, at)
    kept = saved(run, tmp_path)
    assert kept.state_hash == run.state_hash()
    expected, last = advance(run, 5), run.state_hash()
    other = state(1 if frozen else 2, frozen=frozen, **how)
    advance(other, 4)
    other.restore(kept)
    assert other.state_hash() == kept.state_hash
    shutil.rmtree(kept.path)
    gc.collect()
    mapped = Path("/proc/self/maps")
    assert not mapped.exists() or str(kept.path) not in mapped.read_text(), "it is a copy"
    assert advance(other, 5) == expected
    assert other.state_hash() == last
    assert (other.step, other.position, other.more) == (run.step, run.position, run.more)


def test_putting_back_draws_no_random_number(tmp_path):
    run = state(1)
    advance(run)
    before = torch.get_rng_state()
    kept = saved(run, tmp_path)
    assert torch.equal(torch.get_rng_state(), before), "nor does saving"
    torch.manual_seed(99)
    run.restore(kept)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_thing_that_decides_the_next_step_is_in_the_hash():
    run = state(1)
    advance(run, 2)
    hashes = [run.state_hash(), run.state_hash()]
    with torch.no_grad():
        run.learner.line.bias[3] = run.learner.line.bias[3].nextafter(torch.tensor(9.0))
    hashes.append(run.state_hash())
    run.optimiser.state[run.learner.line.weight]["exp_avg_sq"][0, 0] += 1
    hashes.append(run.state_hash())
    run.average.held["line.bias"][0] += 1
    hashes.append(run.state_hash())
    torch.rand(1)
    hashes.append(run.state_hash())
    for name in ("step", "position"):
        setattr(run, name, getattr(run, name) + 1)
        hashes.append(run.state_hash())
    run.more["refused"] = 1
    hashes.append(run.state_hash())
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == len(hashes) - 1


def test_what_does_not_learn_stays_out_and_has_to_be_the_same_again(tmp_path):
    run = state(1, frozen=True)
    advance(run)
    kept = saved(run, tmp_path)
    assert set(kept.part("learner")) == {"line.weight", "line.bias"}
    with pytest.raises(CheckpointError, match="other frozen weights"):
        state(2, frozen=True).restore(kept)


def test_moments_keep_their_own_type(tmp_path):
    run = state(1)
    run.learner.line.bfloat16()
    parameter = run.learner.line.weight
    run.optimiser.state[parameter] = {"exp_avg": torch.full((8, 8), 0.1), "step": torch.tensor(3.0)}
    kept = saved(run, tmp_path)
    run.restore(kept)
    held = run.optimiser.state[parameter]
    assert held["exp_avg"].dtype == torch.float32
    assert torch.equal(held["exp_avg"], torch.full((8, 8), 0.1))


def test_a_state_of_another_learner_is_refused_by_name(tmp_path):
    run = state(1)
    advance(run)
    kept = saved(run, tmp_path)
    run.learner.further = nn.Linear(8, 2)
    with pytest.raises(CheckpointError, match=r"not a checkpoint of this learner \(further.bias"):
        run.restore(kept)
    other = state(1)
    other.learner.line = nn.Linear(8, 9)
    with pytest.raises(CheckpointError, match="not a checkpoint of this learner"):
        other.restore(kept)


def test_a_state_without_an_average_is_not_one_with(tmp_path):
    run = state(1)
    run.average = None
    kept = saved(run, tmp_path)
    with pytest.raises(CheckpointError, match=r"no average\.safetensors"):
        state(1).restore(kept)
