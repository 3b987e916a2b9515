"""What the loss ``afd`` trains."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn import functional
from paddle.nn.initializer import XavierNormal


class Attention(nn.Layer):
    """Maps [N, C, H, W] of student and teacher → [N, teachers, students] shares, 1 in sum over the
    students.
    """

    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[int], dim: int
    ) -> None:
        super().__init__()
        ours, theirs = len(student_channels), len(teacher_channels)
        self._dim = dim
        self.queries = nn.LayerList([_projection(count, dim) for count in teacher_channels])
        self.keys = nn.LayerList([_projection(count, dim) for count in student_channels])
        self.bilinear = _projection(dim, dim * theirs)
        self.teacher_positions = self.create_parameter(
            [theirs, dim], default_initializer=XavierNormal()
        )
        self.student_positions = self.create_parameter(
            [ours, dim], default_initializer=XavierNormal()
        )

    def forward(self, students: Sequence[Tensor], teachers: Sequence[Tensor]) -> Tensor:
        queries = _of_each(self.queries, teachers)
        stacked = functional.relu(_of_each(self.keys, students))  # [N, students, dim]
        count, ours = stacked.shape[:2]
        shape = [count, ours, len(teachers), self._dim]
        for_each = self.bilinear(stacked.reshape([-1, self._dim])).reshape(shape)
        fit = (for_each * queries.unsqueeze(1)).sum(axis=3).transpose([0, 2, 1])
        fit = fit + self.teacher_positions @ self.student_positions.t()
        return functional.softmax(fit / self._dim**0.5, axis=2)


def _of_each(layers: nn.LayerList, maps: Sequence[Tensor]) -> Tensor:
    """[N, maps, dim] from the means over the pixels of each map."""
    means = (each.mean(axis=[2, 3]) for each in maps)
    return paddle.stack([layer(mean) for layer, mean in zip(layers, means, strict=True)], axis=1)


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1D(outputs))
