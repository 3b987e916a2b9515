"""WarmupThen against Paddle's own schedulers, joined as PaddleClas 2.x joins them."""

import pytest
from ppclas_core.testing import check_scheduler
from ppclas_paddleclas.schedules import WarmupThen
from pydantic import ValidationError

S, E, LR = 7, 12, 0.3  # steps per epoch, epochs


def paddles(after, warmup, start):
    """The rate at each update of Paddle's scheduler."""
    from paddle.optimizer import lr

    whole = lr.LinearWarmup(after, warmup, start, LR) if warmup else after
    while True:
        yield whole()
        whole.step()


@pytest.mark.parametrize("by_epoch", [False, True])
@pytest.mark.parametrize(("warmup", "start"), [(0, 0.0), (3, 0.0), (3, 0.01), (2.5, 0.02)])
@pytest.mark.parametrize("shape", ["constant", "cosine", "polynomial", "steps"])
def test_against_paddle(shape, warmup, start, by_epoch):
    from paddle.optimizer import lr

    if by_epoch and warmup != int(warmup):
        warmup = int(warmup)
    unit = 1 if by_epoch else S
    length = round(E * unit - round(warmup * unit))
    after = {
        "constant": lambda: lr.LambdaDecay(LR, lambda _: 1.0),
        "cosine": lambda: lr.CosineAnnealingDecay(LR, length, eta_min=0.02),
        "polynomial": lambda: lr.PolynomialDecay(LR, length, end_lr=0.02, power=2.0),
        "steps": lambda: lr.PiecewiseDecay([4 * unit, 6 * unit], [LR, LR / 3, LR / 100]),
    }[shape]()
    ours = WarmupThen(
        shape=shape,
        lr=LR,
        warmup_epochs=warmup,
        warmup_lr=start,
        end_lr=0.02 if shape in ("cosine", "polynomial") else 0.0,
        power=2.0,
        decay_epochs=(4, 6) if shape == "steps" else (),
        factors=(1 / 3, 1 / 100) if shape == "steps" else (),
        by_epoch=by_epoch,
    )
    expected = paddles(after, round(warmup * unit), start)
    theirs = [next(expected) for _ in range(E * unit)]
    found = [ours.value(step, S, E) for step in range(0, E * S, S if by_epoch else 1)]
    assert found == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    if by_epoch:  # nothing changes inside an epoch
        assert ours.value(S - 1, S, E) == ours.value(0, S, E)


def test_it_keeps_the_contract():
    check_scheduler(WarmupThen(warmup_epochs=3, warmup_lr=0.01, end_lr=0.02))


def test_steps_and_factors_fit():
    with pytest.raises(ValidationError, match="a factor for each of 2 decay_epochs, got 1"):
        WarmupThen(shape="steps", decay_epochs=(2, 3), factors=(0.1,))
    with pytest.raises(ValidationError, match="must rise"):
        WarmupThen(shape="steps", decay_epochs=(3, 2), factors=(0.1, 0.01))
