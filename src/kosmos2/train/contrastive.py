"""A head that is thrown away: pictures and their texts find each other among all of a batch.

It is how CLIP's tower learnt to see (Radford et al. 2021), for a tower that begins with nothing and
has captions but no boxes to learn from. The decoder reads each text without seeing the picture.

Shapes: N pictures with a text each, V vision width, D text width, E width in which they meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_WARMEST = math.log(100.0)  # similarity is never multiplied by more: it would drown all but one


class ContrastiveHead(nn.Module):
    """Brings both into one space, and asks each for its partner."""

    def __init__(self, vision_width: int, text_width: int, width: int = 256) -> None:
        super().__init__()
        self.picture = nn.Linear(vision_width, width, bias=False)
        self.text = nn.Linear(text_width, width, bias=False)
        self.warmth = nn.Parameter(torch.tensor([math.log(1 / 0.07)]))
        # From rows of this process to those of all that share the batch.
        self.gather: Callable[[Tensor], Tensor] = _own

    def loss(self, seen: Float[Tensor, "N V"], read: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
        """Mean cross-entropy of texts given pictures, and of pictures given texts."""
        pictures = self.gather(F.normalize(self.picture(seen).float(), dim=-1))
        texts = self.gather(F.normalize(self.text(read).float(), dim=-1))
        scores = self.warmth.clamp(max=_WARMEST).exp() * pictures @ texts.T
        partners = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, partners) + F.cross_entropy(scores.T, partners)) / 2


def _own(rows: Tensor) -> Tensor:
    return rows
