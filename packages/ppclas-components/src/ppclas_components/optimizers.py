"""Optimizers over parameter groups. Importing this module does not import Paddle; building one
does.

Paddle's own parameter groups clip each group by itself. Here a gradient is always clipped by the
norm over all groups; the L2 penalty is added after that. SGD, Momentum, RMSProp and Adam therefore
get one flat list, and a parameter carries its rate factor and penalty itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from ppclas_core.contracts.training import Optimizer
from pydantic import Field, PositiveFloat

if TYPE_CHECKING:
    import paddle
    from paddle import Tensor

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Epsilon = Annotated[float, Field(gt=0.0, le=1.0)]
Groups = Sequence[Mapping[str, Any]]


class SGD(Optimizer):
    """Gradient descent, ``w -= lr · g`` (Robbins & Monro 1951).

    The loss w² has the gradient 2 at w = 1, so a step goes to 1 - 0.1 · 2:

    >>> import paddle
    >>> w = paddle.create_parameter([1], "float32")
    >>> w.set_value(paddle.ones([1]))
    >>> optimizer = SGD().build([{"params": [w]}], lr=0.1, weight_decay=0.0, grad_clip=None)
    >>> (w**2).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.8
    """

    def build(
        self, parameters: Groups, lr: float, weight_decay: float, grad_clip: Any | None
    ) -> paddle.optimizer.Optimizer:
        import paddle

        return paddle.optimizer.SGD(
            lr, parameters=_with_l2(parameters, weight_decay), grad_clip=grad_clip
        )


class Momentum(Optimizer):
    """``v = momentum · v + g``, then ``w -= lr · v``; Nesterov: ``w -= lr · (g + momentum · v)``.

    Polyak 1964; Nesterov's form as in Sutskever et al. 2013, "On the importance of initialization
    and momentum in deep learning". The loss 2w has the gradient 2 everywhere: v is 2, then 0.9 · 2
    + 2, and w goes to 1 - 0.1 · 2 - 0.1 · 3.8:

    >>> import paddle
    >>> w = paddle.create_parameter([1], "float32")
    >>> w.set_value(paddle.ones([1]))
    >>> optimizer = Momentum().build([{"params": [w]}], lr=0.1, weight_decay=0.0, grad_clip=None)
    >>> for _ in range(2):
    ...     (2 * w).sum().backward()
    ...     optimizer.step()
    ...     optimizer.clear_grad()
    >>> round(w.item(), 4)
    0.42
    """

    momentum: Share = 0.9
    """Share of the velocity that is kept each step, in [0, 1)."""
    nesterov: bool = False
    """Step from where the velocity would lead."""

    def build(
        self, parameters: Groups, lr: float, weight_decay: float, grad_clip: Any | None
    ) -> paddle.optimizer.Optimizer:
        import paddle

        return paddle.optimizer.Momentum(
            lr,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
            parameters=_with_l2(parameters, weight_decay),
            grad_clip=grad_clip,
        )


class RMSProp(Optimizer):
    """``r = rho · r + (1 - rho) · g²``, ``v = momentum · v + lr · g / √(r + epsilon)``, ``w -= v``.

    Tieleman & Hinton 2012, lecture 6.5 of "Neural Networks for Machine Learning". ``epsilon`` is
    inside the root, as in TensorFlow and unlike PyTorch. With gradient 2 the first r is 0.05 · 4,
    and a step goes to 1 - 0.1 · 2 / √0.2:

    >>> import paddle
    >>> w = paddle.create_parameter([1], "float32")
    >>> w.set_value(paddle.ones([1]))
    >>> optimizer = RMSProp().build([{"params": [w]}], lr=0.1, weight_decay=0.0, grad_clip=None)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.5528
    """

    rho: Share = 0.95
    """Share of the mean square that is kept each step, in [0, 1). MobileNetV3 was trained with
    0.9."""
    epsilon: Epsilon = 1e-6
    """Added to the mean square, under the root. MobileNetV3 was trained with 0.001."""
    momentum: Share = 0.0
    """Share of the last update that is kept, in [0, 1). MobileNetV3 was trained with 0.9."""

    def build(
        self, parameters: Groups, lr: float, weight_decay: float, grad_clip: Any | None
    ) -> paddle.optimizer.Optimizer:
        import paddle

        return paddle.optimizer.RMSProp(
            lr,
            rho=self.rho,
            epsilon=self.epsilon,
            momentum=self.momentum,
            parameters=_with_l2(parameters, weight_decay),
            grad_clip=grad_clip,
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980); weight decay is an L2 penalty.

    ``m = β1 · m + (1 - β1) · g``, ``v = β2 · v + (1 - β2) · g²``, and at step t
    ``w -= lr · m̂ / (√v̂ + epsilon)`` with ``m̂ = m / (1 - β1^t)``, ``v̂ = v / (1 - β2^t)``. The
    first step has the length lr, whatever the gradient:

    >>> import paddle
    >>> w = paddle.create_parameter([1], "float32")
    >>> w.set_value(paddle.ones([1]))
    >>> optimizer = Adam().build([{"params": [w]}], lr=0.1, weight_decay=0.0, grad_clip=None)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.9
    """

    beta1: Share = 0.9
    """Share of the mean gradient that is kept each step, in [0, 1)."""
    beta2: Share = 0.999
    """Share of the mean square that is kept each step, in [0, 1)."""
    epsilon: Epsilon = 1e-8
    """Added to the root of the mean square."""
    clip_each: PositiveFloat | None = None
    """Largest norm of each tensor's gradient by itself. ``clip_norm`` is that of all together."""

    def build(
        self, parameters: Groups, lr: float, weight_decay: float, grad_clip: Any | None
    ) -> paddle.optimizer.Optimizer:
        import paddle

        return paddle.optimizer.Adam(
            lr,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            parameters=_with_l2(parameters, weight_decay),
            grad_clip=self._clipping(grad_clip),
        )

    def _clipping(self, grad_clip: Any | None) -> Any | None:
        """What ``clip_each`` asks for, else ``grad_clip``."""
        import paddle

        each = self.clip_each
        return grad_clip if each is None else paddle.nn.ClipGradByNorm(each)


class AdamW(Adam):
    """Adam with decoupled weight decay: a step also takes ``lr · weight_decay · w`` off w.

    Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101. The first step goes to 1 - 0.1 · 0.5
    · 1 - 0.1:

    >>> import paddle
    >>> w = paddle.create_parameter([1], "float32")
    >>> w.set_value(paddle.ones([1]))
    >>> optimizer = AdamW().build([{"params": [w]}], lr=0.1, weight_decay=0.5, grad_clip=None)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.85
    """

    no_decay_names: tuple[str, ...] = ()
    """Parts of parameters' names (``pos_embed``) that leave a parameter out of weight decay."""

    def build(
        self, parameters: Groups, lr: float, weight_decay: float, grad_clip: Any | None
    ) -> paddle.optimizer.Optimizer:
        import paddle

        grad_clip = self._clipping(grad_clip)

        class ClippedAdamW(paddle.optimizer.AdamW):
            # Only Paddle's groups give AdamW a decay for each group, and they would clip each group
            # by itself.
            def step(self) -> None:
                if grad_clip is not None:
                    found = [
                        (p, p.grad) for p in flat if not p.stop_gradient and p.grad is not None
                    ]
                    for parameter, gradient in grad_clip(found):
                        parameter.grad = gradient
                super().step()

        groups = [
            {
                "params": list(group["params"]),
                "learning_rate": float(group.get("learning_rate", 1.0)),
                "weight_decay": float(group.get("weight_decay", weight_decay)),
            }
            for group in parameters
        ]
        flat = _flat(parameters)
        return ClippedAdamW(
            lr,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            parameters=groups,
            weight_decay=weight_decay,
        )


class Lamb(Adam):
    """LAMB (You et al. 2020, https://arxiv.org/abs/1904.00962): each tensor's step is as long as
    ``lr`` times its own norm, for very large batches.

    ``u = m̂ / (√v̂ + epsilon) + weight_decay · w`` and ``w -= lr · ‖w‖ / ‖u‖ · u``, with Adam's m̂
    and v̂; what has no decay takes ``w -= lr · u``, as Paddle does it. Whatever the gradient and the
    decay are, a weight of 1 goes to 0.9:

    >>> import paddle
    >>> w = paddle.create_parameter([1], "float32")
    >>> w.set_value(paddle.ones([1]))
    >>> optimizer = Lamb().build([{"params": [w]}], lr=0.1, weight_decay=0.5, grad_clip=None)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.9
    """

    epsilon: Epsilon = 1e-6
    """Added to the root of the mean square."""
    no_decay_names: tuple[str, ...] = ()
    """Parts of parameters' names (``pos_embed``) that leave a parameter out of weight decay."""

    def build(
        self, parameters: Groups, lr: float, weight_decay: float, grad_clip: Any | None
    ) -> paddle.optimizer.Optimizer:
        import paddle

        decays = {
            id(parameter): float(group.get("weight_decay", weight_decay))
            for group in parameters
            for parameter in group["params"]
        }
        others = sorted(set(decays.values()) - {0.0})
        if len(others) > 1:
            raise ValueError(f"Lamb has one weight decay, or none for a parameter; got {others}")
        for group in parameters:
            for parameter in group["params"]:
                parameter.optimize_attr["learning_rate"] = float(group.get("learning_rate", 1.0))
        return paddle.optimizer.Lamb(
            lr,
            lamb_weight_decay=others[0] if others else 0.0,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            parameters=_flat(parameters),
            grad_clip=self._clipping(grad_clip),
            exclude_from_weight_decay_fn=lambda parameter: not decays[id(parameter)],
        )


def _flat(groups: Groups) -> list[Tensor]:
    parameters = [parameter for group in groups for parameter in group["params"]]
    if len({id(parameter) for parameter in parameters}) != len(parameters):
        raise ValueError("a parameter is in two groups: each must be in exactly one")
    return parameters


def _with_l2(groups: Groups, weight_decay: float) -> list[Tensor]:
    """All parameters, each with its group's rate factor and L2 penalty instead of a layer's."""
    from paddle.regularizer import L2Decay

    for group in groups:
        coefficient = float(group.get("weight_decay", weight_decay))
        for parameter in group["params"]:
            parameter.regularizer = L2Decay(coefficient) if coefficient else None
            parameter.optimize_attr["learning_rate"] = float(group.get("learning_rate", 1.0))
    return _flat(groups)
