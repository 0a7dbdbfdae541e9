"""Only well-formed grounding comes through, and what was well-formed comes through unchanged."""

import math
import re
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kosmos2.config import Config
from kosmos2.engine import generate
from kosmos2.engine.grammar import Grammar, Tags
from kosmos2.errors import ConfigError
from kosmos2.options import Options

SIDE = 4
TAGS = Tags(
    phrase=4,
    phrase_end=5,
    object=6,
    object_end=7,
    delimiter=8,
    locations=range(20, 20 + SIDE * SIDE),
    columns=SIDE,
)
WORDS, EOS, W = range(9, 20), 2, 40


def grammar(limit=30, **settings):
    return Grammar(tags=TAGS, stops={EOS}, limit=limit, **settings)


def allowed(of, *answer, prompt=()):
    kept = of.apply(torch.zeros(W), list(prompt), list(answer))
    return {id for id in range(W) if kept[id] > -math.inf}


def place(row, column):
    return TAGS.locations.start + row * SIDE + column


def test_an_object_holds_a_corner_and_one_not_above_nor_left_of_it():
    start = (4, 9, 5, 6)
    assert allowed(grammar(), *start) == set(TAGS.locations)
    assert allowed(grammar(), *start, place(2, 1)) == {
        place(row, column) for row in (2, 3) for column in (1, 2, 3)
    }
    assert allowed(grammar(), *start, place(2, 1), place(3, 3)) == {7, 8}


def test_a_prompt_counts_as_what_came_before():
    assert allowed(grammar(), prompt=(4, 9, 5, 6)) == set(TAGS.locations)
    assert 6 in allowed(grammar(), prompt=(4, 9, 5))
    assert 6 not in allowed(grammar(), 9, prompt=(4, 9, 5))


def test_words_outside_hold_no_locations_and_no_ends():
    assert allowed(grammar(), 9).isdisjoint({5, 6, 7, 8, *TAGS.locations})
    assert {4, EOS, *WORDS} <= allowed(grammar(), 9)


def test_tags_of_no_task_come_nowhere():
    rules = Grammar(tags=replace(TAGS, others=(3,)), stops={EOS}, limit=30)
    for answer in ((), (9,), (4,), (4, 9), (4, 9, 5), (4, 9, 5, 6), (4, 9, 5, 6, 20, 25)):
        assert 3 not in allowed(rules, *answer)


def test_a_phrase_has_words_and_no_end_of_the_answer():
    assert allowed(grammar(), 4).isdisjoint({4, 5, 6, 7, 8, EOS, *TAGS.locations})
    assert {5, *WORDS} <= allowed(grammar(), 4, 9)


def test_boxes_of_a_phrase_are_counted():
    two = (4, 9, 5, 6, 20, 25, 8, 21, 26)
    assert allowed(grammar(max_boxes=2), *two) == {7}
    assert grammar(max_boxes=2).forced([], two) == (7,)
    assert allowed(grammar(max_boxes=3), *two) == {7, 8}
    assert grammar(max_boxes=3).forced([], two) == ()


@pytest.mark.parametrize(("limit", "can"), [(3, False), (4, True)])
def test_what_cannot_be_closed_in_time_is_not_opened(limit, can):
    answer = (9, 9, 9, 4, 9, 5)
    assert (6 in allowed(grammar(len(answer) + limit), *answer)) is can
    closing = (9, 4, 9, 5, 6, 20, 25)
    assert (8 in allowed(grammar(len(closing) + limit), *closing)) is can


def test_a_phrase_is_closed_by_the_last_token():
    assert allowed(grammar(3), 4, 9) == {5}
    assert grammar(3).forced([], (4, 9)) == (5,)


def test_the_last_location_can_only_be_followed_by_itself():
    answer = (4, 9, 5, 6, TAGS.locations[-1])
    assert grammar().forced([], answer) == (TAGS.locations[-1],)
    assert allowed(grammar(), *answer) == {TAGS.locations[-1]}


def test_more_boxes_come_for_as_long_as_the_delimiter_is_probable_enough():
    logits = torch.zeros(W)
    logits[TAGS.object_end], logits[TAGS.delimiter] = 2.0, 0.5  # 0.18 for the delimiter
    answer = [4, 9, 5, 6, 20, 25]
    assert grammar(more_above=0.1).apply(logits, [], answer).argmax() == TAGS.delimiter
    assert grammar(more_above=0.3).apply(logits, [], answer).argmax() == TAGS.object_end
    assert grammar().apply(logits, [], answer).argmax() == TAGS.object_end


def test_no_more_boxes_come_once_one_is_an_earlier_one_over_again():
    logits = torch.zeros(W)
    logits[TAGS.delimiter] = 9.0
    first, second = (place(0, 0), place(2, 2)), (place(0, 3), place(3, 3))
    begun = [4, 9, 5, 6, *first, 8, *second]
    rules = grammar(more_above=0.1)
    assert rules.apply(logits, [], begun).argmax() == TAGS.delimiter
    again = [*begun, 8, place(0, 0), place(3, 2)]
    assert allowed(rules, *again) == {TAGS.object_end}
    assert rules.forced([], again) == (TAGS.object_end,)
    assert allowed(grammar(), *again) == {TAGS.object_end, TAGS.delimiter}


def test_a_phrase_gets_a_box_from_a_presence_on_and_none_below():
    logits = torch.zeros(W)
    logits[EOS], logits[TAGS.object] = 5.0, 3.5  # 0.15 for the box
    after = [4, 9, 5]
    assert grammar().apply(logits, after, []).argmax() == EOS
    assert grammar(min_presence=0.1).apply(logits, after, []).argmax() == TAGS.object
    logits[TAGS.object] = 6.0  # 0.67
    assert grammar(min_presence=0.6).apply(logits, after, []).argmax() == TAGS.object
    assert grammar(min_presence=0.7).apply(logits, after, []).argmax() == EOS
    assert allowed(grammar(min_presence=0.0), *after) == {TAGS.object}
    assert allowed(grammar(min_presence=1.0), *after) == allowed(grammar(), *after) - {TAGS.object}


def test_a_presence_counts_after_phrases_only_and_where_there_is_room():
    rules = grammar(min_presence=0.0)
    for answer in ((9,), (4, 9), (4, 9, 5, 6), (4, 9, 5, 6, 20, 25, 7), (4, 9, 5, 9)):
        assert allowed(rules, *answer) == allowed(grammar(), *answer)
    assert TAGS.object not in allowed(grammar(6, min_presence=0.0), 4, 9, 5)
    assert rules.rule([], [4, 9, 5]) is None  # only the logits know
    assert rules.rule([], [4, 9]) is not None


@pytest.mark.parametrize(
    "settings", [{"max_boxes": 0}, {"more_above": 1.5}, {"min_presence": -0.1}]
)
def test_impossible_settings_are_named(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        grammar(**settings)


@given(
    st.integers(0, 10_000),
    st.integers(1, 24),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, 0.1, 0.9]),
)
def test_whatever_the_logits_every_answer_is_closed(seed, limit, max_boxes, min_presence):
    random, answer = torch.Generator().manual_seed(seed), []
    rules = grammar(limit, max_boxes=max_boxes, min_presence=min_presence)
    while len(answer) < limit and (not answer or answer[-1] != EOS):
        noise = torch.randn(W, generator=random)
        noise[list(TAGS.all)] += 2  # tags often enough
        forced = rules.forced([], answer)
        kept = rules.apply(noise, [], answer)
        chosen = int(kept.argmax())
        assert kept[chosen] > -math.inf
        if forced:
            assert {chosen} == set(forced) == {i for i in range(W) if kept[i] > -math.inf}
        answer.append(chosen)
    assert _is_grammatical([id for id in answer if id != EOS])


def _is_grammatical(ids):
    names = {4: "P", 5: "p", 6: "O", 7: "o", 8: "d"}
    text = "".join(names.get(id, "L" if id in TAGS.locations else "w") for id in ids)
    return re.fullmatch(r"(w|Pw+p(OLL(dLL)*o)?)*", text) is not None


@dataclass
class _Walk:
    """A decoder whose next logits depend on the last two ids alone, tags being likely."""

    network: None
    random_seed: int

    def start(self, inputs, latents):
        self.last = inputs.ids[:, -1]
        return self._logits(self.last)

    def step(self, ids):
        before, self.last = self.last, ids
        return self._logits(ids * 100 + before)

    def pick(self, rows):
        self.last = self.last[rows]

    def _logits(self, keys):
        rows = []
        for key in keys.tolist():
            random = torch.Generator().manual_seed(self.random_seed * 10_007 + key)
            noise = torch.randn(W, generator=random)
            after = {4: WORDS, 5: [6], 6: TAGS.locations, 8: TAGS.locations}.get(key // 100)
            if key // 100 in TAGS.locations:
                after = [7] if (key % 100) in TAGS.locations else TAGS.locations
            if (key // 100) in WORDS and key % 100 == 4:
                after = [5]
            noise[list(after or [4, *WORDS, EOS])] += 4
            noise[EOS] += 1 if key % 100 in TAGS.all else 0
            rows.append(noise)
        return torch.stack(rows)


class _Sizes:
    """A network of which only the sizes are looked at."""

    config = Config.tiny()

    def look(self, pixels):
        raise AssertionError("nothing is looked at")

    def __call__(self, ids, /, **how):
        raise AssertionError("nothing is read")


@dataclass
class _Prompt:
    ids: torch.Tensor
    pixels: None = None

    @property
    def slots(self):
        return torch.zeros_like(self.ids, dtype=torch.bool)

    @property
    def keep(self):
        return torch.ones_like(self.ids, dtype=torch.bool)


def test_what_was_grammatical_anyway_is_not_changed():
    same = different = 0
    for seed in range(300):
        off = _answer(seed)
        on = _answer(seed, grammar(limit=24))
        assert _is_grammatical([id for id in on if id != EOS])
        if _is_grammatical([id for id in off if id != EOS]) and not _inverted(off):
            assert on == off
            same += any(id == TAGS.object for id in off)
        else:
            assert on != off
            different += 1
    assert min(same, different) > 20  # both kinds were there, and not only words


def _answer(seed, *filters):
    steps = generate(
        _Sizes(),
        _Prompt(torch.tensor([[9]])),
        options=Options(max_new_tokens=24),
        eos=EOS,
        pad=1,
        locations=TAGS.locations,
        filters=filters,
        decoder=lambda network: _Walk(network, seed),
    )
    return [token.id for (token,) in steps]


def _inverted(ids):
    pairs = [
        (one - TAGS.locations.start, two - TAGS.locations.start)
        for one, two in pairwise(ids)
        if one in TAGS.locations and two in TAGS.locations
    ]
    return any(b // SIDE < a // SIDE or b % SIDE < a % SIDE for a, b in pairs)
