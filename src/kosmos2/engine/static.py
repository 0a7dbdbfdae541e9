"""The step that every answer consists of, in fixed shapes: one more token of each running request.

On a GPU the network's arithmetic for one token takes less time than telling the GPU about it, so
the step is recorded once for each rounded number of rows and rounded length (a CUDA graph), and
replayed: all that it reads and writes stays where it is. The device also chooses: rows that take
the likeliest token send four numbers to the host, the others their logits. The host waits once a
step. Elsewhere the same step runs without being recorded.

Rows are slots 0 to R - 1, whoever is in them; those without a token to read write theirs into the
spare place at the end of a slot, and nobody looks at what they say.

Shapes: R rows, W vocabulary, Z slots, K ids forbidden one by one, M masks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine.grammar import Grammar, Rule
from kosmos2.engine.job import Job, Said
from kosmos2.engine.likeliest import SOUND, Place, chosen, token_said
from kosmos2.engine.one_token import OneToken, Pack
from kosmos2.engine.passes import Scored
from kosmos2.engine.scheduler import Piece
from kosmos2.engine.slots import Slots, on_device
from kosmos2.model import Network

log = logging.getLogger(__name__)

LISTED = 64  # ids that can be forbidden one by one
MASKS = 256  # rules of grammars that are kept on the device
LENGTH = 64  # the shortest length that is recorded
ID, POSITION, PLACE, MASK, FIRST_LISTED = range(5)  # what the device is told of a row


class Static:
    """The recorded steps of a network over one memory, and the tensors that they read and write."""

    def __init__(
        self, network: Network, memory: Slots, *, fuse: bool = False, pack: Pack | None = None
    ) -> None:
        """Nothing is recorded yet; for `fuse` and `pack` see `OneToken`."""
        assert memory.spare, "there is no place for what should go nowhere"
        self.network = network
        self.memory = memory
        self.step = OneToken(network, fuse=fuse, pack=pack)
        self.recorded = 0  # steps that were, since the beginning
        device, words = memory.device, network.config.text.vocabulary
        pinned = device.type == "cuda"
        self._told = torch.zeros(memory.slots, FIRST_LISTED + LISTED, dtype=torch.int64)
        self._told = self._told.pin_memory() if pinned else self._told
        self._rows = self._told.numpy()  # the same memory, quicker to write to
        self._said = torch.zeros(memory.slots, SOUND + 1, pin_memory=pinned)
        self._inputs = torch.zeros_like(self._told, device=device)
        self._outputs = torch.zeros_like(self._said, device=device)
        self._logits = torch.zeros(memory.slots, words, device=device)
        self._masks = torch.zeros(
            1 + max(MASKS, memory.slots), words, dtype=torch.bool, device=device
        )
        self._rules: dict[Rule, int] = {}  # which mask is whose; the first one forbids nothing
        self._steps: dict[Hashable, Callable[[], None]] = {}
        self._made = -1
        self._can_record = device.type == "cuda"
        self._aside: torch.cuda.Stream | None = None
        self._pool = torch.cuda.graph_pool_handle() if self._can_record else None

    @torch.no_grad()
    def read(self, jobs: Sequence[Job], pieces: Sequence[Piece]) -> list[Scored]:
        """Read one token of each; what was chosen, or the logits where the host has to choose."""
        memory, last = self.memory, pieces[-1].slot
        rows = rounded_rows(last + 1, memory.rows)
        length = rounded_length(max(piece.start for piece in pieces) + 1, memory.capacity)
        assert max(piece.start for piece in pieces) < memory.capacity, "no memory was reserved"
        if len(self._rules) + len(pieces) > len(self._masks) - 1:
            self._rules.clear()
        told = self._rows
        told[:rows, :FIRST_LISTED] = [self.nobody]
        locations = jobs[0].request.locations
        places = [job.place(piece.start) for job, piece in zip(jobs, pieces, strict=True)]
        by_host: list[int] = []
        for at, (job, piece) in enumerate(zip(jobs, pieces, strict=True)):
            row = [job.known[piece.start], *job.positions(piece.start, 1), piece.start]
            rule = self._rule(places[at]) if job.request.locations == locations else None
            if rule is None:
                by_host.append(at)
                rule = [0]
            told[piece.slot, : len(row) + len(rule)] = row + rule
            told[piece.slot, len(row) + len(rule) :] = rule[-1]
            memory.filled[piece.slot] = max(memory.filled[piece.slot], piece.start + 1)
        self.run(rows, length, locations)
        return self._heard(places, pieces, by_host)

    @property
    def nobody(self) -> list[int]:
        """What is told of a row without a token to read."""
        pad = self.network.config.text.pad
        return [pad, pad, self.memory.capacity, 0]

    @torch.no_grad()
    def run(self, rows: int, length: int, locations: range) -> None:
        """Do the step with what was told of the first rows; it may still be going on after this."""
        if self._made != self.memory.made:  # what was recorded points to memory that is gone
            self._steps.clear()
            self._made = self.memory.made
        self._inputs[:rows].copy_(self._told[:rows], non_blocking=True)
        key = rows, length, locations
        if key not in self._steps:
            self._steps[key] = self._record(lambda: self._compute(rows, length, locations))
        self._steps[key]()
        self._said[:rows].copy_(self._outputs[:rows], non_blocking=True)

    def _compute(self, rows: int, length: int, locations: range) -> None:
        """From the inputs to logits and outputs; on the device, without a look at any number."""
        told, logits = self._inputs[:rows], self._logits[:rows]
        ids, positions, places, masks = told[:, :FIRST_LISTED].unbind(dim=1)
        logits.copy_(self.step(ids, positions, places, self.memory.pairs, length))
        allowed = logits.masked_fill(self._masks.index_select(0, masks), -math.inf)
        allowed.scatter_(1, told[:, FIRST_LISTED:], -math.inf)
        self._outputs[:rows] = chosen(logits, allowed, locations)

    def _record(self, step: Callable[[], None]) -> Callable[[], None]:
        """A step that does the same again, from what the inputs hold then."""
        if not self._can_record:
            return step
        device = self.memory.device
        if self._aside is None:  # always the same: libraries keep memory for each stream
            self._aside = torch.cuda.Stream(device)
        now, aside = torch.cuda.current_stream(device), self._aside
        aside.wait_stream(now)
        with torch.cuda.stream(aside):  # libraries set themselves up in the first calls
            for _ in range(2):
                step()
        now.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may go on using the GPU meanwhile.
            with torch.cuda.graph(graph, self._pool, aside, capture_error_mode="thread_local"):
                step()
        except RuntimeError:
            log.exception("the step cannot be recorded here; it runs slowly")
            self._can_record = False
            return step
        self.recorded += 1
        return graph.replay

    def _heard(
        self, places: Sequence[Place], pieces: Sequence[Piece], by_host: Sequence[int]
    ) -> list[Scored]:
        """What the device says, once it is done."""
        slots = [pieces[at].slot for at in by_host]
        logits = dict(zip(by_host, self._fetch(slots), strict=True)) if slots else {}
        if self.memory.device.type == "cuda":
            torch.cuda.current_stream(self.memory.device).synchronize()
        heard: list[Scored] = []
        answers = self._said[: pieces[-1].slot + 1].tolist()
        for at, (place, piece) in enumerate(zip(places, pieces, strict=True)):
            said = answers[piece.slot]
            if at not in logits and not said[SOUND]:  # the host knows what to do about it
                logits[at] = self._logits[piece.slot].cpu()
            each: Said = logits[at] if at in logits else token_said(said, place)
            heard.append((range(piece.start, piece.start + 1), [each]))
        return heard

    def _fetch(self, slots: list[int]) -> Float[Tensor, "N W"]:
        """The logits of some slots, on their way to the host."""
        found = self._logits.index_select(0, on_device(slots, self.memory.device))
        if not found.is_cuda:
            return found
        return torch.empty(found.shape, pin_memory=True).copy_(found, non_blocking=True)

    def _rule(self, place: Place) -> list[int] | None:
        """What may not come next: a mask's number, then ids; None where the host has to choose."""
        ruling = place.ruling
        if ruling is None or not 0 < len(ruling.ids) <= LISTED:
            return None
        mask = 0
        if ruling.rule is not None:
            assert ruling.grammar is not None
            mask = self._mask(ruling.rule, ruling.grammar)
        return [mask, *ruling.ids]

    def _mask(self, rule: Rule, grammar: Grammar) -> int:
        """Where a rule's mask is on the device; room for it was made."""
        if rule not in self._rules:
            self._rules[rule] = len(self._rules) + 1
            self._masks[self._rules[rule]] = grammar.mask(rule, self._masks.shape[1])
        return self._rules[rule]


def takes(job: Job, piece: Piece) -> bool:
    """Whether a piece is such a step: one token, no latent, and an answer goes on from it."""
    return (
        piece.count == 1
        and len(job.scored(piece.start, 1)) == 1
        and job.latents_in(piece.start, 1)[1] is None
    )


def rounded_rows(rows: int, most: int) -> int:
    """The next power of two, or as many as there are."""
    return min(1 << (rows - 1).bit_length(), most)


def rounded_length(tokens: int, most: int) -> int:
    """At most half as many more, or 64, in few different sizes; or as many as there are."""
    unit = max(LENGTH, 1 << ((tokens - 1).bit_length() - 2)) if tokens > LENGTH else LENGTH
    return min(-(-tokens // unit) * unit, most)
