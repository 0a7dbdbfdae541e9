"""Generation on small random networks: in a batch, alone, read again, by transformers: the same."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace

import pytest
import torch

from kosmos2.config import Config
from kosmos2.engine import Cached, NoRepeat, Sample, beam_search, collect, generate
from kosmos2.model import Network
from kosmos2.options import Options
from networks import loud_network, twin_of

transformers = pytest.importorskip("transformers", reason="transformers is the oracle")

WORDS = 29
LOCATIONS = range(19, 29)
CONFIG = Config.tiny(vocabulary=WORDS)
BOS, PAD, EOS = CONFIG.text.bos, CONFIG.text.pad, CONFIG.text.eos
IDS = {"eos": EOS, "pad": PAD, "locations": LOCATIONS}
SEEDS = range(3)


@dataclass(frozen=True)
class Inputs:
    """A batch like the processor's, of any ids."""

    ids: torch.Tensor
    slots: torch.Tensor
    keep: torch.Tensor
    pixels: torch.Tensor | None

    def row(self, index: int) -> Inputs:
        """One prompt alone, without padding, and its own pictures."""
        keep = self.keep[index]
        pictures = self.slots.sum(1) // CONFIG.latents
        first = int(pictures[:index].sum())
        pixels = None if self.pixels is None else self.pixels[first : first + int(pictures[index])]
        return Inputs(
            ids=self.ids[index : index + 1, keep],
            slots=self.slots[index : index + 1, keep],
            keep=keep[keep][None],
            pixels=pixels if pictures[index] else None,
        )


def batch(seed: int, pictures: tuple[int, ...] = (1, 1, 2, 1)) -> Inputs:
    """Prompts of different lengths with some pictures each, padded on the left."""
    random = torch.Generator().manual_seed(100 + seed)
    rows = []
    for row, count in enumerate(pictures):
        ids, slots = [BOS], [False]
        for _ in range(count):
            ids += [3, *range(4, 4 + CONFIG.latents), 5]
            slots += [False, *[True] * CONFIG.latents, False]
        words = torch.randint(3, WORDS, (2 + 5 * row % 11,), generator=random).tolist()
        rows.append((ids + words, slots + [False] * len(words)))
    longest = max(len(ids) for ids, _ in rows)
    shape = (len(rows), longest)
    ids, slots = torch.full(shape, PAD), torch.zeros(shape, dtype=torch.bool)
    keep = torch.zeros(shape, dtype=torch.bool)
    for row, (given, places) in enumerate(rows):
        ids[row, longest - len(given) :] = torch.tensor(given)
        slots[row, longest - len(given) :] = torch.tensor(places)
        keep[row, longest - len(given) :] = True
    vision = CONFIG.vision
    size = (sum(pictures), 3, vision.image_size, vision.image_size)
    pixels = torch.randn(size, generator=random) if sum(pictures) else None
    return Inputs(ids=ids, slots=slots, keep=keep, pixels=pixels)


def reference_answer(twin, alone: Inputs, **settings) -> tuple[int, ...]:
    whole = twin.generate(
        pixel_values=alone.pixels,
        input_ids=alone.ids,
        attention_mask=alone.keep.long(),
        image_embeds_position_mask=alone.slots.long(),
        # The latents are repeated for the beams only if they come one row a prompt.
        image_embeds=latents_of(twin, alone),
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=PAD,
        suppress_tokens=[PAD],  # here that goes without saying
        **settings,
    )
    return tuple(whole[0, alone.ids.shape[1] :].tolist())


def latents_of(twin, alone: Inputs) -> torch.Tensor:
    with torch.no_grad():
        seen = twin.vision_model.model.post_layernorm(twin.vision_model(alone.pixels)[0])
        latents, _ = twin.image_to_text_projection(torch.nn.functional.normalize(seen, dim=-1))
    return latents.reshape(1, -1, latents.shape[-1])


@pytest.fixture(scope="module", params=SEEDS)
def pair(request):
    network = loud_network(CONFIG, request.param)
    return network, twin_of(network), batch(request.param)


def answers(network, inputs, options, search=generate, **more):
    found = search(network, inputs, options=options, **IDS | more)
    return collect(found) if search is generate else found


@pytest.mark.parametrize("ngram", [0, 2, 3])
def test_greedy_answers_are_those_of_transformers(pair, ngram):
    network, twin, inputs = pair
    options = Options(max_new_tokens=30, no_repeat_ngram_size=ngram)
    for row, answer in enumerate(answers(network, inputs, options)):
        alone = inputs.row(row)
        theirs = reference_answer(twin, alone, max_new_tokens=30, no_repeat_ngram_size=ngram)
        assert answer.ids == theirs
        assert answers(network, alone, options)[0].ids == theirs


def test_a_least_length_holds_as_in_transformers(pair):
    network, twin, inputs = pair
    options = Options(max_new_tokens=12, min_new_tokens=9)
    for row, answer in enumerate(answers(network, inputs, options)):
        settings = {"max_new_tokens": 12, "min_new_tokens": 9}
        assert answer.ids == reference_answer(twin, inputs.row(row), **settings)


@pytest.mark.usefixtures("shapes_known")
@pytest.mark.parametrize(
    ("beams", "penalty", "ngram", "least"),
    [
        (2, 1.0, 0, 0),
        (4, 1.0, 0, 0),
        (4, 1.0, 3, 0),
        (3, 0.0, 2, 0),
        (5, 2.0, 3, 6),
        (4, -1.0, 0, 0),
    ],
)
def test_beam_answers_are_those_of_transformers(pair, beams, penalty, ngram, least):
    network, twin, inputs = pair
    settings = {
        "max_new_tokens": 20,
        "min_new_tokens": least,
        "length_penalty": penalty,
        "no_repeat_ngram_size": ngram,
    }
    options = Options(beams=beams, **settings)
    for row, answer in enumerate(answers(network, inputs, options, beam_search)):
        alone = inputs.row(row)
        theirs = reference_answer(twin, alone, num_beams=beams, **settings)
        assert answer.ids == theirs
        assert answers(network, alone, options, beam_search)[0].ids == theirs


def test_the_random_networks_are_worth_the_comparison():
    """Some answers end by themselves, some at the limit, and they are not all the same."""
    options = Options(max_new_tokens=20, beams=4)
    found = [
        answer
        for seed in SEEDS
        for answer in answers(loud_network(CONFIG, seed), batch(seed), options, beam_search)
    ]
    assert {answer.finish for answer in found} == {"stop", "length"}
    assert len({answer.ids for answer in found}) > len(found) // 2
    assert any(score is not None for answer in found for score in answer.location_logprobs)


class Whole:
    """The plain twin of the cache: everything is read again at every step."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def start(self, inputs, latents):
        self.inputs = inputs
        return self.read()

    def step(self, ids):
        def grown(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
            return torch.cat([old, new[:, None].to(old.dtype)], dim=1)

        self.inputs = replace(
            self.inputs,
            ids=grown(self.inputs.ids, ids),
            slots=grown(self.inputs.slots, torch.zeros_like(ids)),
            keep=grown(self.inputs.keep, torch.ones_like(ids)),
        )
        return self.read()

    def pick(self, rows):
        pictures = (self.inputs.slots.sum(1) // CONFIG.latents).tolist()
        owned = torch.arange(sum(pictures)).split(pictures)
        self.inputs = Inputs(
            ids=self.inputs.ids[rows],
            slots=self.inputs.slots[rows],
            keep=self.inputs.keep[rows],
            pixels=self.inputs.pixels[torch.cat([owned[row] for row in rows.tolist()])],
        )

    @torch.no_grad()
    def read(self):
        given = self.inputs
        latents = self.network.look(given.pixels)
        return self.network(given.ids, latents=latents, slots=given.slots, keep=given.keep)[:, -1]


def same(ours, others):
    assert [a.ids for a in ours] == [a.ids for a in others]
    assert [a.finish for a in ours] == [a.finish for a in others]
    for a, b in zip(ours, others):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        assert a.location_logprobs == pytest.approx(b.location_logprobs, abs=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_cache_changes_nothing(pair, beams):
    network, _, inputs = pair
    options = Options(max_new_tokens=15, no_repeat_ngram_size=3, beams=beams)
    search = generate if beams == 1 else beam_search
    cached = answers(network, inputs, options, search)
    same(cached, answers(network, inputs, options, search, decoder=Whole))


@pytest.mark.parametrize("beams", [1, 3])
def test_reading_an_answer_again_gives_its_log_probabilities(pair, beams):
    network, _, inputs = pair
    options = Options(max_new_tokens=15, no_repeat_ngram_size=3, beams=beams)
    search = generate if beams == 1 else beam_search
    for row, answer in enumerate(answers(network, inputs, options, search)):
        alone = inputs.row(row)
        new = torch.tensor([answer.ids])
        with torch.no_grad():
            logits = network(
                torch.cat([alone.ids, new], dim=1),
                latents=network.look(alone.pixels),
                slots=torch.cat([alone.slots, torch.zeros_like(new, dtype=torch.bool)], dim=1),
            )[0, alone.ids.shape[1] - 1 : -1]
        read = logits.log_softmax(-1).gather(1, new.T)[:, 0]
        assert answer.logprobs == pytest.approx(read.tolist(), abs=1e-4)
        places = logits[:, LOCATIONS.start : LOCATIONS.stop].log_softmax(-1)
        assert answer.location_logprobs == pytest.approx(
            [
                float(places[at, id - LOCATIONS.start]) if id in LOCATIONS else None
                for at, id in enumerate(answer.ids)
            ],
            abs=1e-4,
        )


def test_answers_in_a_batch_are_those_alone_whatever_each_row_asks(pair):
    network, _, inputs = pair
    options = [
        Options(max_new_tokens=25, temperature=1.2, seed=1),
        Options(max_new_tokens=3),
        Options(max_new_tokens=14, temperature=0.8, top_p=0.9, seed=2, no_repeat_ngram_size=2),
        Options(max_new_tokens=19, temperature=2.0, top_k=5, seed=3, min_new_tokens=10),
    ]
    together = answers(network, inputs, options)
    alone = [answers(network, inputs.row(row), wants)[0] for row, wants in enumerate(options)]
    same(together, alone)


def test_rows_with_and_without_pictures_share_a_batch():
    network, inputs = loud_network(CONFIG, 7), batch(7, pictures=(0, 1, 0, 2))
    options = Options(max_new_tokens=12)
    alone = [answers(network, inputs.row(row), options)[0] for row in range(4)]
    same(answers(network, inputs, options), alone)


def test_words_alone_can_be_answered():
    network, inputs = loud_network(CONFIG, 8), batch(8, pictures=(0, 0))
    assert inputs.pixels is None
    assert all(answer.ids for answer in answers(network, inputs, Options(max_new_tokens=3)))


def test_a_picture_seen_before_is_not_looked_at_again(pair, monkeypatch):
    network, _, inputs = pair
    options = Options(max_new_tokens=8)
    expected = answers(network, inputs, options)
    with torch.no_grad():
        latents = network.look(inputs.pixels)
    monkeypatch.setattr(network, "look", lambda pixels: pytest.fail("looked again"))
    same(answers(network, replace(inputs, pixels=None), options, latents=latents), expected)
    same(answers(network, inputs, options, latents=latents), expected)


def test_a_stream_leaves_gradients_alone_and_frees_its_memory_when_closed(pair):
    kept = []

    def remember(network):
        reader = Cached(network)
        kept.append(weakref.ref(reader.cache))
        return reader

    network, _, inputs = pair
    steps = generate(network, inputs, options=Options(min_new_tokens=9), decoder=remember, **IDS)
    next(steps), next(steps)
    assert kept[0]().length == inputs.ids.shape[1] + 1
    assert torch.is_grad_enabled()
    assert not any(keys.requires_grad for keys in kept[0]().keys)
    steps.close()
    assert kept[0]() is None


def test_the_last_position_of_the_network_ends_an_answer():
    network, inputs = loud_network(CONFIG, 0), batch(0, pictures=(1,))
    stopless = Options(max_new_tokens=500, min_new_tokens=500)
    (answer,) = answers(network, inputs, stopless)
    assert inputs.ids.shape[1] + len(answer.ids) == CONFIG.text.positions
    assert answer.finish == "length"


def test_half_precision_answers_too():
    network, inputs = loud_network(CONFIG, 0).to(torch.bfloat16), batch(0)
    for search, beams in ((generate, 1), (beam_search, 2)):
        found = answers(network, inputs, Options(max_new_tokens=6, beams=beams), search)
        assert all(0 >= logprob > -20 for answer in found for logprob in answer.logprobs)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_runs_are_forbidden_as_in_transformers(size):
    random = torch.Generator().manual_seed(size)
    rule = transformers.NoRepeatNGramLogitsProcessor(size)
    for length in range(1, 40):
        ids = torch.randint(0, 4, (1, length), generator=random)
        logits = torch.randn(6, generator=random)
        prompt, answer = ids[0, : length // 2].tolist(), ids[0, length // 2 :].tolist()
        ours = NoRepeat(size).apply(logits, prompt, answer)
        assert torch.equal(ours, rule(ids, logits[None])[0])


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(0.7, 0, 0.9), (1.5, 7, 1.0), (1.0, 12, 0.6)]
)
def test_chances_are_those_of_transformers(temperature, top_k, top_p):
    random = torch.Generator().manual_seed(0)
    steps = [transformers.TemperatureLogitsWarper(temperature)]
    steps += [transformers.TopKLogitsWarper(top_k)] if top_k else []
    steps += [transformers.TopPLogitsWarper(top_p)] if top_p < 1 else []
    sample = Sample(temperature=temperature, top_k=top_k, top_p=top_p)
    for _ in range(20):
        logits = torch.randn(50, generator=random) * 2
        theirs = logits[None]
        for step in steps:
            theirs = step(None, theirs)
        torch.testing.assert_close(
            sample.probabilities(logits), theirs[0].softmax(0).double(), atol=1e-6, rtol=0
        )
