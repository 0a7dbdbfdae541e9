"""The engine under bad luck: what is wrong with one request stays with that one."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass, replace

import pytest
import torch

from kosmos2.config import Config
from kosmos2.engine.request import Request
from kosmos2.engine.steps import MANY
from kosmos2.engine.ticket import Cancelled, Late
from kosmos2.engine.worker import Engine
from kosmos2.errors import Busy, ConfigError, EngineError, InputError, PromptError
from kosmos2.options import Options
from networks import loud_network

CONFIG = Config.tiny()
LONG = Options(max_new_tokens=20, min_new_tokens=20)


@pytest.fixture(scope="module")
def network():
    return loud_network(CONFIG, seed=4)


def request(*words: int, options: Options = LONG, **more) -> Request:
    fixed = {"eos": 2, "pad": 1, "locations": range(79, 1103)}
    return Request(prompt=(0, *words), options=options, **fixed | more)


def with_picture(latents: torch.Tensor, *words: int, **more) -> Request:
    slots = (False, False, *[True] * CONFIG.latents, *[False] * len(words))
    ids = (3, *range(5, 5 + CONFIG.latents), *words)
    return request(*ids, slots=slots, latents=latents, **more)


def by_hand(network, **settings) -> Engine:
    return Engine(network, **{"background": False, **settings})


@dataclass(frozen=True)
class Failing:
    """A rule that breaks at some token."""

    at: int

    def apply(self, logits, prompt, answer):
        if len(answer) == self.at:
            raise LookupError("the rule broke")
        return logits


@dataclass(frozen=True)
class Nothing(Failing):
    """A rule that leaves nothing."""

    def apply(self, logits, prompt, answer):
        return torch.full_like(logits, -math.inf) if len(answer) == self.at else logits


@dataclass(frozen=True)
class Foreign:
    """A rule that forces an id that is none."""

    def apply(self, logits, prompt, answer):
        return logits

    def forced(self, prompt, answer):
        return (9_999,) if len(answer) == 2 else ()


def three(network, middle: Request):
    """Two requests with another between them: their answers, its ticket, the engine."""
    engine = by_hand(network, slots=3)
    tickets = [engine.submit(each) for each in (request(7, 8, 9), middle, request(10))]
    answers = [tickets[at].result() for at in (0, 2)]
    return answers, tickets[1], engine


SIZE = 12  # ids of the prompt between


@pytest.mark.parametrize(
    ("faulty", "error", "tokens"),
    [
        ({"filters": (Failing(2),)}, LookupError, 2),
        ({"filters": (Nothing(2),)}, EngineError, 2),
        ({"filters": (Foreign(),)}, EngineError, 2),
    ],
)
def test_a_rule_that_breaks_ends_its_own_request_only(network, faulty, error, tokens):
    words = tuple(range(20, 20 + SIZE))
    plain = request(*words, options=Options(max_new_tokens=tokens + 1, min_new_tokens=tokens + 1))
    if isinstance(faulty["filters"][0], Foreign):  # it breaks as soon as two tokens are there
        plain = replace(plain, options=Options(max_new_tokens=tokens, min_new_tokens=tokens))
    expected, _, _ = three(network, plain)
    answers, ticket, engine = three(network, request(*words, **faulty))
    assert answers == expected  # to the last bit
    with pytest.raises(error):
        ticket.result()
    assert len(ticket.tokens) == tokens
    assert engine.statistics().failed == 1
    assert engine.statistics().running == 0


def test_numbers_that_are_none_end_their_own_request_only(network):
    latents = torch.randn(1, CONFIG.latents, CONFIG.text.width)
    expected, _, _ = three(
        network, with_picture(latents, 9, options=Options(max_new_tokens=1, min_new_tokens=1))
    )
    latents[0, 3, 5] = math.nan
    bad = with_picture(latents, 9, prefix_key="bad", prefix_length=5)
    answers, ticket, engine = three(network, bad)
    assert answers == expected
    with pytest.raises(EngineError, match=r"row 1, step 0.*not finite.*float32"):
        ticket.result()
    assert engine.statistics().prefix_bytes == 0


def test_a_slot_where_numbers_went_wrong_serves_the_next_one(network):
    latents = torch.full((1, CONFIG.latents, CONFIG.text.width), math.nan)
    engine = by_hand(network, slots=2, chunk=6)
    expected = by_hand(network).run([request(7), request(8, *range(30, 70))])
    bad = with_picture(latents, *range(40, 60))
    for cancelled in (False, True):  # after its first token is due, and in the midst of its prompt
        neighbour = engine.submit(request(8, *range(30, 70)))
        ticket = engine.submit(bad)
        for _ in range(3):
            engine.step()
        if cancelled:
            ticket.cancel()
        after = engine.submit(request(7))
        assert [after.result().ids, neighbour.result().ids] == [each.ids for each in expected]
        assert ticket.error is not None


def test_a_cancelled_request_frees_its_slot_within_a_step(network):
    engine = by_hand(network, slots=1)
    first, second = engine.submit(request(7)), engine.submit(request(8))
    engine.step()
    assert engine.statistics().running == engine.statistics().waiting == 1
    assert first.cancel()
    assert not first.cancel()
    assert first.done
    with pytest.raises(Cancelled):
        first.result()
    engine.step()
    assert len(first.tokens) == 1
    assert len(second.tokens) == 1
    assert second.result() == by_hand(network).run([request(8)])[0]
    assert not second.cancel()
    assert engine.statistics().cancelled == 1


def test_leaving_the_loop_over_tokens_cancels(network):
    engine = by_hand(network)
    ticket = engine.submit(request(7))
    tokens = iter(ticket)
    first = [next(tokens), next(tokens)]
    tokens.close()
    assert isinstance(ticket.error, Cancelled)
    assert list(ticket.tokens) == first
    assert list(zip(first, engine.submit(request(7))))  # others go on
    assert [token.finish for token in engine.submit(request(7))][-1] == "length"


def test_time_that_runs_out_ends_a_request_and_nobody_else(network):
    engine = by_hand(network, slots=1)
    slow = engine.submit(request(7, deadline_s=0.0001))
    waiting = engine.submit(request(8, deadline_s=0.0001))
    patient = engine.submit(request(9, deadline_s=1000.0))
    threading.Event().wait(0.001)
    assert len(patient.result().ids) == 20
    for ticket in (slow, waiting):
        with pytest.raises(Late, match=r"within 0.0001 s"):
            ticket.result()


def test_a_network_that_fails_fails_who_was_in_the_call_and_works_again(network, monkeypatch):
    engine = by_hand(network, slots=2)
    tickets = [engine.submit(request(word)) for word in (7, 8, 9)]
    engine.step()
    with monkeypatch.context() as patch:
        patch.setattr(network.decoder, "forward", None)
        engine.step()
    for ticket in tickets[:2]:
        assert len(ticket.tokens) == 1
        with pytest.raises(EngineError, match=r"failed with 2 requests.*not callable"):
            ticket.result()
    assert tickets[2].result().ids == by_hand(network).run([request(9)])[0].ids


def test_an_interrupt_is_not_swallowed(network, monkeypatch):
    engine = by_hand(network)
    ticket = engine.submit(request(7))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(network.decoder, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.step()
    assert isinstance(ticket.error, EngineError)
    assert engine.run([request(7)])


def test_a_full_queue_is_busy(network):
    engine = by_hand(network, slots=2, queue=1)
    tickets = [engine.submit(request(word)) for word in (7, 8, 9)]
    with pytest.raises(Busy, match="3 requests wait and 0 run"):
        engine.submit(request(10))
    engine.step()
    tickets[0].cancel()
    engine.step()
    engine.submit(request(10))
    # Whoever has many of them is served as there is room.
    assert len(engine.run([request(word) for word in range(10, 22)])) == 12


def test_memory_that_is_refused_is_an_answer(network):
    engine = by_hand(network, memory_bytes=2 * 64 * 2 * 4 * 56 * 4)
    expected = engine.run([request(7), request(8)])
    engine = by_hand(network, memory_bytes=2 * 64 * 2 * 4 * 56 * 4)
    tickets = [engine.submit(request(word)) for word in (7, 8, 9)]
    assert [ticket.result() for ticket in tickets[:2]] == expected
    with pytest.raises(Busy, match="no memory for one more request"):
        tickets[2].result()
    assert len(engine.run([request(9)])) == 1


def test_what_cannot_be_answered_is_refused_before_it_waits(network):
    engine = by_hand(network)
    latents = torch.randn(1, CONFIG.latents, CONFIG.text.width)
    for bad, error, said in [
        (request(*[7] * 129), PromptError, "130 tokens.*at most 130"),
        (request(1103), PromptError, "holds the id 1103"),
        (request(-1), PromptError, "holds the id -1"),
        (request(options=Options(beams=2)), InputError, "beam_search"),
        (replace(with_picture(latents), latents=None), PromptError, "9 slots for 0 pictures"),
        (replace(request(7), latents=latents), PromptError, "0 slots for 1 pictures"),
        (with_picture(latents[..., :4]), PromptError, r"\(1, 9, 4\), this network's \(1, 9, 56\)"),
        (request(7, slots=(True,)), PromptError, "slots for 1 of 2 ids"),
        (request(7, prefix_length=3), PromptError, "a beginning of 3 tokens in a prompt of 2"),
        (request(7, deadline_s=0.0), InputError, "deadline_s"),
    ]:
        with pytest.raises(error, match=said):
            engine.submit(bad)
    assert engine.statistics().waiting == 0
    with pytest.raises(ConfigError, match=r"eval\(\)"):
        Engine(loud_network(CONFIG).train())


def test_tokens_are_called_out_as_they_come(network):
    tokens, ends = [], []
    with Engine(network) as engine:
        ticket = engine.submit(request(7), on_token=tokens.append, on_end=ends.append)
        answer = ticket.result(30.0)
        assert ticket.wait(0.0)
    assert tuple(token.id for token in tokens) == answer.ids
    assert ends == [ticket]


def test_a_listener_that_fails_loses_its_request_only(network):
    def broken(_):
        raise LookupError("the listener broke")

    with Engine(network, slots=2) as engine:
        bad = engine.submit(request(7), on_token=broken, on_end=broken)
        good = engine.submit(request(8))
        assert len(good.result(30.0).ids) == 20
        with pytest.raises(LookupError):
            bad.result(30.0)


def test_many_threads_may_ask_at_once(network):
    expected = [each.ids for each in by_hand(network).run([request(w) for w in range(7, 19)])]
    for background in (True, False):
        with Engine(network, slots=3, background=background) as engine:
            answers: dict[int, tuple[int, ...]] = {}

            def ask(word, engine=engine, answers=answers):
                answers[word] = tuple(token.id for token in engine.submit(request(word)))

            threads = [threading.Thread(target=ask, args=(word,)) for word in range(7, 19)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert [answers[word] for word in range(7, 19)] == expected


def test_an_answer_can_be_awaited_for_a_time(network):
    engine = by_hand(network)
    ticket = engine.submit(request(7))
    with pytest.raises(TimeoutError, match=r"within 0.0 s"):
        ticket.result(0.0)
    assert len(ticket.result().ids) == 20


@pytest.mark.parametrize("background", [True, False])
def test_pictures_are_looked_at_where_the_work_is_done(network, background):
    side = CONFIG.vision.image_size
    pixels = torch.randn(2, 3, side, side)
    with Engine(network, background=background) as engine, torch.no_grad():
        running = engine.submit(request(7))
        assert torch.equal(engine.look(pixels), network.look(pixels))
        assert not engine.look(pixels).requires_grad
        with pytest.raises((InputError, TypeError)):  # the latter where shapes are checked
            engine.look(torch.zeros(2))
        assert len(running.result(30.0).ids) == 20


@pytest.mark.parametrize("background", [True, False])
def test_closing_finishes_what_it_can_and_takes_no_more(network, background):
    engine = Engine(network, slots=2, background=background)
    tickets = [engine.submit(request(word)) for word in range(7, 12)]
    engine.close(60.0)
    assert [len(ticket.tokens) for ticket in tickets] == [20] * 5
    with pytest.raises(EngineError, match="closed; make another"):
        engine.submit(request(7))
    engine.close()
    assert engine._memory.rows == 0


@pytest.mark.parametrize("background", [True, False])
def test_closing_cancels_what_it_cannot_finish(network, background):
    engine = Engine(network, slots=2, background=background)
    tickets = [engine.submit(request(word)) for word in range(7, 12)]
    engine.close(0.0)
    for ticket in tickets:
        assert ticket.done
        assert len(ticket.tokens) == 20 or isinstance(ticket.error, Cancelled)
    assert sum(isinstance(ticket.error, Cancelled) for ticket in tickets) >= 3


def test_closing_does_not_wait_for_a_network_that_hangs(network, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def hangs(*_, **__):
        begun.set()
        go_on.wait(60)
        raise RuntimeError("too late")

    monkeypatch.setattr(network.decoder, "forward", hangs)
    engine = Engine(network)
    ticket = engine.submit(request(7))
    assert begun.wait(60)
    engine.close(0.01)
    assert isinstance(ticket.error, Cancelled)
    go_on.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_is_told_to_make_its_own(network):
    engine = Engine(network)
    ticket = engine.submit(request(7))
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        said = ""
        for use in (lambda: engine.submit(request(7)), ticket.result, engine.step):
            try:
                use()
            except EngineError as error:
                said += f"{error}\n"
        engine.close()
        os.write(writer, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reader, 4096).decode()
    assert said.count("make one after the fork") == 3
    assert len(ticket.result(30.0).ids) == 20
    engine.close()


@pytest.mark.parametrize("wide", [None, 2])
def test_a_call_that_reads_many_tokens_has_more_threads(network, monkeypatch, wide):
    seen: list[tuple[bool, int]] = []
    forward = network.decoder.forward

    def watched(embedded, *given, **more):
        seen.append((embedded.shape[1] >= MANY, torch.get_num_threads()))
        return forward(embedded, *given, **more)

    monkeypatch.setattr(network.decoder, "forward", watched)
    engine, before = by_hand(network), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ticket = engine.submit(request(*[5] * MANY, options=Options(max_new_tokens=3)))
        while engine.step(wide=wide):
            assert torch.get_num_threads() == 1
        failed = engine.submit(request(*[5] * MANY))
        monkeypatch.setattr(network.decoder, "forward", None)
        engine.step(wide=wide)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert isinstance(failed.error, EngineError)
    assert len(ticket.tokens) == 3
    assert set(seen) == {(True, wide or 1), (False, 1)}


def test_the_figures_add_up(network):
    engine = by_hand(network, slots=2)
    engine.run([request(7), request(8, 9)])
    figures = engine.statistics()
    assert (figures.answered, figures.failed, figures.cancelled) == (2, 0, 0)
    assert figures.tokens == 40
    assert figures.read == 2 + 3 + 2 * 19  # the last token of an answer is not read
    assert figures.steps == figures.calls == 20
    assert (figures.running, figures.waiting, figures.forced) == (0, 0, 0)
