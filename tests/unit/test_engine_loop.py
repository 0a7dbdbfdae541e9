"""The loop, on a decoder that knows nothing but which id follows which."""

from __future__ import annotations

import gc
import itertools
import math
import weakref
from dataclasses import dataclass, replace

import pytest
import torch

from kosmos2.config import Config
from kosmos2.engine import Completion, Token, beam_search, collect, generate
from kosmos2.errors import ConfigError, EngineError, InputError, PromptError
from kosmos2.options import Options

BOS, PAD, EOS = 0, 1, 2
WORDS = 8
LOCATIONS = range(5, 8)
IDS = {"eos": EOS, "pad": PAD, "locations": LOCATIONS}
PLAIN = Options()


class Pairs:
    """A decoder whose logits are the row of a table that the last id names."""

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table
        self.batches: list[int] = []  # how many rows each step had

    def start(self, inputs, latents):
        return self.step(inputs.ids[:, -1])

    def step(self, ids):
        self.batches.append(len(ids))
        return self.table[ids]

    def pick(self, rows):
        """It remembers nothing."""


@dataclass
class Prompts:
    ids: torch.Tensor
    keep: torch.Tensor
    pixels: None = None

    @property
    def slots(self):
        return torch.zeros_like(self.keep)


def prompts(*rows: list[int], side: str = "left") -> Prompts:
    longest = max(map(len, rows), default=0)
    ids = torch.full((len(rows), longest), PAD)
    for row, given in zip(ids, rows):
        where = slice(longest - len(given), None) if side == "left" else slice(len(given))
        row[where] = torch.tensor(given)
    return Prompts(ids=ids, keep=ids != PAD)


class Unused:
    """A network that is asked for its sizes alone."""

    def __init__(self, positions: int) -> None:
        text = replace(Config.tiny().text, positions=positions)
        self.config = replace(Config.tiny(), text=text)

    def look(self, pixels):
        pytest.fail("there is no picture")

    def __call__(self, ids, /, **how):
        pytest.fail("the decoder of the test answers")


def chain(*ids: int) -> torch.Tensor:
    """Each of the ids is followed by the next."""
    table = torch.zeros(WORDS, WORDS)
    for here, there in itertools.pairwise(ids):
        table[here, there] = 5.0
    return table


def run(table, inputs, *, positions=100, search=generate, options=PLAIN, **more):
    pairs = Pairs(table)
    answers = search(
        Unused(positions), inputs, options=options, decoder=lambda _: pairs, **IDS | more
    )
    return answers, pairs


def ids_of(answers: list[Completion]) -> list[tuple[int, ...]]:
    return [answer.ids for answer in answers]


def test_an_answer_ends_with_the_end_token_or_at_its_limit():
    table = chain(0, 3, 4, 5, 2)
    steps, _ = run(
        table,
        prompts([0], [0], [4]),
        options=[PLAIN, Options(max_new_tokens=2), PLAIN],
    )
    answers = collect(steps)
    assert ids_of(answers) == [(3, 4, 5, 2), (3, 4), (5, 2)]
    assert [answer.finish for answer in answers] == ["stop", "length", "stop"]


def test_the_last_token_a_row_may_have_can_still_be_its_end():
    steps, _ = run(chain(0, 3, 2), prompts([0]), options=Options(max_new_tokens=2))
    assert collect(steps)[0].finish == "stop"


def test_finished_rows_are_silent_and_no_longer_computed():
    steps, pairs = run(chain(0, 3, 4, 5, 2), prompts([4], [0], [5]))
    assert [[token and token.id for token in step] for step in steps] == [
        [5, 3, 2],
        [2, 4, None],
        [None, 5, None],
        [None, 2, None],
    ]
    assert pairs.batches == [3, 2, 1, 1]


def test_more_ids_can_end_an_answer():
    steps, _ = run(chain(0, 3, 4, 5, 2), prompts([0]), stop_ids=frozenset({4}))
    assert ids_of(collect(steps)) == [(3, 4)]


def test_an_answer_has_at_least_as_many_tokens_as_asked():
    table = chain(0, 3, 2)
    table[3, 4], table[4, 2] = 1.0, 1.0
    steps, _ = run(table, prompts([0]), options=Options(min_new_tokens=2))
    assert ids_of(collect(steps)) == [(3, 4, 2)]


def test_padding_is_never_an_answer():
    table = chain(0, 1)
    table[0, 3], table[3, 2] = 4.0, 1.0
    for search in (generate, beam_search):
        answers, _ = run(table, prompts([0]), search=search)
        assert ids_of(collect(answers) if search is generate else answers) == [(3, 2)]


def test_the_checkpoints_run_length_holds_unless_a_request_has_its_own():
    table = chain(3, 4, 3)
    options = [
        Options(max_new_tokens=4),
        Options(max_new_tokens=4, no_repeat_ngram_size=0),
    ]
    steps, _ = run(table, prompts([3], [3]), options=options, no_repeat_ngram_size=2)
    limited, free = ids_of(collect(steps))
    assert free == (4, 3, 4, 3)
    assert limited[:2] == (4, 3)
    assert limited[2] != 4


def test_padding_does_not_count_as_a_run():
    table = chain(3, 4, 3)
    options = Options(no_repeat_ngram_size=2, max_new_tokens=6)
    alone, _ = run(table, prompts([3]), options=options)
    beside, _ = run(table, prompts([3], [5, 6, 7, 5, 3]), options=options)
    assert collect(alone)[0] == collect(beside)[0]


def test_a_rule_of_ones_own_is_obeyed():
    class OnlyPlaces:
        def apply(self, logits, prompt, answer):
            return torch.where(torch.arange(WORDS) >= LOCATIONS.start, logits, -math.inf)

    steps, _ = run(
        chain(0, 3), prompts([0]), options=Options(max_new_tokens=9), filters=[OnlyPlaces()]
    )
    assert set(collect(steps)[0].ids) <= set(LOCATIONS)


def test_log_probabilities_are_the_models_own():
    torch.manual_seed(0)
    table = torch.randn(WORDS, WORDS)
    table[0, 6] = 9.0
    options = Options(max_new_tokens=1, temperature=0.01, top_k=1, min_new_tokens=1)
    steps, _ = run(table, prompts([0]), options=options)
    (token,) = next(steps)
    assert token.id == 6
    assert token.logprob == pytest.approx(float(table[0].log_softmax(0)[6]), abs=1e-6)
    among = table[0, LOCATIONS.start : LOCATIONS.stop].log_softmax(0)
    assert token.location_logprob == pytest.approx(float(among[1]), abs=1e-6)


@pytest.mark.parametrize("search", [generate, beam_search])
def test_the_likeliest_ids_are_told_as_the_model_thinks_of_them(search):
    torch.manual_seed(0)
    table = torch.randn(WORDS, WORDS)
    table[0, EOS] = 9.0  # which may not come, and is told all the same
    options = Options(max_new_tokens=1, min_new_tokens=1, top_logprobs=3)
    answers, _ = run(table, prompts([0]), search=search, options=options)
    if search is beam_search:
        (found,) = answers[0].tops
    else:
        found = next(answers)[0].top
    logprobs = table[0].log_softmax(0)
    assert [id for id, _ in found] == logprobs.argsort(descending=True)[:3].tolist()
    assert [p for _, p in found] == pytest.approx(sorted(logprobs.tolist())[:-4:-1], abs=1e-6)
    assert found[0][0] == EOS


def test_no_more_is_told_than_was_asked_for_or_there_is():
    for asked, told in ((0, 0), (20, WORDS)):
        (token,) = next(run(chain(0, 3), prompts([0]), options=Options(top_logprobs=asked))[0])
        assert len(token.top) == told
    for bad in (-1, 21, 1.0, True):
        with pytest.raises(ConfigError, match=r"top_logprobs is .*from 0 to 20"):
            Options(top_logprobs=bad)


def test_a_word_has_no_location_score():
    (token,) = next(run(chain(0, 3), prompts([0]))[0])
    assert token.id == 3
    assert token.location_logprob is None


def test_a_seed_gives_the_same_tokens_alone_and_in_any_batch():
    torch.manual_seed(0)
    table = torch.randn(WORDS, WORDS)
    options = [Options(temperature=1.5, seed=seed, max_new_tokens=30) for seed in range(8)]
    options[3] = Options(max_new_tokens=7)
    together = ids_of(collect(run(table, prompts(*[[0]] * 8), options=options)[0]))
    alone = [ids_of(collect(run(table, prompts([0]), options=o)[0]))[0] for o in options]
    assert together == alone
    assert len(set(together)) > 4


def test_without_a_seed_answers_differ():
    table = torch.zeros(WORDS, WORDS)
    options = Options(temperature=1.0, max_new_tokens=40, min_new_tokens=40)
    first, second = ids_of(collect(run(table, prompts([0], [0]), options=options)[0]))
    assert first != second


def test_closing_the_stream_stops_and_frees():
    steps, pairs = run(chain(3, 4, 3), prompts([3]))
    memory = weakref.ref(pairs)
    next(steps), next(steps)
    assert len(pairs.batches) == 2
    steps.close()
    assert list(steps) == []
    assert len(pairs.batches) == 2
    del pairs, steps
    gc.collect()
    assert memory() is None


def test_nothing_is_computed_before_it_is_asked_for():
    steps, pairs = run(chain(0, 3, 2), prompts([0]))
    assert pairs.batches == []
    next(steps)
    assert pairs.batches == [1]


def test_an_empty_batch_has_no_steps():
    empty = Prompts(ids=torch.zeros(0, 3, dtype=torch.long), keep=torch.zeros(0, 3) > 0)
    assert list(run(chain(0, 3), empty)[0]) == []
    assert run(chain(0, 3), empty, search=beam_search)[0] == []


@pytest.mark.parametrize("search", [generate, beam_search])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_name_the_row_and_the_step(search, bad):
    table = chain(0, 3, 4, 2)
    table[5, 2] = 9.0
    table[4, 7] = bad
    with pytest.raises(EngineError, match=r"row 1, step 2.*float32"):
        collect(run(table, prompts([5], [0]), search=search)[0])


@pytest.mark.parametrize("search", [generate, beam_search])
def test_filters_that_leave_nothing_are_an_error_with_a_way_out(search):
    options = Options(no_repeat_ngram_size=1, min_new_tokens=20)
    with pytest.raises(EngineError, match=r"row 0, step 5.*no_repeat_ngram_size"):
        collect(run(chain(0, 3), prompts([0]), options=options, search=search)[0])


@pytest.mark.parametrize("search", [generate, beam_search])
def test_the_last_position_ends_an_answer(search):
    answers, _ = run(chain(3, 4, 3), prompts([3, 4, 3], [3]), positions=5, search=search)
    answers = collect(answers) if search is generate else answers
    assert [len(answer.ids) for answer in answers] == [2, 4]
    assert {answer.finish for answer in answers} == {"length"}


@pytest.mark.parametrize("search", [generate, beam_search])
def test_bad_requests_are_refused_before_anything_is_computed(search):
    table = chain(0, 3)
    with pytest.raises(
        PromptError, match="prompt 1 of 2 has 5 tokens and the model reads at most 5"
    ):
        run(table, prompts([0], [0, 3, 4, 5, 6]), positions=5, search=search)
    with pytest.raises(PromptError, match=r"prompt 0 of 2 ends in padding.*left"):
        run(table, prompts([0], [0, 3], side="right"), search=search)
    with pytest.raises(PromptError, match="prompt 0 of 1 ends in padding"):
        run(table, prompts([PAD, PAD]), search=search)
    with pytest.raises(InputError, match="2 options for 1 prompts"):
        run(table, prompts([0]), options=[Options(), Options()], search=search)


def test_beams_are_not_streamed():
    with pytest.raises(InputError, match="beam_search"):
        run(chain(0, 3), prompts([0]), options=Options(beams=2))


def test_one_beam_is_greedy():
    torch.manual_seed(1)
    table = torch.randn(WORDS, WORDS)
    options = Options(max_new_tokens=12, no_repeat_ngram_size=2)
    rows = prompts([0], [3, 4], [5, 6, 7])
    greedy = collect(run(table, rows, options=options)[0])
    assert run(table, rows, options=options, search=beam_search)[0] == greedy


@pytest.mark.parametrize("penalty", [0.0, 0.5, 1.0, 2.0])
def test_enough_beams_find_the_best_answer_of_all(penalty):
    torch.manual_seed(2)
    table, limit = torch.randn(WORDS, WORDS), 4
    best = max(every_answer(table, 0, limit), key=lambda a: sum(a[1]) / len(a[0]) ** penalty)
    options = Options(beams=3000, max_new_tokens=limit, length_penalty=penalty)
    ((found,), _) = run(table, prompts([0]), options=options, search=beam_search)
    assert found.ids == best[0]
    assert found.logprobs == pytest.approx(best[1], abs=1e-5)
    assert found.finish == ("stop" if best[0][-1] == EOS else "length")


def every_answer(table, last, limit):
    """All answers of up to `limit` tokens, with their log-probabilities, by plain recursion."""
    logprobs = table[last].log_softmax(0).tolist()
    for id, logprob in enumerate(logprobs):
        if id == PAD:
            continue
        if id == EOS or limit == 1:
            yield (id,), (logprob,)
        else:
            for ids, more in every_answer(table, id, limit - 1):
                yield (id, *ids), (logprob, *more)


def test_rows_of_different_widths_are_searched_together_as_if_alone():
    torch.manual_seed(3)
    table = torch.randn(WORDS, WORDS)
    starts = [[0], [3, 4], [5], [6, 7, 3], [4]]
    options = [
        Options(beams=beams, max_new_tokens=3 + beams, length_penalty=penalty)
        for beams, penalty in zip([1, 4, 2, 3, 8], [1.0, 0.0, 2.0, -1.0, 1.0])
    ]
    together, _ = run(table, prompts(*starts), options=options, search=beam_search)
    alone = [
        run(table, prompts(start), options=wants, search=beam_search)[0][0]
        for start, wants in zip(starts, options)
    ]
    assert together == alone


def test_an_unfinished_answer_is_no_completion():
    with pytest.raises(AssertionError):
        Completion.of([Token(id=3, logprob=-1.0)])
