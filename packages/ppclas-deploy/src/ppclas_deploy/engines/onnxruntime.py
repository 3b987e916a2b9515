"""ONNX Runtime on the CPU, with CUDA or with TensorRT. Needs no Paddle: an export, onnxruntime,
NumPy and OpenCV.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from packaging.version import Version
from ppclas_core.contracts.export import Engine, export_facts
from ppclas_core.errors import BundleError, MissingDependencyError
from ppclas_data.loading.loader import available_cpus
from pydantic import Field, PrivateAttr

from ppclas_deploy.cpus import has_vnni
from ppclas_deploy.dependencies import load
from ppclas_deploy.engines.heat_output import OUTPUT, in_fixed_batches
from ppclas_deploy.home import home
from ppclas_deploy.marks import checked_file

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

CPU = "CPUExecutionProvider"
_OF_BUNDLES = frozenset((
    "device_id", "gpu_mem_limit", "arena_extend_strategy", "use_tf32", "prefer_nhwc",
    "cudnn_conv_algo_search", "cudnn_conv_use_max_workspace", "do_copy_in_default_stream",
    "enable_cuda_graph", "trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable",
    "trt_max_workspace_size", "trt_max_partition_iterations", "trt_min_subgraph_size",
    "trt_builder_optimization_level", "trt_profile_min_shapes", "trt_profile_opt_shapes",
    "trt_profile_max_shapes", "trt_sparsity_enable", "trt_cuda_graph_enable",
    "trt_layer_norm_fp32_fallback", "trt_auxiliary_streams",
))  # fmt: skip
"""What a bundle may ask of a provider: nothing that names a file, a folder or a library."""
_EXTERNAL = b"\x0a\x08location"
"""How the key ``location`` of a tensor that lies in another file begins in a protocol buffer."""
_AFTER = {
    "CUDAExecutionProvider": (CPU,),
    "TensorrtExecutionProvider": ("CUDAExecutionProvider", CPU),
}
"""Provider → those that run the operators it does not have."""


class OnnxRuntimeEngine(Engine):
    """Run an ONNX export.

    ``open_engine(Bundle.load("pears-onnx"), "onnxruntime", threads=1).logits(images)`` gives logits
    [N, C] for normalised images [N, 3, H, W].
    """

    provider: str = CPU
    """Execution provider, as ``onnxruntime.get_available_providers()`` names them. Never replaced
    silently."""
    provider_options: Mapping[str, str] = Field(default_factory=dict)
    """The provider's own options; they come before those in ``bundle.json`` under
    ``export.provider_options``."""

    _session: Any = PrivateAttr(None)
    _version: str = PrivateAttr("")

    def open(self, bundle: Bundle) -> None:
        """Make the session, and make sure that it runs on the provider asked for.

        Raises:
            MissingDependencyError: onnxruntime is missing, or has not got the provider.
            BundleError: the model does not load.
        """
        facts = export_facts(bundle)
        if (
            facts.get("quantization", {}).get("weight_bits") == 8
            and self.provider == CPU
            and has_vnni() is False
        ):
            print(
                f"note: {bundle.folder} has 8-bit weights, which can overflow on this CPU (x86 "
                "without VNNI): answers may be worse. Make it here, or with: ppclas quantize "
                "--weight-bits 7",
                file=sys.stderr,
            )
        self._version = load("onnxruntime", "the engine onnxruntime", "onnx").__version__
        model = checked_file(bundle)
        options = {**self.kept(), **asked_options(bundle), **self.provider_options}
        if refers_outside(model):
            raise BundleError(
                f"{model} keeps tensors in other files, which nothing guards. Export it again."
            )
        self._session = make_session(model, self.threads, self.provider, options)

    def kept(self) -> dict[str, str]:
        """Options that hold where nothing else is said."""
        return {}

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Answers of one batch.

        Args:
            images: contiguous, as ``prepare`` gives them: float32 [N, 3, H, W], normalised, or
                uint8 [N, H, W, 3] where normalisation is in the export.

        Returns:
            float32 [N, C]: logits, or probabilities where the activation is in the export.
        """
        answers: NDArray[np.float32] = self._session.run(None, {"images": images})[0]
        return answers

    def heat_maps(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Maps [N, h, w] of an export that has them; see ``ppclas_deploy.heat.heat_maps``."""

        def run(batch: NDArray[Any]) -> NDArray[np.float32]:
            maps: NDArray[np.float32] = self._session.run([OUTPUT], {"images": batch})[0]
            return maps

        return in_fixed_batches(run, images, self._batch)

    def versions(self) -> dict[str, str]:
        """ONNX Runtime and the provider that runs."""
        return {"onnxruntime": self._version, "provider": self._session.get_providers()[0]}


class CudaEngine(OnnxRuntimeEngine):
    """Run an ONNX export on an NVIDIA GPU."""

    provider: str = "CUDAExecutionProvider"
    """As for every ONNX Runtime engine: never replaced silently."""

    def kept(self) -> dict[str, str]:
        """float32 and not TF32, its default on cards from Ampere on: answers would differ by a
        thousandth. ``provider_options`` with ``use_tf32: "1"`` is faster.
        """
        known = self._version and Version(self._version) >= Version("1.18")
        return {"use_tf32": "0"} if known else {}


class TensorRTEngine(OnnxRuntimeEngine):
    """Run an ONNX export with TensorRT; what it compiles is kept, as compiling takes minutes."""

    provider: str = "TensorrtExecutionProvider"
    """As for every ONNX Runtime engine: never replaced silently."""

    def kept(self) -> dict[str, str]:
        """A cache of compiled engines in ``$PPCLAS_HOME/tensorrt``."""
        # Switches are "True" or "False": this provider reads no other word, and no number.
        cache = str(home() / "tensorrt")
        return {"trt_engine_cache_enable": "True", "trt_engine_cache_path": cache}


def asked_options(bundle: Bundle) -> dict[str, str]:
    """``export.provider_options`` of ``bundle.json``.

    Raises:
        BundleError: one is not of those that a bundle may set: another could load a library.
    """
    asked = export_facts(bundle).get("provider_options", {})
    if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
        raise BundleError(
            f"{bundle.folder}: export.provider_options in bundle.json should be a map of texts."
        )
    refused = sorted(set(asked) - _OF_BUNDLES)
    if refused:
        raise BundleError(
            f"{bundle.folder}: bundle.json asks the provider for {refused[0]}, which a bundle may "
            "not set. Where it is meant, give it to the engine: provider_options."
        )
    return asked


def refers_outside(model: Path) -> bool:
    """Whether an ONNX file has tensors in other files: those would be read unchecked."""
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_EXTERNAL) >= 0


def make_session(
    model: Path | bytes,
    threads: int | None = None,
    provider: str = CPU,
    provider_options: Mapping[str, str] = {},
) -> Any:
    """An ``onnxruntime.InferenceSession`` that runs on ``provider`` and on nothing instead of it.

    Args:
        model: an ONNX file, or its content.
        threads: CPU threads for one operator. Nothing: all CPUs of this process.
        provider: execution provider, as ``onnxruntime.get_available_providers()`` names it.
        provider_options: the provider's own options.

    Raises:
        MissingDependencyError: this onnxruntime has not got the provider, or fell back to another.
        BundleError: the model does not load.
    """
    ort = load("onnxruntime", "the engine onnxruntime", "onnx")
    if provider not in ort.get_available_providers():
        raise MissingDependencyError(
            f"this onnxruntime {ort.__version__} has no {provider}; it has "
            f"{', '.join(ort.get_available_providers())}. GPU providers are in the package "
            "onnxruntime-gpu."
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    # Threads that spin while they wait take the CPU from those that decode the next photos.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; a provider that falls back is found out below
    providers = [(provider, dict(provider_options)), *_AFTER.get(provider, ())]
    if provider != CPU:
        _find_libraries(ort)
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=providers,
            # Otherwise a refused option is printed on stdout, and the CPU answers instead.
            enable_fallback=0,
        )
    except Exception as error:  # onnxruntime's own derive from nothing narrower
        name = "the model" if isinstance(model, bytes) else model
        raise BundleError(
            f"{name} does not load in onnxruntime {ort.__version__}: {_first_line(error)}"
        ) from error
    # A provider whose libraries are missing is listed as available, and the session then runs on
    # the CPU.
    running = session.get_providers()[0]
    if running != provider:
        raise MissingDependencyError(
            f"onnxruntime {ort.__version__} lists {provider} but fell back to {running}: its "
            "libraries (CUDA, cuDNN, TensorRT) are missing here. Install them, or ask for "
            f"{running}."
        )
    return session


def _find_libraries(ort: Any) -> None:
    """Load CUDA and cuDNN from NVIDIA's packages, which a GPU build of Paddle brings along; ONNX
    Runtime alone looks where the system does (its documentation: CUDA provider, "Preload DLLs").
    """
    if hasattr(ort, "preload_dlls"):  # since 1.21
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            ort.preload_dlls()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
