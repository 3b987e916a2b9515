"""Mixed precision: the forward pass in half precision where it pays (Paddle's O1 lists), weights in float32."""

from __future__ import annotations

from collections.abc import Mapping
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
        self._scaler = paddle.amp.GradScaler(
            enable=precision == "fp16",
            init_loss_scaling=2.0**15,
            incr_every_n_steps=1000,
            decr_every_n_nan_or_inf=2,
            decr_ratio=0.8,
        )

    def forward(self) -> AbstractContextManager[None]:
        """Run the model inside; the loss belongs outside, in float32."""
        import paddle

        dtype = {"bf16": "bfloat16", "fp16": "float16"}.get(self._precision, "float16")
        context: AbstractContextManager[None] = paddle.amp.auto_cast(
            enable=self._precision != "float32", level="O1", dtype=dtype
        )
        return context

    def step(self, loss: Tensor, optimizer: paddle.optimizer.Optimizer) -> None:
        """Backward pass and optimizer step; a step whose fp16 gradients overflow is left out and the scale cut."""
        self._scaler.scale(loss).backward()
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """JSON for a checkpoint; empty without a scale."""
        return {
            key: value.item() if hasattr(value, "item") else value for key, value in self._scaler.state_dict().items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        if state:
            import numpy as np

            scale = np.array([state["scale"]], dtype=np.float32)
            self._scaler.load_state_dict({**state, "scale": scale})
