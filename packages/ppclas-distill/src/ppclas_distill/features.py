"""Losses between a student's and a teacher's feature maps, for ``objective.losses``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from ppclas_core.contracts.training import FeatureLoss
from ppclas_core.errors import ShapeError
from pydantic import Field, PositiveInt

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


class Distance(FeatureLoss):
    """Mean of ``|s - t|`` (l1), ``(s - t)²`` (l2), or of Huber's mixture of both (smooth_l1), over
    everything in two maps of the same shape.

    Example:
        >>> import paddle
        >>> student, teacher = paddle.ones([2, 4, 7, 7]), paddle.full([2, 4, 7, 7], 3.0)
        >>> [float(Distance(mode=mode).between(student, teacher, {})) for mode in ("l1", "l2")]
        [2.0, 4.0]

    Of two equal networks that learn from each other it makes the maps meet half way: "UDML" of
    PaddleClas, Cui et al. 2021, https://arxiv.org/abs/2109.15099
    """

    mode: Literal["l1", "l2", "smooth_l1"] = "l2"
    """Which distance."""

    def between(self, student: Tensor, teacher: Tensor, layers: Mapping[str, nn.Layer]) -> Tensor:
        from paddle.nn import functional

        if student.shape != teacher.shape:
            raise ShapeError(
                f"expected maps of the same shape, got {list(student.shape)} and "
                f"{list(teacher.shape)} [N, C, H, W]. The loss fitnet projects and resizes."
            )
        losses = {
            "l1": functional.l1_loss,
            "l2": functional.mse_loss,
            "smooth_l1": functional.smooth_l1_loss,
        }
        distance: Tensor = losses[self.mode](student, teacher)
        return distance


class MGD(FeatureLoss):
    """Mean square of ``teacher - g(m · student)``: masked channels must be made up from the rest.

    m is 0 for each channel of each photo with probability ``mask_ratio`` and 1 else; g is trained:
    3 x 3 convolution, ReLU, 3 x 3 convolution; a 1 x 1 convolution comes first where the channels
    differ.

    Example:
        With g the identity and nothing masked it is the mean square, (3 - 1)²:

        >>> import paddle
        >>> student, teacher = paddle.ones([2, 4, 7, 7]), paddle.full([2, 4, 7, 7], 3.0)
        >>> same = {"align": paddle.nn.Identity(), "generate": paddle.nn.Identity()}
        >>> float(MGD(mask_ratio=0.0).between(student, teacher, same))
        4.0

    Paper: "Masked Generative Distillation", Yang et al. 2022, section 3.2 (for classification),
    https://arxiv.org/abs/2205.01529
    """

    mask_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.15
    """Share of the student's channels that are left out."""

    def layers(self, student: Feature, teacher: Feature) -> Mapping[str, nn.Layer]:
        from paddle import nn

        ours, theirs = student.channels, teacher.channels
        wide = nn.initializer.KaimingNormal()
        return {
            "align": nn.Identity()
            if ours == theirs
            else nn.Conv2D(ours, theirs, 1, weight_attr=wide),
            "generate": nn.Sequential(
                nn.Conv2D(theirs, theirs, 3, padding=1, weight_attr=wide),
                nn.ReLU(),
                nn.Conv2D(theirs, theirs, 3, padding=1, weight_attr=wide),
            ),
        }

    def between(self, student: Tensor, teacher: Tensor, layers: Mapping[str, nn.Layer]) -> Tensor:
        import paddle
        from paddle.nn import functional

        aligned = layers["align"](student)
        drawn = paddle.rand([*aligned.shape[:2], 1, 1])
        kept = (drawn >= self.mask_ratio).astype(aligned.dtype)
        return functional.mse_loss(layers["generate"](aligned * kept), teacher)


class PEFD(FeatureLoss):
    """``1 - cos(t, mean_i ReLU(p_i(s)))`` of pooled maps s and t, each p_i a trained linear layer:
    an ensemble of projectors.

    Example:
        Two channels of which the student has one and the teacher the other: at a right angle.

        >>> import paddle
        >>> student = paddle.to_tensor([1.0, 0.0]).reshape([1, 2, 1, 1])
        >>> teacher = paddle.to_tensor([0.0, 1.0]).reshape([1, 2, 1, 1])
        >>> float(PEFD(projectors=1).between(student, teacher, {"0": paddle.nn.Identity()}))
        1.0

    Paper: "Improved Feature Distillation via Projector Ensemble", Chen et al. 2022, equation 5,
    https://arxiv.org/abs/2210.15274
    """

    projectors: PositiveInt = 3
    """How many linear layers are averaged."""

    def layers(self, student: Feature, teacher: Feature) -> Mapping[str, nn.Layer]:
        from paddle import nn

        return {
            str(number): nn.Linear(student.channels, teacher.channels)
            for number in range(self.projectors)
        }

    def between(self, student: Tensor, teacher: Tensor, layers: Mapping[str, nn.Layer]) -> Tensor:
        import paddle
        from paddle.nn import functional

        pooled, wanted = student.mean(axis=[2, 3]), teacher.mean(axis=[2, 3])
        projected = [functional.relu(layer(pooled)) for layer in layers.values()]
        mean = paddle.stack(projected).mean(axis=0)
        return (1.0 - functional.cosine_similarity(mean, wanted, axis=1)).mean()


def _similarities(maps: Tensor) -> Tensor:
    """[N, N] inner products of maps [N, C, H, W], rows of length 1."""
    from paddle.nn import functional

    flat = maps.flatten(1)
    return functional.normalize(flat @ flat.t(), axis=1)
