"""The tower: a picture's pixels in, one vector for the whole and one for each patch out.

It is CLIP's ViT, without its pooling. Shapes: N pictures, S pixels a side, P vectors (class, then
patches row by row), V vision width, Y by X pixels where a picture may have another size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kosmos2.config import VisionConfig
from kosmos2.errors import ImageError
from kosmos2.model.layers import Attention, FeedForward
from kosmos2.model.quick_gelu import quick_gelu


class VisionLayer(nn.Module):
    """One block: attend, then think, each on normed input and added to what was."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = Attention(config.width, config.heads)
        self.ffn_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.ffn = FeedForward(config.width, config.ffn_width, quick_gelu)

    def forward(
        self, x: Float[Tensor, "N P V"], attentions: list[Tensor] | None = None
    ) -> Float[Tensor, "N P V"]:
        """Every vector sees every other."""
        x = x + self.attention(self.attention_norm(x), weights=attentions)
        return x + self.ffn(self.ffn_norm(x))


class VisionTower(nn.Module):
    """Patches of a picture, told apart by place, that look at each other."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.class_vector = nn.Parameter(torch.empty(config.width))
        self.patch = nn.Conv2d(3, config.width, config.patch_size, config.patch_size, bias=False)
        self.positions = nn.Embedding(config.vectors, config.width)
        self.first_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))
        self.last_norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(
        self,
        pixels: Float[Tensor, "N 3 Y X"],
        watch: list[Tensor] | None = None,
        *,
        attentions: list[Tensor] | None = None,
        interpolate: bool = False,
    ) -> Float[Tensor, "N P V"]:
        """Vectors before the last norm, as the reference.

        `watch` collects what enters a layer, `attentions` how much each vector heard of each.
        `interpolate` admits pictures of another size than the tower was trained for.
        """
        size, least = self.config.image_size, self.config.patch_size
        if interpolate:
            if pixels.shape[1:2] != (3,) or pixels.ndim != 4 or min(pixels.shape[2:]) < least:
                raise ImageError(
                    f"pixels are {tuple(pixels.shape)}; this tower reads pictures (N, 3, Y, X) "
                    f"of at least {least} by {least}"
                )
        elif pixels.shape[1:] != (3, size, size):
            raise ImageError(
                f"pixels are {tuple(pixels.shape[1:])}; this tower reads (3, {size}, {size})"
            )
        patches = self.patch(pixels.to(self.patch.weight.dtype)).flatten(2).transpose(1, 2)
        whole = self.class_vector.to(patches.dtype).expand(len(patches), 1, -1)
        x = torch.cat([whole, patches], dim=1) + self._places(*pixels.shape[2:])
        x = self.first_norm(x)
        for layer in self.layers:
            if watch is not None:
                watch.append(x)
            x = layer(x, attentions)
        if watch is not None:
            watch.append(x)
        return x

    def _places(self, height: int, width: int) -> Float[Tensor, "P V"]:
        """Where each vector is: the learned rows, stretched if the picture has another size."""
        known, side, pixels = self.positions.weight, self.config.side, self.config.patch_size
        rows, columns = height // pixels, width // pixels
        if height == width and rows == side:
            return known
        grid = known[1:].T.unflatten(1, (side, side))[None]  # 1 V rows columns
        grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([known[:1], grid[0].flatten(1).T])
