"""The same random network twice: ours, and the reference library's."""

import pytest

from kosmos2.config import Config
from kosmos2.model import Network
from networks import loud_network, twin_of

pytest.importorskip("transformers", reason="transformers is what we compare with")


@pytest.fixture(scope="session")
def ours() -> Network:
    return loud_network(Config.tiny(), noise=0.1)


@pytest.fixture(scope="session")
def theirs(ours):
    return twin_of(ours, attn_implementation="eager")
