"""What every test may lean on: no network, one thread, and the sample files where they are."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import jaxtyping
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CHECKED = ("test_engine", "test_hf", "test_model", "test_network", "test_train", "test_weights")


@pytest.fixture(autouse=True, scope="module")
def shapes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checked where the network is what is tested, and not wherever somebody leans on it.

    To check them takes two to three times as long as a small network does.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not request.path.name.startswith(CHECKED):
            patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield


@pytest.fixture(autouse=True, scope="session")
def freed_as_ever() -> Iterator[None]:
    """What `kosmos2 train` asks of the C library would stay for all tests that come after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kosmos2.train.freed.keep_freed", lambda: False)
        yield


@pytest.fixture
def shapes_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does once more, a thousand times, what was checked before."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Where sample data would be, for tests that can do without."""
    return SHARED


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Sample photographs and the real sentencepiece model, kept beside the checkout, not in it."""
    if not SHARED.is_dir():
        pytest.skip("sample data is not beside this checkout (shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def sentencepiece_model(shared_data: Path) -> Path:
    """The tokenizer model of the released weights."""
    path = shared_data / "sentencepiece.bpe.model"
    if not path.is_file():
        pytest.skip("sentencepiece.bpe.model is not among the sample data")
    return path


@pytest.fixture(scope="session")
def photo():
    """A photograph that everybody has: NASA's portrait of Eileen Collins, in the public domain."""
    data = pytest.importorskip("skimage.data", reason="scikit-image brings the photographs")
    from PIL import Image

    return Image.fromarray(data.astronaut())
