"""Count what a model computes and holds. Importing this imports neither Paddle nor NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ppclas_core.errors import ShapeError
from ppclas_core.paddle_runtime import require_paddle

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel


@dataclass(frozen=True)
class LayerCost:
    """A convolution or fully connected layer."""

    name: str
    kind: str
    """Its class."""
    output: tuple[int, ...]
    """Shape of its output for one image, without the batch."""
    params: int
    macs: int
    """Multiply-adds for one image, the bias not counted."""


@dataclass(frozen=True)
class ModelCost:
    """What one image of a size costs."""

    image_size: tuple[int, int]
    """Height and width, pixels."""
    params: int
    """Trainable values: without the running statistics of batch norms."""
    values: int
    """Of the whole state dict: with them."""
    macs: int
    """Multiply-adds of convolutions and fully connected layers. Published FLOPs count two
    operations for each."""
    layers: tuple[LayerCost, ...]
    """Those layers, in the order in which they run."""


def profile_model(model: ImageModel, image_size: int | tuple[int, int]) -> ModelCost:
    """Run one image of ``image_size`` (side, or height and width, pixels) through ``model`` in eval
    mode and count.

    A layer that runs twice counts twice. The model's mode is put back.

    Raises:
        ShapeError: the model does not take images of that size.
    """
    paddle = require_paddle("counting a model's operations")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    costs: list[LayerCost] = []

    def count(name: str) -> Any:
        return lambda layer, _inputs, output: costs.append(_cost(name, layer, output))

    kinds = (paddle.nn.Conv2D, paddle.nn.Linear)
    hooks = [
        layer.register_forward_post_hook(count(name))
        for name, layer in model.named_sublayers()
        if isinstance(layer, kinds)
    ]
    training = model.training
    model.eval()
    try:
        with paddle.no_grad():
            model(paddle.zeros([1, model.config.in_channels, *size]))
    except (ValueError, RuntimeError, ShapeError) as error:
        reason = " ".join(str(error).split())[-200:]
        raise ShapeError(
            f"{type(model).__name__} does not take images of {size[0]}x{size[1]}: try its own size "
            f"({reason})"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        if training:
            model.train()
    return ModelCost(
        image_size=size,
        params=sum(prod(parameter.shape) for _, parameter in model.trainable()),
        values=sum(prod(tensor.shape) for tensor in model.state_dict().values()),
        macs=sum(cost.macs for cost in costs),
        layers=tuple(costs),
    )


def cost_facts(model: ImageModel, image_size: int | tuple[int, int]) -> dict[str, str]:
    """Size, operations and time here, in words; empty where the model takes no such image."""
    paddle = require_paddle("measuring a model")
    try:
        cost = profile_model(model, image_size)
    except ShapeError:
        return {}
    image = paddle.zeros([1, model.config.in_channels, *cost.image_size])
    training, seconds = model.training, []
    model.eval()
    for _ in range(5):
        started = perf_counter()
        with paddle.no_grad():
            model(image).numpy()
        seconds.append(perf_counter() - started)
    if training:
        model.train()
    macs, where = cost.macs / 1e9, f"Paddle on {paddle.get_device()}"
    return {
        "size": f"{cost.params / 1e6:.2f} million parameters, {cost.values * 4 / 1e6:.1f} MB",
        "for one photo": f"{2 * macs:.2f} GFLOPs ({macs:.2f} billion multiply-adds), "
        f"{1000 * min(seconds):.1f} ms on this machine (alone in a batch, {where})",
    }


def _cost(name: str, layer: Any, output: Any) -> LayerCost:
    shape = tuple(output.shape[1:])
    weight = layer.weight.shape
    # Each output value of a convolution sums over the inputs under its kernel, of a linear layer
    # over all inputs.
    per_output = prod(weight[1:]) if len(weight) == 4 else weight[0]
    params = sum(prod(parameter.shape) for parameter in layer.parameters(include_sublayers=False))
    # The first axis counts, too: a layer may take the parts of the one image as a batch.
    return LayerCost(name, type(layer).__name__, shape, params, prod(output.shape) * per_output)
