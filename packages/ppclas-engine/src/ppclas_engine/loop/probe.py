"""Fit a new classifier to the frozen features before fine-tuning starts.

A random head sends random gradients into the pretrained backbone and spoils features that it could
have used. Fitting the head first, then training everything, keeps them ("Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution", Kumar et al. 2022,
https://arxiv.org/abs/2202.10054, there called LP-FT). It costs one forward pass over the training
photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import sigmoid
from ppclas_core.contracts.data import ImageSet
from ppclas_data.loading.device import normalize_on_device
from ppclas_data.sources.unlabelled import labelled_part

if TYPE_CHECKING:
    from paddle import nn
    from ppclas_core.config.schema import NormalizeConfig
    from ppclas_core.contracts.image_model import ImageModel
    from ppclas_data.loading.loader import Batch

MAX_CLASSES = 200
"""With more classes there are more photos, longer runs, and the fit itself takes long."""
MAX_IMAGES = 4000
"""Photos whose features are looked at, evenly over the classes."""

# On the frozen features of three photo sets (docs/en/training.md), mean top-1 of 0.003, 0.01, 0.03
# and 0.1: 88.4, 90.6, 90.9 and 90.6 %.
_PENALTY = 0.03
_STEPS = 200
_RATE = 0.02


def linear_head(model: ImageModel) -> nn.Linear | None:
    """The model's classifier where it is one linear layer; None where it is anything else."""
    from paddle import nn

    layers = [
        layer
        for name, layer in model.named_sublayers()
        if model.is_head(name) and list(layer.parameters())
    ]
    return layers[0] if len(layers) == 1 and isinstance(layers[0], nn.Linear) else None


def probe_set(images: ImageSet, most: int = MAX_IMAGES) -> ImageSet:
    """At most so many of the labelled ones, the same number of each class where possible."""
    images = labelled_part(images)
    if len(images) <= most:
        return images
    if images.task == "multilabel":  # no image belongs to one class: one in so many of all
        return images.subset(
            np.linspace(0, len(images) - 1, most).round().astype(np.int64).tolist()
        )
    labels = images.labels()
    places = np.empty(len(labels), dtype=np.int64)  # place of each image among those of its class
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        places[members] = np.arange(len(members))
    return images.subset(np.sort(np.argsort(places, kind="stable")[:most]).tolist())


def probe_class_weights(
    images: ImageSet, class_weights: Sequence[float] | None, most: int = MAX_IMAGES
) -> Sequence[float] | None:
    """The loss's ``class_weights`` for ``probe_set``: None where it evens out the classes."""
    evened = images.task == "classification" and len(labelled_part(images)) > most
    return None if evened else class_weights


def fit_linear_head(
    model: ImageModel,
    head: nn.Linear,
    batches: Iterable[Batch],
    normalize: NormalizeConfig,
    on_batch: Callable[[], None] = lambda: None,
    class_weights: Sequence[float] | None = None,
    *,
    flips: bool = False,
) -> None:
    """Set the weights of ``head`` to a logistic regression on what reaches it in eval mode for
    ``batches``, and with ``flips`` for their mirror images too.

    ``class_weights`` are those of the loss that training goes on with, one per class.
    """
    import paddle

    features: list[NDArray[np.float32]] = []
    labels: list[NDArray[Any]] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].numpy()))
    model.eval()
    try:
        with paddle.no_grad():
            for batch in batches:
                pixels = normalize_on_device(batch.images, normalize)
                for view in (pixels, pixels.flip([3])) if flips else (pixels,):
                    model(view)
                    labels.append(batch.labels)
                on_batch()
    finally:
        handle.remove()
    weight, bias = logistic_regression(
        np.concatenate(features), np.concatenate(labels), head.weight.shape[1], class_weights
    )
    head.weight.set_value(weight)
    if head.bias is not None:
        head.bias.set_value(bias)


def logistic_regression(
    features: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int,
    class_weights: Sequence[float] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight [D, C] and bias [C] of a logistic regression on features [N, D].

    It is multinomial for labels [N]; for labels [N, C] of ones and zeros it is one regression a
    class.

    An image counts as much as the weight of its class; with labels [N, C] a class's weight is that
    of the images that have it against those that do not, as in the losses.

    Minimises the mean cross entropy plus ``_PENALTY / 2 · ‖W‖²`` over centred features, scaled by
    one number to a mean variance of 1, with Adam on all of them at once.
    """
    # One scale for all: scaling each feature by its own would give large weights to features that
    # hardly vary.
    mean = features.mean(axis=0)
    spread = np.sqrt(features.var(axis=0).mean()) + 1e-6
    inputs = ((features - mean) / spread).astype(np.float32)
    # A constant one beside the features makes the bias a row of the weights.
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1), np.float32)], axis=1)
    several = labels.ndim == 2
    targets = labels if several else np.eye(num_classes, dtype=np.float32)[labels]
    importance = np.ones((len(inputs), num_classes if several else 1), np.float32)
    if class_weights is not None:
        of_class = np.asarray(class_weights, np.float32)
        importance = (
            np.where(labels > 0, of_class, 1.0).astype(np.float32)
            if several
            else of_class[labels][:, None]
        )
        if not several:
            importance /= importance.mean()
    weights = np.zeros((inputs.shape[1], num_classes), np.float32)
    penalty = np.full((inputs.shape[1], 1), _PENALTY, np.float32)
    penalty[-1] = 0.0
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, _STEPS + 1):
        logits = inputs @ weights
        if several:
            probabilities = sigmoid(logits)
        else:
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        gradient = (
            inputs.T @ (importance * (probabilities - targets)) / len(inputs) + penalty * weights
        )
        first += 0.1 * (gradient - first)
        second += 0.01 * (gradient**2 - second)
        rate = _RATE * (1 - step / (_STEPS + 1))
        weights -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    weight = weights[:-1] / spread
    return weight.astype(np.float32), (weights[-1] - mean @ weight).astype(np.float32)
