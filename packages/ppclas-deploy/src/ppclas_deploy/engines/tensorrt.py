"""TensorRT, through ONNX Runtime or Paddle Inference, as the export says. Never anything else
instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.export import Engine, export_facts, export_file
from ppclas_core.errors import MissingDependencyError, PpclasError
from ppclas_core.paddle_runtime import require_paddle
from pydantic import PositiveInt, PrivateAttr

from ppclas_deploy.engines.onnxruntime import make_session
from ppclas_deploy.home import home
from ppclas_deploy.marks import checked_file

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

PROVIDER = "TensorrtExecutionProvider"
_GIB = 1 << 30


class TensorRtEngine(Engine):
    """Run a ``trt`` export on an NVIDIA GPU; the engine that TensorRT compiles is kept in
    ``$PPCLAS_HOME/tensorrt``.
    """

    gpu: int = 0
    """Which GPU."""
    max_batch: PositiveInt = 32
    """Largest batch that Paddle Inference's TensorRT is compiled for."""

    _session: Any = PrivateAttr(None)
    _predictor: Any = PrivateAttr(None)
    _versions: dict[str, str] = PrivateAttr(default_factory=dict)

    def open(self, bundle: Bundle) -> None:
        """Open it with what the export was made for.

        Raises:
            MissingDependencyError: there is no TensorRT, or no GPU; the message says what runs the
                export without.
        """
        facts = export_facts(bundle)
        try:
            if facts.get("via") == "paddle":
                self._open_paddle(bundle, facts)
            else:
                self._open_onnxruntime(bundle, facts)
        except MissingDependencyError as error:
            raise MissingDependencyError(
                f"{error} {bundle.folder} is for TensorRT; without a GPU export with --target onnx "
                "or openvino."
            ) from error

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Answers of one batch.

        Args:
            images: contiguous, as ``prepare`` gives them: float32 [N, 3, H, W], normalised, or
                uint8 [N, H, W, 3] where normalisation is in the export.

        Returns:
            float32 [N, C]: logits, or probabilities where the activation is in the export.
        """
        if self._session is not None:
            answers: NDArray[np.float32] = self._session.run(None, {"images": images})[0]
            return answers
        self._predictor.get_input_handle(self._predictor.get_input_names()[0]).copy_from_cpu(images)
        self._predictor.run()
        name = self._predictor.get_output_names()[0]
        return np.asarray(self._predictor.get_output_handle(name).copy_to_cpu(), dtype=np.float32)

    def versions(self) -> dict[str, str]:
        """What ran TensorRT, and the provider that it says really runs."""
        return dict(self._versions)

    def _open_onnxruntime(self, bundle: Bundle, facts: dict[str, Any]) -> None:
        options = provider_options(bundle, facts, self.gpu)
        Path(options["trt_engine_cache_path"]).mkdir(parents=True, exist_ok=True)
        self._session = make_session(checked_file(bundle), self.threads, PROVIDER, options)
        import onnxruntime

        self._versions = {
            "onnxruntime": onnxruntime.__version__,
            "provider": self._session.get_providers()[0],
        }

    def _open_paddle(self, bundle: Bundle, facts: dict[str, Any]) -> None:
        if lacks := paddle_lacks():
            raise MissingDependencyError(f"Paddle Inference cannot run TensorRT here: {lacks}.")
        paddle = require_paddle("the engine tensorrt")
        from paddle import inference

        half = facts.get("precision") == "fp16"
        config = inference.Config(str(checked_file(bundle)), str(export_file(bundle, "params")))
        config.enable_use_gpu(256, self.gpu)
        config.disable_glog_info()
        config.set_optim_cache_dir(str(home() / "tensorrt"))
        config.enable_tensorrt_engine(
            workspace_size=_GIB,
            max_batch_size=facts.get("batch") or self.max_batch,
            # Paddle's default of 30 leaves small networks to CUDA without a word
            min_subgraph_size=3,
            precision_mode=inference.PrecisionType.Half
            if half
            else inference.PrecisionType.Float32,
            use_static=True,
            use_calib_mode=False,
        )
        sides = self._input
        shapes = [[count, *sides] for count in (1, facts.get("batch") or self.max_batch)]
        config.set_trt_dynamic_shape_info(
            {"images": shapes[0]}, {"images": shapes[1]}, {"images": shapes[1]}
        )
        self._predictor = inference.create_predictor(config)
        if not config.tensorrt_engine_enabled():
            raise MissingDependencyError("Paddle Inference was asked for TensorRT and left it out.")
        version = ".".join(map(str, inference.get_trt_runtime_version()))
        self._versions = {"paddle": paddle.__version__, "provider": f"TensorRT {version}"}


def provider_options(bundle: Bundle, facts: Mapping[str, Any], gpu: int) -> dict[str, str]:
    """What ONNX Runtime's TensorRT provider is told for an export with these ``facts``.

    Switches are ``True`` or ``False``: the provider refuses any other word, and numbers.
    """
    precision = facts.get("precision")
    options = {
        "device_id": str(gpu),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(home() / "tensorrt"),
        "trt_fp16_enable": str(precision in ("fp16", "int8")),
        "trt_int8_enable": str(precision == "int8"),
    }
    if precision == "int8":
        # An absolute path takes the place of the cache's folder, in which it is looked for
        # otherwise.
        table = str(export_file(bundle, "calibration").resolve())
        options["trt_int8_calibration_table_name"] = table
    return options


def onnxruntime_lacks() -> str:
    """Why ONNX Runtime cannot run TensorRT here, found by trying; empty where it can."""
    try:
        import onnx
    except ImportError:
        return "onnx is not installed"
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    try:
        make_session(model.SerializeToString(), 1, PROVIDER)
    except PpclasError as error:
        return str(error).rstrip(".")
    return ""


def paddle_lacks() -> str:
    """Why Paddle Inference cannot run TensorRT here; empty where it can."""
    try:
        paddle = require_paddle("TensorRT")
    except MissingDependencyError as error:
        return str(error)
    from paddle import inference

    if not any(inference.get_trt_compile_version()):
        return f"Paddle {paddle.__version__} was built without it"
    if not any(inference.get_trt_runtime_version()):
        return "the TensorRT library is missing"
    return "" if paddle.device.cuda.device_count() else "there is no GPU"
