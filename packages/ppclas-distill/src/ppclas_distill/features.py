"""Losses between a student's and a teacher's feature maps, for ``objective.losses``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from ppclas_core.contracts.training import FeatureLoss
from ppclas_core.errors import ShapeError
from pydantic import Field, NonNegativeFloat, PositiveInt

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


class RKD(FeatureLoss):
    """``distance · L_D + angle · L_A``: distances and angles among photos are the teacher's.

    L_D compares the distance of every two photos, divided by the mean of all, L_A the cosine of the
    angle at the second of every three; each by Huber's loss, and as a mean over pairs or triples of
    different photos. Two photos of a batch have no angle, one costs nothing. Memory grows with N³.

    Example:
        Three photos on a line: in the middle is another one for the student. Distances are 1, 1, 2
        (divided by 4/3) of other pairs: two of three are ¾ away, Huber's loss of which is 9/32. One
        angle of three is -1 instead of 1, and one 1 instead of -1: Huber's loss of 2 is 3/2.

        >>> import paddle
        >>> teacher = paddle.to_tensor([0.0, 1.0, 2.0]).reshape([3, 1, 1, 1])
        >>> student = paddle.to_tensor([0.0, 2.0, 1.0]).reshape([3, 1, 1, 1])
        >>> round(RKD(distance=1.0, angle=0.0).between(student, teacher, {}).item(), 4)
        0.1875
        >>> round(RKD(distance=0.0, angle=1.0).between(student, teacher, {}).item(), 4)
        1.0

    Paper: "Relational Knowledge Distillation", Park et al. 2019, equations 5 to 9,
    https://arxiv.org/abs/1904.05068
    """

    distance: NonNegativeFloat = 25.0
    """Weight of L_D."""
    angle: NonNegativeFloat = 50.0
    """Weight of L_A."""
    pooled: bool = True
    """Whether a photo is the mean over its map's pixels, or all of the map."""

    def between(self, student: Tensor, teacher: Tensor, layers: Mapping[str, nn.Layer]) -> Tensor:
        if student.shape[0] != teacher.shape[0]:
            raise ShapeError(
                f"expected maps of the same photos, got {student.shape[0]} of the student, "
                f"{teacher.shape[0]} others"
            )
        ours, theirs = (_Relations(each, self.pooled) for each in (student, teacher))
        loss = 0.0 * student.sum()
        if self.distance:
            loss = loss + self.distance * ours.mean_huber(ours.distances(), theirs.distances())
        if self.angle:
            loss = loss + self.angle * ours.mean_huber(ours.angles(), theirs.angles())
        return loss


class _Relations:
    """How the photos of maps [N, C, H, W] lie to each other.

    All comes from the matrix of inner products, so that no vector from one photo to another is
    kept: those of N photos with D features take N² · D numbers.
    """

    def __init__(self, maps: Tensor, pooled: bool) -> None:
        import paddle

        flat = maps.mean(axis=[2, 3]) if pooled else maps.flatten(1)
        flat = flat - flat.mean(axis=0, keepdim=True)  # or differences of large numbers get lost
        self._gram = flat @ flat.t()
        square = self._gram.diagonal()
        apart = square.unsqueeze(0) + square.unsqueeze(1)
        squares = apart - 2.0 * self._gram
        far = squares > 1e-6 * apart  # the rest is rounding: photos with the same features
        self._lengths = paddle.where(far, squares, paddle.ones_like(squares)).sqrt()
        self._far = far.astype(flat.dtype)
        self._square = square

    def distances(self) -> Tensor:
        """[N, N], divided by the mean over the pairs of different photos."""
        lengths = self._lengths * self._far
        count = lengths.shape[0]
        return lengths / (lengths.sum() / max(count * (count - 1), 1) + 1e-12)

    def angles(self) -> Tensor:
        """[N, N, N] cosines: of i, j and k the one at j; 0 where two of them are the same."""
        towards = self._far / self._lengths
        gram = self._gram
        # (i - j) · (k - j) by i, j, k
        products = gram.unsqueeze(1) - gram.unsqueeze(2) - gram.unsqueeze(0)
        products = products + self._square.reshape([1, -1, 1])
        return products * towards.unsqueeze(2) * towards.unsqueeze(0)

    @staticmethod
    def mean_huber(ours: Tensor, theirs: Tensor) -> Tensor:
        """Over the pairs or triples [N, …] of different photos; 0 if there are none."""
        import paddle
        from paddle.nn import functional

        count, among = ours.shape[0], len(ours.shape)
        different = 1.0 - paddle.eye(count, dtype=ours.dtype)
        if among == 3:
            pairs = different
            different = pairs.unsqueeze(2) * pairs.unsqueeze(1) * pairs.unsqueeze(0)
        total = (functional.smooth_l1_loss(ours, theirs, reduction="none") * different).sum()
        number = count * (count - 1) * (count - 2 if among == 3 else 1)
        return total / max(number, 1)


def _similarities(maps: Tensor) -> Tensor:
    """[N, N] inner products of maps [N, C, H, W], rows of length 1."""
    from paddle.nn import functional

    flat = maps.flatten(1)
    return functional.normalize(flat @ flat.t(), axis=1)
