"""Location words that share what they learn, while training.

The 1,024 locations are a grid, so each location's embedding is held as the sum of a row's and a
column's: 64 vectors learn instead of 1,024, and every box teaches a whole row and column. Once
training ends, `merged` gives a plain embedding, as in the released model.

Shapes: W words, C cells, S cells a side, D text width.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kosmos2.geometry import CELLS, SIDE

_SPREAD = 0.02  # of rows and columns that begin anew
_ROUNDING = 1e-3  # share of variance that saving in half precision may leave; unshared: nearly 1
_NO_VARIANCE = 1e-30


class RowsAndColumns(nn.Module):
    """Writes row plus column into the last C rows of an embedding."""

    def __init__(self, rows: Float[Tensor, "S D"], columns: Float[Tensor, "S D"]) -> None:
        super().__init__()
        self.rows, self.columns = nn.Parameter(rows), nn.Parameter(columns)

    def forward(self, words: Float[Tensor, "W D"]) -> Float[Tensor, "W D"]:
        """The embedding that the network sees."""
        cells = self.rows[:, None] + self.columns[None]
        return torch.cat([words[:-CELLS], cells.flatten(0, 1)])


def share(words: nn.Embedding) -> None:
    """Let the locations of an embedding share rows and columns from now on.

    Locations that were learnt so go on from what they know; others begin anew.
    """
    width = words.embedding_dim
    rows, columns, left = _apart(words.weight.detach()[-CELLS:])
    if left.is_meta or left > _ROUNDING:  # a plan has sizes only
        rows, columns = _smooth(width, _SPREAD), _smooth(width, _SPREAD)
    parametrize.register_parametrization(
        words, "weight", RowsAndColumns(rows, columns), unsafe=True
    )


def merged(network: nn.Module, words: str) -> dict[str, Tensor]:
    """A network's parameters with the embedding called `words` as one plain matrix again.

    The network itself goes on sharing.
    """
    embedding = network.get_submodule(words)
    assert isinstance(embedding, nn.Embedding)
    state = {
        name: value
        for name, value in network.state_dict().items()
        if not name.startswith(f"{words}.parametrizations")
    }
    return {**state, f"{words}.weight": embedding.weight.detach()}


def _apart(
    locations: Float[Tensor, "C D"],
) -> tuple[Float[Tensor, "S D"], Float[Tensor, "S D"], Tensor]:
    """The rows and columns nearest to these, and the share of their variance that is left over."""
    grid = locations.float().unflatten(0, (SIDE, SIDE))
    middle = grid.mean(dim=(0, 1))
    rows = grid.mean(dim=1) - middle / 2
    columns = grid.mean(dim=0) - middle / 2
    left = (grid - rows[:, None] - columns[None]).square().sum()
    return rows, columns, left / (grid - middle).square().sum().clamp_min(_NO_VARIANCE)


def _smooth(width: int, spread: float) -> Float[Tensor, "S D"]:
    """Random waves along the edge, so that neighbours start alike and the far apart differ."""
    places = torch.arange(SIDE, dtype=torch.float32)[:, None] / SIDE
    turns = torch.rand(width) * 6 * math.pi
    return spread * torch.cos(places * turns + torch.rand(width) * 2 * math.pi) / math.sqrt(0.5)
