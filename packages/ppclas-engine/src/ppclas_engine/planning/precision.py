"""Mixed precision: the forward pass in half precision by Paddle's lists (O1, O2), weights in
float32.

O2 as Paddle documents it keeps the weights in half precision beside a float32 copy in the
optimizer. Here the float32 weights are the only ones, and are cast where they are used: the same
arithmetic, but gradients arrive in float32, and checkpoints, averages and exports do not depend on
the level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from ppclas_core.errors import ConfigError, TrainingError
from ppclas_core.paddle_runtime import require_paddle

if TYPE_CHECKING:
    import paddle
    from paddle import Tensor
    from ppclas_core.contracts.image_model import ImageModel

Precision = Literal["float32", "bf16", "fp16"]
Level = Literal["O1", "O2"]


def check_precision(precision: Precision, level: Level, device: str) -> None:
    """Refuse what ``device`` cannot do, before anything is trained.

    Raises:
        ConfigError: it would silently train in float32, or not at all.
    """
    paddle = require_paddle("training")
    amp = paddle.amp

    # Paddle's CPU builds have no half-precision convolutions: there auto_cast warns and trains in
    # float32, even where is_bfloat16_supported() speaks for the processor.
    if precision != "float32" and device == "cpu":
        raise ConfigError(
            f"train.precision: {precision} needs a GPU; Paddle's CPU builds train in float32 "
            "alone. Leave --amp out."
        )
    supported = {"bf16": amp.is_bfloat16_supported, "fp16": amp.is_float16_supported}
    if precision != "float32" and not supported[precision]():
        raise ConfigError(
            f"train.precision: this {device.upper()} has no {precision}. Leave --amp out, or use "
            "another device."
        )
    # Paddle says that there is fp16 from compute capability 5.3 on; its auto_cast wants 7.0 and
    # trains in float32 below (paddle/amp/auto_cast.py, _is_gpu_float16_supported).
    if precision == "fp16" and paddle.version.cuda() != "False":
        major, minor = paddle.device.cuda.get_device_capability()
        if major < 7:
            raise ConfigError(
                "train.precision: fp16 needs a GPU of compute capability 7.0 or newer; this one "
                f"has {major}.{minor}. Leave --amp out."
            )
    if level != "O1" and precision == "float32":
        raise ConfigError(
            f"train.amp_level: {level} says what half precision is for, and train.precision is "
            "float32. Add --amp."
        )


class MixedPrecision:
    """Cast the forward pass; scale fp16 losses so that small gradients do not become 0."""

    def __init__(self, precision: Precision, level: Level = "O1") -> None:
        import paddle

        self._precision, self._level = precision, level
        # Doubled after 1000 good steps, cut to 0.8 after 2 that overflow: the values that
        # PaddleClas trained with.
        self._scaler = (
            paddle.amp.GradScaler(
                init_loss_scaling=2.0**15,
                incr_every_n_steps=1000,
                decr_every_n_nan_or_inf=2,
                decr_ratio=0.8,
            )
            if precision == "fp16"
            else None
        )

    @property
    def may_overflow(self) -> bool:
        """Whether gradients that are not finite are normal now and then: the scale is sought."""
        return self._scaler is not None

    def forward(self) -> AbstractContextManager[None]:
        """Run the model inside; the loss belongs outside, in float32."""
        import paddle

        dtype = {"bf16": "bfloat16", "fp16": "float16"}.get(self._precision, "float16")
        # Only O2 asks for promotion. With float32 weights it would take every layer with a bias
        # back to float32, as O1.
        context: AbstractContextManager[None] = paddle.amp.auto_cast(
            enable=self._precision != "float32", level=self._level, dtype=dtype, use_promote=False
        )
        return context

    def measure(self, model: ImageModel, images: Tensor) -> str:
        """How far the logits of ``images`` are from float32's, in words; the model is left as it
        is.

        Empty in float32, and where a classifier of zeros answers nothing yet.

        Raises:
            TrainingError: nothing is computed in half precision in spite of all, or numbers
                overflow.
        """
        import paddle

        if self._precision == "float32":
            return ""
        was_training = model.training
        model.eval()
        try:
            with paddle.no_grad():
                exact = model(images)
                with self.forward():
                    rounded = model(images).astype("float32")
        finally:
            if was_training:
                model.train()
        if not exact.any().item():
            return ""
        name = f"{self._precision} ({self._level})"
        difference = (
            ((rounded - exact).square().mean() / exact.square().mean().clip(min=1e-12))
            .sqrt()
            .item()
        )
        if difference == 0.0:
            raise TrainingError(
                f"train.precision: {name} was asked for, but the model's logits are float32's, bit "
                "for bit: Paddle computes in float32 all the same. Leave --amp out, or use "
                "another device."
            )
        if not math.isfinite(difference):
            # Such weights would spoil float32 as well, which the first step says.
            if not paddle.isfinite(exact).all().item():
                return ""
            other = (
                "train.amp_level=O1 or --amp bf16" if self._level == "O2" else "--amp bf16, or none"
            )
            raise TrainingError(
                f"train.precision: in {name} the logits of the first batch are not finite, in "
                f"float32 they are. Try {other}."
            )
        return f"{name}: the first batch's logits are {100 * difference:.2g}% from float32's"

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def step(
        self,
        optimizer: paddle.optimizer.Optimizer,
        parameters: Sequence[Tensor],
        agree: Callable[[bool], bool] = bool,
    ) -> bool:
        """Optimizer step; False where a gradient is not finite: it is left out, the scale cut.

        ``agree`` asks all ranks, where each sees a part of the gradients.
        """
        import paddle

        if self._scaler is None:
            finite = agree(_all_finite(parameters))
            if finite:
                optimizer.step()
            return finite
        self._scaler.unscale_(optimizer)
        finite = agree(not self._scaler._found_inf.item())
        if not finite:  # perhaps on another rank
            self._scaler._found_inf = paddle.to_tensor([True])
        self._scaler.step(optimizer)
        self._scaler.update()
        return finite

    def state(self) -> dict[str, Any]:
        """JSON for a checkpoint; empty without a scale."""
        if self._scaler is None:
            return {}
        return {
            key: value.item() if hasattr(value, "item") else value
            for key, value in self._scaler.state_dict().items()
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
