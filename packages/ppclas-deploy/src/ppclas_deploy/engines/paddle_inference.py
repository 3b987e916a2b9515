"""Paddle Inference on the CPU, with oneDNN."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from packaging.version import Version
from ppclas_core.contracts.export import Engine, export_file
from ppclas_core.errors import BundleError
from ppclas_core.paddle_runtime import require_paddle
from pydantic import PrivateAttr

from ppclas_deploy.cpus import usable_cpus
from ppclas_deploy.marks import checked_file

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

PADDLE_ERRORS = (IndexError, MemoryError, OSError, RuntimeError, SystemError, ValueError)
"""What errors of Paddle's C++ are in Python, by their kind."""

_RESIZE = re.compile(rb"\b(bilinear|nearest|bicubic|linear|trilinear)_interp\b")
_WINDOWS = re.compile(rb'(?:\{"#":"0\.a_i32","D":\d\},?){6,}\]\},"N":"perm"')
"""A transposition of six axes or more, in the JSON of a program."""


class PaddleInferenceEngine(Engine):
    """Run a Paddle export through its predictor's handles."""

    _predictor: Any = PrivateAttr(None)
    _version: str = PrivateAttr("")

    def open(self, bundle: Bundle) -> None:
        """Make the predictor.

        Raises:
            MissingDependencyError: Paddle is not installed.
            BundleError: the files do not load.
        """
        paddle = require_paddle("the engine paddle_inference")
        from paddle import inference

        self._version = paddle.__version__
        model, params = checked_file(bundle), export_file(bundle, "params")
        config = inference.Config(str(model), str(params))
        config.disable_gpu()
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(self.threads or usable_cpus())
        config.enable_mkldnn()  # off by default, and 3 to 9 times faster
        # Paddle 3.3 refuses some networks with attention with it; none is slower without.
        config.delete_pass("operator_reshape_onednn_fuse_pass")
        crashes = model.suffix == ".json" and onednn_crashes(self._version)
        if crashes and has_windows(model):
            config.disable_mkldnn()  # faster here as well
            print(
                f"note: oneDNN is off for {model.name}: Paddle {self._version} crashes with it on "
                "networks that cut maps into windows. Same answers.",
                file=sys.stderr,
            )
        elif crashes and has_resize(model):
            config.delete_pass("onednn_placement_pass")
            print(
                f"note: oneDNN is off for {model.name}: Paddle {self._version} crashes with it on "
                "networks that resize feature maps. Slower, same answers; 'ppclas export --target "
                "paddle --ir old' keeps it on.",
                file=sys.stderr,
            )
        try:
            self._predictor = inference.create_predictor(config)
        except PADDLE_ERRORS as error:
            line = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise BundleError(
                f"{model} does not load in Paddle {self._version}: {line[0].strip()}"
            ) from error

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Answers of one batch.

        Args:
            images: contiguous, as ``prepare`` gives them: float32 [N, 3, H, W], normalised, or
                uint8 [N, H, W, 3] where normalisation is in the export.

        Returns:
            float32 [N, C]: logits, or probabilities where the activation is in the export.
        """
        self._predictor.get_input_handle(self._predictor.get_input_names()[0]).copy_from_cpu(images)
        self._predictor.run()
        logits: NDArray[np.float32] = self._predictor.get_output_handle(
            self._predictor.get_output_names()[0]
        ).copy_to_cpu()
        return logits

    def versions(self) -> dict[str, str]:
        """Paddle's version."""
        return {"paddle": self._version}


def onednn_crashes(version: str) -> bool:
    """Whether this Paddle is known to crash with oneDNN on resize operators, or on windows: 3.3.x
    does; on resize operators, 3.0 to 3.2 do not.
    """
    return Version(version).release[:2] == (3, 3)


def has_windows(model: Path) -> bool:
    """Whether the program (.json) cuts feature maps into windows, as Swin does."""
    return _WINDOWS.search(model.read_bytes()) is not None


def has_resize(model: Path) -> bool:
    """Whether the program (.json) resizes feature maps."""
    return _RESIZE.search(model.read_bytes()) is not None
