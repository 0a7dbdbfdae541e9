"""Heavy things come one a round of the event loop, in order, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server is an extra: pip install kosmos2[serve]")

from kosmos2.serve.pace import Pace


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Loop:
    """Counts the rounds of a loop, and in which of them somebody had a turn."""

    def __init__(self) -> None:
        self.pace, self.round = Pace(), 0
        self.turns: list[tuple[str, int]] = []

    async def ask(self, name: str) -> None:
        await self.pace.turn()
        self.turns.append((name, self.round))

    async def run(self, *tasks: asyncio.Task[Any], most: int = 30) -> None:
        while not all(task.done() for task in tasks) and self.round < most:
            await asyncio.sleep(0)
            self.round += 1


def test_who_comes_alone_does_not_wait() -> None:
    async def ask() -> None:
        pace = Pace()
        for _ in range(3):
            turn = pace.turn()
            with pytest.raises(StopIteration):
                turn.send(None)  # it has come to its end without waiting for anything
            await rounds(2)

    asyncio.run(ask())


def test_of_many_in_one_round_one_a_round_goes_on_in_order() -> None:
    async def ask() -> Loop:
        loop = Loop()
        await loop.run(*[asyncio.create_task(loop.ask(name)) for name in "abcde"])
        return loop

    turns = asyncio.run(ask()).turns
    assert [name for name, _ in turns] == list("abcde")
    at = [number for _, number in turns]
    assert len(set(at)) == len(at)


def test_who_has_gone_costs_no_round_and_stops_nobody() -> None:
    async def ask() -> Loop:
        loop = Loop()
        tasks = [asyncio.create_task(loop.ask(name)) for name in "abcd"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[2].cancel()
        await loop.run(*tasks)
        late = asyncio.create_task(loop.ask("e"))
        await loop.run(late)
        return loop

    assert [name for name, _ in asyncio.run(ask()).turns] == ["a", "d", "e"]
