"""What is done between two steps: pictures of many callers together, each as if alone."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest
import torch

from kosmos2.config import Config
from kosmos2.engine.between import OTHERWISE, WHILE_RUNNING, Between
from kosmos2.engine.request import Request
from kosmos2.engine.ticket import Cancelled
from kosmos2.engine.worker import Engine
from kosmos2.model.quantised import kind_of, quantise
from kosmos2.options import Options
from networks import loud_network

CONFIG = Config.tiny()
SIDE = CONFIG.vision.image_size
AT_ONCE, IN_ALL = WHILE_RUNNING["cpu"], OTHERWISE["cpu"]


@pytest.fixture(scope="module", params=[None, "int8", "int4"])
def network(request):
    network = loud_network(CONFIG, seed=4, noise=0.05)
    return network if request.param is None else quantise(network, request.param)


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, SIDE, SIDE, generator=random)


@pytest.fixture
def calls(network, monkeypatch):
    """How many pictures the network was shown at once, each time."""
    shown: list[int] = []
    true_look = network.look

    def look(pixels):
        shown.append(len(pixels))
        return true_look(pixels)

    monkeypatch.setattr(network, "look", look)
    return shown


@pytest.fixture
def between(network):
    return Between(network, threading.RLock())


def same(network, ours: torch.Tensor, pixels: torch.Tensor) -> None:
    """In company as alone: to the bit where sums are of whole numbers."""
    with torch.no_grad():
        alone = torch.cat([network.look(one) for one in pixels.split(1)])
    exact = {"rtol": 0, "atol": 0} if kind_of(network) else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(ours, alone, **exact)


def test_pictures_of_many_callers_are_looked_at_together_and_each_as_if_alone(
    network, between, calls
):
    shown = [pictures(1, seed) for seed in range(IN_ALL)]
    looked = [between.look(each) for each in shown]
    between.do(running=False)
    assert calls == [IN_ALL]
    assert not between
    for pixels, found in zip(shown, looked, strict=True):
        same(network, found.result(0), pixels)
        assert not found.result().requires_grad
        assert found.result().untyped_storage().nbytes() == found.result().nbytes


def test_those_that_run_wait_for_few_pictures_only(network, between, calls):
    one, many = pictures(1, 1), pictures(2 * AT_ONCE + 1, 2)
    first, second = between.look(one), between.look(many)
    steps = 0
    while between:
        assert not second.done()
        between.do(running=True)
        steps += 1
        assert first.done()
    assert calls == [AT_ONCE] * (steps - 1) + [len(one) + len(many) - AT_ONCE * (steps - 1)]
    assert between.pictures == len(one) + len(many)
    same(network, second.result(0), many)


def test_a_picture_that_fails_fails_its_own_caller_only(network, between, monkeypatch):
    def look(pixels):
        if bool(pixels.isnan().any()):
            raise ValueError("this cannot be seen")
        return pixels[:, 0]

    monkeypatch.setattr(network, "look", look)
    shown = [pictures(1, 1), torch.full((1, 3, SIDE, SIDE), torch.nan), pictures(1, 2)]
    looked = [between.look(each) for each in shown]
    for _ in range(3):
        between.do(running=False)
    with pytest.raises(ValueError, match="cannot be seen"):
        looked[1].result(0)
    for at in (0, 2):
        assert torch.equal(looked[at].result(0), shown[at][:, 0])
    assert not between


def test_pictures_of_another_size_wait_for_their_turn(network, between, monkeypatch):
    monkeypatch.setattr(network, "look", lambda pixels: pixels[:, 0])
    sizes = (4, 6, 4)
    looked = [between.look(torch.zeros(1, 3, size, size)) for size in sizes]
    between.do(running=False)
    assert [each.done() for each in looked] == [True, False, True]
    between.do(running=False)
    assert looked[1].result(0).shape == (1, 6, 6)


def test_no_picture_at_all_is_an_answer(between):
    looked = between.look(pictures(0))
    between.do(running=True)
    assert looked.result(0).shape == (0, CONFIG.latents, CONFIG.text.width)


def test_works_are_done_and_what_they_raise_is_theirs(between):
    good, bad = between.work(lambda: 7), between.work(lambda: [][1])
    between.do(running=True)
    assert good.result(0) == 7
    with pytest.raises(IndexError):
        bad.result(0)


@pytest.mark.parametrize("kind", ["look", "work"])
def test_an_interrupt_is_not_swallowed_and_nobody_waits_for_ever(
    network, between, monkeypatch, kind
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "look", interrupted)
    waiting: Future = between.look(pictures(1)) if kind == "look" else between.work(interrupted)
    with pytest.raises(KeyboardInterrupt):
        between.do(running=False)
    with pytest.raises(KeyboardInterrupt):
        waiting.result(0)
    assert not between


def test_when_the_engine_closes_what_waits_is_told(between):
    waiting = [between.look(pictures(1)), between.work(lambda: 1)]
    between.give_up(Cancelled("closed"))
    assert all(isinstance(each.exception(0), Cancelled) for each in waiting)
    assert not between


def test_an_engine_that_closes_in_the_midst_of_a_look_ends_it_once(network, between, monkeypatch):
    true_look = network.look

    def closing(pixels):
        between.give_up(Cancelled("closed"))
        return true_look(pixels)

    monkeypatch.setattr(network, "look", closing)
    waiting = between.look(pictures(1))
    between.do(running=False)
    assert isinstance(waiting.exception(0), Cancelled)


def test_in_an_engine_words_go_on_while_pictures_wait(network):
    engine = Engine(network, background=False)
    ids = {"eos": 2, "pad": 1, "locations": range(79, 1103)}
    wanted = Options(max_new_tokens=20, min_new_tokens=20)
    ticket = engine.submit(Request(prompt=(0, 7), options=wanted, **ids))
    engine.step()
    looked = engine._between.look(pictures(3 * AT_ONCE))
    for step in range(3):
        assert len(ticket.tokens) == 1 + step
        assert not looked.done()
        engine.step()
    assert looked.done()
    assert engine.statistics().pictures == 3 * AT_ONCE
    assert len(ticket.result().ids) == 20


def test_many_threads_may_show_pictures_at_once(network):
    with Engine(network) as engine:
        found: dict[int, torch.Tensor] = {}
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: engine.look(pictures(1, n))}))
            for n in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert engine.between(lambda: threading.current_thread().name) == "kosmos2"
        assert not engine.dead
    for number, latents in found.items():
        same(network, latents, pictures(1, number))
    assert len(found) == 12
