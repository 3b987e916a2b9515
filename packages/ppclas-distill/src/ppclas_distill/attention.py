"""The loss ``afd``, in which every map of the student learns from every one of the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ppclas_core.contracts.training import FeatureLoss
from pydantic import PositiveInt

if TYPE_CHECKING:
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import Feature


class AFD(FeatureLoss):
    """``Σ_t Σ_s α_ts ‖ā(t) - ā(s)‖² / (H · W)``: what each of the teacher's maps t should be
    learnt by is trained, too.

    ā is the mean square over the channels of a map, pooled to the teacher's height H and width W
    and scaled to length 1. α is the softmax over the student's maps s of ``(k_ts · q_t + p_t ·
    p_s) / √dim``, with queries q_t of the teacher's maps, keys k_ts of the student's, both from
    their means over the pixels, and positions p; all of them are trained. The mean over the photos.

    Maps are paths with a space between them, where a list of layers (``blocks`` of a ResNet) stands
    for each of its layers; or a number n: the maps of ``feature_info()`` up to the n-th.

    Example:
        One map each: its weight α is 1 whatever was trained. Two pixels, of which the student looks
        at one and the teacher at the other: ``(1² + 1²) / 2``.

        >>> import paddle
        >>> from ppclas_core.contracts.image_model import Feature
        >>> loss, one = AFD(dim=4), Feature("block", 2, 8)
        >>> student = paddle.to_tensor([1.0, 0.0, 1.0, 0.0]).reshape([1, 2, 1, 2])
        >>> teacher = paddle.to_tensor([0.0, 3.0, 0.0, 3.0]).reshape([1, 2, 1, 2])
        >>> layers = loss.layers_of([one], [one])
        >>> round(loss.between_maps([student], [teacher], layers).item(), 4)
        1.0

    Paper: "Show, Attend and Distill: Knowledge Distillation via Attention-based Feature Matching",
    Ji et al. 2021, equations 1 to 6, https://arxiv.org/abs/2102.02973
    """

    dim: PositiveInt = 128
    """Length of queries, keys and positions."""

    def layers_of(
        self, students: Sequence[Feature], teachers: Sequence[Feature]
    ) -> Mapping[str, nn.Layer]:
        """What trains beside the student."""
        from ppclas_distill.attention_layers import Attention

        ours, theirs = ([feature.channels for feature in each] for each in (students, teachers))
        return {"attention": Attention(ours, theirs, self.dim)}

    def between_maps(
        self, students: Sequence[Tensor], teachers: Sequence[Tensor], layers: Mapping[str, nn.Layer]
    ) -> Tensor:
        """A scalar from maps [N, C, H, W] of any channels and sizes."""
        weights = layers["attention"](students, teachers)  # [N, teachers, students]
        total: Tensor | float = 0.0
        for number, teacher in enumerate(teachers):
            wanted = attention_map(teacher, teacher.shape[2:])
            for other, student in enumerate(students):
                apart = (attention_map(student, teacher.shape[2:]) - wanted).square().mean(axis=1)
                total = total + (weights[:, number, other] * apart).mean()
        return total


def attention_map(maps: Tensor, size: Sequence[int]) -> Tensor:
    """[N, H · W] of length 1: the mean square over the channels, pooled to ``size``."""
    from paddle.nn import functional

    energy = maps.square().mean(axis=1, keepdim=True)
    if list(energy.shape[2:]) != list(size):
        energy = functional.adaptive_avg_pool2d(energy, list(size))
    flat: Tensor = functional.normalize(energy.flatten(1), axis=1)
    return flat
