"""Losses between a student's and a teacher's feature maps, for the ``losses`` of ``Distill``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ppclas_core.contracts.training import FeatureLoss
from ppclas_core.errors import ShapeError

if TYPE_CHECKING:
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import Feature


class FitNet(FeatureLoss):
    """Mean square of ``teacher - r(student)``, r a trained 1 x 1 convolution.

    A student's map of another size is resized to the teacher's after the convolution.

    Example:
        With r the identity, maps of 1 and of 3 differ by (3 - 1)²:

        >>> import paddle
        >>> student, teacher = paddle.ones([2, 4, 7, 7]), paddle.full([2, 4, 7, 7], 3.0)
        >>> float(FitNet().between(student, teacher, {"projection": paddle.nn.Identity()}))
        4.0

    Paper: "FitNets: Hints for Thin Deep Nets", Romero et al. 2015,
    https://arxiv.org/abs/1412.6550
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
    length 1. Nothing has to be projected: N is all that the two maps share. A batch of one photo
    costs nothing.

    Example:
        Two photos that have nothing in common for the teacher and are the same for the student: the
        rows of G are (1, 0), (0, 1) and twice (√½, √½), so the loss is ``1 - √½``.

        >>> import paddle
        >>> teacher = paddle.to_tensor([[1.0, 0.0], [0.0, 1.0]]).reshape([2, 2, 1, 1])
        >>> student = paddle.to_tensor([[1.0, 0.0], [1.0, 0.0]]).reshape([2, 2, 1, 1])
        >>> round(float(Similarity().between(student, teacher, {})), 4)
        0.2929

    Paper: "Similarity-Preserving Knowledge Distillation", Tung & Mori 2019,
    https://arxiv.org/abs/1907.09682
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
