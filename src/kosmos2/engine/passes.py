"""One call of the network over some running requests, each with as many new tokens as it has.

Shapes: R requests, T new tokens of the longest, N tokens that are scored, D text width, W
vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kosmos2.engine.job import Job
from kosmos2.engine.scheduler import Piece
from kosmos2.engine.slots import Rows, Slots, on_device
from kosmos2.engine.token import Token
from kosmos2.model import Network

# Which tokens of a request, and their logits, or what was chosen after a single one.
Scored = tuple[range, Float[Tensor, "N W"] | Token | None]


@torch.no_grad()
def read(
    network: Network, memory: Slots, jobs: Sequence[Job], pieces: Sequence[Piece]
) -> list[Scored]:
    """Read the tokens of each piece; the logits, on the host, of those that an answer follows."""
    pad, new = network.config.text.pad, max(piece.count for piece in pieces)
    ids, positions = [], []
    for job, piece in zip(jobs, pieces, strict=True):
        padding = [pad] * (new - piece.count)
        ids.append(job.known[piece.start : piece.start + piece.count] + padding)
        positions.append(job.positions(piece.start, piece.count) + padding)
    embedded = network.decoder.words(on_device(ids, memory.device))
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
    hidden = network.decoder(
        embedded,
        on_device(positions, memory.device),
        mask=mask,
        causal=causal,
        cache=rows,
    )
    scored = [job.scored(piece.start, piece.count) for job, piece in zip(jobs, pieces)]
    which = [(row, at - pieces[row].start) for row, places in enumerate(scored) for at in places]
    if not which:
        return [(places, None) for places in scored]
    chosen = on_device(which, memory.device)
    logits = network.decoder.logits(hidden[chosen[:, 0], chosen[:, 1]]).float().cpu()
    parts = logits.split([len(places) for places in scored])
    return [(places, part if len(places) else None) for places, part in zip(scored, parts)]
