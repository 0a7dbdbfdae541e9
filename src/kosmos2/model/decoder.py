"""The decoder: words, and latents in their slots, in; a vector for every next word out.

Shapes: B rows, T new tokens, S tokens seen (remembered and new), M tokens wanted, D text width.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kosmos2.config import TextConfig
from kosmos2.model.cache import Cache
from kosmos2.model.layers import Attention, FeedForward, Mask, attention_bias
from kosmos2.model.words import Words


class DecoderLayer(nn.Module):
    """One block with sub-LN: each half is normed before it starts and again before it ends."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.dropout = config.dropout
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = Attention(
            config.width,
            config.heads,
            dropout=config.attention_dropout,
            inner_norm_eps=config.norm_eps,
        )
        self.ffn_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.ffn = FeedForward(
            config.width,
            config.ffn_width,
            F.gelu,
            dropout=config.activation_dropout,
            inner_norm_eps=config.norm_eps,
        )

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask | None,
        causal: bool,
        cache: Cache | None,
        attentions: list[Tensor] | None = None,
        wanted: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"] | Float[Tensor, "M D"]:
        """Attend to what may be seen, then think: about all tokens, or those that are wanted."""
        heard = self.attention(
            self.attention_norm(x),
            mask=mask,
            causal=causal,
            cache=cache,
            layer=self.layer,
            weights=attentions,
        )
        x = x + F.dropout(heard, self.dropout, self.training)
        x = x if wanted is None else x[wanted]
        return x + F.dropout(self.ffn(self.ffn_norm(x)), self.dropout, self.training)


class Decoder(nn.Module):
    """Embeddings, blocks and a last norm; the output layer is the embedding once more."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.words = Words(config.vocabulary, config.width, padding_idx=config.pad)
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.layers))
        self.last_norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(
        self,
        embedded: Float[Tensor, "B T D"],
        positions: Int[Tensor, "B T"],
        *,
        mask: Mask | None = None,
        causal: bool = False,
        cache: Cache | None = None,
        watch: list[Tensor] | None = None,
        attentions: list[Tensor] | None = None,
        wanted: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"] | Float[Tensor, "M D"]:
        """Read embedded tokens at their positions.

        `watch` collects what enters each block, `attentions` how much each token heard of each.
        With `wanted`, only those tokens' vectors come out, row by row: after the last block has
        listened, nobody listens to the others, so it need not think about them.
        """
        dropout = self.config.dropout
        x = embedded * self.config.embedding_scale
        x = x + sinusoids(positions, self.config).to(x.dtype)
        # Twice, as the reference does: once on the embedding, once before the first block.
        x = F.dropout(F.dropout(x, dropout, self.training), dropout, self.training)
        *blocks, last = self.layers
        for layer in blocks:
            if watch is not None:
                watch.append(x)
            x = layer(x, mask, causal, cache, attentions)
        if watch is not None:
            watch.append(x)
        x = last(x, mask, causal, cache, attentions, wanted)
        x = self.last_norm(x)
        if watch is not None:
            watch.append(x)
        return x

    def logits(
        self, x: Float[Tensor, "*any D"], among: range | None = None
    ) -> Float[Tensor, "*any W"]:
        """Scores of every word to come next, or of a range of them, always in float32."""
        words = None if among is None else slice(among.start, among.stop)
        return self.words.score(x, words).float()

    def one_gradient(self) -> AbstractContextManager[None]:
        """Around one step's reading and scoring: `Words.one_gradient`, where words can learn."""
        return self.words.one_gradient() if isinstance(self.words, Words) else nullcontext()


def sinusoids(positions: Int[Tensor, "B T"], config: TextConfig) -> Float[Tensor, "B T D"]:
    """Fixed position vectors: sines in the first half, cosines in the second, zero for padding.

    Quirk: the frequencies span a half-width less one, as fairseq's SinusoidalPositionalEmbedding.
    """
    half = config.width // 2
    steps = torch.arange(half, device=positions.device, dtype=torch.float32)
    frequencies = torch.exp(steps * -(math.log(10_000) / (half - 1)))
    angles = positions[..., None].float() * frequencies
    table = torch.cat([angles.sin(), angles.cos()], dim=-1)
    return table * (positions != config.pad)[..., None]


def positions_of(real: Bool[Tensor, "B T"], counted: Tensor | None, pad: int) -> Int[Tensor, "B T"]:
    """Real tokens count on from `pad + 1`, or from what a row counted; padding stays at `pad`."""
    count = real.long().cumsum(dim=1)
    if counted is not None:
        count = count + counted[:, None]
    return count * real + pad


def attention_mask(
    keep: Bool[Tensor, "B S"], new: int, dtype: torch.dtype
) -> Float[Tensor, "B 1 T S"]:
    """What T new tokens may see of S: nothing ahead of them, and no padding.

    A row of padding sees nothing at all, yet softmax must not divide by zero, so the forbidden get
    the most negative number rather than -inf, and twice that (which is -inf) when forbidden twice.
    This makes even the padded rows equal to the reference's.
    """
    ahead = torch.ones(new, keep.shape[1], dtype=torch.bool, device=keep.device)
    ahead = ahead.triu(keep.shape[1] - new + 1)
    mask = attention_bias(ahead, dtype)[None] + attention_bias(~keep, dtype)[:, None]
    return mask[:, None]
