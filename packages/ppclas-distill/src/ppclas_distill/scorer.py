"""A teacher that looks at photos by itself, with its own preprocessing: what ``select`` asks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.data import Draw
from ppclas_core.errors import ConfigError, ImageError
from ppclas_core.normalize import normalize_batch
from ppclas_data.decoding.web import read_file
from ppclas_data.loading.pipeline import (
    Pipeline,
    build_transforms,
    bundle_pipeline,
    default_eval_transforms,
)
from ppclas_engine.scoring.predictors import bundle_predictor

from ppclas_distill.onnx_file import OnnxFile
from ppclas_distill.opening import ONNX_SUFFIX, bundle_fingerprint, open_bundle
from ppclas_distill.select import Answers, check_listable
from ppclas_distill.teacher import TeacherConfig

_THREADS = 2
"""That decode photos while the teacher computes; OpenCV does so without holding the interpreter's
lock."""


@dataclass(frozen=True)
class Scorer:
    """Paths in, probabilities out."""

    class_names: tuple[str, ...]
    fingerprint: str
    """Changes with the teacher's weights."""
    _pipeline: Pipeline
    _probabilities: Callable[[NDArray[Any]], NDArray[np.float32]]

    def answer(self, paths: list[str]) -> Answers:
        """Probabilities [N, C] of the photos; NaN where unreadable, with place and reason."""
        draw = Draw(np.random.default_rng(0))

        def read(path: str) -> NDArray[Any] | str:
            try:
                check_listable(path)
                return self._pipeline(read_file(path), draw, path)
            except ImageError as error:
                return str(error).removeprefix(f"{path}: ")
            except OSError as error:
                return error.strerror or str(error)

        with ThreadPoolExecutor(_THREADS) as pool:
            images = list(pool.map(read, paths))
        good = [place for place, image in enumerate(images) if not isinstance(image, str)]
        answers = np.full((len(paths), len(self.class_names)), np.nan, np.float32)
        if good:
            answers[good] = self._probabilities(np.stack([images[place] for place in good]))
        return answers, [
            (place, image) for place, image in enumerate(images) if isinstance(image, str)
        ]


def open_scorer(config: TeacherConfig) -> Scorer:
    """The teacher behind ``config`` with its own preprocessing.

    Raises:
        ConfigError, BundleError, WeightsError, MissingDependencyError: it cannot be opened.
    """
    if config.source.endswith(ONNX_SUFFIX):
        return _onnx_scorer(config)
    bundle = open_bundle(config)
    if bundle.manifest.activation != "softmax":
        raise ConfigError(
            f"{config.source}: expected a teacher of exclusive classes, got one of several labels."
        )
    predictor = bundle_predictor(bundle)
    return Scorer(
        bundle.labels,
        bundle_fingerprint(bundle),
        bundle_pipeline(bundle),
        lambda pixels: bundle.probabilities(predictor(pixels)).astype(np.float32),
    )


def _onnx_scorer(config: TeacherConfig) -> Scorer:
    file = OnnxFile(Path(config.source))
    size = file.size(config.image_size, (224, 224))
    classes, probabilities = file.try_out(size)
    normalize = config.normalize_or_default

    def run(pixels: NDArray[Any]) -> NDArray[np.float32]:
        answers = file.run(normalize_batch(pixels, normalize))
        if probabilities:
            return answers
        shifted = np.exp(answers - answers.max(axis=1, keepdims=True))
        return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)

    transforms = build_transforms(default_eval_transforms(size, None, "bilinear"))
    names = tuple(str(label) for label in range(classes))
    return Scorer(names, file.fingerprint, Pipeline(transforms), run)
