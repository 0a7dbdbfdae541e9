"""The engine answers as the plain loop does, whoever else is there and whatever becomes of them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import pytest
import torch

from kosmos2.config import Config
from kosmos2.engine import Completion, collect, generate
from kosmos2.engine.request import Request, requests_of
from kosmos2.engine.ticket import Cancelled
from kosmos2.engine.worker import Engine
from kosmos2.options import Options
from networks import loud_network

BOS, PAD, EOS, IMAGE, IMAGE_END = 0, 1, 2, 3, 4
CONFIG = Config.tiny()
LOCATIONS = range(CONFIG.text.vocabulary - 1024, CONFIG.text.vocabulary)
RULES = {"eos": EOS, "pad": PAD, "locations": LOCATIONS}
PICTURES = 3


@dataclass(frozen=True)
class Prompts:
    """A prompt as a batch of one."""

    ids: torch.Tensor
    slots: torch.Tensor
    pixels: None = None

    @property
    def keep(self):
        return torch.ones_like(self.slots)


@dataclass(frozen=True)
class Runs:
    """After every fourth token come three that follow from it."""

    honest: bool = True

    def must_follow(self, answer):
        at = len(answer) % 4
        return None if at == 0 else 40 + (answer[-at] * 7 + at) % 900

    def apply(self, logits, prompt, answer):
        id = self.must_follow(answer)
        if id is None:
            return logits
        return torch.full_like(logits, -math.inf).index_copy(
            0, torch.tensor([id]), logits[id : id + 1]
        )

    def forced(self, prompt, answer):
        answer, ids = list(answer), []
        while (id := self.must_follow(answer)) is not None:
            ids.append(id if self.honest or len(ids) != 1 else 5)
            answer.append(id)
        return ids


@dataclass(frozen=True)
class Unforeseen:
    """The same rule, without a word beforehand."""

    runs: Runs

    def apply(self, logits, prompt, answer):
        return self.runs.apply(logits, prompt, answer)


@pytest.fixture(scope="module")
def network():
    return loud_network(CONFIG, seed=5)


@pytest.fixture(scope="module")
def pictures(network):
    """Pictures that were looked at."""
    side = CONFIG.vision.image_size
    with torch.no_grad():
        pixels = torch.randn(PICTURES, 3, side, side, generator=torch.Generator().manual_seed(1))
        return network.look(pixels)


def inputs_of(words: list[int], pictures: int) -> Prompts:
    ids = [BOS]
    slots = [False]
    for _ in range(pictures):
        ids += [IMAGE, *range(5, 5 + CONFIG.latents), IMAGE_END]
        slots += [False, *[True] * CONFIG.latents, False]
    return Prompts(torch.tensor([ids + words]), torch.tensor([slots + [False] * len(words)]))


@dataclass(frozen=True)
class Known:
    """A request, and what the plain loop answers it."""

    request: Request
    answer: Completion


def asked_plainly(network, inputs, latents, *, prefix_key=None, **how) -> Known:
    rules = {**RULES, **how}
    plain = dict(rules)
    plain["filters"] = [Unforeseen(each) for each in rules.get("filters", ())]
    (answer,) = collect(generate(network, inputs, latents=latents, **plain))
    (request,) = requests_of(inputs, latents, prefix_keys=[prefix_key], **rules)
    return Known(request, answer)


@pytest.fixture(scope="module")
def known(network, pictures) -> list[Known]:
    """Requests of every kind."""
    dice = random.Random(7)
    made = []
    for number in range(80):
        words = [dice.randrange(5, 1100) for _ in range(dice.choice([1, 2, 3, 5, 8, 20, 50]))]
        count = dice.choice([0, 1, 1, 1, 2])
        chosen = [dice.randrange(PICTURES) for _ in range(count)]
        most = dice.choice([1, 2, 5, 9, 14])
        sampled = {"temperature": 1.3, "top_p": 0.9, "seed": number} if number % 3 == 0 else {}
        how = {"filters": (Runs(honest=number % 8 == 0),)} if number % 4 == 0 else {}
        if number % 5 == 0:
            how["stop_ids"] = frozenset(range(100, 300))
        made.append(
            asked_plainly(
                network,
                inputs_of(words, count),
                pictures[chosen] if count else None,
                prefix_key=tuple(chosen) if number % 7 else None,
                options=Options(
                    max_new_tokens=most,
                    min_new_tokens=min(most, dice.choice([0, 3])),
                    no_repeat_ngram_size=0 if how else dice.choice([0, 2]),
                    **sampled,
                ),
                **how,
            )
        )
    return made


def same(ours: Completion, plain: Completion) -> None:
    assert ours.ids == plain.ids
    assert ours.finish == plain.finish
    assert ours.logprobs == pytest.approx(plain.logprobs, abs=1e-4)
    for a, b in zip(ours.location_logprobs, plain.location_logprobs, strict=True):
        assert (a is None) == (b is None)
        assert a is None or a == pytest.approx(b, abs=1e-4)


def test_the_pool_has_every_kind_of_answer(known):
    assert len({one.answer.ids for one in known}) > 60
    assert {one.answer.finish for one in known} == {"stop", "length"}
    assert any(p is not None for one in known for p in one.answer.location_logprobs)


@pytest.mark.parametrize("part", range(10))
def test_two_hundred_mixes_answer_as_the_loop_does(network, known, part):
    for mix in range(20 * part, 20 * part + 20):
        dice = random.Random(mix)
        engine = Engine(
            network,
            slots=dice.randint(1, 6),
            queue=20,
            chunk=dice.choice([2, 7, 20, 64, 300]),
            padding=dice.choice([0, 4, 16, 1000]),
            prefix_bytes=dice.choice([0, 20_000, 10**6, 10**9]),
            background=False,
        )
        coming = [(one, dice.randint(0, 12)) for one in dice.sample(known, dice.randint(2, 9))]
        if mix % 2:  # several questions about one picture
            coming += [(coming[0][0], dice.randint(0, 9)) for _ in range(3)]
        leaving = {at: dice.randint(0, 15) for at in range(len(coming)) if dice.random() < 0.25}
        tickets = {}
        for step in range(1000):
            for at, (one, when) in enumerate(coming):
                if when == step:
                    tickets[at] = engine.submit(one.request)
                if leaving.get(at) == step and at in tickets:
                    tickets[at].cancel()
            if not engine.step() and step > 15:
                break
        for at, (one, _) in enumerate(coming):
            if isinstance(tickets[at].error, Cancelled):
                ids = tuple(token.id for token in tickets[at].tokens)
                assert ids == one.answer.ids[: len(ids)]
            else:
                same(tickets[at].result(), one.answer)
        assert engine.statistics().running == engine.statistics().waiting == 0


def test_a_thread_changes_nothing(network, known):
    with Engine(network, slots=5, queue=3, chunk=30) as engine:
        answers = engine.run([one.request for one in known])
    for ours, one in zip(answers, known, strict=True):
        same(ours, one.answer)


def test_a_shared_beginning_changes_nothing_and_is_read_once(network, pictures):
    one = asked_plainly(
        network,
        inputs_of([7, 8], 1),
        pictures[:1],
        prefix_key="a",
        options=Options(max_new_tokens=4),
    )
    shared = Engine(network, background=False)
    unshared = Engine(network, background=False, prefix_bytes=0)
    for engine in (shared, unshared):
        for answer in engine.run([one.request] * 8):
            same(answer, one.answer)
    beginning = CONFIG.latents + 3
    assert shared.statistics().prefix_hits == 7
    assert unshared.statistics().prefix_hits == 0
    assert unshared.statistics().read - shared.statistics().read == 7 * beginning


def test_equal_ids_do_not_share_what_different_pictures_say(network, pictures):
    options = Options(max_new_tokens=6)
    asked = [
        asked_plainly(
            network, inputs_of([9], 1), pictures[at : at + 1], prefix_key=at, options=options
        )
        for at in range(PICTURES)
    ]
    answers = Engine(network, background=False).run([one.request for one in asked])
    for ours, one in zip(answers, asked, strict=True):
        same(ours, one.answer)
    assert len({one.answer.ids for one in asked}) == PICTURES


def test_what_must_follow_takes_no_steps_of_its_own(network):
    one = asked_plainly(
        network,
        inputs_of([7, 8], 0),
        None,
        options=Options(max_new_tokens=16, min_new_tokens=16),
        filters=(Runs(),),
    )
    engine = Engine(network, background=False)
    (answer,) = engine.run([one.request])
    same(answer, one.answer)
    assert len(answer.ids) == 16
    # Three of four were foreseen, but the very last one, which is chosen without being read.
    assert engine.statistics().forced == 11
    assert engine.statistics().calls == 5


def test_a_wrong_forecast_costs_time_only(network):
    options = Options(max_new_tokens=16, min_new_tokens=16)
    one = asked_plainly(
        network, inputs_of([7, 8], 0), None, options=options, filters=(Runs(honest=False),)
    )
    engine = Engine(network, background=False)
    same(engine.run([one.request])[0], one.answer)
    assert 5 < engine.statistics().calls < 16


def test_padding_in_the_midst_of_a_prompt_does_not_count_as_a_position(network):
    words = [7, PAD, PAD, 8, 9]
    one = asked_plainly(network, inputs_of(words, 0), None, options=Options(max_new_tokens=6))
    same(Engine(network, background=False, chunk=2).run([one.request])[0], one.answer)


def test_an_answer_may_begin_with_what_must_follow(network):
    @dataclass(frozen=True)
    class Greeting:
        ids: tuple[int, ...] = (50, 60, 70)

        def apply(self, logits, prompt, answer):
            if len(answer) >= len(self.ids):
                return logits
            kept = torch.full_like(logits, -math.inf)
            kept[self.ids[len(answer)]] = logits[self.ids[len(answer)]]
            return kept

        def forced(self, prompt, answer):
            return self.ids[len(answer) :]

    one = asked_plainly(
        network,
        inputs_of([7, 8], 0),
        None,
        options=Options(max_new_tokens=5),
        filters=(Greeting(),),
    )
    engine = Engine(network, background=False)
    same(engine.run([one.request])[0], one.answer)
    assert one.answer.ids[:3] == (50, 60, 70)
    assert engine.statistics().forced == 3
    end = replace(one.request, stop_ids=frozenset({60}))
    assert engine.run([end])[0].ids == (50, 60)
