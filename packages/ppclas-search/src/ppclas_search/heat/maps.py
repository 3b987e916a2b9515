"""Heat maps of a class: four ways to say where in an image its evidence is.

Every function returns maps [N, H, W] (float32) of the images' own size, 1 at the strongest place of
each map and 0 where there is no evidence for the class; a map without any evidence is 0
everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.training import split_outputs
from ppclas_core.errors import ConfigError, ShapeError
from ppclas_data.loading.device import normalize_on_device

if TYPE_CHECKING:
    from paddle import Tensor
    from ppclas_core.config.schema import NormalizeConfig
    from ppclas_core.contracts.image_model import ImageModel

Pixels = NDArray[np.uint8]
"""[N, H, W, 3], as the bundle's pipeline gives them."""
Maps = NDArray[np.float32]
"""[N, H, W] in 0..1."""
Predict = Callable[[Pixels], NDArray[np.float32]]
"""Pixels [N, H, W, 3] to logits [N, C]."""

_AT_ONCE = 32
"""Images of one forward pass, where a method needs many."""
_NEIGHBOURHOOD = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16


def grad_cam(
    model: ImageModel,
    pixels: Pixels,
    classes: Sequence[int],
    normalize: NormalizeConfig,
    layer: int | None = None,
) -> Maps:
    """``relu(Σ_k w_k A_k)``, where ``w_k`` is the mean over places of ``∂y_c / ∂A_k``.

    Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2, https://arxiv.org/abs/1610.02391.

    Args:
        model: in eval mode.
        pixels: [N, H, W, 3].
        classes: [N] the class of each image that is asked about.
        normalize: of the model's bundle.
        layer: place in the model's ``feature_info()``, negative ones from the end. Nothing: the
            map before the classifier.

    Raises:
        ShapeError: the model has no feature map [N, C, h, w] there.
    """
    maps, gradients = _maps_and_gradients(model, pixels, classes, normalize, layer)
    weights = gradients.mean(axis=(2, 3), keepdims=True)
    return as_large((weights * maps).sum(axis=1), pixels)


def layer_cam(
    model: ImageModel,
    pixels: Pixels,
    classes: Sequence[int],
    normalize: NormalizeConfig,
    layer: int | None = None,
) -> Maps:
    """``relu(Σ_k relu(∂y_c / ∂A_k) · A_k)``: each place has a weight of its own.

    Sharper than Grad-CAM, and of use on finer maps too. Jiang et al. 2021, "LayerCAM", equations 5
    to 7, https://doi.org/10.1109/TIP.2021.3089943. Arguments and errors are those of ``grad_cam``.
    """
    maps, gradients = _maps_and_gradients(model, pixels, classes, normalize, layer)
    return as_large((np.maximum(gradients, 0.0) * maps).sum(axis=1), pixels)


def recipro_cam(
    model: ImageModel,
    pixels: Pixels,
    classes: Sequence[int],
    normalize: NormalizeConfig,
) -> Maps:
    """The probability of the class where the classifier sees one place of the map alone.

    No gradients: a pass of the classifier for each place. Byun & Lee 2022, "Recipro-CAM", equations
    1 to 4, https://arxiv.org/abs/2209.14074. Places are Gaussian neighbourhoods of 3 x 3.
    """
    import paddle

    found = []
    with paddle.no_grad():
        features = _feature_map(model.forward_features(_images(pixels, normalize)), model)
        height, width = features.shape[2:]
        masks = paddle.to_tensor(_place_masks(height, width))
        for row, of_class in enumerate(classes):
            logits = [
                split_outputs(model.forward_head(features[row : row + 1] * part))[0]
                for part in masks.split(_parts(len(masks)))
            ]
            chances = paddle.nn.functional.softmax(paddle.concat(logits), axis=1)
            place = chances[:, int(of_class)].numpy().reshape(height, width)
            found.append(place - place.min())
    return as_large(np.stack(found), pixels)


def occlusion(
    predict: Predict, pixels: Pixels, classes: Sequence[int], share: float = 0.25
) -> Maps:
    """How much the class's logit falls where a square of the image is covered.

    It asks for answers alone, so it works with every engine. Zeiler & Fergus 2014, section 4.2,
    https://arxiv.org/abs/1311.2901. The squares overlap by half and have the image's mean colour; a
    pixel's value is the mean over the squares that cover it. The logit is taken less the mean of
    all logits, which a constant added to all of them does not change.

    Args:
        predict: pixels to logits.
        pixels: [N, H, W, 3].
        classes: [N] the class of each image that is asked about.
        share: side of a square, as a share of the shorter side, in (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"expected a share in (0, 1) for the covered squares, got {share:g}")
    height, width = pixels.shape[1:3]
    side = max(2, round(share * min(height, width)))
    boxes = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    found = []
    for image, of_class in zip(pixels, classes, strict=True):
        colour = image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
        asked = [image]
        for top, left in boxes:
            covered = image.copy()
            covered[top : top + side, left : left + side] = colour
            asked.append(covered)
        logits = np.concatenate(
            [
                predict(np.stack(asked[start : start + _AT_ONCE]))
                for start in range(0, len(asked), _AT_ONCE)
            ]
        )
        scores = logits[:, int(of_class)] - logits.mean(axis=1)
        total, times = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        for (top, left), score in zip(boxes, scores[1:], strict=True):
            total[top : top + side, left : left + side] += scores[0] - score
            times[top : top + side, left : left + side] += 1
        # The squares' edges mean nothing.
        found.append(cv2.GaussianBlur(total / times, (0, 0), side / 4))
    return as_large(np.stack(found), pixels)


def random_maps(rng: np.random.Generator, pixels: Pixels, cells: int = 7) -> Maps:
    """Maps that know nothing: random values of ``cells`` x ``cells`` places, made as large as the
    images. What a real map has to be better than.
    """
    return as_large(rng.random((len(pixels), cells, cells), np.float32), pixels)


def _maps_and_gradients(
    model: ImageModel,
    pixels: Pixels,
    classes: Sequence[int],
    normalize: NormalizeConfig,
    layer: int | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A feature map [N, C, h, w], and the gradient of each image's class logit by it."""
    import paddle

    images = _images(pixels, normalize)
    if layer is None:
        with paddle.no_grad():
            features = _feature_map(model.forward_features(images), model).detach()
        features.stop_gradient = False
        logits, _ = split_outputs(model.forward_head(features))
    else:
        features, logits = _forward_to(model, images, layer)
    indices = paddle.to_tensor([int(of_class) for of_class in classes])
    wanted = paddle.nn.functional.one_hot(indices, logits.shape[1])
    (gradients,) = paddle.grad((logits * wanted).sum(), features)
    return features.numpy(), gradients.numpy()


def _forward_to(model: ImageModel, images: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """The map ``layer`` of ``feature_info()`` and the logits, in one graph."""
    info = model.feature_info()
    if not -len(info) <= layer < len(info):
        raise ConfigError(
            f"expected a feature map from {-len(info)} to {len(info) - 1}, got {layer}: "
            f"{type(model).__name__} has {len(info)}, of strides "
            f"{', '.join(str(feature.stride) for feature in info)}"
        )
    kept: list[Tensor] = []
    where = dict(model.named_sublayers())[info[layer].layer]
    handle = where.register_forward_post_hook(lambda _layer, _inputs, output: kept.append(output))
    try:
        logits, _ = split_outputs(model(images))
    finally:
        handle.remove()
    return _feature_map(kept[0], model), logits


def _images(pixels: Pixels, normalize: NormalizeConfig) -> Tensor:
    return normalize_on_device(pixels, normalize)


def _feature_map(features: Any, model: ImageModel) -> Tensor:
    shape = getattr(features, "shape", None)
    if shape is None or len(shape) != 4:
        raise ShapeError(
            f"{type(model).__name__} gives no feature map [N, C, h, w] to explain with. Try the "
            "method occlusion."
        )
    return features


def _place_masks(height: int, width: int) -> NDArray[np.float32]:
    """[h · w, 1, h, w]: a Gaussian neighbourhood of each place."""
    single = np.eye(height * width, dtype=np.float32).reshape(-1, height, width)
    return np.stack(
        [cv2.filter2D(mask, -1, _NEIGHBOURHOOD, borderType=cv2.BORDER_CONSTANT) for mask in single]
    )[:, None]


def _parts(count: int) -> list[int]:
    full, rest = divmod(count, _AT_ONCE)
    return [_AT_ONCE] * full + ([rest] if rest else [])


def _starts(length: int, side: int) -> list[int]:
    """Where squares begin, so that they cover all of ``length`` and overlap by about half."""
    steps = max(1, -(-2 * (length - side) // side))
    return sorted({round(place) for place in np.linspace(0, length - side, steps + 1)})


def as_large(maps: NDArray[Any], pixels: Pixels) -> Maps:
    """Maps [N, h, w] with ``relu``, in the images' size, and 1 at the strongest place."""
    height, width = pixels.shape[1:3]
    large = np.stack(
        [
            cv2.resize(one.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
            for one in np.maximum(maps, 0.0)
        ]
    )
    strongest = large.max(axis=(1, 2), keepdims=True)
    return np.asarray(large / np.where(strongest > 0, strongest, 1.0), np.float32)
