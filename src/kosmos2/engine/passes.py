"""One call of the network over some running requests, each with as many new tokens as it has.

Shapes: R requests, T new tokens of the longest, D text width, W vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine.job import Job, Said
from kosmos2.engine.likeliest import Likeliest, Place
from kosmos2.engine.scheduler import Piece
from kosmos2.engine.slots import Rows, Slots, on_device
from kosmos2.engine.token import Token
from kosmos2.model import Network

# Which tokens of a request, and what is said after each of them.
Scored = tuple[range, Sequence[Said]]

# Locations are scored apart if the vocabulary is so many times theirs. Measured with one thread:
# with 65,037 words of width 1,024 and 4 blocks a step of 1, 4 or 16 locations is 1.8 times as fast,
# in int8 1.5 times; where half of the rows need all words, the two products take 0.9 to 1.1 of the
# one's time for 2 rows and 0.7 to 0.8 for 16. With 1,309 words, most of which are locations, a step
# would be 0.9 to 1.0 times as fast.
APART = 4


@torch.no_grad()
def read(
    network: Network,
    memory: Slots,
    jobs: Sequence[Job],
    pieces: Sequence[Piece],
    likeliest: Likeliest,
) -> list[Scored]:
    """Read the tokens of each piece, and say what comes after those that an answer follows."""
    hidden = _hidden(network, memory, jobs, pieces)
    scored = [job.scored(piece.start, piece.count) for job, piece in zip(jobs, pieces, strict=True)]
    where = [(row, at - pieces[row].start) for row, span in enumerate(scored) for at in span]
    places = [job.place(at) for job, span in zip(jobs, scored, strict=True) for at in span]
    said: dict[tuple[int, int], Said] = {}
    for words, some in _kinds(places, network.config.text.vocabulary):
        rows, tokens = on_device([where[at] for at in some], memory.device).unbind(dim=1)
        logits = network.decoder.logits(hidden[rows, tokens], words).cpu()
        heard = likeliest.of(logits, [places[at] for at in some], words)
        for at, each in zip(some, heard, strict=True):
            if words is not None and not isinstance(each, Token):
                each = _whole(each, words, network)
            said[where[at]] = each
    return [
        (span, [said[row, at - pieces[row].start] for at in span])
        for row, span in enumerate(scored)
    ]


def _hidden(
    network: Network, memory: Slots, jobs: Sequence[Job], pieces: Sequence[Piece]
) -> Float[Tensor, "R T D"]:
    """What the decoder makes of the tokens of each piece."""
    pad, new = network.config.text.pad, max(piece.count for piece in pieces)
    ids, positions = [], []
    for job, piece in zip(jobs, pieces, strict=True):
        padding = [pad] * (new - piece.count)
        ids.append(job.known[piece.start : piece.start + piece.count] + padding)
        positions.append(job.positions(piece.start, piece.count) + padding)
    told = on_device([ids, positions], memory.device)
    embedded = network.decoder.words(told[0])
    for row, (job, piece) in enumerate(zip(jobs, pieces, strict=True)):
        places, latents = job.latents_in(piece.start, piece.count)
        if latents is not None:
            embedded[row, on_device(places, memory.device)] = latents.to(embedded)
    rows = Rows(
        memory,
        [piece.slot for piece in pieces],
        [piece.start for piece in pieces],
        [piece.count for piece in pieces],
    )
    mask, causal = rows.order()
    return network.decoder(embedded, told[1], mask=mask, causal=causal, cache=rows)


def _kinds(places: Sequence[Place], vocabulary: int) -> list[tuple[range | None, list[int]]]:
    """Which places need the scores of all words (None), and which only those of a range."""
    kinds: dict[range | None, list[int]] = {}
    for at, place in enumerate(places):
        apart = place.only_locations and vocabulary >= APART * len(place.locations)
        kinds.setdefault(place.locations if apart else None, []).append(at)
    return list(kinds.items())


def _whole(scores: Float[Tensor, " part"], words: range, network: Network) -> Float[Tensor, " W"]:
    """The logits of all words; those that were not scored may not come anyway."""
    whole = torch.full((network.config.text.vocabulary,), -math.inf)
    whole[words.start : words.stop] = scores
    return whole
