"""Rows that cannot be used: named, counted, and skipped up to a share; past it the run stops.

Data sets of millions hold some rubbish, and a night of training should not end at one cut file.
But a run that quietly skips half of its data is worse than one that ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kosmos2.errors import DataError, Kosmos2Error

NAMED = 5  # bad rows that the error tells


class BadRow(DataError):
    """A row that cannot be read."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why

    def __reduce__(self) -> tuple[type[BadRow], tuple[str, str]]:
        # Errors travel from loader processes; the usual way would hand over one argument.
        return BadRow, (self.name, self.why)


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that was left out."""

    name: str
    why: str

    @classmethod
    def of(cls, error: Kosmos2Error, name: str) -> Bad:
        """What an error says; `name` is the row's, where the error has none."""
        if isinstance(error, BadRow):
            return cls(error.name, error.why)
        return cls(name, str(error).removeprefix(f"{name}: "))


@dataclass(slots=True)
class Tally:
    """How many rows were wanted and how many of those were bad."""

    most: float = 0.01  # share of bad rows that is put up with
    at_least: int = 10  # bad rows that are put up with whatever their share: chance, early in a run
    rows: int = 0
    bad: int = 0
    first: list[Bad] = field(default_factory=list)  # different ones, for the error

    def add(self, rows: int, bads: Iterable[Bad]) -> None:
        """Count rows that were used, and those that were left out on the way.

        Raises:
            DataError: too many are bad.
        """
        for bad in bads:
            self.bad += 1
            if len(self.first) < NAMED and bad not in self.first:
                self.first.append(bad)
        self.rows += rows
        wanted = self.rows + self.bad
        if self.bad > max(self.at_least, self.most * wanted):
            told = "\n".join(f"  {bad.name}: {bad.why}" for bad in self.first)
            raise DataError(
                f"{self.bad:,} of {wanted:,} rows cannot be used, more than the "
                f"{self.most:.2%} that is allowed; the first of them:\n{told}\n"
                "mend or remove them, or allow more with bad_share"
            )
