"""Runs with a teacher on tiny photos: how it is left, what a stop changes, who counts."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.errors import ConfigError, DataError, TrainingError, UnknownNameError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.sources.photo_files import image_files
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.session import resume, train
from ppclas_engine.testing import FakePlugin
from safetensors.numpy import load_file

paddle = pytest.importorskip("paddle")

CLASSES, PER_CLASS, EXTRA = 3, 8, 10


@pytest.fixture(scope="module", autouse=True)
def fake_plugin():
    with use_plugin(FakePlugin()):
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    make_tiny_dataset(folder, classes=CLASSES, per_class=PER_CLASS, size=40)
    return folder


@pytest.fixture(scope="module")
def extra(tmp_path_factory):
    """Photos without labels: a folder with no class folders."""
    made = tmp_path_factory.mktemp("made")
    make_tiny_dataset(made, classes=2, per_class=EXTRA, size=40)
    folder = tmp_path_factory.mktemp("extra")
    for number, photo in enumerate(sorted(image_files(made))[:EXTRA]):
        shutil.copy(photo, folder / f"{number}{Path(photo).suffix}")
    return folder


@pytest.fixture(scope="module")
def teacher(photos, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "teacher"
    train(config(photos, output, objective=ComponentConfig(name="Supervised")), Console(quiet=True))
    return output


def config(photos, output, objective=None, **data):
    return Config(
        model=ModelSection(name="FakeNet", pretrained=False, params={"width": 4}),
        data=DataSection(
            **{"train": str(photos), "image_size": 32, "batch_size": 8, "workers": 0, **data}
        ),
        schedule=ComponentConfig(name="Constant", lr=0.02),
        objective=objective or ComponentConfig(name="Supervised"),
        train=TrainSection(epochs=2, output=str(output), device="cpu"),
    )


def distill(teacher, **fields):
    return ComponentConfig(name="Distill", **{"teachers": [{"source": str(teacher)}], **fields})


def prepared(photos, teacher, tmp_path, **fields):
    """The objective as a run prepares it, with a batch to try it on."""
    from ppclas_engine.loop.parts import build_parts
    from ppclas_engine.planning.plan import make_plan

    plan = make_plan(config(photos, tmp_path / "run", distill(teacher, **fields)), "cpu")
    return build_parts(plan, Console(quiet=True), 0.02, None), plan


def batch_of(plan, count=6):
    from ppclas_core.contracts.objective import TrainBatch
    from ppclas_core.contracts.training import Targets
    from ppclas_data.loading.device import normalize_on_device
    from ppclas_data.loading.loader import Loader
    from ppclas_data.loading.pipeline import Pipeline, build_transforms

    with Loader(
        plan.train, Pipeline(build_transforms(plan.config.data.eval_transforms)), count
    ) as loader:
        batch = next(loader.epoch(0))
    images = normalize_on_device(batch.images, plan.config.data.normalize)
    return TrainBatch(
        images, Targets(paddle.to_tensor(batch.labels)), batch.images, batch.indices, 0
    )


@pytest.mark.parametrize(
    ("norm", "batch", "warned"), [("batch", 8, True), ("batch", 32, False), ("running", 8, False)]
)
def test_a_teacher_that_goes_by_small_batches_is_warned_of(
    teacher, tmp_path, capsys, norm, batch, warned
):
    from ppclas_engine.loop.parts import build_parts
    from ppclas_engine.planning.plan import make_plan

    more, _ = make_tiny_dataset(tmp_path / "photos", per_class=20)
    objective = distill(teacher, teacher_norm=norm)
    said = config(more, tmp_path / "run", objective, batch_size=batch)
    build_parts(make_plan(said, "cpu"), Console(), 0.02, None)
    printed = capsys.readouterr()
    words = "batch norms go by only 8 images can answer much worse than it does alone"
    assert (words in " ".join((printed.out + printed.err).split())) == warned


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_the_teachers_weights_stay_and_its_statistics_move_in_train_mode_only(
    photos, teacher, tmp_path, norm
):
    parts, plan = prepared(
        photos, teacher, tmp_path, teacher_norm=norm, losses=[{"name": "ssld"}, {"name": "fitnet"}]
    )
    model = parts.objective._teachers[0]._model
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    for _ in range(2):
        result = parts.objective.step(batch_of(plan), parts.model)
        result.loss.backward()
        parts.optimizer.step()
        parts.optimizer.clear_grad()
    after = {key: value.numpy() for key, value in model.state_dict().items()}
    moved = {key for key in before if not np.array_equal(before[key], after[key])}
    statistics = {key for key in before if key.endswith(("_mean", "_variance"))}
    assert moved == (statistics if norm == "batch" else set())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert {key.split("/", 1)[1] for key in parts.objective.state()} == (
        statistics if norm == "batch" else set()
    )
    trained = {id(parameter) for parameter in parts.parameters().values()}
    assert not trained & {id(parameter) for parameter in model.parameters()}


def test_the_loss_is_the_weighted_sum_of_its_parts(photos, teacher, tmp_path):
    terms = [{"name": "kl", "weight": 0.5}, {"name": "ssld"}, {"name": "similarity", "weight": 2.0}]
    parts, plan = prepared(
        photos, teacher, tmp_path, losses=terms, ground_truth=0.25, teacher_norm="running"
    )
    result = parts.objective.step(batch_of(plan), parts.model)
    values = {name: value.item() for name, value in result.parts.items()}
    assert set(values) == {"kl", "ssld", "similarity", "ground_truth"}
    expected = (
        0.5 * values["kl"]
        + values["ssld"]
        + 2.0 * values["similarity"]
        + 0.25 * values["ground_truth"]
    )
    assert result.loss.item() == pytest.approx(expected, rel=1e-6)


def test_afd_learns_from_all_maps_and_measures_their_channels(photos, teacher, tmp_path):
    term = {"name": "afd", "dim": 4, "student_map": "blocks.0.0 blocks", "teacher_map": 1}
    parts, plan = prepared(photos, teacher, tmp_path, losses=[term])
    attention = parts.objective.layers()["afd.attention"]
    # A convolution and the three blocks of the student, of width 4; two stages of the teacher.
    assert [layer[0].weight.shape[0] for layer in attention.keys] == [4, 4, 8, 16]
    assert [layer[0].weight.shape[0] for layer in attention.queries] == [4, 8]
    assert parts.model.training  # as before the maps were measured
    before = {key: value.numpy() for key, value in attention.state_dict().items()}
    result = parts.objective.step(batch_of(plan), parts.model)
    assert set(result.parts) == {"afd"}
    result.loss.backward()
    parts.optimizer.step()
    moved = {
        key for key, value in attention.state_dict().items() if (value.numpy() != before[key]).any()
    }
    assert {"queries.0.0.weight", "keys.3.0.weight", "student_positions"} <= moved


def test_maps_are_measured_without_moving_a_statistic(photos, teacher, tmp_path):
    from ppclas_distill.maps import find_maps

    model = prepared(photos, teacher, tmp_path)[0].model
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    found = find_maps(model, "blocks.1 blocks.0.1", (32, 16), "afd.student_map")
    assert [(each.layer, each.channels, each.stride) for each in found] == [
        ("blocks.1", 8, 4),
        ("blocks.0.1", 4, 2),
    ]
    assert all((value.numpy() == before[key]).all() for key, value in model.state_dict().items())
    assert model.forward_features(paddle.zeros([1, 3, 32, 32])).shape == [1, 16, 4, 4]


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("blocks.7", "afd.student_map: TinyNet has no layer 'blocks.7'"),
        (3, "afd.student_map: expected a number from -3 to 2, got 3"),
        ("blocks pool", "expected layers that give maps .*; pool gives"),
    ],
)
def test_maps_that_are_not_there_are_named(photos, teacher, tmp_path, which, message):
    with pytest.raises(ConfigError, match=message):
        prepared(photos, teacher, tmp_path, losses=[{"name": "afd", "student_map": which}])


def test_labels_of_photos_without_one_are_never_learnt_from(photos, teacher, tmp_path):
    import dataclasses

    from ppclas_core.contracts.training import Targets

    parts, plan = prepared(photos, teacher, tmp_path, ground_truth=1.0, teacher_norm="running")
    batch = batch_of(plan)
    full = parts.objective.step(batch, parts.model).parts["ground_truth"].item()
    each = paddle.nn.functional.cross_entropy(
        parts.model(batch.images), batch.targets.labels, reduction="none"
    ).numpy()
    assert full == pytest.approx(each.mean(), rel=1e-5)
    labels = batch.targets.labels.numpy().copy()
    labels[[1, 4]] = -1
    some = dataclasses.replace(batch, targets=Targets(paddle.to_tensor(labels)))
    # The parts that are left weigh what they weighed before.
    expected = np.delete(each, [1, 4]).sum() / len(each)
    assert parts.objective.step(some, parts.model).parts["ground_truth"].item() == pytest.approx(
        expected, rel=1e-5
    )
    none = dataclasses.replace(batch, targets=Targets(paddle.full([6], -1, dtype="int64")))
    assert parts.objective.step(none, parts.model).parts["ground_truth"].item() == 0.0


def test_a_run_with_photos_without_labels(photos, teacher, extra, tmp_path):
    run = tmp_path / "run"
    given = config(
        photos, run, distill(teacher, ground_truth=0.5), train_extra=str(extra), val_fraction=0.25
    )
    result = train(given, Console(quiet=True))
    labelled = CLASSES * PER_CLASS * 3 // 4
    state = load_file(run / "checkpoints" / "last.safetensors")
    bundle = Bundle.load(run)
    # The bundle holds the student alone; the checkpoint of a teacher nothing but its statistics.
    assert set(load_file(bundle.weights_file)) == {
        key[6:] for key in state if key.startswith("model/")
    }
    extras = [key for key in state if key.startswith("objective/")]
    assert extras
    assert all(key.endswith(("_mean", "_variance")) for key in extras)
    assert bundle.labels == Bundle.load(teacher).labels
    log = (run / "log.txt").read_text()
    assert f"{labelled} training and" in log
    assert f"{EXTRA} more training photos without labels" in log
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # Only labelled photos count as right or wrong: shares are multiples of 1 / 18.
    assert all(
        (row["train_top1"] * labelled) == pytest.approx(round(row["train_top1"] * labelled))
        for row in rows
    )
    assert {"train_ssld", "train_ground_truth"} <= set(rows[0])
    assert result.best["num_images"] == CLASSES * PER_CLASS // 4


class StopAt:
    """Press Ctrl-C after a step."""

    def __init__(self, step):
        self.step = step

    @hookimpl
    def on_step_end(self, context):
        if context.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stopped_run_goes_on_bit_for_bit(photos, teacher, extra, tmp_path):
    objective = distill(teacher, losses=[{"name": "ssld"}, {"name": "fitnet", "weight": 0.1}])
    train(
        config(photos, tmp_path / "whole", objective, train_extra=str(extra)), Console(quiet=True)
    )
    with use_plugin(StopAt(5), "stopper"), pytest.raises(TrainingError, match="Stopped on request"):
        train(
            config(photos, tmp_path / "stopped", objective, train_extra=str(extra)),
            Console(quiet=True),
        )
    resume(tmp_path / "stopped", Console(quiet=True))
    whole, stopped = (
        load_file(tmp_path / name / "checkpoints" / "last.safetensors")
        for name in ("whole", "stopped")
    )
    assert whole.keys() == stopped.keys()
    assert any(key.startswith("layers/fitnet") for key in whole)
    assert all(np.array_equal(whole[key], stopped[key]) for key in whole)


@pytest.mark.slow
def test_the_cache_answers_for_the_same_pixels_alone(photos, teacher, tmp_path, monkeypatch):
    from ppclas_distill.teacher import PaddleTeacher

    asked: list[int] = []
    answer = PaddleTeacher.answer
    monkeypatch.setattr(
        PaddleTeacher,
        "answer",
        lambda self, images: asked.append(len(images)) or answer(self, images),
    )
    objective = distill(teacher, teacher_norm="running", cache=str(tmp_path / "cache"))
    without = distill(teacher, teacher_norm="running")
    train(config(photos, tmp_path / "plain", without, repeat_draws_after=1), Console(quiet=True))
    twice = sum(asked)  # two epochs
    asked.clear()
    train(config(photos, tmp_path / "first", objective, repeat_draws_after=1), Console(quiet=True))
    assert 2 * sum(asked) == twice
    (file,) = (tmp_path / "cache").iterdir()
    stored = file.read_bytes()
    asked.clear()
    train(config(photos, tmp_path / "second", objective, repeat_draws_after=1), Console(quiet=True))
    assert asked == []
    assert file.read_bytes() == stored
    plain, first, second = (
        load_file(tmp_path / name / "checkpoints" / "last.safetensors")
        for name in ("plain", "first", "second")
    )
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert all(np.allclose(first[key], plain[key], atol=1e-4) for key in first)
    # Another seed has other crops: it neither finds nor spoils these answers.
    given = config(photos, tmp_path / "third", objective, repeat_draws_after=1)
    train(given.replace(train=given.train.replace(seed=7)), Console(quiet=True))
    assert 2 * sum(asked) == twice
    assert file.read_bytes() == stored


@pytest.mark.parametrize(
    ("fields", "data", "message"),
    [
        ({}, {"repeat_draws_after": 1}, "set objective.teacher_norm to running"),
        (
            {"teacher_norm": "running"},
            {},
            "no crop would ever come again; set data.repeat_draws_after",
        ),
        (
            {"teacher_norm": "running"},
            {
                "repeat_draws_after": 2,
                "batch_transforms": (ComponentConfig(name="FakeBatchTransform"),),
            },
            "mixed photos never come again",
        ),
        (
            {"teacher_norm": "running", "losses": [{"name": "similarity"}]},
            {"repeat_draws_after": 2},
            "it keeps logits, and similarity needs feature maps",
        ),
    ],
)
def test_a_cache_that_could_not_be_right_is_refused(
    photos, teacher, tmp_path, fields, data, message
):
    objective = distill(teacher, cache=str(tmp_path / "cache"), **fields)
    with pytest.raises(ConfigError, match=message):
        train(config(photos, tmp_path / "run", objective, **data), Console(quiet=True))


def test_several_teachers_are_averaged(photos, teacher, tmp_path):
    two = [{"source": str(teacher)}, {"source": str(teacher), "image_size": 40}]
    for average in ("probabilities", "logits"):
        parts, plan = prepared(
            photos, teacher, tmp_path, teachers=two, average=average, teacher_norm="running"
        )
        objective, images = parts.objective, batch_of(plan).images
        one, other = (t.answer(images).numpy().astype(np.float64) for t in objective._teachers)
        probabilities = [np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (one, other)]
        mixed = (
            sum(probabilities) / 2
            if average == "probabilities"
            else np.sqrt(probabilities[0] * probabilities[1])
        )
        found = np.exp(objective._ask(images).numpy())
        np.testing.assert_allclose(
            found / found.sum(axis=1, keepdims=True),
            mixed / mixed.sum(axis=1, keepdims=True),
            atol=1e-5,
        )
        assert not np.allclose(one, other)  # the second sees another size


def test_a_teachers_own_constants_are_honoured(photos, teacher, tmp_path):
    own = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    given = [{"source": str(teacher), "normalize": own}]
    parts, plan = prepared(photos, teacher, tmp_path, teachers=given, teacher_norm="running")
    batch = batch_of(plan)
    pixels = batch.pixels.astype(np.float32) / 255.0
    direct = (
        ((pixels - np.array(own["mean"])) / np.array(own["std"]))
        .transpose(0, 3, 1, 2)
        .astype(np.float32)
    )
    model = Bundle.load(teacher).build_model()
    expected = model(paddle.to_tensor(np.ascontiguousarray(direct))).numpy()
    np.testing.assert_allclose(
        parts.objective._teachers[0].answer(batch.images).numpy(), expected, atol=1e-4
    )


def test_a_teacher_of_other_classes_is_refused(photos, teacher, tmp_path):
    other = tmp_path / "photos"
    make_tiny_dataset(other, classes=2, per_class=8, size=40)
    with pytest.raises(ConfigError, match="knows 3 classes and the data has 2"):
        train(config(other, tmp_path / "run", distill(teacher)), Console(quiet=True))


def test_a_teachers_classes_may_come_in_another_order():
    from ppclas_distill.opening import _columns

    assert _columns(("a", "b", "c"), ("c", "a", "b"), "run") == [2, 0, 1]
    assert _columns(("a", "b"), ("a", "b"), "run") is None
    with pytest.raises(ConfigError, match="does not know the class 'x'"):
        _columns(("a", "b"), ("a", "x"), "run")


def test_photos_without_labels_need_an_objective_that_does(photos, extra, tmp_path):
    with pytest.raises(ConfigError, match="the objective Supervised learns from labels alone"):
        train(config(photos, tmp_path / "run", train_extra=str(extra)), Console(quiet=True))


def test_unknown_losses_are_told_with_near_names(photos, teacher, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'ssld'"):
        train(
            config(photos, tmp_path / "run", distill(teacher, losses=[{"name": "sld"}])),
            Console(quiet=True),
        )


def test_no_photo_beside_the_labelled_ones_is_an_error(photos, teacher, tmp_path):
    with pytest.raises(DataError, match="got no other; leave train_extra out"):
        train(
            config(photos, tmp_path / "run", distill(teacher), train_extra=str(photos)),
            Console(quiet=True),
        )


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("FakeNett", UnknownNameError, r"Unknown model 'FakeNett'\. Did you mean 'FakeNet'"),
        (
            "runs/nowhere",
            ConfigError,
            r"teacher runs/nowhere: there is no such run, bundle, export or \.onnx file",
        ),
    ],
)
def test_a_teacher_that_is_not_there_is_told_as_it_was_written(source, error, words):
    from ppclas_distill.opening import open_bundle
    from ppclas_distill.teacher import TeacherConfig

    with pytest.raises(error, match=words):
        open_bundle(TeacherConfig(source=source).resolved())
