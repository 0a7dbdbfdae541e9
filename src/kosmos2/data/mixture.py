"""Several sources by weight, each going round its own rows: a pure function of the position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from kosmos2.data.order import Order
from kosmos2.data.readers.reader import Reader
from kosmos2.data.sample import Sample
from kosmos2.data.tolerance import Bad, BadRow
from kosmos2.errors import DataError

CYCLE = 4096  # positions in which each source gets its share, to within one
MOST_TRIES = 100  # rows tried for one position


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample and where it came from."""

    sample: Sample
    source: int
    epoch: int  # how often the source has been gone through before
    index: int  # in that epoch's order
    bad: tuple[Bad, ...] = ()  # rows whose place it took


class Mixture:
    """Sources that take turns by weight.

    Args:
        readers: the sources.
        weights: how often each is drawn, compared with the others.
        seed: of every order.
        shuffle: the rows of each source; otherwise as stored.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        weights: Sequence[float],
        *,
        seed: int,
        shuffle: bool = True,
    ) -> None:
        if not readers or len(readers) != len(weights):
            raise DataError(f"{len(weights)} weights for {len(readers)} sources; give one for each")
        for reader, weight in zip(readers, weights):
            if not (isfinite(weight) and weight > 0):
                raise DataError(f"{reader.name} has weight {weight}; give more than 0, or leave it")
            if not len(reader):
                raise DataError(f"{reader.name} has no rows; look at its path and split")
        self.readers, self.weights, self.seed = tuple(readers), tuple(weights), seed
        self.orders = [
            Order(reader.blocks, key=(seed, n), shuffle=shuffle, scattered=reader.scattered)
            for n, reader in enumerate(readers)
        ]
        self.shares = _shares(weights)
        self._cycle: tuple[int, list[int], list[int]] | None = None

    @property
    def rows(self) -> int:
        """Of all sources together."""
        return sum(map(len, self.orders))

    def draw(self, position: int) -> Drawn:
        """The sample at a position; bad rows give way to the next of their source."""
        return next(self.candidates(position))

    def candidates(self, position: int) -> Iterator[Drawn]:
        """The sample at a position, then those that would take its place; the last is the last.

        Raises:
            DataError: there is no row far and wide that can be read.
        """
        source, turn = self._turn(position)
        reader, order = self.readers[source], self.orders[source]
        epoch, index = divmod(turn, len(order))
        bad: list[Bad] = []
        offered = False
        for further in range(min(MOST_TRIES, len(order))):
            try:
                sample = reader.read(order.row(epoch, (index + further) % len(order)))
            except BadRow as error:
                bad.append(Bad(error.name, error.why))
                continue
            yield Drawn(sample, source, epoch, index, tuple(bad))
            offered = True
        if not offered:
            raise no_more(reader, bad)

    def _turn(self, position: int) -> tuple[int, int]:
        """Whose turn it is, and how many turns that source has had before."""
        cycle, place = divmod(position, CYCLE)
        if self._cycle is None or self._cycle[0] != cycle:
            sources = np.repeat(np.arange(len(self.shares)), self.shares)
            np.random.default_rng([self.seed, cycle]).shuffle(sources)
            before = np.empty(CYCLE, int)
            for source, share in enumerate(self.shares):
                before[sources == source] = cycle * share + np.arange(share)
            self._cycle = cycle, sources.tolist(), before.tolist()
        return self._cycle[1][place], self._cycle[2][place]


def no_more(reader: Reader, bad: Sequence[Bad]) -> DataError:
    """What is wrong with a source of which row after row cannot be used, and with the first."""
    why = f"{bad[0].name}: {bad[0].why}" if bad else "nothing is labelled in any of them"
    tried = min(MOST_TRIES, len(reader))
    return DataError(f"{reader.name}: {tried} rows one after the other cannot be used; {why}")


def _shares(weights: Sequence[float]) -> list[int]:
    """Places of a cycle for each source: at least one, in all as many as there are."""
    if len(weights) > CYCLE:
        raise DataError(f"{len(weights)} sources, {CYCLE} at most; join some of them")
    exact = np.array(weights, float) / sum(weights) * CYCLE
    shares = np.maximum(np.floor(exact).astype(int), 1)
    while (missing := CYCLE - int(shares.sum())) != 0:
        # Largest remainder first; what tiny weights got too much is taken from who has most.
        owed = exact - shares if missing > 0 else np.where(shares > 1, exact - shares, np.inf)
        shares[np.argmax(owed) if missing > 0 else np.argmin(owed)] += 1 if missing > 0 else -1
    return [int(share) for share in shares]
