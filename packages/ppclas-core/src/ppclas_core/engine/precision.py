"""Mixed precision: the forward pass in half precision where it pays (Paddle's O1 lists), weights in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from ppclas_core.errors import ConfigError
from ppclas_core.paddle_runtime import require_paddle

if TYPE_CHECKING:
    import paddle
    from paddle import Tensor

Precision = Literal["float32", "bf16", "fp16"]


def check_precision(precision: Precision, device: str) -> None:
    """Refuse what ``device`` cannot do, before anything is trained.

    Raises:
        ConfigError: it would silently train in float32, or not at all.
    """
    require_paddle("training")
    from paddle import amp

    # Paddle's CPU builds have no half-precision convolutions: there auto_cast warns and trains in float32, even where
    # is_bfloat16_supported() speaks for the processor.
    if precision != "float32" and device == "cpu":
        raise ConfigError(
            f"train.precision: {precision} needs a GPU; Paddle's CPU builds train in float32 alone. Leave --amp out."
        )
    if precision == "bf16" and not amp.is_bfloat16_supported():
        raise ConfigError(
            f"train.precision: this {device.upper()} has no bf16. Leave --amp out, or use another device."
        )


class MixedPrecision:
    """Cast the forward pass, and scale fp16 losses so that small gradients survive (float32 and bf16 need no scale)."""

    def __init__(self, precision: Precision) -> None:
        import paddle

        self._precision = precision
        # Doubled after 1000 good steps, cut to 0.8 after 2 that overflow: the values that PaddleClas trained with.
        self._scaler = (
            paddle.amp.GradScaler(
                init_loss_scaling=2.0**15, incr_every_n_steps=1000, decr_every_n_nan_or_inf=2, decr_ratio=0.8
            )
            if precision == "fp16"
            else None
        )

    @property
    def may_overflow(self) -> bool:
        """Whether gradients that are not finite are now and then part of the method: the scale is being sought."""
        return self._scaler is not None

    def forward(self) -> AbstractContextManager[None]:
        """Run the model inside; the loss belongs outside, in float32."""
        import paddle

        dtype = {"bf16": "bfloat16", "fp16": "float16"}.get(self._precision, "float16")
        context: AbstractContextManager[None] = paddle.amp.auto_cast(
            enable=self._precision != "float32", level="O1", dtype=dtype
        )
        return context

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def step(self, optimizer: paddle.optimizer.Optimizer, parameters: Sequence[Tensor]) -> bool:
        """Optimizer step; False where it is left out because a gradient is not finite (and the scale is cut)."""
        if self._scaler is None:
            finite = _all_finite(parameters)
            if finite:
                optimizer.step()
            return finite
        self._scaler.unscale_(optimizer)
        finite = not self._scaler._found_inf.item()
        self._scaler.step(optimizer)
        self._scaler.update()
        return finite

    def state(self) -> dict[str, Any]:
        """JSON for a checkpoint; empty without a scale."""
        if self._scaler is None:
            return {}
        return {
            key: value.item() if hasattr(value, "item") else value for key, value in self._scaler.state_dict().items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        if state and self._scaler is not None:
            import numpy as np

            scale = np.array([state["scale"]], dtype=np.float32)
            self._scaler.load_state_dict({**state, "scale": scale})


def _all_finite(parameters: Sequence[Tensor]) -> bool:
    """Whether every gradient is: a sum is finite only if its terms are."""
    import paddle

    with paddle.no_grad():
        sums = [parameter.grad.sum() for parameter in parameters if parameter.grad is not None]
        finite: bool = paddle.isfinite(paddle.stack(sums)).all().item() if sums else True
    return finite
