"""Check of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.testing.components import check_params, expect, fail
from ppclas_core.weights import model_state

if TYPE_CHECKING:
    from paddle import Tensor

    from ppclas_core.contracts.image_model import ImageModel

CLASSES = 7


def check_model(model: str | ImageModel, image_size: int = 64, static: bool = False) -> None:
    """A model, given by its registered name or as a layer, keeps the contract of ``ImageModel``.

    Fresh copies with 7, 5 and 0 classes are tried on two square images of ``image_size`` pixels:
    shapes, train and eval mode, features, stages, the head, and a round trip of the weights.
    ``static`` also traces it for export, which takes a few seconds.
    """
    import paddle

    from ppclas_core.models import create_model

    def make(num_classes: int) -> ImageModel:
        if isinstance(model, str):
            return create_model(model, num_classes)
        return type(model)(model.config.replace(num_classes=num_classes))

    name = model if isinstance(model, str) else type(model).__name__
    net = make(CLASSES)
    check_params(net.config, documented=False)  # depth, width and the like need no words
    rng = np.random.default_rng(0)
    shape = (2, net.config.in_channels, image_size, image_size)
    images = paddle.to_tensor(rng.standard_normal(shape).astype(np.float32))
    net.eval()
    with paddle.no_grad():
        logits = _check_eval(name, net, images)
        _check_features(name, net, images)
        _check_stages(name, net)
        _check_other_heads(name, net, make, images)
        _check_weights(name, net, make, images, logits)
    if static:
        with paddle.no_grad():
            traced = paddle.jit.to_static(net, full_graph=True)(images).numpy()
            if not _close(traced, logits):
                fail(f"{name}: traced for export it gives other logits than in eval mode")
        net = make(CLASSES)
    _check_training(name, net, images)
    _check_freeze(name, make(CLASSES))


def _check_eval(name: str, net: ImageModel, images: Tensor) -> NDArray[np.float32]:
    output = net(images)
    if isinstance(output, tuple | list):
        fail(f"{name} returns {type(output).__name__} in eval mode, not logits only")
    logits: NDArray[np.float32] = output.numpy()
    if logits.shape != (2, CLASSES):
        fail(f"{name} gives {list(logits.shape)} for 2 images and {CLASSES} classes")
    if logits.dtype != np.float32 or not np.isfinite(logits).all():
        fail(f"{name} gives NaN, infinity or not float32")
    sums_to_one = np.allclose(logits.sum(axis=1), 1, atol=1e-4) and bool((logits >= 0).all())
    expect(not sums_to_one, f"{name} ends in a softmax; it must return logits")
    if not _close(net(images).numpy(), logits):
        fail(f"{name} gives other logits for the same images in eval mode")
    if not _close(net(images[1:]).numpy(), logits[1:]):
        fail(f"{name}: an image's logits depend on its batch in eval mode")
    return logits


def _check_features(name: str, net: ImageModel, images: Tensor) -> None:
    features = net.forward_features(images)
    if len(features.shape) != 4:
        fail(f"{name}: forward_features gives {list(features.shape)}, not a map [N, C, h, w]")
    if not _close(net.forward_head(features).numpy(), net(images).numpy()):
        fail(f"{name}: forward_head(forward_features(images)) is not forward(images)")
    info, layers = net.feature_info(), dict(net.named_sublayers())
    expect(bool(info), f"{name}: feature_info is empty")
    strides = [feature.stride for feature in info]
    if strides != sorted(set(strides)):
        fail(f"{name}: feature_info goes from fine to coarse, one a stride; got strides {strides}")
    missing = [f.layer for f in info if f.layer not in layers]
    if missing:
        fail(f"{name}: feature_info names sublayers that are not there: {', '.join(missing)}")
    seen: dict[str, list[int]] = {}

    def keep(layer: str) -> Callable[[Any, Any, Any], None]:
        return lambda _layer, _inputs, output: seen.update({layer: list(output.shape)})

    hooks = [layers[f.layer].register_forward_post_hook(keep(f.layer)) for f in info]
    net.forward_features(images)
    for hook in hooks:
        hook.remove()
    for feature in info:
        layer = feature.layer
        got = seen.get(layer)
        if got is None:
            fail(f"{name}: forward_features does not pass {layer}, which feature_info names")
        if len(got) != 4 or got[1] != feature.channels:
            fail(f"{name}: {layer} gives {got}; feature_info says {feature.channels} channels")
        # Without padding a map is a little smaller than the image divided by the stride.
        ideal = images.shape[2] / feature.stride
        if not (ideal / 1.5 - 1.5 <= got[2] <= ideal * 1.5):
            size = f"a map of {got[2]} pixels for {images.shape[2]}"
            fail(f"{name}: {layer} gives {size}; feature_info says stride {feature.stride}")


def _check_stages(name: str, net: ImageModel) -> None:
    stages = net.stages()
    if list(stages)[-1:] != ["head"]:
        fail(f"{name}: the last stage must be 'head'; got {list(stages)}")
    prefixes = [prefix for group in stages.values() for prefix in group]
    twice = sorted({prefix for prefix in prefixes if prefixes.count(prefix) > 1})
    expect(not twice, f"{name}: prefixes in two stages: {', '.join(twice)}")
    keys = list(net.state_dict())
    alone = [key for key in keys if not any(_begins(key, prefix) for prefix in prefixes)]
    expect(not alone, f"{name}: no stage holds {', '.join(alone[:5])}")
    empty = set(stages) - {net.stage_of(key) for key in keys}
    expect(not empty, f"{name}: stages without a parameter: {', '.join(sorted(empty))}")
    for prefix in net.head:
        found = [key for key in keys if _begins(key, prefix)]
        expect(bool(found), f"{name}: no parameter begins with {prefix!r}, which is in head")
        astray = [key for key in found if net.stage_of(key) != "head"]
        if astray:
            fail(f"{name}: classifier parameters outside the stage 'head': {', '.join(astray)}")


def _check_other_heads(
    name: str, net: ImageModel, make: Callable[[int], ImageModel], images: Tensor
) -> None:
    ours, other = _shapes(net), _shapes(make(5))
    if ours.keys() != other.keys():
        fail(f"{name}: the number of classes changes the names of the parameters")
    changed = {key for key in ours if ours[key] != other[key]}
    expect(bool(changed), f"{name}: the number of classes changes no parameter")
    outside = sorted(key for key in changed if not net.is_head(key))
    if outside:
        fail(f"{name}: the number of classes changes parameters outside head: {', '.join(outside)}")
    pooled = net.forward_head(net.forward_features(images), pre_logits=True)
    if len(pooled.shape) != 2:
        fail(f"{name}: pre_logits gives {list(pooled.shape)}, not pooled features [N, C]")
    headless = make(0)
    headless.eval()
    got, wanted = list(headless(images).shape), list(pooled.shape)
    if got != wanted:
        fail(f"{name}: with num_classes=0 it gives {got}; pooled features are {wanted}")


def _check_weights(
    name: str,
    net: ImageModel,
    make: Callable[[int], ImageModel],
    images: Tensor,
    logits: NDArray[np.float32],
) -> None:
    copy = make(CLASSES)
    missing, unexpected = copy.set_state_dict(model_state(net))
    if missing or unexpected:
        fail(f"{name}: its own weights do not fit it: {missing or unexpected}")
    copy.eval()
    if not _close(copy(images).numpy(), logits):
        fail(f"{name}: a copy with the same weights gives other logits")


def _check_training(name: str, net: ImageModel, images: Tensor) -> None:
    net.train()
    output = net(images)
    logits = output if isinstance(output, tuple | list) else (output,)
    for each in logits:
        if list(each.shape) != [2, CLASSES]:
            fail(f"{name} gives {list(each.shape)} in train mode, not [2, {CLASSES}]")
    sum(each.square().mean() for each in logits).backward()
    without = [key for key, parameter in net.trainable() if parameter.grad is None]
    expect(not without, f"{name}: no gradient reaches {', '.join(without[:5])}")


def _check_freeze(name: str, net: ImageModel) -> None:
    net.freeze([stage for stage in net.stages() if stage != "head"])
    left = [key for key, _ in net.trainable()]
    expect(bool(left), f"{name}: freezing every stage but the head leaves nothing to train")
    moving = ", ".join([key for key in left if net.stage_of(key) != "head"][:5])
    expect(not moving, f"{name}: freezing every stage but the head leaves {moving} in training")


def _begins(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}.")


def _shapes(net: ImageModel) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in net.state_dict().items()}


def _close(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    tolerance = 1e-4 * (1e-6 + float(np.abs(b).max()))
    return a.shape == b.shape and float(np.abs(a - b).max()) <= tolerance
