"""While a location is due only locations are scored, and nobody can tell by the answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from kosmos2.engine import Completion, Engine, Never, NotYet, Request, collect, generate, passes
from kosmos2.engine.filters import narrowing
from kosmos2.engine.grammar import Grammar
from kosmos2.errors import EngineError
from kosmos2.model.quantised import kind_of, quantise
from kosmos2.options import Options
from mixes import BOS, CONFIG, EOS, LOCATIONS, PAD, RULES, TAGS, inputs_of, same
from networks import loud_network

WIDE = replace(CONFIG, text=replace(CONFIG.text, vocabulary=6000))
PLACES = range(6000 - 1024, 6000)
TAGGED = replace(TAGS, locations=PLACES)
NEW = 17


@pytest.fixture(scope="module", params=[None, "int8"])
def network(request):
    """Its vocabulary is several times as large as the locations."""
    network = loud_network(WIDE, seed=5)
    return network if request.param is None else quantise(network, request.param)


@pytest.fixture
def scored(network, monkeypatch):
    """What was scored: how many tokens, and of which words."""
    calls: list[tuple[int, range | None]] = []
    true_logits = network.decoder.logits

    def logits(x, among=None):
        calls.append((len(x), among))
        return true_logits(x, among)

    monkeypatch.setattr(network.decoder, "logits", logits)
    return calls


def boxes(number: int, **more) -> Request:
    """An answer that is one box after the other."""
    grammar = Grammar(tags=TAGGED, stops={EOS}, limit=NEW)
    options = Options(max_new_tokens=NEW, min_new_tokens=NEW)
    rules = {**RULES, "locations": PLACES, "options": options, "filters": (ON, grammar)}
    prompt = (BOS, 70 + number, TAGS.phrase, 7, TAGS.phrase_end, TAGS.object)
    return Request(prompt=prompt, **rules | more)


ON = NotYet({TAGS.object_end}, NEW - 1)  # no object ends while there may be another box


@dataclass(frozen=True)
class Own:
    """The same rule, of which the engine knows no more than that it lists ids."""

    def forbidden(self, prompt, answer):
        return ON.forbidden(prompt, answer)

    def apply(self, logits, prompt, answer):
        return ON.apply(logits, prompt, answer)


def words(number: int, **more) -> Request:
    """An answer without a box."""
    return replace(boxes(number, **more), filters=())


def run(network, requests, **settings) -> list[Completion]:
    return Engine(network, background=False, **settings).run(requests)


@pytest.mark.parametrize("rule", [ON, Own()])
def test_answers_are_the_same_with_all_words_scored_and_locations_alone(network, scored, rule):
    for company in (1, 3, 8):
        asked = [boxes(n) for n in range(company)]
        asked = [replace(each, filters=(rule, each.filters[-1])) for each in asked]
        narrow = run(network, asked)
        assert {among for _, among in scored} == {None, PLACES}
        scored.clear()
        whole = run(network, [replace(each, own_logprobs=True) for each in asked])
        assert {among for _, among in scored} == {None}
        scored.clear()
        told = run(
            network,
            [replace(each, options=replace(each.options, top_logprobs=2)) for each in asked],
        )
        assert {among for _, among in scored} == {None}
        scored.clear()
        for ours, plain, topped in zip(narrow, whole, told, strict=True):
            assert ours.ids == plain.ids == topped.ids
            among = [p for p in ours.location_logprobs if p is not None]
            assert len(among) > 8
            assert among == pytest.approx(
                [p for p in plain.location_logprobs if p is not None], abs=1e-5
            )
            assert topped.logprobs == pytest.approx(plain.logprobs, abs=1e-5)
            for own, all_words, located in zip(
                ours.logprobs, plain.logprobs, ours.location_logprobs
            ):
                if located is None:
                    assert own == pytest.approx(all_words, abs=1e-5)
                else:
                    assert own == located
                    assert all_words < located


def test_what_a_log_probability_means_does_not_depend_on_company(network, scored):
    alone = [*run(network, [boxes(1)]), *run(network, [words(2)])]
    together = run(network, [boxes(1), words(2), replace(boxes(3), own_logprobs=True)])
    for ours, plain in zip(together, alone):
        same(ours, plain)


def test_those_that_need_all_words_and_those_that_do_not_are_scored_apart(network, scored):
    engine = Engine(network, background=False, padding=1000)
    tickets = [engine.submit(each) for each in (boxes(1), words(2), words(3))]
    engine.step()
    assert scored == [(1, PLACES), (2, None)]
    for ticket in tickets:
        ticket.cancel()


def test_in_a_small_vocabulary_all_words_are_scored_and_mean_the_same(network, scored, monkeypatch):
    mixed = [boxes(1), words(2)]
    alone = [run(network, [each])[0] for each in mixed]
    scored.clear()
    monkeypatch.setattr(passes, "APART", 10)
    for ours, plain in zip(run(network, mixed), alone, strict=True):
        same(ours, plain)
    assert {among for _, among in scored} == {None}


def test_the_loop_means_the_same():
    network = loud_network(WIDE, seed=5)
    for more in (
        {},
        {"own_logprobs": True},
        {"options": Options(max_new_tokens=9, top_logprobs=1)},
    ):
        request = boxes(4, **more)
        (plain,) = collect(
            generate(
                network,
                inputs_of(request.prompt[1:]),
                options=request.options,
                filters=request.filters,
                own_logprobs=request.own_logprobs,
                **{**RULES, "locations": PLACES},
            )
        )
        same(run(network, [request])[0], plain)


def test_where_the_filters_leave_no_location_the_grammar_alone_decides(network, scored):
    asked = boxes(1)
    stubborn = replace(asked, filters=(Never(PLACES), *asked.filters))
    assert run(network, [stubborn])[0].ids == run(network, [asked])[0].ids
    assert (1, PLACES) in scored


def test_chance_throws_the_same_among_locations_alone(network):
    lots = Options(max_new_tokens=NEW, min_new_tokens=NEW, temperature=1.5, top_p=0.9, seed=3)
    narrow, whole = (boxes(1, options=lots, own_logprobs=own) for own in (False, True))
    assert run(network, [narrow])[0].ids == run(network, [whole])[0].ids


def test_a_rule_that_may_want_to_see_all_logits_sees_them(network, scored):
    @dataclass(frozen=True)
    class Odd:
        def apply(self, logits, prompt, answer):
            assert int(logits.isfinite().sum()) > len(logits) - 100
            return logits

    asked = boxes(1)
    grammar = asked.filters[-1]
    assert narrowing((Odd(), grammar)) is None
    assert narrowing((grammar, Odd())) is grammar
    assert narrowing((Never({PAD}),)) is None
    run(network, [replace(asked, filters=(Odd(), *asked.filters))])
    assert {among for _, among in scored} == {None}


def test_other_locations_than_the_grammars_are_no_reason_to_score_less(network, scored):
    run(network, [boxes(1, locations=LOCATIONS)])
    assert {among for _, among in scored} == {None}


def test_locations_that_are_no_numbers_are_an_error_as_ever(network, monkeypatch):
    true_logits = network.decoder.logits

    def broken(x, among=None):
        found = true_logits(x, among)
        return found if among is None else found.index_fill(-1, torch.tensor([5]), math.nan)

    monkeypatch.setattr(network.decoder, "logits", broken)
    engine = Engine(network, background=False)
    bad, good = engine.submit(boxes(1)), engine.submit(words(2))
    assert len(good.result().ids) == NEW
    with pytest.raises(EngineError, match=r"step 0.*not finite"):
        bad.result()


@torch.no_grad()
def test_some_words_score_as_they_do_among_all(network):
    x = torch.randn(3, WIDE.text.width)
    whole, some = network.decoder.logits(x), range(40, 1100)
    for among in (PLACES, some, PLACES):
        part = network.decoder.logits(x, among)
        torch.testing.assert_close(part, whole[:, among.start : among.stop], rtol=1e-5, atol=1e-5)
        if kind_of(network):  # sums of whole numbers
            assert torch.equal(part, whole[:, among.start : among.stop])


@torch.no_grad()
def test_words_that_were_packed_apart_are_forgotten_with_the_others():
    one, other = (quantise(loud_network(WIDE, seed=seed), "int8") for seed in (1, 2))
    x = torch.randn(3, WIDE.text.width)
    one.decoder.logits(x, PLACES)
    one.decoder.words.load_state_dict(other.decoder.words.state_dict())
    assert torch.equal(one.decoder.logits(x, PLACES), other.decoder.logits(x, PLACES))
