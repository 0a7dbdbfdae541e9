"""The decoder for one token a row, written out as few large operations in fixed shapes.

It computes what `model.decoder` does. Differences, each only in the last digits: query, key and
value are one matrix; a block adds its bias first and its product on top, in place. The shape of
everything follows from the number of rows and the length alone, and nothing waits for a number, so
that the whole can be recorded once and replayed.

Shapes: R rows, D width, X the wide vector's width, H heads, E head width, S tokens that are seen,
W vocabulary, Z slots in memory, C tokens of a slot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from kosmos2.model import Network
from kosmos2.model.decoder import DecoderLayer, sinusoids

# A matrix as it is, or what multiplies by one that is kept in fewer bits.
Matrix = Float[Tensor, "to from_"] | Callable[[Tensor], Tensor]
Pack = Callable[[Tensor], Matrix]


class Affine(NamedTuple):
    """A matrix and what is added."""

    matrix: Matrix
    bias: Tensor

    def __call__(self, x: Float[Tensor, "R from_"]) -> Float[Tensor, "R to"]:
        """Their value at x."""
        if isinstance(self.matrix, Tensor):
            return F.linear(x, self.matrix, self.bias)
        return self.matrix(x).add_(self.bias)

    def onto(self, y: Float[Tensor, "R to"], x: Float[Tensor, "R from_"]) -> Float[Tensor, "R to"]:
        """Their value at x, added to y; y stays as it is."""
        if isinstance(self.matrix, Tensor):
            return (y + self.bias).addmm_(x, self.matrix.T)
        return self.matrix(x).add_(y + self.bias)


class Norm(NamedTuple):
    """A layer norm."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Float[Tensor, "R any"]) -> Float[Tensor, "R any"]:
        """Each row's numbers, evened out."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class Block(NamedTuple):
    """One block's parameters."""

    attention_norm: Norm
    ask: Affine  # query, key and value
    heard_norm: Norm
    out: Affine
    ffn_norm: Norm
    widen: Affine
    wide_norm: Norm
    narrow: Affine


def asking(x: Float[Tensor, "R D"], block: Block) -> Float[Tensor, "R three_D"]:
    """Query, key and value of each row."""
    return block.ask(block.attention_norm(x))


def thinking(
    x: Float[Tensor, "R D"], heard: Float[Tensor, "R D"], block: Block
) -> Float[Tensor, "R D"]:
    """The rest of a block, once the others were heard."""
    x = block.out.onto(x, block.heard_norm(heard))
    wide = F.gelu(block.widen(block.ffn_norm(x)))
    return block.narrow.onto(x, block.wide_norm(wide))


class OneToken:
    """A network's decoder, ready to read one token a row.

    Args:
        network: Its parameters are used as they are; the joined matrices are copies.
        fuse: Let `torch.compile` join the small operations between the products; it needs a
            compiler on the machine and some seconds for each new number of rows.
        pack: Keeps the blocks' matrices in another form.
    """

    def __init__(self, network: Network, *, fuse: bool = False, pack: Pack | None = None) -> None:
        text = network.config.text
        self.heads, self.scale = text.heads, text.embedding_scale
        self.words = network.decoder.words.weight.detach()
        self.last_norm = _norm(network.decoder.last_norm)
        places = torch.arange(text.pad + 1 + text.positions, device=network.device)
        self.positions = sinusoids(places[None], text)[0].to(network.dtype)
        self.blocks = [_block(layer, pack or _as_it_is) for layer in network.decoder.layers]
        self._asking, self._thinking = asking, thinking
        if fuse:
            self._asking = torch.compile(asking, dynamic=False, fullgraph=True)
            self._thinking = torch.compile(thinking, dynamic=False, fullgraph=True)

    @property
    def step_bytes(self) -> int:
        """What has to be read for any step, however few its rows: every block, and the words."""
        return sum(_bytes(part) for block in self.blocks for part in block) + self.words.nbytes

    def __call__(
        self,
        ids: Int[Tensor, " R"],
        positions: Int[Tensor, " R"],
        places: Int[Tensor, " R"],
        pairs: Sequence[Float[Tensor, "2 Z H C E"]],
        length: int,
    ) -> Float[Tensor, "R W"]:
        """Read a token of each of the first R slots; the scores of the next, in the own dtype.

        A token's key and value are written at its place, and it sees what is up to there, of
        `length` at most.
        """
        rows = len(ids)
        x = F.embedding(ids, self.words) * self.scale + F.embedding(positions, self.positions)
        seen = torch.arange(length, device=ids.device) <= places[:, None]
        # Numbers rather than booleans, which every block's attention would turn into numbers.
        mask = torch.zeros((), dtype=x.dtype, device=x.device).where(seen, -math.inf)
        mask = mask[:, None, None]  # R 1 1 S
        at = places[:, None, None, None].expand(2, rows, self.heads, 1, pairs[0].shape[-1])
        for block, pair in zip(self.blocks, pairs, strict=True):
            asked = self._asking(x, block).view(rows, 3, self.heads, 1, -1).transpose(0, 1)
            held = pair[:, :rows]
            held.scatter_(3, at, asked[1:])
            keys, values = held[:, :, :, :length]
            heard = F.scaled_dot_product_attention(asked[0], keys, values, attn_mask=mask)
            x = self._thinking(x, heard.reshape(rows, -1), block)
        return F.linear(self.last_norm(x), self.words)


def suits(network: Network) -> bool:
    """Whether a network's decoder is made of plain matrices."""
    return isinstance(network.decoder.words, nn.Embedding) and all(
        isinstance(module, DecoderLayer | nn.Linear | nn.LayerNorm) or not _own(module)
        for module in network.decoder.layers.modules()
    )


def _block(layer: nn.Module, pack: Pack) -> Block:
    assert isinstance(layer, DecoderLayer)
    attention, ffn = layer.attention, layer.ffn
    three = (attention.query, attention.key, attention.value)
    return Block(
        attention_norm=_norm(layer.attention_norm),
        ask=Affine(
            pack(torch.cat([part.weight.detach() for part in three])),
            torch.cat([part.bias.detach() for part in three]),
        ),
        heard_norm=_norm(attention.inner_norm),
        out=_affine(attention.out, pack),
        ffn_norm=_norm(layer.ffn_norm),
        widen=_affine(ffn.widen, pack),
        wide_norm=_norm(ffn.inner_norm),
        narrow=_affine(ffn.narrow, pack),
    )


def _affine(linear: nn.Linear, pack: Pack) -> Affine:
    return Affine(pack(linear.weight.detach()), linear.bias.detach())


def _norm(norm: nn.LayerNorm | None) -> Norm:
    assert norm is not None
    return Norm(norm.weight.detach(), norm.bias.detach(), norm.eps)


def _as_it_is(weight: Tensor) -> Matrix:
    return weight


def _bytes(part: Affine | Norm) -> int:
    return sum(getattr(each, "nbytes", 0) for each in part)


def _own(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]
