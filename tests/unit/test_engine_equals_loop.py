"""The engine answers as the plain loop does, whoever else is there and whatever becomes of them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import pytest
import torch

from kosmos2.engine import passes
from kosmos2.engine.worker import Engine
from kosmos2.options import Options
from mixes import (
    CONFIG,
    PAD,
    Known,
    answer_as_they_come,
    asked,
    grammar_of,
    looked_at,
    phrase,
    same,
)
from networks import loud_network

PICTURES = 3


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
    return looked_at(network, PICTURES)


def asked_plainly(network, words, latents=None, **how) -> Known:
    """The loop is told nothing beforehand."""
    filters = how.get("filters", ())
    plain = [Unforeseen(each) if isinstance(each, Runs) else each for each in filters]
    return asked(network, words, latents, plain_filters=plain, **how)


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
        how: dict = {"filters": (Runs(honest=number % 8 == 0),)} if number % 4 == 0 else {}
        if number % 4 == 1:
            how = {"filters": (grammar_of(dice, most),), "own_logprobs": number % 8 == 1}
            words += phrase(dice)
        if number % 5 == 0:
            how["stop_ids"] = frozenset(range(100, 300))
        made.append(
            asked_plainly(
                network,
                words,
                pictures[chosen] if count else None,
                prefix_key=tuple(chosen) if number % 7 else None,
                options=Options(
                    max_new_tokens=most,
                    min_new_tokens=min(most, dice.choice([0, 3])),
                    no_repeat_ngram_size=0 if number % 4 == 0 else dice.choice([0, 1, 2]),
                    top_logprobs=2 * (number % 6 == 0),
                    **sampled,
                ),
                **how,
            )
        )
    return made


def test_the_pool_has_every_kind_of_answer(known):
    assert len({one.answer.ids for one in known}) > 60
    assert {one.answer.finish for one in known} == {"stop", "length"}
    assert any(p is not None for one in known for p in one.answer.location_logprobs)


@pytest.mark.parametrize("part", range(10))
def test_two_hundred_mixes_answer_as_the_loop_does(network, known, part, monkeypatch, request):
    if part > 0:
        request.getfixturevalue("shapes_known")
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
        # The vocabulary is hardly larger than the locations; as if it were, and not.
        monkeypatch.setattr(passes, "APART", dice.choice([1, 4]))
        coming = [(one, dice.randint(0, 12)) for one in dice.sample(known, dice.randint(2, 9))]
        if mix % 2:  # several questions about one picture
            coming += [(coming[0][0], dice.randint(0, 9)) for _ in range(3)]
        answer_as_they_come(engine, coming, dice, leave=0.25)


def test_a_thread_changes_nothing(network, known):
    with Engine(network, slots=5, queue=3, chunk=30) as engine:
        answers = engine.run([one.request for one in known])
    for ours, one in zip(answers, known, strict=True):
        same(ours, one.answer)


def test_a_shared_beginning_changes_nothing_and_is_read_once(network, pictures):
    one = asked_plainly(
        network,
        [7, 8],
        pictures[:1],
        prefix_key="a",
        options=Options(max_new_tokens=4),
    )
    shared = Engine(network, background=False)
    unshared = Engine(network, background=False, prefix_bytes=0)
    beginning = CONFIG.latents + 3
    for engine, copied in ((shared, beginning), (unshared, 0)):
        tickets = [engine.submit(one.request) for _ in range(8)]
        for ticket in tickets:
            same(ticket.result(), one.answer)
            assert ticket.prompt == beginning + 2
        assert [ticket.reused for ticket in tickets] == [0, *[copied] * 7]
    assert shared.statistics().prefix_hits == 7
    assert unshared.statistics().prefix_hits == 0
    assert unshared.statistics().read - shared.statistics().read == 7 * beginning


def test_equal_ids_do_not_share_what_different_pictures_say(network, pictures):
    options = Options(max_new_tokens=6)
    asked = [
        asked_plainly(network, [9], pictures[at : at + 1], prefix_key=at, options=options)
        for at in range(PICTURES)
    ]
    answers = Engine(network, background=False).run([one.request for one in asked])
    for ours, one in zip(answers, asked, strict=True):
        same(ours, one.answer)
    assert len({one.answer.ids for one in asked}) == PICTURES


def test_what_must_follow_takes_no_steps_of_its_own(network):
    one = asked_plainly(
        network,
        [7, 8],
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
    one = asked_plainly(network, [7, 8], options=options, filters=(Runs(honest=False),))
    engine = Engine(network, background=False)
    same(engine.run([one.request])[0], one.answer)
    assert 5 < engine.statistics().calls < 16


def test_padding_in_the_midst_of_a_prompt_does_not_count_as_a_position(network):
    words = [7, PAD, PAD, 8, 9]
    one = asked_plainly(network, words, options=Options(max_new_tokens=6))
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
        [7, 8],
        options=Options(max_new_tokens=5),
        filters=(Greeting(),),
    )
    engine = Engine(network, background=False)
    same(engine.run([one.request])[0], one.answer)
    assert one.answer.ids[:3] == (50, 60, 70)
    assert engine.statistics().forced == 3
    end = replace(one.request, stop_ids=frozenset({60}))
    assert engine.run([end])[0].ids == (50, 60)
