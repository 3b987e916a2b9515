"""What was learned for the places of one grid, for a grid of another size: interpolated, as DeiT
does for larger images.

Paper: "Training data-efficient image transformers & distillation through attention", Touvron et al.
2020, https://arxiv.org/abs/2012.12877, section 3
"""

from __future__ import annotations

import functools
import math

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn

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
    height, width = values.shape[2:]
    if (height, width) == grid:
        return values
    # As products of matrices: every export target has those, and not all have the interpolation.
    down = paddle.to_tensor(cubic_matrix(height, grid[0]), values.dtype)
    across = paddle.to_tensor(cubic_matrix(width, grid[1]), values.dtype)
    return paddle.matmul(paddle.matmul(down, values), across, transpose_y=True)


@functools.cache
def cubic_matrix(before: int, after: int) -> NDArray[np.float64]:
    """[after, before]: what each value counts for at ``after`` places spread over the same length.

    Keys 1981, "Cubic convolution interpolation for digital image processing", equation 15, with
    a = -0.75 as image libraries have it; beyond the border its value is repeated.
    """
    places = (np.arange(after) + 0.5) * before / after - 0.5
    left = np.floor(places).astype(int)
    matrix = np.zeros((after, before))
    for tap in range(-1, 3):
        distance = np.abs(places - (left + tap))
        near = 1.25 * distance**3 - 2.25 * distance**2 + 1
        far = -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        weight = np.where(distance <= 1, near, far)
        np.add.at(matrix, (np.arange(after), np.clip(left + tap, 0, before - 1)), weight)
    return matrix


def resize_embedding(embedding: Tensor, grid: Grid, leading: int) -> Tensor:
    """[1, leading + side², C] → [1, leading + rows · columns, C]; the first ``leading`` vectors are
    those of no place.
    """
    side = math.isqrt(embedding.shape[1] - leading)
    if grid == (side, side):
        return embedding
    dim, count = embedding.shape[2], grid[0] * grid[1]
    places = embedding[:, leading:].transpose([0, 2, 1]).reshape([1, dim, side, side])
    resized = resize_grid(places, grid).reshape([1, dim, count]).transpose([0, 2, 1])
    return paddle.concat([embedding[:, :leading], resized], axis=1) if leading else resized


def resize_table(table: Tensor, side: int, extra: int) -> Tensor:
    """[(2 · before - 1)² + extra, heads] → [(2 · side - 1)² + extra, heads]: a value for each
    offset between two places of a square grid, and after them ``extra`` others.
    """
    across = math.isqrt(table.shape[0] - extra)
    wanted = 2 * side - 1
    if across == wanted:
        return table
    heads = table.shape[1]
    offsets = table[: across**2].transpose([1, 0]).reshape([1, heads, across, across])
    resized = resize_grid(offsets, (wanted, wanted)).reshape([heads, wanted**2]).transpose([1, 0])
    return paddle.concat([resized, table[across**2 :]])
