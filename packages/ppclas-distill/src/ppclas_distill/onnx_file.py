"""A classifier in a bare .onnx file, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import Size
from ppclas_core.errors import ConfigError, MissingDependencyError
from ppclas_core.files import sha256

_TYPES: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


class OnnxFile:
    """Images [N, 3, H, W] of floats in; its first output, [N, C], is logits or probabilities."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            ConfigError: there is none, it does not load, or it takes something else.
            MissingDependencyError: onnxruntime is not installed.
        """
        self.path = path
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError(
                f"teacher {path} needs onnxruntime, which is not installed. Run: pip install "
                "'ppclas-distill[onnx]'"
            ) from error
        if not path.is_file():
            raise ConfigError(f"teacher {path}: there is no such file.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        # Threads that wait for the next batch would take the cores that the student trains on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # onnxruntime's exceptions share no base class
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"teacher {path} does not load in onnxruntime {onnxruntime.__version__}: {said}"
            ) from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if inputs else []
        odd = (
            len(inputs) != 1
            or len(shape) != 4
            or (isinstance(shape[1], int) and shape[1] != 3)
            or shape[3] == 3
        )
        if odd or inputs[0].type not in _TYPES:
            raise ConfigError(
                f"teacher {path}: expected one input of images [N, 3, H, W] of floats, got "
                f"{'; '.join(f'{i.name} {i.shape} {i.type}' for i in inputs) or 'none'}."
            )
        self._type = _TYPES[inputs[0].type]
        self._input, self._output, self._shape = (
            inputs[0].name,
            self._session.get_outputs()[0].name,
            shape,
        )

    @property
    def fingerprint(self) -> str:
        """The hash of the file."""
        return sha256(self.path)

    def size(self, wanted: Size | None, otherwise: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of what it takes: its own where that is fixed, else ``wanted``, else
        ``otherwise``.

        Raises:
            ConfigError: ``wanted`` is not what it takes.
        """
        pair = (wanted, wanted) if isinstance(wanted, int) else wanted
        height, width = self._shape[2:]
        if not (isinstance(height, int) and isinstance(width, int)):
            return pair or otherwise
        if pair not in (None, (height, width)):
            raise ConfigError(
                f"teacher {self.path} takes images of {height}x{width}; image_size says {pair}."
            )
        return height, width

    def try_out(self, size: tuple[int, int]) -> tuple[int, bool]:
        """Its number of classes, and whether it answers in probabilities: tried on two images of
        noise.

        Raises:
            ConfigError: it cannot answer.
        """
        try:
            answers = self.run(
                np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
            )
        except Exception as error:  # as above
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"teacher {self.path} does not answer for two images [2, 3, {size[0]}, {size[1]}]: "
                f"{said}. Another image_size may be what it takes."
            ) from error
        sums_to_one = bool(
            (answers >= 0).all() and np.allclose(answers.sum(axis=1), 1.0, atol=1e-3)
        )
        return answers.shape[1], sums_to_one

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers [N, C] for images [N, 3, H, W], in pieces where the file has one batch size."""
        step = self._shape[0] if isinstance(self._shape[0], int) else len(images)
        pieces = []
        for start in range(0, len(images), step):
            piece = images[start : start + step]
            padding = np.zeros((step - len(piece), *piece.shape[1:]), piece.dtype)
            padded: Any = np.concatenate([piece, padding]) if len(padding) else piece
            answers = np.asarray(
                self._session.run(
                    [self._output], {self._input: padded.astype(self._type, copy=False)}
                )[0]
            )
            pieces.append(answers[: len(piece)])
        return np.concatenate(pieces).astype(np.float32).reshape(len(images), -1)
