"""The released weights say what was published of them, wherever those weights are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kosmos2 import Kosmos2, golden
from kosmos2.errors import CheckpointError
from kosmos2.weights.fetch import RELEASED, resolve

pytestmark = [pytest.mark.real_weights, pytest.mark.timeout(0)]


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the released weights: KOSMOS2_WEIGHTS names it, or the hub's cache has it."""
    named = os.environ.get("KOSMOS2_WEIGHTS")
    try:
        return resolve(named or RELEASED, offline=True)
    except CheckpointError as error:
        if named:
            raise  # a name that leads nowhere is a mistake, not a reason to skip
        pytest.skip(f"the released weights are not here ({error}); KOSMOS2_WEIGHTS can name them")


@pytest.fixture(scope="module")
def snowman(folder: Path, request: pytest.FixtureRequest) -> Path:
    """The hub's picture: beside the weights, or among the sample data."""
    beside = folder / golden.PICTURE
    if beside.is_file():
        return beside
    sample = request.getfixturevalue("shared_data") / golden.PICTURE
    if not sample.is_file():
        pytest.skip(f"{golden.PICTURE} is neither beside the weights nor among the sample data")
    return sample


def test_the_released_weights_say_what_was_published(folder: Path, snowman: Path) -> None:
    model = Kosmos2.load(folder, device="cpu", dtype="float32")
    checks = golden.verify(model, snowman)
    wrong = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    assert not wrong, "\n".join(wrong)
    assert len(checks) == 1 + 2 * 3 + 9
