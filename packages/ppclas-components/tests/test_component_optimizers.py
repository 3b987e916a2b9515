"""Five steps of each optimizer against its formula in NumPy, in three groups of parameters."""

import numpy as np
import pytest
from ppclas_components.optimizers import SGD, Adam, AdamW, Lamb, Momentum, RMSProp

paddle = pytest.importorskip("paddle")

LR = [0.1, 0.05, 0.02, 0.02, 0.01]
FACTORS, DECAYS = (1.0, 0.1, 1.0), (0.01, 0.01, 0.0)
START = [np.array([1.0, -2.0]), np.array([0.5, 3.0]), np.array([-1.0, 0.25])]
GRADIENTS = np.random.default_rng(0).normal(size=(len(LR), 3, 2))


def sgd(w, g, lr, state):
    return w - lr * g


def momentum(w, g, lr, state):
    state["v"] = 0.9 * state.get("v", 0.0) + g
    return w - lr * state["v"]


def nesterov(w, g, lr, state):
    state["v"] = 0.9 * state.get("v", 0.0) + g
    return w - lr * (g + 0.9 * state["v"])


def rmsprop(w, g, lr, state):
    state["r"] = 0.9 * state.get("r", 0.0) + 0.1 * g**2
    state["v"] = 0.9 * state.get("v", 0.0) + lr * g / np.sqrt(state["r"] + 0.001)
    return w - state["v"]


def adam(w, g, lr, state):
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * g
    state["s"] = 0.999 * state.get("s", 0.0) + 0.001 * g**2
    return w - lr * (state["m"] / (1 - 0.9**t)) / (np.sqrt(state["s"] / (1 - 0.999**t)) + 1e-8)


FORMULAS = [
    (SGD(), sgd),
    (Momentum(), momentum),
    (Momentum(nesterov=True), nesterov),
    (RMSProp(rho=0.9, epsilon=0.001, momentum=0.9), rmsprop),
    (Adam(), adam),
    (AdamW(), adam),
]
IDS = ["SGD", "Momentum", "Nesterov", "RMSProp", "Adam", "AdamW"]


def by_formula(formula, decoupled, decays=DECAYS, clip=None):
    weights, states = [w.copy() for w in START], [{} for _ in START]
    for lr, gradients in zip(LR, GRADIENTS, strict=True):
        scale = 1.0 if clip is None else min(1.0, clip / np.sqrt((gradients**2).sum()))
        for i, (factor, decay) in enumerate(zip(FACTORS, decays, strict=True)):
            rate, g = lr * factor, scale * gradients[i]
            if decoupled:
                weights[i] = weights[i] * (1 - rate * decay)
            else:
                g = g + decay * weights[i]
            weights[i] = formula(weights[i], g, rate, states[i])
    return weights


def by_paddle(optimizer, decays=DECAYS, clip=None):
    parameters = [
        paddle.create_parameter([2], "float32", default_initializer=paddle.nn.initializer.Assign(w))
        for w in START
    ]
    groups = [
        {"params": [p], "learning_rate": factor, "weight_decay": decay}
        for p, factor, decay in zip(parameters, FACTORS, decays, strict=True)
    ]
    grad_clip = None if clip is None else paddle.nn.ClipGradByGlobalNorm(clip)
    built = optimizer.build(groups, LR[0], weight_decay=0.5, grad_clip=grad_clip)
    for lr, gradients in zip(LR, GRADIENTS, strict=True):
        built.set_lr(lr)
        loss = sum(
            (p * paddle.to_tensor(g, dtype="float32")).sum()
            for p, g in zip(parameters, gradients, strict=True)
        )
        loss.backward()
        built.step()
        built.clear_grad()
    return [p.numpy() for p in parameters]


@pytest.mark.parametrize(("optimizer", "formula"), FORMULAS, ids=IDS)
def test_steps_follow_the_formula_in_every_group(optimizer, formula):
    expected = by_formula(formula, decoupled=isinstance(optimizer, AdamW))
    np.testing.assert_allclose(by_paddle(optimizer), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("optimizer", "formula"), FORMULAS, ids=IDS)
def test_two_different_decays(optimizer, formula):
    decays = (0.1, 0.003, 0.0)
    expected = by_formula(formula, decoupled=isinstance(optimizer, AdamW), decays=decays)
    np.testing.assert_allclose(by_paddle(optimizer, decays), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("optimizer", "formula"), FORMULAS, ids=IDS)
def test_gradients_are_clipped_by_the_norm_over_all_groups(optimizer, formula):
    expected = by_formula(formula, decoupled=isinstance(optimizer, AdamW), clip=0.5)
    np.testing.assert_allclose(by_paddle(optimizer, clip=0.5), expected, rtol=2e-5, atol=1e-6)


def lamb_by_formula(decays, clip=None):
    """Algorithm 2 of You et al. 2020, each tensor by itself."""
    weights, states = [w.copy() for w in START], [{} for _ in START]
    for lr, gradients in zip(LR, GRADIENTS, strict=True):
        scale = 1.0 if clip is None else min(1.0, clip / np.sqrt((gradients**2).sum()))
        for i, (factor, decay) in enumerate(zip(FACTORS, decays, strict=True)):
            state, g, w = states[i], scale * gradients[i], weights[i]
            t = state["t"] = state.get("t", 0) + 1
            state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * g
            state["s"] = 0.999 * state.get("s", 0.0) + 0.001 * g**2
            mean, square = state["m"] / (1 - 0.9**t), state["s"] / (1 - 0.999**t)
            update = mean / (np.sqrt(square) + 1e-6) + decay * w
            # Paddle adapts the length of what decays alone (always_adapt is off).
            trust = np.linalg.norm(w) / np.linalg.norm(update) if decay else 1.0
            weights[i] = w - lr * factor * trust * update
    return weights


@pytest.mark.parametrize("clip", [None, 0.5])
def test_lamb_follows_its_formula_in_every_group(clip):
    np.testing.assert_allclose(
        by_paddle(Lamb(), clip=clip), lamb_by_formula(DECAYS, clip), rtol=2e-5, atol=1e-6
    )


def test_lamb_has_one_decay():
    with pytest.raises(ValueError, match=r"one weight decay.* got \[0.003, 0.1\]"):
        by_paddle(Lamb(), (0.1, 0.003, 0.0))


@pytest.mark.parametrize("optimizer", [SGD(), AdamW()], ids=["SGD", "AdamW"])
def test_a_group_that_says_nothing_gets_the_common_decay_and_the_full_rate(optimizer):
    parameter = paddle.create_parameter(
        [1], "float32", default_initializer=paddle.nn.initializer.Constant(2.0)
    )
    built = optimizer.build([{"params": [parameter]}], lr=0.1, weight_decay=0.25, grad_clip=None)
    (0.0 * parameter).sum().backward()
    built.step()
    assert parameter.item() == pytest.approx(2.0 - 0.1 * 0.25 * 2.0)


def test_a_frozen_parameter_keeps_its_value():
    frozen, free = (paddle.create_parameter([1], "float32") for _ in range(2))
    frozen.stop_gradient = True
    before = frozen.item()
    built = AdamW().build(
        [{"params": [frozen, free]}], 0.1, 0.1, paddle.nn.ClipGradByGlobalNorm(1.0)
    )
    (free * 3.0 + frozen).sum().backward()
    built.step()
    assert frozen.item() == before


@pytest.mark.parametrize("optimizer", [Momentum(), AdamW()], ids=["Momentum", "AdamW"])
def test_a_parameter_in_two_groups_is_refused(optimizer):
    parameter = paddle.create_parameter([1], "float32")
    with pytest.raises(ValueError, match="in two groups"):
        optimizer.build([{"params": [parameter]}, {"params": [parameter]}], 0.1, 0.0, None)


def test_defaults_are_paddles_own():
    assert (Momentum().momentum, Momentum().nesterov) == (0.9, False)
    assert (RMSProp().rho, RMSProp().epsilon, RMSProp().momentum) == (0.95, 1e-6, 0.0)
    assert (Adam().beta1, Adam().beta2, Adam().epsilon) == (0.9, 0.999, 1e-8)


@pytest.mark.parametrize("kind", [Adam, AdamW, Lamb])
def test_each_gradient_is_clipped_by_itself(kind):
    import paddle

    # Adam's first step has the length lr whatever the gradient; its first moment shows the latter.
    weights = [paddle.create_parameter([2], "float32") for _ in range(2)]
    built = kind(clip_each=1.0).build([{"params": weights}], 0.1, 0.0, None)
    (weights[0] * paddle.to_tensor([3.0, 4.0])).sum().backward()
    (weights[1] * paddle.to_tensor([0.3, 0.4])).sum().backward()
    built.step()
    moments = [v.numpy() for k, v in built.state_dict().items() if "moment1" in k]
    assert [m.tolist() for m in moments] == [
        pytest.approx([0.06, 0.08]),  # a tenth of [3, 4] / 5
        pytest.approx([0.03, 0.04]),
    ]
