"""A loss between feature maps of student and teacher. Importing it does not import Paddle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ppclas_core.params import Params

if TYPE_CHECKING:
    from paddle import Tensor, nn

    from ppclas_core.contracts.image_model import Feature


class FeatureLoss(Params):
    """Compare one feature map of the student with one of the teacher.

    Which maps: places in the models' ``feature_info()``, from fine to coarse; negative ones count
    from the end.
    """

    student_map: int = -1
    """Which of the student's feature maps; -1 is the last."""
    teacher_map: int = -1
    """Which of the teacher's feature maps; -1 is the last."""

    def layers(self, student: Feature, teacher: Feature) -> Mapping[str, nn.Layer]:
        """Layers beside the student that train with it: none, unless a loss needs some."""
        return {}

    def between(self, student: Tensor, teacher: Tensor, layers: Mapping[str, nn.Layer]) -> Tensor:
        """A scalar from maps [N, Cs, Hs, Ws] and [N, Ct, Ht, Wt] of the same N photos; ``teacher``
        has no gradient.

        ``layers`` are those that ``layers()`` gave.
        """
        raise NotImplementedError
