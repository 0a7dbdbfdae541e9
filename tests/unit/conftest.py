"""A model for tests of the doors: the right shape in every part, and random in every number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kosmos2 import Kosmos2


@pytest.fixture(scope="session")
def tiny_model() -> Kosmos2:
    """A network of tiny sizes with the embedded model's vocabulary, the same every time."""
    import torch

    from kosmos2 import Kosmos2
    from kosmos2.config import Config
    from kosmos2.model import Network
    from kosmos2.train import vocabulary

    tokenizer = vocabulary.build()
    config = Config.tiny(vocabulary=tokenizer.size)
    # Room for a prompt and a long answer.
    network = Network(replace(config, text=replace(config.text, positions=512)))
    network.initialise(torch.Generator().manual_seed(3))
    return Kosmos2(network, tokenizer, name="tiny")


@pytest.fixture(scope="session")
def tiny_folder(tiny_model: Kosmos2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a folder, to be named after --model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model.save(folder)
    return folder
