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
    registry.register(
        "paddle", "ppclas_deploy.exporters.paddle:PaddleExporter", summary="Paddle Inference"
    )
    registry.register(
        "onnx",
        "ppclas_deploy.exporters.onnx:OnnxExporter",
        summary="ONNX, proven with ONNX Runtime",
    )
    registry.register(
        "openvino", "ppclas_deploy.exporters.openvino:OpenVinoExporter", summary="OpenVINO IR"
    )
    registry.register(
        "lite", "ppclas_deploy.exporters.lite:LiteExporter", summary="Paddle-Lite, for phones"
    )
    registry.register(
        "serving",
        "ppclas_deploy.exporters.serving:ServingExporter",
        summary="Paddle Serving folders",
    )
    registry.register(
        "triton", "ppclas_deploy.exporters.triton:TritonExporter", summary="Triton model repository"
    )
    registry.register(
        "trt",
        "ppclas_deploy.exporters.tensorrt:TensorRtExporter",
        summary="TensorRT, on NVIDIA GPUs",
    )


@hookimpl
def register_engines(registry: Registry) -> None:
    """Add the engines. ``runs`` names the targets whose files an engine takes; ``bundle``: no
    export at all.
    """
    registry.register(
        "dygraph",
        "ppclas_deploy.engines.dygraph:DygraphEngine",
        summary="Paddle's layers",
        metadata={"runs": ["bundle"]},
    )
    registry.register(
        "paddle_inference",
        "ppclas_deploy.engines.paddle_inference:PaddleInferenceEngine",
        summary="Paddle Inference with oneDNN",
        metadata={"runs": ["paddle"]},
    )
    registry.register(
        "openvino",
        "ppclas_deploy.engines.openvino:OpenVinoEngine",
        summary="OpenVINO on the CPU",
        metadata={"runs": ["openvino", "onnx"]},
    )
    registry.register(
        "tensorrt",
        "ppclas_deploy.engines.tensorrt:TensorRtEngine",
        summary="TensorRT, as a trt export says",
        metadata={"runs": ["trt"]},
    )
    registry.register(
        "triton",
        "ppclas_deploy.engines.triton:TritonEngine",
        summary="a Triton repository, in ONNX Runtime",
        metadata={"runs": ["triton"]},
    )
    registry.register(
        "lite",
        "ppclas_deploy.engines.lite:LiteEngine",
        summary="Paddle-Lite on x86, in an older Python",
        metadata={"runs": ["lite"]},
    )
    for name, engine, summary in (
        ("onnxruntime", "OnnxRuntimeEngine", "ONNX Runtime; needs no Paddle"),
        ("onnxruntime_cuda", "CudaEngine", "ONNX Runtime on an NVIDIA GPU"),
        ("onnxruntime_tensorrt", "TensorRTEngine", "ONNX Runtime with TensorRT"),
    ):
        registry.register(
            name,
            f"ppclas_deploy.engines.onnxruntime:{engine}",
            summary=summary,
            metadata={"runs": ["onnx"]},
        )
