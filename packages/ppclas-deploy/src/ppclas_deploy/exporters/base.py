"""What the targets share: how the network looks from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from ppclas_core.contracts.data import sample_draw
from ppclas_core.contracts.export import Exporter
from ppclas_core.errors import ExportError
from ppclas_data.loading.pipeline import bundle_pipeline
from pydantic import PositiveInt

from ppclas_deploy.isolate import bundle_job
from ppclas_deploy.marks import mark_of
from ppclas_deploy.sizes import channels_of

if TYPE_CHECKING:
    from pathlib import Path

    from ppclas_core.bundle import Bundle


FP16_TOLERANCE = 0.03
"""Half precision keeps 11 bits, 0.0005 of a number, and errors add up: MobileNetV2 comes to
0.013."""


class Interface(TypedDict):
    """The ends of an exported network, as ``bundle.json`` tells them under ``export``."""

    batch: int | None
    """Fixed batch size; None: any."""
    input: Literal["images", "pixels"]
    """``images``: float32 [N, 3, H, W], normalised; ``pixels``: uint8 [N, H, W, 3]."""
    output: Literal["logits", "probabilities"]
    """``probabilities``: after the bundle's activation."""


class NetworkExporter(Exporter):
    """A target that is made from the traced network."""

    batch: PositiveInt | None = None
    """Fixed batch size. Nothing: any."""
    with_preprocess: bool = False
    """Put normalisation and activation into the graph: uint8 photos [N, H, W, 3] in, probabilities
    out."""

    def interface(self, bundle: Bundle) -> Interface:
        """The ends that the options ask for.

        Raises:
            ExportError: ``with_preprocess``, and the bundle's transforms give something else than
                pixels.
        """
        if self.with_preprocess:
            _require_pixels(bundle)
        activated = self.with_preprocess and bundle.manifest.activation != "none"
        return {
            "batch": self.batch,
            "input": "pixels" if self.with_preprocess else "images",
            "output": "probabilities" if activated else "logits",
        }

    def job(
        self, bundle: Bundle, folder: Path, interface: Interface, **more: Any
    ) -> dict[str, Any]:
        """The job of a converting step: plain JSON values."""
        return {
            "bundle": bundle_job(bundle),
            "folder": str(folder.resolve()),
            "interface": interface,
            "mark": mark_of(bundle.manifest, interface),
            **more,
        }


class HalfPrecisionExporter(NetworkExporter):
    """A target that can be had in half precision."""

    fp16: bool = False
    """Half precision, with float32 input and output. The tolerance is then 0.03."""

    def accepted(self, facts: Mapping[str, Any]) -> float:
        """Half precision is less exact, unless a tolerance was asked for."""
        return (
            FP16_TOLERANCE
            if self.fp16 and "tolerance" not in self.model_fields_set
            else self.tolerance
        )


class HeatExporter(HalfPrecisionExporter):
    """A target whose network can give a heat map beside its answer."""

    heatmap: bool = False
    """A second output ``heatmap`` [N, h, w] in 0..1: where the evidence for the most probable class
    is. The maps are compared with Paddle's too."""

    def heat_facts(self) -> dict[str, Any]:
        """What ``bundle.json`` says of the second output."""
        return {"heatmap": True} if self.heatmap else {}


def _require_pixels(bundle: Bundle) -> None:
    sample = bundle_pipeline(bundle).transform(
        np.full((375, 500, 3), 128, np.uint8), sample_draw(0, 0, 0), "a test image"
    )
    channels = channels_of(bundle)
    if sample.dtype != np.uint8 or sample.shape[2] != channels:
        raise ExportError(
            f"with_preprocess needs transforms that end in {'RGB ' if channels == 3 else ''}pixels "
            f"(uint8 [H, W, {channels}]); this bundle's end in {sample.dtype} "
            f"{list(sample.shape)}. Take Normalize out of data.eval_transforms, or export without "
            "it."
        )
