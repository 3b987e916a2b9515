"""Twenty training steps beside PyTorch's, where it has the same: weights stay equal to 1e-6."""

import numpy as np
import pytest
from ppclas_components.losses import CrossEntropy
from ppclas_components.optimizers import SGD, Adam, AdamW, Momentum
from ppclas_components.schedulers import CosineWarmup
from ppclas_core.contracts.training import Targets

paddle = pytest.importorskip("paddle")
torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; it is only needed to compare with it"
)

STEPS, LR, DECAY, CLIP, SMOOTHING = 20, 0.05, 0.01, 0.5, 0.1
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(STEPS, 16, 8)).astype(np.float32)
LABELS = RNG.integers(0, 5, (STEPS, 16))
WEIGHTS = [
    RNG.normal(0, 0.4, shape).astype(np.float32) for shape in ((8, 12), (12,), (12, 5), (5,))
]


def rate(step):
    return CosineWarmup(lr=LR, warmup_epochs=1.0).value(step, 5, 4)


def train_ours(optimizer):
    parameters = [paddle.create_parameter(w.shape, "float32") for w in WEIGHTS]
    for parameter, weight in zip(parameters, WEIGHTS, strict=True):
        parameter.set_value(weight)
    clip = paddle.nn.ClipGradByGlobalNorm(CLIP)
    built = optimizer.build([{"params": parameters}], rate(0), DECAY, clip)
    loss = CrossEntropy(label_smoothing=SMOOTHING)
    w1, b1, w2, b2 = parameters
    for step in range(STEPS):
        built.set_lr(rate(step))
        hidden = paddle.tanh(paddle.to_tensor(IMAGES[step]) @ w1 + b1)
        loss(hidden @ w2 + b2, Targets(paddle.to_tensor(LABELS[step]))).backward()
        built.step()
        built.clear_grad()
    return [parameter.numpy() for parameter in parameters]


def train_theirs(make):
    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in WEIGHTS]
    built = make(parameters)
    w1, b1, w2, b2 = parameters
    for step in range(STEPS):
        for group in built.param_groups:
            group["lr"] = rate(step)
        built.zero_grad()
        logits = torch.tanh(torch.tensor(IMAGES[step]) @ w1 + b1) @ w2 + b2
        labels = torch.tensor(LABELS[step])
        torch.nn.functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING).backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        built.step()
    return [parameter.detach().numpy() for parameter in parameters]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGD(), lambda p: torch.optim.SGD(p, LR, weight_decay=DECAY)),
        (Momentum(), lambda p: torch.optim.SGD(p, LR, momentum=0.9, weight_decay=DECAY)),
        (
            Momentum(nesterov=True),
            lambda p: torch.optim.SGD(p, LR, momentum=0.9, nesterov=True, weight_decay=DECAY),
        ),
        (Adam(), lambda p: torch.optim.Adam(p, LR, weight_decay=DECAY)),
        (AdamW(), lambda p: torch.optim.AdamW(p, LR, weight_decay=DECAY)),
    ],
    ids=["SGD", "Momentum", "Nesterov", "Adam", "AdamW"],
)
def test_twenty_steps_equal_those_of_pytorch(ours, theirs):
    for mine, other in zip(train_ours(ours), train_theirs(theirs), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-6)


def test_an_average_equals_that_of_pytorch():
    from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig
    from ppclas_engine.loop.ema import Ema

    decay, first = 0.9, 200  # from here on the average no longer warms up
    model = TinyNet(TinyNetConfig(num_classes=2))
    ours = Ema(model, decay)
    theirs = {name: torch.tensor(p.numpy()) for name, p in model.trainable()}
    update = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    rng = np.random.default_rng(1)
    for step in range(STEPS):
        for _, parameter in model.trainable():
            parameter.set_value(rng.normal(size=parameter.shape).astype(np.float32))
        ours.update(first + step)
        update(list(theirs.values()), [torch.tensor(p.numpy()) for _, p in model.trainable()], step)
    for name, average in ours.arrays().items():
        np.testing.assert_allclose(average, theirs[name].numpy(), rtol=1e-6, atol=1e-6)
