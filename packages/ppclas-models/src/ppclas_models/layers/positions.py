"""What was learned for the places of one grid, for a grid of another size: interpolated, as DeiT
does for larger images.

Paper: "Training data-efficient image transformers & distillation through attention", Touvron et al.
2020, https://arxiv.org/abs/2012.12877, section 3
"""

from __future__ import annotations

import math

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from ppclas_models.layers.patch_embed import check_smallest

Grid = tuple[int, int]
"""Rows and columns."""


def patch_grid(model: nn.Layer, images: Tensor, patch_size: int, built: int) -> Grid:
    """The whole patches in images [N, C, H, W]; what is left over at the right and below is not
    seen. ``built`` is the side of the grid where an export does not know the images' size.

    Raises:
        ShapeError: an image is smaller than a patch.
    """
    check_smallest(model, images, patch_size)
    rows, columns = (side // patch_size if side > 0 else built for side in images.shape[2:])
    return rows, columns


def resize_grid(values: Tensor, grid: Grid) -> Tensor:
    """[1, C, h, w] → [1, C, *grid] by bicubic interpolation; as it is where it has that size."""
    if tuple(values.shape[2:]) == grid:
        return values
    return F.interpolate(values, size=list(grid), mode="bicubic", align_corners=False)


def resize_embedding(embedding: Tensor, grid: Grid, leading: int) -> Tensor:
    """[1, leading + side², C] → [1, leading + rows · columns, C]; the first ``leading`` vectors are
    those of no place.
    """
    side = math.isqrt(embedding.shape[1] - leading)
    if grid == (side, side):
        return embedding
    places = embedding[:, leading:].transpose([0, 2, 1]).reshape([1, -1, side, side])
    resized = resize_grid(places, grid).flatten(2).transpose([0, 2, 1])
    return paddle.concat([embedding[:, :leading], resized], axis=1) if leading else resized


def resize_table(table: Tensor, side: int, extra: int) -> Tensor:
    """[(2 · before - 1)² + extra, heads] → [(2 · side - 1)² + extra, heads]: a value for each
    offset between two places of a square grid, and after them ``extra`` others.
    """
    across = math.isqrt(table.shape[0] - extra)
    wanted = 2 * side - 1
    if across == wanted:
        return table
    offsets = table[: across**2].transpose([1, 0]).reshape([1, -1, across, across])
    resized = resize_grid(offsets, (wanted, wanted)).flatten(2)[0].transpose([1, 0])
    return paddle.concat([resized, table[across**2 :]])
