"""Quantisation-aware training: the INT8 network learns to answer as the float one does, with its
rounding in the way.

The float network teaches: the loss is the Kullback-Leibler divergence of its probabilities and the
INT8 network's, so photos need no labels and the recipe of the original training is not needed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.contracts.data import ImageSet
from ppclas_core.normalize import normalize_batch
from ppclas_core.paddle_runtime import require_paddle
from ppclas_core.params import Params
from ppclas_data.loading.loader import Loader
from ppclas_data.loading.pipeline import Pipeline
from pydantic import PositiveFloat, PositiveInt

from ppclas_deploy.engines.onnxruntime import make_session


class Training(Params):
    """How the INT8 network is trained."""

    steps: PositiveInt = 100
    """Updates."""
    batch_size: PositiveInt = 16
    """Photos an update."""
    lr: PositiveFloat = 0.002
    """Of Adam, in quantisation steps of a weight an update; falls to 0 along half a cosine."""
    scale_lr: PositiveFloat = 0.0005
    """The same for the logarithms of the activations' scales."""
    seed: int = 0
    """Of the order and the crops of the photos."""


def train(
    model: Any,
    float_model: Any,
    images: ImageSet,
    pipeline: Pipeline,
    normalize: NormalizeConfig,
    settings: Training,
    threads: int | None,
    on_step: Callable[[float], None] = lambda _: None,
) -> None:
    """Train an ONNX model with QuantizeLinear and DequantizeLinear in place, against
    ``float_model``.

    Args:
        model: what is trained.
        float_model: the teacher, and where the weights start.
        images: photos; their labels are not looked at.
        pipeline: what happens to a photo in training.
        normalize: mean and standard deviation.
        settings: how.
        threads: CPU threads of the teacher.
        on_step: called with the loss after each update.

    Raises:
        ExportError: the network has an operator that is not known here.
        DataError: too many photos cannot be read.
    """
    paddle = require_paddle("training in INT8")
    from onnx import numpy_helper

    from ppclas_deploy.quantize.qdq_layer import QdqLayer

    weights = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in float_model.graph.initializer
    }
    layer = QdqLayer(model, weights)
    teacher = make_session(float_model.SerializeToString(), threads)
    rate = paddle.optimizer.lr.LambdaDecay(
        1.0, lambda step: 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    )
    groups = [
        {"params": layer.scales(), "learning_rate": settings.scale_lr},
        {"params": layer.offsets(), "learning_rate": settings.lr},
    ]
    optimizer = paddle.optimizer.Adam(rate, parameters=groups)
    with Loader(
        images, pipeline, settings.batch_size, shuffle=True, seed=settings.seed, drop_last=True
    ) as loader:
        for pixels in itertools.islice(_endless(loader), settings.steps):
            batch = normalize_batch(pixels, normalize)
            wanted = paddle.to_tensor(_log_softmax(teacher.run(None, {"images": batch})[0]))
            answers = paddle.nn.functional.log_softmax(layer(paddle.to_tensor(batch)), axis=1)
            loss = paddle.nn.functional.kl_div(
                answers, wanted, reduction="batchmean", log_target=True
            )
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            rate.step()
            on_step(loss.item())
    layer.write_back()


def _endless(loader: Loader) -> Iterator[NDArray[np.uint8]]:
    return (batch.images for epoch in itertools.count() for batch in loader.epoch(epoch))


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(
        shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32
    )
