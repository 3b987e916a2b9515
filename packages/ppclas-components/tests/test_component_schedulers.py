"""The values are those of the 2020-era schedules: S = 10 steps an epoch, lr 0.1, 10 epochs."""

import math

import pytest
from ppclas_components.schedulers import (
    Constant,
    Cosine,
    CosineRestarts,
    CosineWarmup,
    ExponentialWarmup,
    Linear,
    Piecewise,
)
from ppclas_core.errors import ConfigError
from pydantic import ValidationError

STEPS = (0, 9, 10, 20, 30, 44, 60, 99)
VECTORS = [
    (Piecewise(lr=0.1, decay_epochs=(3, 6)), (0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001)),
    (
        Cosine(lr=0.1),
        (0.1, 0.1, 0.09755283, 0.09045085, 0.07938926, 0.06545085, 0.03454915, 0.00244717),
    ),
    (
        CosineWarmup(lr=0.1, warmup_epochs=2),
        (0, 0.045, 0.05, 0.1, 0.09619398, 0.07938926, 0.05, 0.00003855),
    ),
    (
        ExponentialWarmup(lr=0.1, warmup_epochs=2),
        (0, 0.045, 0.05, 0.1, 0.1, 0.097, 0.097, 0.0912673),
    ),
    (Linear(lr=0.1, steps=50), (0.1, 0.082, 0.08, 0.06, 0.04, 0.012, 0, 0)),
    (Constant(lr=0.1), (0.1,) * 8),
]


@pytest.mark.parametrize(("schedule", "expected"), VECTORS, ids=lambda value: type(value).__name__)
def test_values_of_the_reference(schedule, expected):
    values = [schedule.value(step, steps_per_epoch=10, epochs=10) for step in STEPS]
    assert values == pytest.approx(expected, abs=5e-9)


def test_defaults_of_the_reference():
    assert CosineWarmup().warmup_epochs == ExponentialWarmup().warmup_epochs == 5
    assert (ExponentialWarmup().decay_epochs, ExponentialWarmup().decay_rate) == (2.4, 0.97)
    assert Piecewise().gamma == 0.1
    assert Linear().end_lr == 0


def test_a_fraction_of_an_epoch_can_be_warmup():
    schedule = CosineWarmup(lr=1.0, warmup_epochs=0.5)
    values = [schedule.value(step, steps_per_epoch=10, epochs=2) for step in range(20)]
    assert values[:6] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    # Half the way between the end of the warmup (5) and of the run (20).
    assert values[12] + values[13] == pytest.approx(1.0)


def test_no_warmup_starts_at_the_peak():
    assert CosineWarmup(lr=0.2, warmup_epochs=0).value(0, 10, 3) == 0.2
    assert ExponentialWarmup(lr=0.2, warmup_epochs=0).value(0, 10, 3) == 0.2


@pytest.mark.parametrize("kind", [CosineWarmup, ExponentialWarmup])
def test_warmup_longer_than_the_run_is_refused(kind):
    with pytest.raises(
        ConfigError,
        match=r"warmup_epochs=5 is longer than the run of 3 epochs.*warmup_epochs to 0\.3 ",
    ):
        kind(lr=0.1).value(0, 10, 3)


def test_a_run_of_warmup_only_ends_just_below_the_peak():
    schedule = CosineWarmup(lr=0.1, warmup_epochs=3)
    assert schedule.value(29, 10, 3) == pytest.approx(0.1 * 29 / 30)
    assert math.isfinite(schedule.value(30, 10, 3))


@pytest.mark.parametrize("steps_per_epoch", [1, 3, 5, 7, 35, 1251])
def test_exponential_decay_falls_on_the_first_step_of_its_period(steps_per_epoch):
    schedule = ExponentialWarmup(lr=1.0, warmup_epochs=0)
    for decays in range(1, 60):
        # ceil(12 / 5 · S · decays) in whole numbers
        first = -(-12 * steps_per_epoch * decays // 5)
        assert schedule.value(first, steps_per_epoch, 360) <= 0.97**decays * (1 + 1e-12)
        assert (
            schedule.value(first - 1, steps_per_epoch, 360) >= 0.97 ** (decays - 1) * (1 - 1e-12)
            or steps_per_epoch < 3
        )


def test_linear_ends_with_the_run_where_no_steps_are_given():
    schedule = Linear(lr=0.1, end_lr=0.02)
    assert schedule.value(15, 10, 3) == pytest.approx(0.06)
    assert schedule.value(30, 10, 3) == pytest.approx(0.02)


def test_piecewise_with_warmup_is_paddles():
    import paddle

    # Paddle's steps count from the end of the warmup: 3 and 6 epochs of 10 steps after 2 of them.
    reference = paddle.optimizer.lr.LinearWarmup(
        paddle.optimizer.lr.PiecewiseDecay([30, 60], [0.1, 0.01, 0.001]), 20, 0.0, 0.1
    )
    schedule = Piecewise(lr=0.1, decay_epochs=(5, 8), warmup_epochs=2)
    for step in range(100):
        assert schedule.value(step, 10, 10) == pytest.approx(reference())
        reference.step()


def test_piecewise_wants_rising_epochs():
    with pytest.raises(
        ValidationError, match=r"decay_epochs must rise, for example \[30, 60, 90\]; got \[60, 30\]"
    ):
        Piecewise(lr=0.1, decay_epochs=(60, 30))


def test_a_schedule_without_a_rate_says_so():
    with pytest.raises(ValueError, match="no learning rate yet"):
        Cosine().value(0, 10, 10)


def test_restarts_are_those_of_sgdr():
    # Loshchilov & Hutter 2017, equation 5, with T_0 = 2 epochs, T_mult = 2 and η_min = 0.001.
    schedule = CosineRestarts(lr=0.1, cycle_epochs=2, cycle_growth=2, end_lr=0.001)
    found = [schedule.value(step, steps_per_epoch=5, epochs=14) for step in range(70)]
    wanted = []
    for cycle in (10, 20, 40):
        wanted += [0.001 + 0.0495 * (1 + math.cos(math.pi * t / cycle)) for t in range(cycle)]
    assert found == pytest.approx(wanted)
