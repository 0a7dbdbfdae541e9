"""Locations that share rows and columns: anew, or from what is known."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from kosmos2.geometry import CELLS, SIDE
from kosmos2.train import cells

WORDS, WIDTH = 20, 8


def embedding(locations: torch.Tensor) -> nn.Embedding:
    words = nn.Embedding(WORDS + CELLS, WIDTH)
    with torch.no_grad():
        words.weight[-CELLS:] = locations
    return words


def test_locations_that_were_learnt_so_go_on_from_there():
    torch.manual_seed(0)
    rows, columns = torch.randn(SIDE, 1, WIDTH), torch.randn(1, SIDE, WIDTH)
    words = embedding((rows + columns).flatten(0, 1).half().float())  # as they are saved
    before = words.weight.detach().clone()
    cells.share(words)
    torch.testing.assert_close(words.weight.detach(), before, atol=2e-3, rtol=0)
    assert torch.equal(words.weight[:WORDS], before[:WORDS]), "other words are not touched"


def test_other_locations_begin_anew():
    torch.manual_seed(0)
    words = embedding(torch.randn(CELLS, WIDTH))
    before = words.weight.detach().clone()
    cells.share(words)
    now = words.weight.detach()[-CELLS:].unflatten(0, (SIDE, SIDE))
    assert not torch.allclose(now.flatten(0, 1), before[-CELLS:], atol=0.1)
    away = now - now[:1] - now[:, :1] + now[:1, :1]
    assert away.abs().max() < 1e-5, "a row and a column"
    beside = (now[1:] - now[:-1]).norm(dim=-1).mean()
    assert beside < (now[16:] - now[:16]).norm(dim=-1).mean(), "neighbours are alike"


def test_one_location_teaches_its_row_and_column():
    words = embedding(torch.zeros(CELLS, WIDTH))
    cells.share(words)
    words(torch.tensor([WORDS + 5 * SIDE + 7])).sum().backward()
    shared = words.parametrizations["weight"][0]
    assert isinstance(shared, cells.RowsAndColumns)
    assert shared.rows.grad.any(dim=1).nonzero().flatten().tolist() == [5]
    assert shared.columns.grad.any(dim=1).nonzero().flatten().tolist() == [7]
    assert parametrize.is_parametrized(words)
