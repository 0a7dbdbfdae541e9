"""One request on its way through the engine: what it knows, and what becomes of its logits.

Shapes: N tokens that are scored, W vocabulary, M latents, D text width.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import Protocol, TypeGuard, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from kosmos2.config import TextConfig
from kosmos2.engine.filters import Filter, has_role
from kosmos2.engine.likeliest import Place
from kosmos2.engine.loop import Writer
from kosmos2.engine.request import Request
from kosmos2.engine.row import Row, readable
from kosmos2.engine.ticket import Ticket
from kosmos2.engine.token import Token
from kosmos2.errors import EngineError

# What is said after a token: the next one, or the logits that its writer has to choose from.
Said = Token | Float[Tensor, " W"]


@runtime_checkable
class Forcing(Protocol):
    """A filter that can say beforehand which ids it will leave no choice about."""

    def forced(self, prompt: Sequence[int], answer: Sequence[int]) -> Sequence[int]:
        """The ids that must come next; none where there is a choice."""


class Job:
    """The state of one request.

    `known` is the prompt, the answer, and perhaps a forecast: ids that must follow, which the
    network reads together with the last one that was chosen. Every forecast id is still chosen the
    plain way, from its logits, when these come; one that turns out otherwise only costs time.
    """

    def __init__(
        self,
        request: Request,
        row: Row,
        ticket: Ticket,
        config: TextConfig,
        *,
        foresee: bool = True,
    ) -> None:
        """A request that has read nothing; without `foresee` there are no forecasts."""
        self.request = request
        self.row = row
        self.ticket = ticket
        self.writer = Writer(row)
        self.slot = -1
        self.forced = 0  # tokens that were forecast, and came
        self.right = 0  # tokens that were read, and that the answer goes on from
        self.known = list(row.prompt)
        self.latents: Float[Tensor, "M D"] | None = (
            None if request.latents is None else request.latents.detach().flatten(0, 1)
        )
        self._slots_before = [0, *accumulate(request.slots)]
        self._counted = list(accumulate(id != config.pad for id in row.prompt))
        self._config = config
        self._foresee = foresee
        self._forcing = [each for each in row.filters if _forces(each)]
        self.forecast()

    @property
    def most(self) -> int:
        """Tokens that are read at most: the last one of an answer is not."""
        return len(self.row.prompt) + self.row.limit - 1

    @property
    def beginning(self) -> Hashable | None:
        """A name for what may be shared, if something may."""
        request = self.request
        if request.prefix_key is None or not request.prefix_length:
            return None
        return request.prefix_key, self.row.prompt[: request.prefix_length]

    def positions(self, start: int, count: int) -> list[int]:
        """Where tokens stand: real ones count on from `pad + 1`, padding in a prompt does not."""
        pad, counted = self._config.pad, self._counted
        return [
            pad + (counted[-1] + at - len(counted) + 1)
            if at >= len(counted)
            else (pad if self.known[at] == pad else pad + counted[at])
            for at in range(start, start + count)
        ]

    def latents_in(self, start: int, count: int) -> tuple[list[int], Float[Tensor, "M D"] | None]:
        """Which of some tokens stand for latents, counted from `start`, and these latents."""
        if self.latents is None:
            return [], None
        slots, before = self.request.slots, self._slots_before
        end = min(start + count, len(slots))
        places = [at - start for at in range(start, end) if slots[at]]
        if not places:
            return [], None
        return places, self.latents[before[start] : before[end]]

    def scored(self, start: int, count: int) -> range:
        """Which of some tokens to be read have logits that count: those before an answer's."""
        return range(max(start, len(self.row.prompt) - 1), start + count)

    def place(self, at: int) -> Place:
        """What has to be known to choose what follows the token there, if all before it is so."""
        answer, locations = self.known[len(self.row.prompt) : at + 1], self.request.locations
        return Place(self.row, answer, locations, self.row.only_locations(answer, locations))

    def write(self, places: range, said: Sequence[Said]) -> None:
        """Go on with what is said after the tokens at these places; sets how many were right.

        Raises:
            Exception: whatever is wrong with this request alone.
        """
        for at, each in zip(places, said, strict=True):
            if isinstance(each, Token):
                token = each
                self.writer.take(token)
            else:
                token = self._choose(each)
            self.right = at + 1
            came = self.known[at + 1 : at + 2] == [token.id]
            if not came:  # nothing was forecast, or something else
                self.known[at + 1 :] = [token.id]
            self.forced += came
            self.ticket.put(token, forced=came)
            if self.writer.ended or not came:
                break
        if not self.writer.ended:
            self.forecast()

    def _choose(self, scores: Float[Tensor, " W"]) -> Token:
        """The plain way; where only locations may come, only their scores have to be there."""
        answer, locations = self.writer.answer, self.request.locations
        looked_at = scores
        if self.row.only_locations(answer, locations):
            looked_at = scores[locations.start : locations.stop]
        readable(looked_at[None], [self.row], len(answer))
        return self.writer.write(scores, locations)

    def forecast(self) -> None:
        """Ask the filters what must follow, unless that is known."""
        if not (self._foresee and self._forcing) or len(self.known) > len(self.row.prompt) + len(
            self.writer.answer
        ):
            return
        answer = list(self.writer.answer)
        # The last token of an answer is chosen from what is there already: no need to foresee it.
        while len(answer) < self.row.limit - 1:
            more = self._must_follow(answer)
            for id in more:
                if id in self.row.stops or len(answer) >= self.row.limit - 1:
                    return
                answer.append(id)
                self.known.append(id)
            if not more:
                return

    def _must_follow(self, answer: Sequence[int]) -> tuple[int, ...]:
        for each in self._forcing:
            if ids := tuple(each.forced(self.row.prompt, answer)):
                for id in ids:
                    if not 0 <= id < self._config.vocabulary:
                        raise EngineError(
                            f"{type(each).__name__} forces the id {id}, the vocabulary ends at "
                            f"{self._config.vocabulary}"
                        )
                return ids
        return ()


def _forces(each: Filter) -> TypeGuard[Forcing]:
    return has_role(type(each), Forcing)
