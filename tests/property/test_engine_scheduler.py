"""The scheduler keeps its promises whatever comes, leaves or forgets, in whatever order."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from kosmos2.engine.scheduler import Copy, Move, Scheduler
from kosmos2.errors import Busy, ConfigError

ENDLESS = 10_000


class Requests(RuleBasedStateMachine):
    """Requests come, are cancelled, run out of time, answer, foresee and are mistaken."""

    @initialize(
        slots=st.integers(1, 5),
        queue=st.integers(1, 6),
        chunk=st.integers(1, 12),
        padding=st.integers(0, 8),
    )
    def start(self, slots, queue, chunk, padding):
        self.scheduler = Scheduler(slots=slots, queue=queue, chunk=chunk, padding=padding)
        self.slots, self.chunk, self.padding = slots, chunk, padding
        self.room = queue + slots
        self.now = 0.0
        self.known: dict[int, int] = {}  # of those that are alive, in the order of arrival
        self.read: dict[int, int] = {}
        self.prompt: dict[int, int] = {}
        self.slot: dict[int, int] = {}
        self.deadline: dict[int, int] = {}
        self.beginning: dict[int, tuple[str, int]] = {}
        self.kept: set[str] = set()
        self.ids = iter(range(ENDLESS))

    def leave(self, id):
        for of in (self.known, self.read, self.prompt, self.slot, self.deadline, self.beginning):
            of.pop(id, None)

    @rule(
        known=st.integers(1, 40),
        beginning=st.none() | st.tuples(st.sampled_from("ab"), st.integers(1, 12)),
        patience=st.none() | st.integers(1, 30),
    )
    def submit(self, known, beginning, patience):
        id, more = next(self.ids), {}
        if beginning:
            beginning = (f"{beginning[0]}{min(beginning[1], known)}", min(beginning[1], known))
            more = {"beginning": beginning[0], "beginning_length": beginning[1]}
        if patience:
            more["deadline"] = self.now + patience
        if len(self.known) == self.room:
            with pytest.raises(Busy, match="ask again later"):
                self.scheduler.submit(id, known=known, **more)
            return
        self.scheduler.submit(id, known=known, **more)
        self.known[id], self.read[id], self.prompt[id] = known, 0, known
        if patience:
            self.deadline[id] = self.now + patience
        if beginning:
            self.beginning[id] = beginning

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def end(self, data):
        id = data.draw(st.sampled_from(list(self.known)))
        self.scheduler.free(id)
        self.scheduler.free(id)
        self.leave(id)

    @rule()
    def forget_beginnings(self):
        self.kept.clear()

    @rule(data=st.data())
    def step(self, data):
        self.now += 1
        plan = self.scheduler.plan(self.now, self.kept)
        assert set(plan.late) == {id for id, at in self.deadline.items() if at <= self.now}
        for id in plan.late:
            self.leave(id)
        for move in plan.moves:
            assert self.slot[move.id] == move.source
            assert move.target not in self.slot.values()
            self.slot[move.id] = move.target
        for seat in plan.seats:
            assert 0 <= seat.slot < self.slots
            assert seat.slot not in self.slot.values()
            self.slot[seat.id] = seat.slot
        for copy in plan.copies:
            name, length = self.beginning[copy.id]
            assert name in self.kept
            assert self.read[copy.id] == 0
            assert copy == Copy(copy.id, self.slot[copy.id], min(length, self.known[copy.id] - 1))
            self.read[copy.id] = copy.length
        self.check_order()
        self.check_calls(plan.calls)
        done = [piece for call in plan.calls for piece in call]
        for piece in done:
            self.read[piece.id] += piece.count
            name, length = self.beginning.get(piece.id, (None, 0))
            if name and self.read[piece.id] >= length:
                self.kept.add(name)
        for piece in done:
            beyond = self.read[piece.id] - self.prompt[piece.id]
            if beyond >= 0:  # of what was foreseen, some may not have come
                back = data.draw(st.integers(0, min(beyond, piece.count - 1)), label="void")
                if back or self.read[piece.id] == self.known[piece.id]:
                    more = data.draw(st.integers(1, 4), label="more known")
                    self.read[piece.id] -= back
                    self.known[piece.id] = self.read[piece.id] + more
                    self.scheduler.tell(
                        piece.id, known=self.known[piece.id], right=self.read[piece.id]
                    )

    def check_order(self):
        """First come, first seated; nobody waits beside a free slot; no holes."""
        seated = [id for id in self.known if id in self.slot]
        assert seated == list(self.known)[: self.slots]
        assert sorted(self.slot.values()) == list(range(len(seated)))

    def check_calls(self, calls):
        pieces = [piece for call in calls for piece in call]
        assert max(Counter(piece.id for piece in pieces).values(), default=1) == 1
        owed = {id: self.known[id] - self.read[id] for id in self.slot}
        for piece in pieces:
            assert piece.slot == self.slot[piece.id]
            assert piece.start == self.read[piece.id]
            assert 1 <= piece.count <= owed[piece.id]
        shared = [piece.count for piece in pieces if owed[piece.id] > 1]
        assert sum(shared) <= self.chunk
        read = {piece.id for piece in pieces}
        held = {
            id
            for id, (name, length) in self.beginning.items()
            if id in self.slot and self.read[id] < length and name not in self.kept
            for other, same in self.beginning.items()
            if other in self.slot and other < id and same[0] == name and self.read[other] < length
        }
        assert not held & read
        # Whoever owes one token goes; the oldest of the others goes; the chunk is used up.
        more = {id for id in owed if owed[id] > 1} - held
        assert {id for id in owed if owed[id] == 1} - held <= read
        assert not more or min(more, key=list(self.known).index) in read
        assert sum(shared) == min(self.chunk, sum(owed[id] for id in more))
        for call in calls:
            assert all(a.slot < b.slot for a, b in pairwise(call))
            longest = max(piece.count for piece in call)
            assert sum(longest - piece.count for piece in call) <= self.padding

    @invariant()
    def counts_agree(self):
        if hasattr(self, "scheduler"):
            assert self.scheduler.running == len(self.slot)
            assert self.scheduler.waiting == len(self.known) - len(self.slot)

    def teardown(self):
        """Everybody who is left comes to an end, in no more steps than tokens are owed."""
        if not hasattr(self, "scheduler"):
            return
        self.deadline.clear()
        owed = {id: known + self.room for id, known in self.known.items()}
        for _ in range(sum(owed.values()) + 2):
            plan = self.scheduler.plan(-1.0, self.kept)
            for copy in plan.copies:
                self.read[copy.id] = copy.length
            for piece in (piece for call in plan.calls for piece in call):
                self.read[piece.id] += piece.count
                if self.read[piece.id] >= self.known[piece.id]:
                    self.scheduler.free(piece.id)
                    owed.pop(piece.id)
        assert not owed, "somebody starves"


Requests.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRequests = Requests.TestCase


@settings(deadline=None)
@given(
    prompts=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    slots=st.integers(1, 4),
    chunk=st.integers(1, 16),
)
def test_what_is_planned_is_what_is_owed(prompts, slots, chunk):
    scheduler = Scheduler(slots=slots, queue=12, chunk=chunk)
    for id, known in enumerate(prompts):
        scheduler.submit(id, known=known)
    planned: Counter[int] = Counter()
    while scheduler.running or scheduler.waiting:
        for call in scheduler.plan(0.0).calls:
            for piece in call:
                planned[piece.id] += piece.count
                if planned[piece.id] == prompts[piece.id]:
                    scheduler.free(piece.id)
    assert [planned[id] for id in range(len(prompts))] == prompts


@given(long=st.integers(100, 1000), short=st.integers(2, 8), chunk=st.integers(16, 64))
def test_a_long_prompt_stalls_nobody(long, short, chunk):
    scheduler = Scheduler(slots=3, queue=4, chunk=chunk)
    scheduler.submit(0, known=long)
    scheduler.submit(1, known=1)
    scheduler.submit(2, known=short)
    counts = {piece.id: piece.count for call in scheduler.plan(0.0).calls for piece in call}
    assert counts == {0: min(long, chunk - short), 1: 1, 2: short}


def test_a_beginning_that_many_share_is_read_once():
    scheduler = Scheduler(slots=4, queue=4, chunk=100)
    for id in range(4):
        scheduler.submit(id, known=20 + id, beginning="picture", beginning_length=12)
    (call,) = scheduler.plan(0.0).calls
    assert [(piece.id, piece.count) for piece in call] == [(0, 20)]
    scheduler.tell(0, known=21, right=20)
    plan = scheduler.plan(0.0, {"picture"})
    assert [copy.length for copy in plan.copies] == [12, 12, 12]
    assert {p.id: p.count for call in plan.calls for p in call} == {0: 1, 1: 9, 2: 10, 3: 11}


def test_when_the_reader_of_a_beginning_leaves_the_next_one_reads_it():
    scheduler = Scheduler(slots=2, queue=4, chunk=4)
    for id in range(2):
        scheduler.submit(id, known=20, beginning="picture", beginning_length=12)
    assert [piece.id for call in scheduler.plan(0.0).calls for piece in call] == [0]
    scheduler.free(0)
    plan = scheduler.plan(0.0)
    assert plan.moves == (Move(1, 1, 0),)
    assert [piece.id for call in plan.calls for piece in call] == [1]


def test_requests_that_read_about_as_much_share_a_call():
    scheduler = Scheduler(slots=8, queue=8, chunk=200, padding=10)
    for id, known in enumerate([50, 9, 8, 1, 1, 7]):
        scheduler.submit(id, known=known)
    assert [[piece.count for piece in call] for call in scheduler.plan(0.0).calls] == [
        [50],
        [9, 8, 7],
        [1, 1],
    ]


def test_sizes_that_make_no_sense_are_refused():
    good = {"slots": 1, "queue": 1, "chunk": 1}
    for bad in ({"slots": 0}, {"queue": 0}, {"chunk": 0}, {"chunk": True}, {"padding": -1}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            Scheduler(**good | bad)
