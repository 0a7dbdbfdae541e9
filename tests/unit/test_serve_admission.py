"""The line in front of the model: nobody is lost, nobody jumps it, and the rest go away at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server's libraries are an extra")

from kosmos2.serve import admission as admitting
from kosmos2.serve.admission import Admission, unless_gone
from kosmos2.serve.failures import Refused
from kosmos2.serve.metrics import Metrics
from kosmos2.serve.settings import Limits

WAIT_S = 30.0


def run(work: Callable[[Admission], Awaitable[Any]], **limits: Any) -> Any:
    async def alone() -> Any:
        async with asyncio.timeout(WAIT_S):
            admission = Admission(Limits(**limits), Metrics())
            done = await work(admission)
            assert admission.inside == admission.running == admission.waiting == 0
            await admission.idle()
            return done

    return asyncio.run(alone())


async def until(what: Callable[[], bool]) -> None:
    while not what():
        await asyncio.sleep(0)


def test_every_request_is_answered_or_refused() -> None:
    async def work(admission: Admission) -> None:
        most = 0

        async def request(number: int) -> str:
            nonlocal most
            try:
                async with admission.enter() as place:
                    await place.turn()
                    most = max(most, admission.running)
                    await asyncio.sleep(0)
                    if number % 5 == 0:
                        raise LookupError
                    return "answered"
            except Refused as refused:
                return refused.code
            except LookupError:
                return "failed"

        count = Counter(await asyncio.gather(*(request(number) for number in range(100))))
        assert count["overloaded"] == 100 - 3 - 7
        assert count["answered"] + count["failed"] == 10
        assert most == 3

    run(work, running=3, queued=7)


def test_turns_come_in_the_order_of_asking() -> None:
    async def work(admission: Admission) -> None:
        order: list[int] = []

        async def request(number: int) -> None:
            async with admission.enter() as place:
                await place.turn()
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(request(number) for number in range(20)))
        assert order == list(range(20))

    run(work, running=2, queued=18)


def test_who_has_not_sent_the_whole_body_keeps_nobody_waiting() -> None:
    async def work(admission: Admission) -> None:
        sending = admission.enter
        async with sending(), sending(), admission.enter() as place:
            await place.turn()
            await place.turn()  # once is enough
            assert (admission.running, admission.waiting) == (1, 2)

    run(work, running=1, queued=2)


@pytest.mark.parametrize("granted", [False, True])
def test_who_gives_up_waiting_leaves_the_turn_to_the_next(granted: bool) -> None:
    async def work(admission: Admission) -> None:
        served: list[str] = []

        async def request(name: str) -> None:
            async with admission.enter() as place:
                await place.turn()
                served.append(name)

        async with admission.enter() as first:
            await first.turn()
            second = asyncio.create_task(request("second"))
            third = asyncio.create_task(request("third"))
            await until(lambda: admission.waiting == 2)
            await asyncio.sleep(0)
            if not granted:
                second.cancel()
        second.cancel()  # the turn has been given, and not been taken
        await asyncio.gather(second, third, return_exceptions=True)
        assert served == ["third"]

    run(work, running=1, queued=2)


def test_nobody_waits_for_ever() -> None:
    async def work(admission: Admission) -> None:
        async with admission.enter() as first:
            await first.turn()
            with pytest.raises(Refused) as refused:
                async with admission.enter() as second:
                    await second.turn()
            assert refused.value.code == "deadline_exceeded"
            assert admission.running == 1

    run(work, running=1, deadline_s=0.01)


def test_while_draining_who_is_inside_is_answered_and_nobody_enters() -> None:
    async def work(admission: Admission) -> None:
        async with admission.enter() as first, admission.enter() as second:
            await first.turn()
            admission.drain()
            with pytest.raises(Refused) as refused:
                async with admission.enter():
                    pass
            assert refused.value.code == "draining"
            await second.turn()
            idle = asyncio.create_task(admission.idle())
            await asyncio.sleep(0)
            assert not idle.done()
        await idle

    run(work, running=2)


def test_when_to_come_again_grows_with_the_line_and_the_pace() -> None:
    async def work(admission: Admission) -> None:
        admission._usual_s = 6.0
        empty = admission.retry_after_s
        async with admission.enter(), admission.enter(), admission.enter():
            assert (empty, admission.retry_after_s) == (3, 12)
            admission._usual_s = 1e6
            assert admission.retry_after_s == 60
            admission._usual_s = 0.0
            assert admission.retry_after_s == 1

    run(work, running=2, queued=5)


def test_a_client_that_goes_takes_its_work_with_it() -> None:
    async def alone() -> None:
        gone, ended = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        task = asyncio.create_task(unless_gone(receive, work()))
        await asyncio.sleep(0)
        gone.set()
        with pytest.raises(Refused) as refused:
            await task
        assert refused.value.code == "cancelled"
        assert ended.is_set()

        async def quick() -> int:
            return 7

        gone.clear()
        assert await unless_gone(receive, quick()) == 7
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(alone())


def test_everyone_for_whom_there_is_no_place_is_heard_of() -> None:
    heard: list[int] = []

    async def work() -> None:
        limits = Limits(running=1, queued=1)
        admission = Admission(limits, Metrics(), on_crowd=lambda: heard.append(admission.inside))
        async with admission.enter(), admission.enter():
            assert not heard
            for _ in range(3):
                with pytest.raises(Refused):
                    async with admission.enter():
                        pytest.fail("there is no place")
        admission.drain()
        with pytest.raises(Refused):
            async with admission.enter():
                pytest.fail("the door is closed")

    asyncio.run(work())
    assert heard == [2, 2, 2], "a closed door is no crowd"


def with_inside(count: int) -> Admission:
    """Eight places, and so many of them taken."""
    admission = Admission(Limits(running=2, queued=6), Metrics())
    admission.inside = count
    return admission


def code_for_a_newcomer(admission: Admission) -> str | None:
    try:
        admission.check(newcomer=True)
    except Refused as refused:
        return refused.code
    return None


def test_those_on_their_way_have_the_first_places() -> None:
    admission = with_inside(6)
    admission.expect("anna")
    assert code_for_a_newcomer(admission) is None
    admission.expect("ben")
    assert code_for_a_newcomer(admission) == "overloaded"
    admission.check()  # who is on the way is not in his own way
    admission.came("ben")
    assert code_for_a_newcomer(admission) is None


def test_who_takes_too_long_is_not_waited_for(monkeypatch) -> None:
    admission = with_inside(7)
    admission.expect("anna")
    assert code_for_a_newcomer(admission) == "overloaded"
    monkeypatch.setattr(admitting, "COMING_S", -1.0)
    assert code_for_a_newcomer(admission) is None


def test_where_most_places_are_free_nobody_is_counted_before_he_is_inside() -> None:
    admission = with_inside(1)
    assert not admission.crowd_about
    for number in range(20):
        admission.expect(number)
    assert code_for_a_newcomer(admission) is None


def test_who_has_a_place_is_on_the_way_no_longer() -> None:
    async def work(admission: Admission) -> None:
        async with admission.enter():
            admission.expect("anna")
            assert code_for_a_newcomer(admission) == "overloaded"
            async with admission.enter("anna"):
                pass
            assert code_for_a_newcomer(admission) is None

    run(work, running=1, queued=1)
