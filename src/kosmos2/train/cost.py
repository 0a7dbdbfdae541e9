"""Cross-entropy over many words with few copies: the scores become their own gradient.

At full size the scores of one batch are hundreds of megabytes. They are normalised where they
stand, some rows at a time so that those stay in the cache, and on the way back turned into their
gradient there; nothing as large is ever beside them.

Shapes: M tokens that count, W words.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

_PIECE = 2**22  # numbers that are worked on at a time


def costs(scores: Float[Tensor, "M W"], labels: Int[Tensor, " M"]) -> Float[Tensor, " M"]:
    """Cross-entropy of each label; the scores are used up, and are log-probabilities afterwards.

    What made them must not need them again, which is so of a product. They can be walked back
    through once.
    """
    each: Tensor = _Costs.apply(scores, labels)
    return each


class _Costs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, labels: Tensor) -> Tensor:
        for piece in _pieces(scores):
            piece.copy_(piece.log_softmax(-1))
        ctx.held, ctx.labels = scores.detach(), labels
        return -scores.gather(1, labels[:, None])[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        if ctx.held is None:
            raise RuntimeError("the scores have become their gradient; compute them again")
        logs, ctx.held = ctx.held, None
        for piece, share in zip(_pieces(logs), grad.split(_rows(logs))):
            piece.exp_().mul_(share[:, None])
        logs[torch.arange(len(logs), device=logs.device), ctx.labels] -= grad
        return logs, None


def _pieces(scores: Tensor) -> tuple[Tensor, ...]:
    return scores.detach().split(_rows(scores))


def _rows(scores: Tensor) -> int:
    return max(1, _PIECE // scores.shape[1])
