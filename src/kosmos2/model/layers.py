"""The parts that the tower, the connector and the decoder share.

Shapes: B rows, T vectors that ask, S vectors that are asked, D width, H heads, W head width.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from kosmos2.model.cache import Cache
from kosmos2.model.product import Linear

# Numbers are added to the scores; booleans say who may be asked.
Mask = Float[Tensor, "B 1 T S"] | Bool[Tensor, "B 1 T S"]


def _kernels(mask: Tensor | None) -> AbstractContextManager[None]:
    """Which ways to compute attention give right gradients under this mask.

    A mask of numbers may forbid a padded row everything. The fused kernel answers such a row
    rightly, but its gradient divides by a sum that the most negative number has swallowed, and
    comes out hundreds of times too large.
    """
    if mask is None or mask.dtype == torch.bool or not torch.is_grad_enabled():
        return nullcontext()
    return sdpa_kernel(SDPBackend.MATH)


def attention_bias(forbidden: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Tensor:
    """The most negative number where forbidden, nothing elsewhere."""
    nothing = torch.zeros(forbidden.shape, dtype=dtype, device=forbidden.device)
    return nothing.masked_fill(forbidden, torch.finfo(dtype).min)


def _shares(
    queries: Float[Tensor, "B H T W"],
    keys: Float[Tensor, "B H S W"],
    mask: Mask | None,
    causal: bool,
) -> Float[Tensor, "B H T S"]:
    """How much each asker hears of each that is asked, in the type of the parameters."""
    scores = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores + (
            attention_bias(~mask, scores.dtype) if mask.dtype == torch.bool else mask
        )
    return scores.softmax(dim=-1)


class Attention(nn.Module):
    """Attention of several heads, with an optional norm on the joined heads.

    The decoder's blocks have that norm (sub-LN, Wang et al. 2022, "Foundation Transformers"); the
    tower and the connector do not.
    """

    def __init__(
        self, width: int, heads: int, *, dropout: float = 0.0, inner_norm_eps: float | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.out = Linear(width, width)
        self.inner_norm = None if inner_norm_eps is None else nn.LayerNorm(width, inner_norm_eps)

    def forward(
        self,
        asking: Float[Tensor, "B T D"],
        asked: Float[Tensor, "B S D"] | None = None,
        *,
        mask: Mask | None = None,
        causal: bool = False,
        cache: Cache | None = None,
        layer: int = 0,
        weights: list[Tensor] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Let T vectors ask S others, or each other when `asked` is not given.

        `causal` is the shorter way to say that a vector sees itself and those before it. With a
        cache, the S are those remembered and then the new ones. `weights` collects how much each
        asker heard of each, B H T S; the fused kernels never hold that, so the plain way does it.
        """
        together = getattr(self.query, "together", None)  # see `model.joined`
        if together is not None and asked is None:
            three = together(asking).chunk(3, dim=-1)
        else:
            asked = asking if asked is None else asked
            three = self.query(asking), self.key(asked), self.value(asked)
        queries, keys, values = map(self._split, three)
        if cache is not None:
            keys, values = cache.extend(layer, keys, values)
        dropout = self.dropout if self.training else 0.0
        if weights is not None:
            weights.append(F.dropout(_shares(queries, keys, mask, causal), dropout))
            heard = weights[-1] @ values
        else:
            with _kernels(mask):
                heard = F.scaled_dot_product_attention(
                    queries, keys, values, attn_mask=mask, dropout_p=dropout, is_causal=causal
                )
        joined = heard.transpose(1, 2).flatten(2)
        if self.inner_norm is not None:
            joined = self.inner_norm(joined)
        return self.out(joined)

    def _split(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T W"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Widen, bend, narrow; the decoder norms the wide vector before it narrows."""

    def __init__(
        self,
        width: int,
        ffn_width: int,
        activation: Callable[[Tensor], Tensor],
        *,
        dropout: float = 0.0,
        inner_norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.dropout = dropout
        self.widen = Linear(width, ffn_width)
        self.narrow = Linear(ffn_width, width)
        self.inner_norm = (
            None if inner_norm_eps is None else nn.LayerNorm(ffn_width, inner_norm_eps)
        )

    def forward(self, x: Float[Tensor, "*any D"]) -> Float[Tensor, "*any D"]:
        """Each vector on its own."""
        wide = F.dropout(self.activation(self.widen(x)), self.dropout, self.training)
        if self.inner_norm is not None:
            wide = self.inner_norm(wide)
        return self.narrow(wide)
