"""The checks pass on what is right (everything registered) and fail, with clear words, on what is
wrong.
"""

import dataclasses
import random

import numpy as np
import pytest
from ppclas_components.optimizers import SGD
from ppclas_core.contracts.data import BatchTransform, Transform
from ppclas_core.contracts.training import Loss, Metric, Optimizer, Scheduler, Targets
from ppclas_core.params import Params
from ppclas_core.plugins import get_registries
from ppclas_core.testing import (
    check_batch_transform,
    check_exporter,
    check_loss,
    check_metric,
    check_model,
    check_optimizer,
    check_params,
    check_scheduler,
    check_transform,
    make_tiny_bundle,
    use_plugin,
)
from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig
from ppclas_data.decoding.decode import decode
from ppclas_data.testing import check_reader, make_tiny_dataset
from ppclas_engine.testing import FakePlugin
from ppclas_engine.testing.components import FakeExporter, FakeReader

paddle = pytest.importorskip("paddle")

REQUIRED = {
    "Resize": {"short": 24},
    "CenterCrop": {"size": (24, 32)},
    "Letterbox": {"size": (24, 32)},
    "RandomCrop": {"size": 24},
    "RandomResizedCrop": {"size": (24, 32)},
    "Pad": {"size": 64},
    "PlacedCrop": {"size": 24},
}
"""Parameters of the transforms that have no default for all of them."""


@pytest.fixture(scope="module", autouse=True)
def fake_plugin():
    with use_plugin(FakePlugin()) as plugin:
        yield plugin


def registered(kind):
    """The names at collection time and those of the fake plugin, which comes in later."""
    fakes = {
        "transforms": "FakeTransform",
        "batch_transforms": "FakeBatchTransform",
        "losses": "FakeLoss",
    }
    fakes |= {"schedulers": "FakeScheduler", "optimizers": "FakeOptimizer", "metrics": "FakeMetric"}
    return [*getattr(get_registries(), kind), fakes[kind]]


@pytest.mark.parametrize("name", registered("transforms"))
def test_every_registered_transform(name):
    if name == "ToCHW":
        pytest.skip(
            "changes the layout, which ppclas does on the device; it is there for old configs"
        )
    check_transform(get_registries().transforms.build(name, **REQUIRED.get(name, {})))


@pytest.mark.parametrize("name", registered("batch_transforms"))
def test_every_registered_batch_transform(name):
    check_batch_transform(get_registries().batch_transforms.build(name))


@pytest.mark.parametrize("name", registered("losses"))
def test_every_registered_loss(name):
    if name == "wsl":
        pytest.skip("its weights are constants by definition; test_distill_losses has its gradient")
    check_loss(get_registries().losses.build(name))


@pytest.mark.parametrize("name", registered("schedulers"))
def test_every_registered_scheduler(name):
    check_scheduler(get_registries().schedulers.build(name))


@pytest.mark.parametrize("name", registered("optimizers"))
def test_every_registered_optimizer(name):
    check_optimizer(get_registries().optimizers.build(name))


@pytest.mark.parametrize("name", registered("metrics"))
def test_every_registered_metric(name):
    check_metric(get_registries().metrics.build(name))


def test_a_model_by_name_and_as_a_layer():
    check_model("FakeNet", image_size=32)
    check_model(TinyNet(TinyNetConfig(width=4)), image_size=32)


@pytest.mark.slow
def test_a_model_traced_for_export():
    check_model("FakeNet", image_size=32, static=True)


@pytest.mark.parametrize("kind", ["exporters", "engines", "trackers", "datasets"])
def test_parameters_of_the_other_kinds(kind):
    registry = getattr(get_registries(), kind)
    for name in registry:
        params = {"location": "somewhere"} if kind == "datasets" else {}
        check_params(registry.build(name, **params))


def test_an_exporter(tmp_path):
    check_exporter(FakeExporter(), make_tiny_bundle(tmp_path / "bundle"), tmp_path / "export")


def test_the_fake_reader(tmp_path):
    check_reader(FakeReader(), tmp_path)


# What the checks must find.


class Documented(Transform):
    """A transform."""

    def __call__(self, image, draw):
        return image


def transform(function):
    return type(
        "Wrong",
        (Documented,),
        {"__doc__": "Wrong.", "__call__": lambda self, image, draw: function(image, draw)},
    )()


def in_place(image, draw):
    image.flags.writeable = True
    image[:] = 0
    return image


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image, draw: image.transpose(2, 0, 1), r"channels come last"),
        (lambda image, draw: image[:, :, 0], r"returns shape \[40, 56\], not \[H, W, C\]"),
        (lambda image, draw: image / 255, r"returns float64, not uint8 or float32"),
        (lambda image, draw: np.full((4, 4, 3), np.nan, np.float32), "NaN"),
        (lambda image, draw: image[: 1 + int(np.random.randint(30))], "global generators"),
        (lambda image, draw: image[: 1 + random.randrange(30)], "global generators"),
        (
            lambda image, draw: image[: 1 + int(np.random.default_rng().integers(30))],
            "two results for one draw",
        ),
    ],
)
def test_wrong_transforms_are_found(function, message):
    with pytest.raises(AssertionError, match=message):
        check_transform(transform(function))


def test_a_transform_cannot_write_into_its_input():
    with pytest.raises((AssertionError, ValueError), match=r"writes into the image|WRITEABLE"):
        check_transform(transform(in_place))


def test_undocumented_fields_are_found():
    class Bare(Params):
        """Something."""

        size: int = 3

    with pytest.raises(AssertionError, match="Bare: fields without a docstring below them: size"):
        check_params(Bare())


def test_a_field_that_no_config_can_hold_is_found():
    class Odd(Params):
        """Something."""

        value: complex = 1j
        """A number that YAML does not have."""

    with pytest.raises(Exception, match="value"):
        check_params(Odd())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda images, targets: (images[:1], targets),
            r"turns images \[N, C\] \[4, 3\] .* into \[1, 3\]",
        ),
        (
            lambda images, targets: (images, Targets(targets.labels, mixed_labels=targets.labels)),
            "mixed_labels without weight",
        ),
        (
            lambda images, targets: (
                images,
                dataclasses.replace(targets, soft=paddle.full([len(images), 5], 0.3)),
            ),
            "do not sum to 1",
        ),
        (
            lambda images, targets: (
                images,
                Targets(targets.labels, targets.labels, paddle.full([len(images)], 1.5)),
            ),
            r"weight outside 0\.\.1",
        ),
    ],
)
def test_wrong_batch_transforms_are_found(change, message):
    class Wrong(BatchTransform):
        """Wrong."""

        def __call__(self, images, targets, draw):
            return change(images, targets)

    with pytest.raises(AssertionError, match=message):
        check_batch_transform(Wrong())


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (
            lambda logits, targets: logits.square().mean(axis=1),
            r"returns shape \[3\], not one number",
        ),
        (lambda logits, targets: logits.log().mean(), "is nan"),
        (
            lambda logits, targets: logits.square().mean() + (logits.detach() ** 2).mean(),
            "numerically it is",
        ),
        (
            lambda logits, targets: (logits - targets.teacher_logits).square().mean(),
            "reaches the teacher",
        ),
    ],
)
def test_wrong_losses_are_found(formula, message):
    class Wrong(Loss):
        """Wrong."""

        def __call__(self, outputs, targets):
            return formula(outputs[0] if isinstance(outputs, tuple) else outputs, targets)

    with pytest.raises(AssertionError, match=message):
        check_loss(Wrong())


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda peak, step: 2 * peak, "above the peak"),
        (lambda peak, step: peak - 0.01 * step, r"the rate of step 11 is -"),
        (lambda peak, step: np.float64(peak), "of type float64, not float"),
        (lambda peak, step: 0.0, "0 throughout"),
        (lambda peak, step: peak * random.random(), "must be a function of the step"),
    ],
)
def test_wrong_schedules_are_found(formula, message):
    class Wrong(Scheduler):
        """Wrong."""

        def value(self, step, steps_per_epoch, epochs):
            return formula(self.peak, step)

    with pytest.raises(AssertionError, match=message):
        check_scheduler(Wrong())


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (("learning_rate",), "ignores the learning_rate factor"),
        (("weight_decay",), "ignores the weight_decay"),
        (("params",), "does not lower a parabola"),
    ],
)
def test_wrong_optimizers_are_found(drop, message):
    class Wrong(Optimizer):
        """Wrong."""

        def build(self, parameters, lr, weight_decay, grad_clip):
            groups = [
                {key: value for key, value in group.items() if key not in drop}
                for group in parameters
            ]
            if "params" in drop:
                groups = [{"params": [paddle.create_parameter([1], "float32")]}]
            return SGD().build(groups, lr, weight_decay, grad_clip)

    with pytest.raises(AssertionError, match=message):
        check_optimizer(Wrong())


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda p, labels: {}, "not a dict of named numbers"),
        (lambda p, labels: {"top": (p.argmax(axis=1) == labels).mean()}, "not a finite float"),
        (lambda p, labels: {"first": float(p[0, 0])}, "depends on the order"),
    ],
)
def test_wrong_metrics_are_found(formula, message):
    class Wrong(Metric):
        """Wrong."""

        def __call__(self, probabilities, labels):
            return formula(probabilities, labels)

    with pytest.raises(AssertionError, match=message):
        check_metric(Wrong())


class Softmaxed(TinyNet):
    def forward(self, images):
        return paddle.nn.functional.softmax(super().forward(images))


class Unstaged(TinyNet):
    def stages(self):
        return {"stage1": ("blocks.0",), "stage2": ("blocks.1",), "head": ("fc",)}


class WrongStride(TinyNet):
    def feature_info(self):
        return [
            dataclasses.replace(feature, stride=2 * feature.stride)
            for feature in super().feature_info()
        ]


class WrongHead(TinyNet):
    head = ("classifier",)


class Unused(TinyNet):
    def __init__(self, config):
        super().__init__(config)
        self.spare = paddle.nn.Linear(2, 2)

    def stages(self):
        return {"spare": ("spare",), **super().stages()}


class Noisy(TinyNet):
    def forward_features(self, images):
        return paddle.nn.functional.dropout(super().forward_features(images), 0.5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Softmaxed, "ends in a softmax"),
        (Unstaged, r"no stage holds blocks\.2"),
        (WrongStride, "feature_info says stride 4"),
        (WrongHead, "no parameter begins with 'classifier'"),
        (Unused, r"no gradient reaches spare\.weight"),
        (Noisy, "other logits for the same images in eval mode"),
    ],
)
def test_wrong_models_are_found(layer, message):
    with pytest.raises(AssertionError, match=message):
        check_model(layer(TinyNetConfig()), image_size=32)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"engine": "FakeEngine"}, "must return 'model'"),
        ({"engine": "FakeEngine", "model": "gone.bin"}, "names 'gone.bin' and did not write it"),
        (
            {"engine": "NoEngine", "model": "fake.safetensors"},
            "nobody registers its engine 'NoEngine'",
        ),
    ],
)
def test_wrong_exporters_are_found(tmp_path, facts, message):
    class Wrong(FakeExporter):
        """Wrong."""

        def export(self, bundle, folder):
            super().export(bundle, folder)
            return facts

    with pytest.raises(AssertionError, match=message):
        check_exporter(Wrong(), make_tiny_bundle(tmp_path / "bundle"), tmp_path / "export")


def test_an_exporter_with_other_weights_is_found(tmp_path):
    class Wrong(FakeExporter):
        """Wrong."""

        def export(self, bundle, folder):
            return super().export(make_tiny_bundle(tmp_path / "other"), folder)

    paddle.seed(1)
    with pytest.raises(AssertionError, match="logits differ by"):
        check_exporter(Wrong(), make_tiny_bundle(tmp_path / "bundle"), tmp_path / "export")


def test_the_tiny_dataset_is_learnable(tmp_path):
    folder, names = make_tiny_dataset(tmp_path / "photos", classes=4, per_class=10, size=32)
    assert sorted(path.name for path in folder.iterdir()) == list(names)
    photos, labels = [], []
    for label, name in enumerate(names):
        files = sorted((folder / name).iterdir())
        assert {file.suffix for file in files} == {".jpg", ".png"}
        for file in files:
            image = decode(file.read_bytes(), str(file))
            assert sorted(image.shape) == [3, 32, 40]
            photos.append(image.mean(axis=(0, 1)) / image.mean())
            labels.append(label)
    photos, labels = np.array(photos), np.array(labels)
    # Colour alone tells the classes apart: the nearest class mean of the even photos names the odd
    # ones.
    centres = np.array([photos[::2][labels[::2] == label].mean(axis=0) for label in range(4)])
    found = np.linalg.norm(photos[1::2, None] - centres, axis=2).argmin(axis=1)
    assert (found == labels[1::2]).all()


def test_the_tiny_dataset_is_the_same_each_time(tmp_path):
    first, second = (make_tiny_dataset(tmp_path / name)[0] for name in "ab")
    for path in first.rglob("*.*"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()
