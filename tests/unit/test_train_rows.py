"""What a training row says is what generation would read: packed or alone, in ids and in loss."""

import dataclasses

import numpy as np
import pytest
import torch

from kosmos2 import prompts
from kosmos2.config import Config
from kosmos2.geometry import CELLS, SIDE, Box
from kosmos2.images import Picture
from kosmos2.markup import parse
from kosmos2.model import Network
from kosmos2.processor import Processor
from kosmos2.scenes.layout import compose
from kosmos2.scenes.sentences import Example, Link
from kosmos2.tokenizer import Tokenizer
from kosmos2.train import batches, cells, dense, vocabulary
from kosmos2.train.learner import Learner
from kosmos2.train.lessons import lessons
from kosmos2.train.tokens import tokens_of


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return vocabulary.build()


@pytest.fixture(scope="module")
def config(tokenizer) -> Config:
    config = Config.tiny(vocabulary=tokenizer.size)
    text = dataclasses.replace(config.text, positions=400, dropout=0.0, attention_dropout=0.0)
    return dataclasses.replace(config, text=text)


@pytest.fixture(scope="module")
def batch(config, tokenizer) -> batches.Batch:
    return batches.SceneBatches(config, tokenizer, seed=1, scenes=3, length=4)[2]


def test_every_word_of_the_scenes_is_one_piece(tokenizer):
    for index in range(40):
        for example in lessons(compose(4, index), np.random.default_rng(index)):
            if example.task != "absent":
                pieces = [tokenizer.decode([i]) for i in tokens_of(example, tokenizer).ids]
                letters = {piece for piece in pieces if len(piece) == 1 and piece != "a"}
                assert letters <= set(".,:?"), example


def test_a_prompt_in_a_lesson_is_the_prompt_of_generation(config, tokenizer):
    """The processor makes the ids of a user's prompt; training must have seen the same."""
    processor = Processor(tokenizer, config)
    from PIL import Image

    picture = Picture(Image.new("RGB", (40, 40)))
    for index in range(20):
        for example in lessons(compose(4, index), np.random.default_rng(index)):
            tokens = tokens_of(example, tokenizer)
            inputs = processor([example.prompt], [[picture]], look=False)
            block = config.latents + 3
            assert inputs.ids[0, block:].tolist() == tokens.ids[: tokens.asked]


def test_an_answer_reads_back_as_the_truth(tokenizer):
    boxes = (Box(0.1, 0.2, 0.5, 0.6), Box(0.6, 0.1, 0.9, 0.4))
    answer = (
        " two dogs to the left of",
        Link(" a fire", boxes[:1]),
        ", and",
        Link(" x", boxes),
        ".",
    )
    example = Example("brief", prompts.caption(), answer)
    tokens = tokens_of(example, tokenizer)
    read = parse(tokenizer.decode(tokens.ids))
    assert read.problems == ()
    assert read.text == "An image of two dogs to the left of a fire, and x."
    assert [entity.phrase for entity in read.entities] == ["a fire", "x"]
    for entity, expected in zip(read.entities, (boxes[:1], boxes), strict=True):
        for box, true in zip(entity.boxes, expected, strict=True):
            assert box.iou(true) > 0.8
    corners = [corner for corner in tokens.corners if corner[0] >= 0]
    assert corners[:2] == [(0.1 * SIDE, 0.2 * SIDE), (0.5 * SIDE, 0.6 * SIDE)]


def test_examples_packed_into_one_row_read_as_each_alone(config, batch):
    """The same logits, so the same loss: neighbours in a row are invisible."""
    torch.manual_seed(0)
    network = Network(config)
    network.initialise()
    network.eval()
    latents = torch.randn(3, config.latents, config.text.width)
    with torch.inference_mode():
        hidden = network.read(
            batch.ids,
            latents=latents,
            slots=batch.slots,
            positions=batch.positions,
            visible=batches.visible(batch.segments),
        )
        for row in range(3):
            prefix = batch.segments[row] == batches.PICTURE
            for segment in range(1, int(batch.segments[row].max()) + 1):
                mine = batch.segments[row] == segment
                ids = batch.ids[row][prefix | mine][None]
                slots = batch.slots[row][prefix | mine][None]
                alone = network.read(ids, latents=latents[row : row + 1], slots=slots)
                torch.testing.assert_close(
                    hidden[row][mine], alone[0, int(prefix.sum()) :], atol=2e-5, rtol=1e-4
                )


def test_labels_are_the_next_token_of_the_answer_and_nothing_else(batch, tokenizer):
    for row in range(len(batch.ids)):
        ids, labels, segments = batch.ids[row], batch.labels[row], batch.segments[row]
        for at in range(len(ids) - 1):
            if labels[at] != batches.IGNORED:
                assert labels[at] == ids[at + 1]
                assert segments[at] == segments[at + 1] > batches.PICTURE
        ends = [at for at in range(len(ids)) if ids[at] == tokenizer.eos]
        assert len(ends) == int(segments.max())
        assert all(labels[at] == batches.IGNORED and labels[at - 1] == tokenizer.eos for at in ends)
        placed = batch.corners[row][:, 0] >= 0
        assert torch.equal(placed, (labels >= tokenizer.cells.start) & (labels != batches.IGNORED))


def test_a_batch_is_a_function_of_its_number(config, tokenizer, batch):
    again = batches.SceneBatches(config, tokenizer, seed=1, scenes=3, length=9)[2]
    other = batches.SceneBatches(config, tokenizer, seed=2, scenes=3, length=9)[2]
    assert torch.equal(again.ids, batch.ids)
    assert torch.equal(again.pixels, batch.pixels)
    assert not torch.equal(other.pixels, batch.pixels)


def test_shared_rows_and_columns_become_the_embedding_that_trained(config):
    network = Network(config)
    network.initialise()
    learner = Learner(network)
    words = learner.network.decoder.words
    shared = words.weight.detach().clone()
    cell = shared[-CELLS:].unflatten(0, (SIDE, SIDE))
    # Every location is its row plus its column: opposite corners of any rectangle add up alike.
    torch.testing.assert_close(cell[3, 5] + cell[9, 20], cell[3, 20] + cell[9, 5])
    plain = Network(config)
    plain.load_state_dict(cells.merged(network, "decoder.words"))
    assert torch.equal(plain.decoder.words.weight, shared)


def test_the_truth_of_a_place_is_what_lies_on_it():
    for index in range(30):
        scene = compose(6, index)
        side = 10
        names, edges = dense.truth(scene, side)
        for place, name in enumerate(names):
            x, y = (place % side) / side, (place // side) / side
            patch = Box(x, y, x + 1 / side, y + 1 / side)
            if name == dense.NOTHING:
                continue
            box = Box(*(edges[place] / SIDE).tolist())
            thing = min(scene.things, key=lambda t: abs(t.box.x1 - box.x1) + abs(t.box.y1 - box.y1))
            assert dense.NOUNS[name] == thing.noun
            across = min(patch.x2, box.x2) - max(patch.x1, box.x1)
            down = min(patch.y2, box.y2) - max(patch.y1, box.y1)
            assert across > 0
            assert down > 0


def test_the_bell_peaks_at_the_cell_that_text_would_name():
    for place in (0.1, 3.49, 3.51, 17.0001, 31.9):
        bell = dense.near(torch.tensor([place]), 0.3)[0]
        assert int(bell.argmax()) == int(place)
        assert bell.sum() == pytest.approx(1.0)
