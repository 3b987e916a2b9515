"""What this package registers. Strings, so that listing targets imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0


@hookimpl
def register_exporters(registry: Registry) -> None:
    """Add the targets."""
    registry.register("paddle", "ppclas_deploy.exporters.paddle:PaddleExporter", summary="Paddle Inference")
    registry.register("onnx", "ppclas_deploy.exporters.onnx:OnnxExporter", summary="ONNX, proven with ONNX Runtime")


@hookimpl
def register_engines(registry: Registry) -> None:
    """Add the engines."""
    registry.register(
        "paddle_inference",
        "ppclas_deploy.engines.paddle_inference:PaddleInferenceEngine",
        summary="Paddle Inference with oneDNN",
    )
    registry.register(
        "onnxruntime", "ppclas_deploy.engines.onnxruntime:OnnxRuntimeEngine", summary="ONNX Runtime; needs no Paddle"
    )
