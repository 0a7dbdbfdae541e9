"""At full size, 1.66 billion random parameters: a checkpoint of either side answers on the other.

Each direction holds one network at a time, and its 7 GB of files are gone when it ends.
"""

import gc
import tempfile
from pathlib import Path

import pytest
import torch

from kosmos2.config import Config
from kosmos2.model import Cache, Network
from kosmos2.weights.load import load_network
from kosmos2.weights.save import save_network

transformers = pytest.importorskip("transformers", reason="transformers is what we compare with")
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration  # noqa: E402

pytestmark = [pytest.mark.full_size, pytest.mark.timeout(3600)]

STEPS = 8
PARAMETERS = 1_664_485_376


@pytest.fixture
def folder():
    """Not pytest's own, which keeps what the last three runs left."""
    with tempfile.TemporaryDirectory(prefix="kosmos2-full-size-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def inputs():
    """The layout of a prompt: <s> <image> 64 slots </image>, then some words."""
    words = [64012, 64007, 10, 43867, 64008]  # <grounding><phrase> a snowman</phrase>
    ids = torch.tensor([[0, 64003, *range(4, 68), 64004, *words]])
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[:, 2:66] = True
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(60))
    return ids, slots, pixels


@torch.inference_mode()
def our_answer(network: Network, inputs) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens, and the logits after the prompt."""
    ids, slots, pixels = inputs
    cache = Cache()
    logits = network(ids, latents=network.look(pixels), slots=slots, cache=cache, last=True)
    first, tokens = logits[0, -1], []
    while True:
        tokens.append(int(logits[0, -1].argmax()))
        if len(tokens) == STEPS:
            return tokens, first
        logits = network(torch.tensor([tokens[-1:]]), cache=cache, last=True)


@torch.inference_mode()
def their_answer(model, inputs) -> tuple[list[int], torch.Tensor]:
    ids, slots, pixels = inputs
    out = model.generate(
        pixel_values=pixels,
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        image_embeds_position_mask=slots.long(),
        max_new_tokens=STEPS,
        min_new_tokens=STEPS,
        do_sample=False,
        no_repeat_ngram_size=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return out.sequences[0, ids.shape[1] :].tolist(), out.logits[0][0]


def assert_equal(ours: tuple[list[int], torch.Tensor], theirs: tuple[list[int], torch.Tensor]):
    torch.testing.assert_close(ours[1], theirs[1], atol=1e-3, rtol=1e-4)
    assert ours[0] == theirs[0]


def test_a_full_checkpoint_of_theirs_answers_the_same_here(folder: Path, inputs):
    torch.manual_seed(61)
    model = Kosmos2ForConditionalGeneration(Kosmos2Config()).eval()
    theirs = their_answer(model, inputs)
    model.save_pretrained(folder)
    del model
    gc.collect()
    network = load_network(folder)
    assert network.config == Config()
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS
    assert_equal(our_answer(network, inputs), theirs)


def test_a_full_checkpoint_of_ours_answers_the_same_there(folder: Path, inputs):
    torch.manual_seed(62)
    network = Network(Config()).eval()
    network.initialise()
    ours = our_answer(network, inputs)
    save_network(folder, network)
    assert len(list(folder.glob("*.safetensors"))) == 2
    del network
    gc.collect()
    model, report = Kosmos2ForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values()), report
    assert_equal(ours, their_answer(model.eval(), inputs))
