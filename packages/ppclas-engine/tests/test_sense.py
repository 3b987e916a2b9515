"""Settings that make no sense together are refused, or said, before anything is trained."""

from __future__ import annotations

import pytest
from ppclas_core.config.load import load_config
from ppclas_core.config.schema import Config
from ppclas_core.errors import ConfigError
from ppclas_engine.planning.plan import _plan_optimizer, plan_run

pytest.importorskip("paddle")

SMALL = (
    "train.epochs=4",
    "train.device=cpu",
    "model.pretrained=false",
    "data.batch_size=16",
    "data.workers=0",
    "data.train_transforms=[{name: Resize, size: [32, 32]}]",
    "data.eval_transforms=[{name: Resize, size: [32, 32]}]",
)
"""The built-in photos: 192 for training in 8 classes, 12 batches."""


def plan(*overrides):
    return plan_run(load_config(None, [*SMALL, *overrides]).config)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.accumulate=1000000", "an epoch has 12 batches of 16: expected at most as many"),
        ("train.accumulate=13", "an epoch has 12 batches"),
        ("train.average_last=5", "expected at most 4, the epochs of the run; got 5"),
        ("optimizer.lr_mult={backbone: 0, head: 0}", "nothing would be trained"),
        ("optimizer.clip_norm=1e-30", "clip_norm is 1e-30.*expected 0.0001 or more"),
        ("optimizer.layer_decay=1e-30", "layer_decay is 1e-30.*expected 0.1 or more"),
        ("schedule={name: Linear, lr: 0.1, end_lr: 5}", "rises to 4.*above its lr of 0.1"),
        ("schedule={name: Linear, lr: 0.1, steps: 1}", "over after a few of the 48 steps"),
        ("optimizer={name: Adam, epsilon: 1e30}", "epsilon: Adam: expected 1 or less"),
        ("loss={name: Focal, gamma: 1000}", "gamma: Focal: expected 20 or less"),
        (
            "loss={name: CrossEntropy, class_weights: [1, 1, 1, 1, 1, 1, 1, 1e-8]}",
            "loss.class_weights go from 1e-08 to 1",
        ),
        ("metrics=[{name: TopK, k: []}]", "TopK: expected at least 1 items"),
        ("metrics=[{name: TopK, k: [1, 1, 1]}]", "expected different numbers"),
        ("data.normalize.mean=[500, 0.5, 0.5]", "mean is for images in 0..1, got 500"),
        ("data.normalize={mean: [0.5], std: [0.5]}", "data.normalize has 1 mean"),
        ("data.normalize={mean: [0, 0, 0, 0], std: [1, 1, 1, 1]}", "data.normalize has 4 means"),
        (
            "data.eval_transforms=[{name: RandomResizedCrop, size: 32}]",
            "data.eval_transforms has RandomResizedCrop, which is random",
        ),
        (
            "data.eval_transforms=[{name: Resize, size: [32, 32]}, {name: RandomFlip}]",
            "data.eval_transforms has RandomFlip, which is random",
        ),
        (
            "data.train_transforms=[{name: RandomResizedCrop, size: 32, scale: [1e-9, 1e-9]}]",
            "after RandomResizedCrop a photo is of one colour",
        ),
        (
            "data.train_transforms=[{name: Resize, size: [32, 32]}, {name: Cutout, holes: 100000}]",
            "after Cutout a photo is of one colour",
        ),
        (
            "data.train_transforms=[{name: Resize, size: [32, 32]}, {name: RandomErasing, "
            "probability: 1, area: [1, 1], aspect: [1, 1]}]",
            "expected a smallest area of 0.9 or less, got 1",
        ),
    ],
)
def test_refused(override, words):
    with pytest.raises(ConfigError, match=words):
        plan(override)


def test_a_rate_is_not_inferred_for_enormous_steps():
    with pytest.raises(ConfigError, match="no rule for the learning rate of 8193 images per step"):
        _plan_optimizer(Config(), 8193, 4, None, notes=[])
    schedule, _ = _plan_optimizer(Config(), 8192, 4, None, notes=[])
    assert schedule.params["lr"] == pytest.approx(0.1 * 8192 / 256)  # Goyal et al. 2017


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.eval_every=9", "train.eval_every is 9, beyond the 4 epochs"),
        ("train.patience=9", "train.patience is 9, beyond the 4 epochs"),
        ("schedule={name: Piecewise, lr: 0.1, decay_epochs: [3, 30]}", "has 30, beyond the 4"),
        ("schedule={name: Piecewise, lr: 0.1, decay_epochs: []}", "Piecewise never falls"),
        (
            "data.eval_transforms=[{name: Resize, size: [40, 48]}]",
            "training and evaluation see other sizes: 32x32 and 40x48",
        ),
        ("metrics=[{name: TopK, k: [1, 100]}]", "top-100 is 1 for every model of 8 classes"),
        (
            "data.eval_transforms=[{name: Resize, short: 20}, {name: CenterCrop, size: 32}]",
            "resizes the short side to 20 and then crops 32: every photo gets a border",
        ),
    ],
)
def test_said(override, words):
    assert [note for note in plan(override).notes if note.startswith("warning") and words in note]


@pytest.mark.parametrize(
    "override",
    [
        "train.accumulate=2",
        "train.average_last=4",
        "schedule={name: Constant, lr: 0.01}",
        "schedule={name: Linear, lr: 0.1, end_lr: 0.1}",
        "schedule={name: Piecewise, lr: 0.1, decay_epochs: [2, 3]}",
        "optimizer.lr_mult={backbone: 0}",
        "data.eval_transforms=[{name: Resize, short: 40}, {name: CenterCrop, size: 32}]",
        "train.epochs=1",
        "metrics=[{name: TopK, k: [1, 5]}]",
        "data.train_transforms=[{name: RandomResizedCrop, size: 32}, {name: Cutout, length: 24}]",
    ],
)
def test_what_makes_sense_is_taken_without_a_word(override):
    assert not [note for note in plan(override).notes if note.startswith("warning")]
