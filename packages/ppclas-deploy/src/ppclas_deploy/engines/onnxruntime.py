"""ONNX Runtime. Needs no Paddle: an export, onnxruntime, NumPy and OpenCV are enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import BundleError, MissingDependencyError
from ppclas_core.export import Engine, export_file
from pydantic import PrivateAttr

from ppclas_deploy.cpus import usable_cpus
from ppclas_deploy.dependencies import load

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class OnnxRuntimeEngine(Engine):
    """Run an ONNX export."""

    provider: str = "CPUExecutionProvider"
    """Execution provider, as ``onnxruntime.get_available_providers()`` names them. Never replaced silently."""

    _session: Any = PrivateAttr(None)
    _version: str = PrivateAttr("")

    def open(self, bundle: Bundle) -> None:
        """Make the session, and make sure that it runs on the provider asked for.

        Raises:
            MissingDependencyError: onnxruntime is missing, or has not got the provider.
            BundleError: the model does not load.
        """
        ort = load("onnxruntime", "the engine onnxruntime", "onnx")
        self._version = ort.__version__
        if self.provider not in ort.get_available_providers():
            raise MissingDependencyError(
                f"this onnxruntime {ort.__version__} has no {self.provider}; it has "
                f"{', '.join(ort.get_available_providers())}. GPU providers are in the package onnxruntime-gpu."
            )
        model = export_file(bundle, "model")
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads or usable_cpus()
        options.log_severity_level = 3  # errors; a provider that falls back is found out below
        try:
            self._session = ort.InferenceSession(str(model), options, providers=[self.provider])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise BundleError(
                f"{model} does not load in onnxruntime {ort.__version__}: {_first_line(error)}"
            ) from error
        # A provider whose libraries are missing is listed as available, and the session then runs on the CPU.
        running = self._session.get_providers()[0]
        if running != self.provider:
            raise MissingDependencyError(
                f"onnxruntime {ort.__version__} lists {self.provider} but fell back to {running}: its libraries (CUDA, "
                f"cuDNN, TensorRT) are missing here. Install them, or ask for {running}."
            )

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [N, C]."""
        logits: NDArray[np.float32] = self._session.run(["logits"], {"images": images})[0]
        return logits

    def versions(self) -> dict[str, str]:
        """ONNX Runtime and the provider that runs."""
        return {"onnxruntime": self._version, "provider": self._session.get_providers()[0]}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
