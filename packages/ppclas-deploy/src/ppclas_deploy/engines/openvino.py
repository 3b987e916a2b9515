"""OpenVINO on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.export import Engine, export_file
from ppclas_core.errors import BundleError
from pydantic import PrivateAttr

from ppclas_deploy.cpus import usable_cpus
from ppclas_deploy.dependencies import load
from ppclas_deploy.engines.heat_output import OUTPUT, in_fixed_batches
from ppclas_deploy.engines.onnxruntime import refers_outside
from ppclas_deploy.marks import checked_file

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class OpenVinoEngine(Engine):
    """Run an OpenVINO or an ONNX export, in float32 whatever else the CPU has."""

    _request: Any = PrivateAttr(None)
    _compiled: Any = PrivateAttr(None)
    _versions: dict[str, str] = PrivateAttr(default_factory=dict)

    def open(self, bundle: Bundle) -> None:
        """Compile the model for the CPU, with float32 arithmetic.

        Raises:
            MissingDependencyError: OpenVINO is not installed.
            BundleError: the files do not load.
        """
        openvino = load("openvino", "the engine openvino", "openvino")
        version = openvino.get_version().split("-")[0]
        model = checked_file(bundle)
        # OpenVINO finds the weights by the model's name; here they are known to be the right ones.
        if model.suffix == ".xml":
            if export_file(bundle, "weights") != model.with_suffix(".bin"):
                raise BundleError(f"{model}: its weights have another name. Export it again.")
        elif refers_outside(model):
            raise BundleError(
                f"{model} keeps tensors in other files, which nothing guards. Export it again."
            )
        core = openvino.Core()
        # On CPUs that have bfloat16 OpenVINO computes in it unless told otherwise: the answers are
        # not the model's.
        settings = {
            "INFERENCE_NUM_THREADS": self.threads or usable_cpus(),
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            compiled = core.compile_model(core.read_model(str(model)), "CPU", settings)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise BundleError(
                f"{model} does not load in OpenVINO {version}: {line[0].strip()}"
            ) from error
        self._request = compiled.create_infer_request()
        self._compiled = compiled
        self._versions = {
            "openvino": version,
            "device": ", ".join(compiled.get_property("EXECUTION_DEVICES")),
        }

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Answers of one batch.

        Args:
            images: contiguous, as ``prepare`` gives them: float32 [N, 3, H, W], normalised, or
                uint8 [N, H, W, 3] where normalisation is in the export.

        Returns:
            float32 [N, C]: logits, or probabilities where the activation is in the export.
        """
        answers = self._request.infer([images])
        # A copy: the request writes its next answers over these.
        return np.array(answers[0], dtype=np.float32)

    def heat_maps(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Maps [N, h, w] of an export that has them; see ``ppclas_deploy.heat.heat_maps``."""
        # A request of its own: answers may be asked for meanwhile.
        request = self._compiled.create_infer_request()

        def run(batch: NDArray[Any]) -> NDArray[np.float32]:
            return np.array(request.infer([batch])[OUTPUT], dtype=np.float32)

        return in_fixed_batches(run, images, self._batch)

    def versions(self) -> dict[str, str]:
        """OpenVINO and the device that runs."""
        return dict(self._versions)
