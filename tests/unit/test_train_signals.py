"""Asked to stop: remembered until the step is done, and not passed on to what loads data."""

import os
import signal
import threading

import pytest
import torch

from kosmos2.train.signals import held_back, stoppable, unmoved


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_request_is_remembered_and_the_usual_handler_comes_back(number):
    usual = signal.getsignal(number)
    with stoppable() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()
    assert signal.getsignal(number) == usual


def test_a_second_request_waits_too_but_a_second_interrupt_does_not():
    with stoppable() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt, match="last checkpoint"):
            os.kill(os.getpid(), signal.SIGINT)


def test_elsewhere_than_in_the_main_thread_there_is_nobody_to_ask():
    seen = []

    def work() -> None:
        with stoppable() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def forked(*does) -> tuple[int, int, int]:
    """A process that gives back what it is given: its id, and the pipe's two ends.

    It does one thing more before each of the first bytes.
    """
    (its_in, mine), (yours, its_out) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(mine)
        left = list(does)
        while word := os.read(its_in, 1):
            if left:
                left.pop(0)()
            os.write(its_out, word)
        os._exit(0)
    os.close(its_in)
    os.close(its_out)
    return child, mine, yours


def test_a_forked_process_goes_on_until_its_maker_is_done():
    with stoppable() as stop:
        child, give, take = forked()
        os.kill(child, signal.SIGTERM)
        os.write(give, b"x")
        assert os.read(take, 1) == b"x", "it heard, and lives"
        assert not stop.is_set()
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert status == 0, "nothing that its maker would take for a failure"


def test_a_process_of_a_loader_lives_through_a_request_even_while_it_begins():
    """torch has SIGTERM end such a process, from its first moment until `unmoved`."""
    with stoppable() as stop:
        with held_back():
            child, give, take = forked(torch._C._set_worker_signal_handlers, lambda: unmoved(0))
        for _ in range(3):
            os.write(give, b"x")
            assert os.read(take, 1) == b"x", "it lives"
            os.kill(child, signal.SIGTERM)
        assert not stop.is_set()
    os.close(give)
    os.waitpid(child, 0)


def test_a_request_that_is_held_back_is_not_lost():
    with stoppable() as stop:
        with held_back():
            os.kill(os.getpid(), signal.SIGTERM)
        # If a thread of a library took it, it is seen as soon as Python runs the handler.
        assert stop.wait(10)
