"""From the many vectors of the tower to the few latents that the decoder reads.

Shapes: N pictures, P tower vectors, V vision width, L latents, D text width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kosmos2.config import Config
from kosmos2.model.layers import Attention
from kosmos2.model.product import Linear


class Connector(nn.Module):
    """Learned queries that look at a picture once and carry away what they saw."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        text = config.text
        self.project = Linear(config.vision.width, text.width)
        self.queries = nn.Parameter(torch.empty(config.latents, text.width))
        self.attention = Attention(text.width, text.heads, dropout=text.attention_dropout)

    def forward(
        self, seen: Float[Tensor, "N P V"], *, attentions: list[Tensor] | None = None
    ) -> Float[Tensor, "N L D"]:
        """Compress P vectors, already normed by the tower's last norm, into L latents.

        Each vector is scaled to length one first. The queries look at the vectors and at each
        other, so L keys join the P. `attentions` collects how much of each.
        """
        seen = self.project(F.normalize(seen, dim=-1))
        queries = self.queries.expand(len(seen), -1, -1)
        asked = torch.cat([seen, queries.to(seen.dtype)], dim=1)
        return self.attention(queries, asked, weights=attentions)
