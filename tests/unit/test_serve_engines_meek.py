"""Steps that let everybody else go first are the same steps, and come back when they starve."""

from __future__ import annotations

import os
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="the server's libraries are an extra")

from kosmos2.serve.engines import meek
from kosmos2.serve.engines.meek import Meek

pytestmark = pytest.mark.skipif(not meek.possible(), reason="no idle class of threads here")


class Steps:
    """What an engine would do, and who did it in which class."""

    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []
        self.takes_s: list[float] = []
        self.fails: BaseException | None = None

    def __call__(self) -> bool:
        self.done.append((threading.get_ident(), os.sched_getscheduler(0)))
        if self.takes_s:
            time.sleep(self.takes_s.pop(0))
        if self.fails is not None:
            raise self.fails
        return len(self.done) < 3


def test_meek_steps_are_done_in_the_idle_class_and_others_here():
    steps = Steps()
    one = Meek(steps)
    assert [one.step(meekly=meekly) for meekly in (False, True, False)] == [True, True, False]
    here, there, again = steps.done
    assert here == again == (threading.get_ident(), os.SCHED_OTHER)
    assert there[0] != here[0]
    assert there[1] == os.SCHED_IDLE
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "nobody else is in that class"


def test_a_meek_step_may_be_another_one():
    done: list[str] = []
    one = Meek(lambda: bool(done.append("here")), lambda: not done.append("meekly"))
    assert [one.step(meekly=meekly) for meekly in (True, False)] == [True, False]
    assert done == ["meekly", "here"]


def test_what_a_meek_step_raises_is_raised_here():
    steps = Steps()
    one = Meek(steps)
    steps.fails = SystemError("on purpose")
    with pytest.raises(SystemError, match="on purpose"):
        one.step(meekly=True)
    steps.fails = None
    assert one.step(meekly=True), "and it goes on"


def test_after_a_step_that_took_far_too_long_the_next_are_done_here():
    steps = Steps()
    one = Meek(steps)
    for _ in range(60):
        one.step(meekly=True)  # so that it knows what is usual
    steps.takes_s = [0.4]
    one.step(meekly=True)
    del steps.done[:]
    for _ in range(meek.NOT_AGAIN + 1):
        one.step(meekly=True)
    classes = [of for _, of in steps.done]
    assert classes == [os.SCHED_OTHER] * meek.NOT_AGAIN + [os.SCHED_IDLE]


def test_where_no_thread_may_be_meek_the_steps_are_done_all_the_same(monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "not allowed")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    steps = Steps()
    assert Meek(steps).step(meekly=True)
    assert [of for _, of in steps.done] == [os.SCHED_OTHER]
