"""A thread that hands its work over does not leave its OpenMP threads behind."""

import sys
import threading
from pathlib import Path

import pytest
import torch

from kosmos2.engine import teams

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def multiply() -> None:
    torch.randn(512, 512) @ torch.randn(512, 512)
    torch.randn(1 << 20).exp().sum()


def test_a_team_is_let_go_and_made_again():
    before = torch.get_num_threads()
    found: list[int] = []

    def work() -> None:  # in a thread of its own: whatever was done here before does not count
        torch.set_num_threads(4)
        alone = threads()
        multiply()
        together = threads()
        found.extend([alone, together, int(teams.let_go())])
        until = threading.Event()
        for _ in range(1000):  # they end by themselves
            if threads() <= alone:
                break
            until.wait(0.01)
        found.append(threads())
        multiply()
        found.append(threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    alone, together, could, after, again = found
    if together == alone or not could:
        pytest.skip("torch does not multiply with an OpenMP whose teams can be seen and ended")
    assert after == alone
    assert again == together
