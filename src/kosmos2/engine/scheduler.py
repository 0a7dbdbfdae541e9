"""Who goes next: arithmetic over slots and lengths; no tensors, no clock, no threads.

A slot is a place in the memory of keys and values (in a prompt it is a place for a latent). A
request waits, then has a slot until it ends. It *knows* some tokens: its prompt, what it answered,
and perhaps what must follow. The network has *read* some of these; the others it *owes*. Whoever
owes a single token, which is everyone in the midst of an answer, goes in every step. Those that owe
more share the `chunk` of a step: half of it is the oldest's for sure, the rest goes to those that
owe least. So a long prompt stalls nobody, and everybody is the oldest some day.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable
from dataclasses import dataclass
from itertools import groupby

from kosmos2.errors import Busy, ConfigError


@dataclass(frozen=True, slots=True)
class Seat:
    """A request leaves the queue for a slot."""

    id: int
    slot: int


@dataclass(frozen=True, slots=True)
class Move:
    """What a request has read goes to another slot, so that slots in use lie side by side."""

    id: int
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Copy:
    """The first tokens of a request are not read but copied from a beginning that was kept."""

    id: int
    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that the network reads of one request in one call."""

    id: int
    slot: int
    start: int
    count: int


Call = tuple[Piece, ...]  # in the order of their slots


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One step, to be done in this order."""

    late: tuple[int, ...]  # these ran out of time and are out
    moves: tuple[Move, ...]
    seats: tuple[Seat, ...]
    copies: tuple[Copy, ...]
    calls: tuple[Call, ...]


@dataclass(kw_only=True, slots=True)
class _Entry:
    id: int
    known: int
    beginning: Hashable | None
    beginning_length: int
    deadline: float | None
    read: int = 0
    slot: int = -1

    @property
    def owed(self) -> int:
        return self.known - self.read


class Scheduler:
    """Waiting and running requests, first come first served."""

    def __init__(self, *, slots: int, queue: int, chunk: int, padding: int = 16) -> None:
        """An empty house.

        Args:
            slots: requests that run together.
            queue: requests that may wait when every slot is taken.
            chunk: tokens that are read in one step by those that owe more than one.
            padding: tokens of padding that cost about as much as one more call of the network.
        """
        for name, value, least in (
            ("slots", slots, 1),
            ("queue", queue, 1),
            ("chunk", chunk, 1),
            ("padding", padding, 0),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} is {value!r}; give a whole number of at least {least}")
        self.slots, self.queue, self.chunk, self.padding = slots, queue, chunk, padding
        self._waiting: dict[int, _Entry] = {}  # both in the order of arrival
        self._running: dict[int, _Entry] = {}

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests with a slot."""
        return len(self._running)

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return self.waiting >= self.queue + self.slots - self.running

    def submit(
        self,
        id: int,
        *,
        known: int,
        beginning: Hashable | None = None,
        beginning_length: int = 0,
        deadline: float | None = None,
    ) -> None:
        """Queue a request that knows so many tokens.

        Raises:
            Busy: the queue is full.
        """
        assert known > 0, "nothing to read"
        assert id not in self._waiting, "an id is used once"
        assert id not in self._running, "an id is used once"
        if self.full:
            raise Busy(
                f"{self.waiting} requests wait and {self.running} run; ask again later, or make "
                "the engine with a longer queue"
            )
        self._waiting[id] = _Entry(
            id=id,
            known=known,
            beginning=beginning,
            beginning_length=beginning_length,
            deadline=deadline,
        )

    def tell(self, id: int, *, known: int, right: int) -> None:
        """A running request now knows so many tokens; what was read past the right ones is void."""
        assert right < known, "nothing to read"
        entry = self._running[id]
        entry.known = known
        entry.read = min(entry.read, right)

    def free(self, id: int) -> None:
        """A request has ended, wherever it was; not known any more is fine."""
        self._waiting.pop(id, None)
        self._running.pop(id, None)

    def plan(self, now: float, kept: Container[Hashable] = ()) -> Plan:
        """What to do in the next step; it counts as done.

        `kept` says which beginnings can be copied.
        """
        late = tuple(
            entry.id
            for entry in (*self._running.values(), *self._waiting.values())
            if entry.deadline is not None and entry.deadline <= now
        )
        for id in late:
            self.free(id)
        seats = self._seat()
        moves = self._close_up()
        copies, held = self._begin(kept)
        owing = [entry for entry in self._running.values() if entry.id not in held]
        counts = {entry.id: 1 for entry in owing if entry.owed == 1}
        counts |= self._share([entry for entry in owing if entry.owed > 1])
        return Plan(late=late, moves=moves, seats=seats, copies=copies, calls=self._calls(counts))

    def _seat(self) -> tuple[Seat, ...]:
        """The first of the queue take the lowest free slots."""
        taken = {entry.slot for entry in self._running.values()}
        free = [slot for slot in range(self.slots) if slot not in taken]
        seats = tuple(Seat(id, slot) for id, slot in zip(list(self._waiting), free))
        for seat in seats:
            entry = self._running[seat.id] = self._waiting.pop(seat.id)
            entry.slot = seat.slot
        return seats

    def _close_up(self) -> tuple[Move, ...]:
        """Nobody sits above a free slot: neighbours can then be read in place, without copying."""
        taken = {entry.slot for entry in self._running.values()}
        free = iter([slot for slot in range(len(taken)) if slot not in taken])
        moves = []
        for entry in self._running.values():
            if entry.slot >= len(taken):
                moves.append(Move(entry.id, entry.slot, next(free)))
                entry.slot = moves[-1].target
        return tuple(moves)

    def _begin(self, kept: Container[Hashable]) -> tuple[tuple[Copy, ...], set[int]]:
        """Which beginnings are copied, and who waits for another to have read the same one."""
        copies, held, in_reading = [], set(), set()
        for entry in self._running.values():
            if entry.beginning is None or entry.read >= entry.beginning_length:
                continue
            if entry.read == 0 and entry.beginning in kept:
                entry.read = min(entry.beginning_length, entry.known - 1)
                copies.append(Copy(entry.id, entry.slot, entry.read))
            elif entry.beginning in in_reading:
                held.add(entry.id)
            else:
                in_reading.add(entry.beginning)
        return tuple(copies), held

    def _share(self, owing: list[_Entry]) -> dict[int, int]:
        """How much of the chunk each of these gets."""
        if not owing:
            return {}
        oldest, *others = owing
        sure = min(oldest.owed, (self.chunk + 1) // 2)
        left = self.chunk - sure
        counts = {}
        for entry in sorted(others, key=lambda entry: entry.owed):
            if count := min(entry.owed, left):
                counts[entry.id] = count
                left -= count
        counts[oldest.id] = sure + min(oldest.owed - sure, left)
        return counts

    def _calls(self, counts: dict[int, int]) -> tuple[Call, ...]:
        """Requests that read about as many tokens go together; shorter ones are padded."""
        pieces = []
        for id, count in sorted(counts.items(), key=lambda item: -item[1]):
            entry = self._running[id]
            pieces.append(Piece(id, entry.slot, entry.read, count))
            entry.read += count
        calls: list[list[Piece]] = []
        longest = padding = 0
        for count, group in groupby(pieces, key=lambda piece: piece.count):
            equal = list(group)
            padding += (longest - count) * len(equal)
            if calls and padding <= self.padding:
                calls[-1] += equal
            else:
                calls.append(equal)
                longest, padding = count, 0
        return tuple(tuple(_by_slot(call)) for call in calls)


def _by_slot(pieces: Iterable[Piece]) -> list[Piece]:
    return sorted(pieces, key=lambda piece: piece.slot)
