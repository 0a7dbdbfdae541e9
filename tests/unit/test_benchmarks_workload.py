"""What the peers of the benchmark are asked: well-formed prompts, the same every time."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from kosmos2.config import Config
from kosmos2.train import vocabulary
from kosmos2.weights.names import config_to_reference

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def workload(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import workload

    return workload


@pytest.fixture
def world(workload):
    return workload.World(config_to_reference(Config()))


def test_tags_are_where_a_vocabulary_has_them(workload):
    tokenizer = vocabulary.build()
    world = workload.World(config_to_reference(Config.tiny(vocabulary=tokenizer.size)))
    assert world.locations == range(tokenizer.cell(0), tokenizer.size)
    for tag, id in (
        ("<image>", world.image),
        ("</image>", world.image_end),
        ("<phrase>", world.phrase),
        ("</phrase>", world.phrase_end),
        ("<object>", world.object),
        ("</object>", world.object_end),
        ("</delimiter_of_multi_objects/>", world.delimiter),
        ("<grounding>", world.grounding),
    ):
        assert tokenizer.tag(tag) == id, tag


def test_the_released_prompt_has_71_tokens_and_64_slots(world):
    (ask,) = world.captions(1, 8)
    assert len(world.ids(ask)) == len(world.slots(ask)) == 71
    assert world.ids(ask)[:2] == [0, 64003]
    assert world.ids(ask)[66:68] == [64004, 64012]
    assert world.slots(ask) == [0, 0, *[1] * 64, *[0] * 5]
    assert world.pixels(0).shape == (3, 224, 224)


def test_a_picture_and_a_request_are_the_same_every_time(world):
    assert (world.pixels(3) == world.pixels(3)).all()
    assert (world.pixels(3) != world.pixels(4)).any()
    assert world.mixed(9, 40) == world.mixed(9, 40)


def test_words_are_neither_slots_nor_tags(world):
    asks = [*world.mixed(50, 40), *world.questions(16, 4)]
    words = [id for ask in asks for id in ask.words if id != world.grounding]
    assert set(words) <= set(world.words)
    assert all(67 < id < 64003 for id in words)


def test_batches_are_of_one_length_and_of_different_words(world):
    for asks in (world.questions(16, 4), world.phrases(16, 5)):
        assert {len(world.ids(ask)) for ask in asks} == {len(world.ids(asks[0]))}
        assert len({ask.words for ask in asks}) == 16
        assert {ask.picture for ask in asks} == {0}
    assert len({ask.picture for ask in world.captions(64, 4)}) == 64


def test_mixed_requests_are_as_short_and_as_long_as_said(world):
    asks = world.mixed(200, 40)
    assert {len(ask.words) - 1 for ask in asks} == set(range(3, 41))
    assert {ask.new for ask in asks} == set(range(4, 41))


def test_an_ask_survives_the_way_to_another_process(workload, world):
    for ask in world.mixed(5, 12):
        assert workload.Ask.of(json.loads(json.dumps(asdict(ask)))) == ask


def test_requests_arrive_one_after_the_other_at_about_the_rate(workload):
    at = workload.arrival_times(400, 0.5)
    assert at[0] == 0
    assert at == sorted(at)
    assert at[-1] / 399 == pytest.approx(0.5, rel=0.2)


def test_the_operations_of_a_first_token_are_twice_the_weights_that_it_passes(world):
    """Counted another way: from the parameters themselves, and how many vectors pass each."""
    import torch

    from kosmos2.model import Network

    with torch.device("meta"):
        network = Network(Config())

    def matrices(part):
        return sum(p.numel() for p in part.parameters() if p.dim() == 2)

    passes = (
        257 * matrices(network.vision.layers)
        + 257 * 3 * 14 * 14 * 1024
        + 257 * 1024 * 2048  # the connector: to the decoder's width,
        + 64 * 2 * 2048**2  # what latents ask for and what they make of it,
        + (257 + 64) * 2 * 2048**2  # and what there is to hear
        + 71 * matrices(network.decoder.layers)
        + 2048 * 65_037
    )
    (ask,) = world.captions(1, 1)
    assert world.first_token_operations(ask) == pytest.approx(2 * passes, rel=1e-3)
