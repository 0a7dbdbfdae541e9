"""What may not come next, and what is taken of the rest."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kosmos2.engine import Greedy, Never, NoRepeat, NotYet, Sample
from kosmos2.engine.choose import chooser
from kosmos2.options import Options

LOGITS = torch.tensor([0.5, 2.0, -1.0, 1.0, 0.0, 1.5])


def forbidden(logits: torch.Tensor) -> set[int]:
    return set((logits == -math.inf).nonzero()[:, 0].tolist())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("size", "prompt", "answer", "banned"),
    [
        (3, (1, 2, 3), [1, 2], {3}),
        (3, (1, 2, 3, 1, 2, 4), [1, 2], {3, 4}),
        (3, (1, 2), [], set()),
        (3, (1, 2, 2), [2], {2}),  # a run may overlap itself
        (2, (1, 2, 1), [], {2}),
        (2, (5,), [], set()),
        (1, (1, 2), [3], {1, 2, 3}),
        (4, (1, 2), [], set()),
    ],
)
def test_no_run_of_ids_comes_twice(size, prompt, answer, banned):
    assert forbidden(NoRepeat(size).apply(LOGITS, prompt, answer)) == banned


@given(
    st.integers(1, 4),
    st.lists(st.integers(0, 2), max_size=12),
    st.lists(st.integers(0, 2), max_size=9),
)
def test_runs_are_found_as_if_all_were_listed(size, prompt, answer):
    ids = [*prompt, *answer]
    runs = [ids[at : at + size] for at in range(len(ids) - size + 1)]
    tail = ids[len(ids) - size + 1 :] if len(ids) >= size - 1 else None
    banned = {run[-1] for run in runs if run[:-1] == tail}
    assert NoRepeat(size).forbidden(tuple(prompt), answer) == banned


def test_an_answer_may_not_end_too_early():
    rule = NotYet({2, 5}, 2)
    assert forbidden(rule.apply(LOGITS, (1,), [4])) == {2, 5}
    assert forbidden(rule.apply(LOGITS, (1,), [4, 4])) == set()


def test_filters_leave_the_given_logits_alone():
    before = LOGITS.clone()
    for rule in (Never({1}), NotYet({2}, 9), NoRepeat(1)):
        assert forbidden(rule.apply(LOGITS, (1,), [2]))
        assert torch.equal(LOGITS, before)


def test_greedy_takes_the_likeliest():
    assert Greedy().choose(LOGITS, generator()) == 1


def test_a_low_temperature_is_greedy_and_overflows_nowhere():
    for temperature in (1e-3, 1e-300):
        assert Sample(temperature=temperature).choose(LOGITS * 1000, generator()) == 1


def test_top_k_of_one_and_a_small_top_p_leave_only_the_likeliest():
    for sample in (Sample(top_k=1), Sample(top_p=1e-6)):
        assert sample.probabilities(LOGITS).tolist() == [0, 1, 0, 0, 0, 0]


def test_top_p_keeps_the_fewest_that_add_up_to_it():
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    kept = [Sample(top_p=p).probabilities(logits).count_nonzero() for p in (0.49, 0.51, 0.79, 0.81)]
    assert kept == [1, 2, 2, 3]


def test_frequencies_follow_the_probabilities():
    sample, random, throws = Sample(temperature=1.3, top_k=4), generator(), 20_000
    seen = torch.bincount(
        torch.tensor([sample.choose(LOGITS, random) for _ in range(throws)]), minlength=6
    )
    expected = sample.probabilities(LOGITS)
    assert forbidden(expected.log()) == set((seen == 0).nonzero()[:, 0].tolist())
    spread = (expected * (1 - expected) / throws).sqrt()
    assert ((seen / throws - expected).abs() <= 4 * spread).all()


def test_a_rounding_error_does_not_change_the_throw():
    torch.manual_seed(0)
    sample, logits = Sample(temperature=0.9, top_p=0.95), torch.randn(500)
    for seed in range(200):
        noisy = logits + 1e-6 * torch.randn(500)
        assert sample.choose(noisy, generator(seed)) == sample.choose(logits, generator(seed))


def test_options_name_the_chooser():
    assert chooser(Options(seed=1, top_p=0.5)) == Greedy()
    wanted = Sample(temperature=0.7, top_p=0.9, top_k=5)
    assert chooser(Options(temperature=0.7, top_p=0.9, top_k=5)) == wanted
