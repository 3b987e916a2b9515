"""Checks of losses, schedules, optimizers and metrics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.contracts.training import Loss, Metric, Optimizer, Scheduler, Targets
from ppclas_core.testing.components import check_params, expect, fail


def check_loss(loss: Loss, num_classes: int = 4) -> None:
    """A loss keeps the contract of ``ppclas_core.contracts.training.Loss``.

    It is a finite scalar, also for logits far apart and for a tuple with auxiliary logits; its
    gradient equals a numerical one and does not reach the teacher.
    """
    import paddle

    name = type(loss).__name__
    check_params(loss)
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((3, num_classes)).astype(np.float32)
    labels = paddle.to_tensor(rng.integers(0, num_classes, 3))
    teacher = paddle.to_tensor(rng.standard_normal((3, num_classes)).astype(np.float32))
    teacher.stop_gradient = False
    targets = Targets(labels, teacher_logits=teacher)

    value, gradient = _value_and_gradient(loss, logits, targets)
    expect(gradient is not None, f"{name}: no gradient reaches the logits")
    expect(teacher.grad is None, f"{name}: a gradient reaches the teacher's logits; detach them")
    for index in np.ndindex(*logits.shape):
        ends = []
        for step in (-1e-2, 1e-2):
            moved = logits.copy()
            moved[index] += step
            ends.append(_value_and_gradient(loss, moved, targets)[0])
        numerical = (ends[1] - ends[0]) / 2e-2
        if not (abs(numerical - gradient[index]) < 2e-3 * (1 + abs(value))):
            said = f"{gradient[index]:.5f}; numerically it is {numerical:.5f}"
            fail(f"{name}: the gradient of logit {index} is {said}")

    _, far = _value_and_gradient(loss, 100 * logits, targets)
    expect(bool(np.isfinite(far).all()), f"{name}: the gradient is not finite for logits far apart")
    outputs = (paddle.to_tensor(logits),) * 3
    _expect_scalar(name, loss(outputs, targets), "logits with two auxiliary outputs")


def _value_and_gradient(
    loss: Loss, logits: NDArray[np.float32], targets: Targets
) -> tuple[float, Any]:
    import paddle

    tensor = paddle.to_tensor(logits, stop_gradient=False)
    value = loss(tensor, targets)
    number = _expect_scalar(type(loss).__name__, value, f"logits of up to {abs(logits).max():.0f}")
    value.backward()
    return number, None if tensor.grad is None else tensor.grad.numpy()


def _expect_scalar(name: str, value: Any, given: str) -> float:
    expect(list(value.shape) == [], f"{name} returns shape {list(value.shape)}, not one number []")
    number: float = value.item()
    expect(math.isfinite(number), f"{name} is {number} for {given}")
    return number


def check_scheduler(scheduler: Scheduler, steps_per_epoch: int = 7, epochs: int = 20) -> None:
    """A schedule keeps the contract of ``ppclas_core.contracts.training.Scheduler``.

    Values are finite ``float`` from 0 to the peak ``lr``, in whichever order they are asked for.
    """
    name = type(scheduler).__name__
    check_params(scheduler)
    filled = scheduler if scheduler.lr is not None else scheduler.replace(lr=0.1)
    steps = range(steps_per_epoch * epochs)
    values = [filled.value(step, steps_per_epoch, epochs) for step in steps]
    for step, value in zip(steps, values, strict=True):
        if type(value) is not float:
            fail(f"{name}: the rate of step {step} is of type {type(value).__name__}, not float")
        expect(math.isfinite(value) and value >= 0, f"{name}: the rate of step {step} is {value}")
        if not (value <= filled.peak * (1 + 1e-9)):
            fail(f"{name}: step {step} has {value}, above the peak lr {filled.peak}")
    expect(max(values) > 0, f"{name}: the rate is 0 throughout")
    backwards = [filled.value(step, steps_per_epoch, epochs) for step in reversed(steps)][::-1]
    if backwards != values:
        fail(f"{name}: a value depends on what was asked before; it must be a function of the step")


def check_optimizer(optimizer: Optimizer) -> None:
    """An optimizer keeps the contract of ``ppclas_core.contracts.training.Optimizer``.

    It lowers a parabola, obeys ``set_lr`` and the factors of its groups, and decays weights.
    """
    import paddle

    name = type(optimizer).__name__
    check_params(optimizer)

    def start(count: int) -> list[Any]:
        one = {"default_initializer": paddle.nn.initializer.Constant(1.0)}
        return [paddle.create_parameter([1], "float32", **one) for _ in range(count)]

    full, slow, still = start(3)
    groups = [
        {"params": [full], "learning_rate": 1.0, "weight_decay": 0.0},
        {"params": [slow], "learning_rate": 0.1, "weight_decay": 0.0},
        {"params": [still], "learning_rate": 0.0, "weight_decay": 0.1},
    ]
    built = optimizer.build(groups, 0.01, 0.0, None)
    for _ in range(3):
        (full**2 + slow**2 + still**2).sum().backward()
        built.step()
        built.clear_grad()
    expect(full.item() < 1.0, f"{name} does not lower a parabola: w goes from 1 to {full.item()}")
    expect(full.item() < slow.item() < 1.0, f"{name} ignores the learning_rate factor of a group")
    expect(still.item() == 1.0, f"{name} moves a parameter whose group has the factor 0")
    expect(math.isfinite(full.item()), f"{name} gives {full.item()}")
    built.set_lr(0.0)
    rate = built.get_lr()
    expect(rate == 0.0, f"{name} ignores set_lr: it answers {rate} after set_lr(0)")

    decayed, kept = start(2)
    groups = [
        {"params": [decayed], "weight_decay": 0.1},
        {"params": [kept], "weight_decay": 0.0},
    ]
    built = optimizer.build(groups, 0.01, 0.0, None)
    (0.0 * (decayed + kept)).sum().backward()
    built.step()
    expect(decayed.item() < 1.0, f"{name} ignores the weight_decay of a group")
    expect(kept.item() == 1.0, f"{name} decays a parameter whose group has no weight_decay")


def check_metric(metric: Metric) -> None:
    """A metric keeps the contract of ``ppclas_core.contracts.training.Metric``.

    Named finite ``float`` results, the same in any order, with 2 classes or 1 sample too.
    """
    name = type(metric).__name__
    check_params(metric)
    rng = np.random.default_rng(0)
    for count, num_classes in ((50, 7), (10, 2), (1, 3)):
        probabilities = rng.dirichlet(np.ones(num_classes), count).astype(np.float32)
        labels = rng.integers(0, num_classes, count)
        result = metric(probabilities, labels)
        if not isinstance(result, dict) or not result:
            fail(f"{name} returns {result!r}, not a dict of named numbers")
        for key, value in result.items():
            if type(value) is not float or not math.isfinite(value):
                what = f"{key} of {count} samples and {num_classes} classes"
                fail(f"{name}: {what} is {value!r}, not a finite float")
        order = rng.permutation(count)
        shuffled = metric(probabilities[order], labels[order])
        if not all(math.isclose(shuffled[key], result[key], abs_tol=1e-6) for key in result):
            fail(f"{name} depends on the order of the samples: {result} became {shuffled}")
