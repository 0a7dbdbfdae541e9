"""An engine in a process of its own says what one in this process says, and leaves nothing."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("fastapi", reason="the server's libraries are an extra")
if sys.platform != "linux":
    pytest.skip("an engine gets a process of its own on Linux only", allow_module_level=True)

from kosmos2 import Kosmos2
from kosmos2.config import Config, TextConfig
from kosmos2.engine import Cancelled, Late, Request, Token
from kosmos2.errors import EngineError, InputError, PromptError
from kosmos2.grounder import Seen
from kosmos2.options import Options
from kosmos2.serve.engines import Apart, Inside, Making, can_be_apart, threads_for
from kosmos2.serve.failures import Refused
from kosmos2.train import vocabulary
from networks import loud_network

WAIT_S = 60.0


@pytest.fixture(scope="module")
def model() -> Kosmos2:
    tokenizer = vocabulary.build()
    config = Config.tiny(vocabulary=tokenizer.size)
    return Kosmos2(loud_network(config, 5), tokenizer, name="random")


@pytest.fixture
def apart(model: Kosmos2) -> Iterator[Apart]:
    engine = Apart(model, slots=4, threads=1)
    yield engine
    engine.close(0.0)
    assert not alive(engine.pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


def request(model: Kosmos2, start: int = 4, **more: Any) -> Request:
    """A prompt without a picture."""
    tokenizer = model.tokenizer
    wanted: dict[str, Any] = {
        "prompt": (tokenizer.bos, *range(start, start + 5)),
        "eos": tokenizer.eos,
        "pad": tokenizer.pad,
        "locations": tokenizer.cells,
        "options": Options(max_new_tokens=30, top_logprobs=2),
    }
    return Request(**(wanted | more))


class Heard:
    """What a caller hears of one answer."""

    def __init__(self, engine: Making, request: Request) -> None:
        self.tokens: list[Token] = []
        self.over = threading.Event()
        self.job = engine.submit(
            request, on_token=self.tokens.append, on_end=lambda _: self.over.set()
        )

    def wait(self) -> Heard:
        assert self.over.wait(WAIT_S)
        return self


def close_to(one: list[Token], other: list[Token]) -> bool:
    """The same ids in the same order; scores to the digits that company does not change."""
    return [t.id for t in one] == [t.id for t in other] and all(
        a.logprob == pytest.approx(b.logprob, abs=1e-4)
        and a.finish == b.finish
        and [id for id, _ in a.top] == [id for id, _ in b.top]
        for a, b in zip(one, other, strict=True)
    )


def test_answers_are_those_of_an_engine_in_this_process(model: Kosmos2, apart: Apart) -> None:
    inside = Inside(model, slots=4)
    requests = [
        request(model, start, options=Options(max_new_tokens=10 + start, top_logprobs=2))
        for start in range(4, 13)
    ]
    there = [Heard(apart, one) for one in requests]
    here = [Heard(inside, one).wait() for one in requests]
    for one, other in zip(there, here, strict=True):
        assert one.wait().job.error is None
        assert one.tokens
        assert close_to(one.tokens, other.tokens)
        assert one.job.prompt == other.job.prompt == 6
    inside.close(0.0)
    assert apart.running == apart.waiting == 0


def test_nobody_who_listened_is_held_when_it_is_over(model: Kosmos2, apart: Apart) -> None:
    gc.collect()
    gc.disable()  # a ring would lie about until it is searched for
    try:
        heard = Heard(apart, request(model, 4)).wait()
        assert heard.tokens
        job, until = weakref.ref(heard.job), time.monotonic() + WAIT_S
        heard.job.cancel()  # to no effect
        del heard
        while job() is not None and time.monotonic() < until:
            time.sleep(0.001)  # `on_end` is heard just before
        assert job() is None
    finally:
        gc.enable()


def test_pictures_and_phrases_are_those_of_an_engine_in_this_process(
    model: Kosmos2, apart: Apart
) -> None:
    inside = Inside(model, slots=4)
    side = model.config.vision.image_size
    squares = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    latents = apart.look(squares)
    torch.testing.assert_close(latents, inside.look(squares), atol=1e-5, rtol=1e-5)
    seen = Seen(_Picture(), latents[0], by=model.network)
    found, known = (one.locate(seen, ["a dog", "a red cup"], best=2) for one in (apart, inside))
    assert [one.phrase for one in found] == ["a dog", "a red cup"]
    for one, other in zip(found, known, strict=True):
        assert one.presence == pytest.approx(other.presence, abs=1e-4)
        corners = [dataclasses.astuple(box)[:4] for box in one.boxes]
        assert corners
        assert corners == [pytest.approx(dataclasses.astuple(box)[:4]) for box in other.boxes]
    with pytest.raises(InputError):
        apart.locate(seen, ["a dog"], best=0)
    inside.close(0.0)


def test_half_precision_arrives_as_it_was_sent() -> None:
    tokenizer = vocabulary.build()
    network = loud_network(Config.tiny(vocabulary=tokenizer.size), 5).to(torch.bfloat16)
    model = Kosmos2(network, tokenizer, name="random")
    side = model.config.vision.image_size
    squares = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    engine = Apart(model, slots=4, threads=1)
    latents = engine.look(squares)
    assert torch.equal(latents, Inside(model, slots=4).look(squares).float())
    (found,) = engine.locate(Seen(_Picture(), latents[0], by=network), ["a dog"])
    assert found.boxes
    engine.close(0.0)


@dataclasses.dataclass(frozen=True)
class _Picture:
    width: int = 60
    height: int = 40
    rotated: int = 0
    name: str = "a picture"
    digest: str = "one"


def test_what_cannot_be_asked_is_said_at_once(model: Kosmos2, apart: Apart) -> None:
    with pytest.raises(PromptError, match="the vocabulary ends"):
        Heard(apart, request(model, prompt=(0, 10**6)))
    with pytest.raises(InputError, match="deadline_s"):
        Heard(apart, request(model, deadline_s=-1.0))
    assert Heard(apart, request(model)).wait().tokens, "nobody else is touched"


def test_who_is_late_or_no_longer_wanted_hears_it(model: Kosmos2, apart: Apart) -> None:
    long = Options(max_new_tokens=60, min_new_tokens=60)
    late = Heard(apart, request(model, options=long, deadline_s=1e-6)).wait()
    assert isinstance(late.job.error, Late)
    given_up = Heard(apart, request(model, options=long))
    assert given_up.job.cancel()
    assert isinstance(given_up.wait().job.error, Cancelled)
    assert not given_up.job.cancel(), "once is enough"
    until(lambda: apart.running == apart.waiting == 0)
    known = len(given_up.tokens)
    assert Heard(apart, request(model)).wait().tokens
    assert len(given_up.tokens) == known, "nothing comes after the end"


def test_who_gives_way_says_the_same(model: Kosmos2, apart: Apart) -> None:
    plain = Heard(apart, request(model)).wait()
    giving_way = []
    for _ in range(5):
        apart.give_way()
        giving_way.append(Heard(apart, request(model)))
    for one in giving_way:
        assert close_to(one.wait().tokens, plain.tokens)
        assert one.job.error is None


def test_closing_finishes_what_runs_and_leaves_nothing_open(model: Kosmos2) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    engine = Apart(model, slots=4, threads=1)
    heard = [Heard(engine, request(model, start)) for start in (4, 9)]
    engine.close(WAIT_S)
    assert all(one.wait().job.error is None and one.tokens[-1].finish for one in heard)
    assert not engine.dead
    assert not alive(engine.pid)
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)
    engine.close(0.0)  # again changes nothing
    with pytest.raises(EngineError, match="closed"):
        Heard(engine, request(model))


def test_when_the_process_dies_everybody_is_told(model: Kosmos2) -> None:
    engine = Apart(model, slots=4, threads=1)
    os.kill(engine.pid, signal.SIGSTOP)  # so that nothing is answered before
    heard = Heard(engine, request(model))
    failed: list[BaseException] = []

    def look() -> None:
        try:
            engine.look(torch.zeros(1, 3, 4, 4))
        except Refused as error:
            failed.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    os.kill(engine.pid, signal.SIGKILL)
    error = heard.wait().job.error
    assert isinstance(error, Refused)
    assert error.code == "engine_dead"
    looking.join(WAIT_S)
    assert [error.code for error in failed if isinstance(error, Refused)] == ["engine_dead"]
    assert engine.dead
    with pytest.raises(Refused) as refused:
        Heard(engine, request(model))
    assert refused.value.code == "engine_dead"
    engine.close(0.0)
    assert not alive(engine.pid), "not even a zombie"


def test_signals_for_the_server_do_not_end_the_engine(model: Kosmos2, apart: Apart) -> None:
    assert Heard(apart, request(model)).wait().tokens
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(apart.pid, number)
    assert Heard(apart, request(model)).wait().job.error is None


def test_the_process_does_not_hold_what_is_not_its_own(model: Kosmos2) -> None:
    ours, other = socket.socketpair()
    engine = Apart(model, slots=4, threads=1, leave=[other.fileno()])
    assert Heard(engine, request(model)).wait().tokens
    other.close()
    ours.settimeout(WAIT_S)
    assert ours.recv(1) == b"", "closed everywhere"
    ours.close()
    engine.close(0.0)


def test_without_its_maker_the_process_ends(model: Kosmos2) -> None:
    take, give = os.pipe()
    maker = os.fork()
    if maker == 0:
        engine = Apart(model, slots=4, threads=1)
        os.write(give, str(engine.pid).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(maker, 0)
    pid = int(os.read(take, 20))
    os.close(take)
    os.close(give)
    until(lambda: not alive(pid))


def test_a_process_is_not_forked_beside_threads(model: Kosmos2) -> None:
    go_on = threading.Event()
    other = threading.Thread(target=go_on.wait)
    other.start()
    try:
        assert not can_be_apart(model)
    finally:
        go_on.set()
        other.join()


def test_small_networks_have_one_thread() -> None:
    assert threads_for(TextConfig(width=256, layers=4, heads=4, ffn_width=1024)) == 1
    assert threads_for(TextConfig()) == torch.get_num_threads()
