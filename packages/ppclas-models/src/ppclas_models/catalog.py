"""The catalogue: what is published about each model name. Loading it imports nothing heavy."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class CatalogRow:
    """One published name. None stands for what the published tables do not say."""

    name: str
    architecture: str
    """The name of the variant that it builds; several published weights share one."""
    family: str | None
    """Module in ``ppclas_models.families`` that has the variant; None where the family is not built
    yet."""
    group: str
    series: str
    paper_title: str | None
    paper_url: str | None

    image_size: int
    """Side of the centre crop that the accuracy was measured on, pixels. Where the notes say that
    no evaluation settings are published: what the architecture was made for."""
    resize_short: int
    """Short side before the crop, pixels."""
    interpolation: Literal["bilinear", "bicubic"]
    """As ``resize_backend`` understands it."""

    top1: float | None
    """ImageNet validation accuracy in 0..1, as the published tables print it; also ``top5``."""
    top5: float | None
    reference_top1: float | None
    """What the paper, or whoever trained the model first, reports; also ``reference_top5``."""
    reference_top5: float | None
    weights_top1: float | None
    """What the later documents give for ``weights_url``; also ``weights_top5``."""
    weights_top5: float | None

    flops_g: float | None
    """10⁹ operations at the published size, a multiply-add counted as two, as the tables print
    it. Those after 2020 count it as one: their figures are doubled here."""
    params_m: float | None
    """10⁶ parameters, as the tables print it. Those after 2020 include batch-norm statistics."""
    params: int | None
    """Parameters counted, without batch-norm statistics."""
    macs_g: float | None
    """10⁹ multiply-adds of convolutions and linear layers, counted at ``image_size``; None for what
    was not counted."""
    latency_ms: dict[str, float]
    """``<device>_<precision>_bs<batch>`` → milliseconds per batch, as the tables print it."""
    storage_mb: float | None

    weights_url: str | None
    """The ``.pdparams`` file."""
    legacy_weights_url: str | None
    """The archive of the 2020 static-graph release; None for what came later."""
    notes: str
    """Where the published facts disagree with each other or with what was counted; empty where they
    agree."""

    year: int | None = None
    """Of the paper's first version, or of the release where there is no paper; the architectures of
    2020 and before have None."""
    weights_origin: str | None = None
    """Where the weights come from if they were converted from the authors' files; None: trained by
    the PaddleClas project."""
    weights_licence: str | None = None
    """Of the file at ``weights_url``, by its SPDX identifier where it has one: Apache-2.0 for what
    the PaddleClas project trained; for what it converted, the licence in the authors' repository,
    from which the converted files cannot free anybody. None: not known, or no weights."""
    mean: tuple[float, float, float] | None = None
    """What the evaluation subtracts from the pixels on a scale of 0..1, and divides them by
    (``std``); None: ImageNet's."""
    std: tuple[float, float, float] | None = None
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """Of the pixels that the weights were trained on."""
    resize_backend: Literal["cv2", "pil"] = "cv2"
    """Whose resizing the evaluation used: only Pillow's averages over what it leaves out."""
    weights_params: dict[str, Any] = field(default_factory=dict)
    """What the architecture is built with for the file at ``weights_url``, where that is not what
    its name alone builds."""

    @property
    def weights_table(self) -> str:
        """The name that ``shapes.shapes_of`` knows the tensors of that file by."""
        return f"{self.name}_pretrained" if self.weights_params else self.architecture


@functools.lru_cache(maxsize=1)
def load_catalog() -> dict[str, CatalogRow]:
    """Every published name and its row, in the documents' order."""
    rows = json.loads(Path(__file__).with_name("catalog.json").read_text(encoding="utf-8"))
    return {row["name"]: CatalogRow(**row) for row in rows}


def load_fine_tuning() -> dict[str, dict[str, Any]]:
    """Series → the optimizer's section that its models are fine-tuned with, where the usual one of
    convolutional networks is not theirs: AdamW, whose rate falls from the classifier to the input.
    """
    file = Path(__file__).with_name("fine_tuning.json")
    sections: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return sections


LEARNED_POSITIONS = frozenset({"ViT", "DeiT", "DINOv2", "Foundation ViT", "TNT", "LeViT"})
"""Series that learned something for each place of an image of their own size; for other sizes it
is interpolated."""
