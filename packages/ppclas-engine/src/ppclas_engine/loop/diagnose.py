"""Where a number stopped being finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import ImageModel


def first_nonfinite(
    model: ImageModel, images: Tensor, forward: Callable[[Tensor], Any], *, loss_is_finite: bool
) -> str:
    """In words: the first weight, else layer output on ``images`` [N, 3, H, W], else gradient that
    is not finite.

    Runs the model once more, which moves batch-norm statistics: for a run that ends.
    """
    import paddle

    gradients = [name for name, parameter in model.trainable() if not _finite(parameter.grad)]
    for name, tensor in model.state_dict().items():
        if not _finite(tensor):
            return f"the first weights that are not finite are {name}"
    if not _finite(images):
        return "the images themselves are not finite"
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def look(layer: nn.Layer, inputs: Any, output: Any) -> None:
            if not found and isinstance(output, paddle.Tensor) and not _finite(output):
                found.append(
                    f"the first layer whose output is not finite is {name} ({type(layer).__name__})"
                )

        return look

    leaves = [
        (name, layer) for name, layer in model.named_sublayers() if not list(layer.children())
    ]
    handles = [layer.register_forward_post_hook(watch(name)) for name, layer in leaves]
    try:
        with paddle.no_grad():
            forward(images)
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return found[0]
    if gradients and loss_is_finite:
        # Backward runs from the output to the input: the last one in the model is the first to go
        # wrong.
        return (
            "every layer's output is finite; the first gradient that is not is that of "
            f"{gradients[-1]}"
        )
    return "every layer's output is finite, so it is the loss itself"


def _finite(tensor: Tensor | None) -> bool:
    import paddle

    if tensor is None or not paddle.is_floating_point(tensor):
        return True
    finite: bool = paddle.isfinite(tensor.astype("float32")).all().item()
    return finite
