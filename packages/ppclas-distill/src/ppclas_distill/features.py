"""Losses between feature maps of a student and its teacher, for the ``losses`` of the objective
``Distill``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ppclas_core.contracts.training import FeatureLoss
from ppclas_core.errors import ShapeError

if TYPE_CHECKING:
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import Feature


class FitNet(FeatureLoss):
    """Mean square of ``teacher - r(student)``, r a trained 1 x 1 convolution (Romero et al. 2015,
    arXiv:1412.6550).

    A student's map of another size is resized to the teacher's after the convolution.
    """

    def layers(self, student: Feature, teacher: Feature) -> Mapping[str, nn.Layer]:
        from paddle import nn

        return {"projection": nn.Conv2D(student.channels, teacher.channels, 1)}

    def between(self, student: Tensor, teacher: Tensor, layers: Mapping[str, nn.Layer]) -> Tensor:
        from paddle.nn import functional

        projected = layers["projection"](student)
        if projected.shape[2:] != teacher.shape[2:]:
            projected = functional.interpolate(projected, size=teacher.shape[2:], mode="bilinear")
        return functional.mse_loss(projected, teacher)


class Similarity(FeatureLoss):
    """``1/N² ‖G(t) - G(s)‖²``: photos that look alike to the teacher should to the student.

    G is the [N, N] matrix of inner products of the photos' flattened maps, each row scaled to
    length 1 (similarity-preserving distillation, Tung & Mori 2019, arXiv:1907.09682). Nothing has
    to be projected: N is all that the two maps share. A batch of one photo costs nothing.
    """

    def between(self, student: Tensor, teacher: Tensor, layers: Mapping[str, nn.Layer]) -> Tensor:
        count = student.shape[0]
        if teacher.shape[0] != count:
            raise ShapeError(
                f"expected maps of the same photos, got {count} of the student, {teacher.shape[0]} "
                "others"
            )
        return (_similarities(teacher) - _similarities(student)).square().sum() / count**2


def _similarities(maps: Tensor) -> Tensor:
    """[N, N] inner products of maps [N, C, H, W], rows of length 1."""
    from paddle.nn import functional

    flat = maps.flatten(1)
    return functional.normalize(flat @ flat.t(), axis=1)
