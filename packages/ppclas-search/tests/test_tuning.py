"""What is measured before a training: learning rate, batch size, the size of images."""

import csv
import doctest

import numpy as np
import paddle
import pytest
from ppclas_cli.commands.train import command
from ppclas_cli.main import main
from ppclas_cli.train_flags import flags_of
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    OptimizerSection,
    TrainSection,
)
from ppclas_core.contracts.data import sample_draw
from ppclas_core.contracts.training import Targets
from ppclas_core.errors import ConfigError, TrainingError
from ppclas_core.testing import check_batch_transform, use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.results.score import evaluate_bundle, plan_scoring
from ppclas_engine.session import plan_run, train, train_plan
from ppclas_engine.testing import FakePlugin
from ppclas_search.transforms import ProgressiveSize
from ppclas_search.tuning import rate
from ppclas_search.tuning.batch import Measured, choose, with_batch_size
from ppclas_search.tuning.fix import fix_config, measure_before
from ppclas_search.tuning.rate import KeepCurve, find_rate, judge, with_rate
from safetensors.numpy import load_file

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def plugin():
    with use_plugin(FakePlugin()) as used:
        yield used


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, _ = make_tiny_dataset(tmp_path_factory.mktemp("photos"), per_class=16, size=40)
    return str(folder)


def config(photos, output, **schedule):
    return Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(train=photos, image_size=32, batch_size=8, workers=0),
        schedule=ComponentConfig(name="Constant", **schedule),
        optimizer=OptimizerSection(name="Momentum"),
        train=TrainSection(epochs=2, output=str(output), device="cpu"),
    )


# Learning rate


def test_examples_of_docstrings():
    result = doctest.testmod(rate)
    assert result.attempted
    assert not result.failed


def test_the_rate_is_a_tenth_of_where_the_loss_was_lowest():
    rates = np.geomspace(1e-5, 10, 60)
    # The loss after a step of gradient descent on x²/2 from 1, with some noise: lowest at rate 1.
    losses = (1 - rates) ** 2 / 2 + 0.001 * np.random.default_rng(0).random(60)
    found = judge(rates.tolist(), losses.tolist())
    assert 0.8 < found.lowest < 2.5
    assert found.taken == pytest.approx(found.lowest / 10, rel=0.05)


def test_a_found_rate_trains_as_the_same_rate_given(photos, tmp_path):
    plan = plan_run(config(photos, tmp_path / "found"))
    found = find_rate(plan, QUIET, steps=40)
    assert found.diverged
    assert found.losses[-1] > 1.5 * min(found.smooth)
    assert 1e-3 <= found.taken / plan.config.schedule.params["lr"] <= 1e3
    with use_plugin(KeepCurve(found), "curve"):
        result = train_plan(with_rate(plan, found), QUIET)
    given = train(config(photos, tmp_path / "given", lr=found.taken), QUIET)
    numbers = ("train_loss", "loss", "top1")
    assert [[row[name] for name in numbers] for row in result.history] == [
        [row[name] for name in numbers] for row in given.history
    ]
    assert (tmp_path / "found" / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    rows = csv.DictReader((tmp_path / "found" / "lr_find.csv").read_text().splitlines())
    assert [float(row["rate"]) for row in rows] == pytest.approx(found.rates)
    assert found.why() in (tmp_path / "found" / "log.txt").read_text()
    # The search itself draws nothing that the next one would miss.
    assert find_rate(plan, QUIET, steps=40) == found


def test_a_loss_that_is_never_finite_has_no_rate(photos, tmp_path):
    said = config(photos, tmp_path / "run", lr=1e30)
    with pytest.raises(TrainingError, match=r"--lr find: the loss was not finite after \d steps"):
        find_rate(plan_run(said), QUIET, steps=20)
    several = said.replace(train=said.train.replace(devices="cpu:2"))
    with pytest.raises(ConfigError, match="--lr find measures on one device: leave --devices out"):
        find_rate(plan_run(several), QUIET)


# Batch size


def machine(speed, memory=lambda size: 0.0, fits=1 << 30):
    def measure(size):
        if size > fits:
            raise MemoryError
        return Measured(size, speed(size), memory(size))

    return measure


@pytest.mark.parametrize(
    ("measure", "taken", "reason"),
    [
        (machine(lambda n: n / (1 + n)), 16, "32 are hardly faster"),
        (machine(lambda n: n**0.5), 128, "no more photos"),
        (machine(lambda n: n**0.5, fits=32), 32, "64 do not fit into memory"),
        # 100 for the model and one for each image; 85 % of 200 are there.
        (machine(lambda n: n**0.5, lambda n: 100.0 + n), 64, "128 would take 85% of the memo"),
        (machine(lambda n: 1.0, fits=1), 4, "8 do not fit into memory"),
    ],
)
def test_the_size_is_the_last_that_pays(measure, taken, reason):
    memory = 200.0 if "85" in reason else None
    found = choose(measure, 128, memory, "no more photos")
    assert found.taken == taken
    assert found.why().startswith(f"{taken} images per step: {reason}")


def test_sizes_are_measured_by_steps(photos, tmp_path):
    said = config(photos, tmp_path / "run", lr=0.01)
    many = said.replace(data=said.data.replace(batch_size=None, val=photos))
    changed, found = with_batch_size(many, QUIET)
    assert [each.size for each in found.measured] == [8]  # 48 photos: six steps of eight
    assert changed.data.batch_size == found.taken == 8
    assert found.measured[0].images_per_second > 0
    assert "an epoch of the 48 photos would have fewer than ten steps" in found.why()


# Larger images


def test_only_the_classifier_learns_at_the_larger_size(photos, tmp_path):
    run = tmp_path / "run"
    train(config(photos, run, lr=0.02), QUIET)
    said = fix_config(run, 48)
    assert said.data.train_transforms[:2] == said.data.eval_transforms
    assert said.schedule.params["lr"] == pytest.approx(0.002)
    before = measure_before(run, 48, QUIET)
    own = evaluate_bundle(Bundle.load(run), plan_scoring(Bundle.load(run), str(run), None), QUIET)
    assert before.own == own.metrics["top1"]
    short = said.train.replace(epochs=2, output=str(tmp_path / "fixed"))
    result = train(said.replace(train=short), QUIET)
    bundle = Bundle.load(tmp_path / "fixed")
    assert bundle.image_size == (48, 48)
    old, new = (
        load_file(folder / "bundle" / "model.safetensors") for folder in (run, result.run.path)
    )
    changed = {name for name in old if not (old[name] == new[name]).all()}
    assert changed == {
        name for name in old if bundle.build_model().is_head(name.rpartition(".")[0])
    }
    with pytest.raises(ConfigError, match=r"expected a larger size than that of .* 32x32"):
        fix_config(run, 32)


def test_images_grow_with_the_epochs():
    check_batch_transform(ProgressiveSize())
    rng = np.random.default_rng(0)
    pixels = rng.standard_normal((2, 3, 64, 128)).astype(np.float32)
    targets = Targets(paddle.to_tensor(np.array([0, 1])))
    grow = ProgressiveSize(start=0.5, until=0.5, multiple=32)
    sizes = []
    for epoch in range(4):
        images, same = grow(paddle.to_tensor(pixels), targets, sample_draw(0, epoch, 0, 4))
        assert same is targets
        sizes.append(images.shape[2:])
    assert sizes == [[32, 64], [64, 96], [64, 128], [64, 128]]
    small, _ = grow(paddle.to_tensor(pixels), targets, sample_draw(0, 0, 0, 4))
    means = pixels.reshape(2, 3, 32, 2, 64, 2).mean(axis=(3, 5))
    assert small.numpy() == pytest.approx(means, abs=1e-5)


# The command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fix", "64"], "--fix SIZE and --from RUN go together"),
        (["--lr", "find", "--kfold", "3"], "--lr find does not go with --kfold"),
        (["--batch-size", "auto", "--resume", "x"], "--batch-size auto does not go with --resume"),
        (["--fix", "64", "--from", "x", "--image-size", "64"], "leave --config and --image-size"),
        (["--lr", "fnd"], "nor 'find'"),
        (["--batch-size", "0"], "nor 'auto'"),
    ],
)
def test_options_that_do_not_go_together(capsys, words, said):
    assert main(["train", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_flags_of_one_list():
    def transforms(*words):
        flags = flags_of(command.make_context("train", list(words)).params)
        given = [value for key, value in flags.values() if key == "data.batch_transforms" and value]
        return [[each["name"] for each in one] for one in given]

    assert transforms("--progressive") == [["ProgressiveSize"]]
    assert transforms("--progressive", "--mixup") == [["Mixup", "ProgressiveSize"]]
    assert transforms() == []


def test_the_commands(photos, tmp_path, capsys):
    run, fixed = str(tmp_path / "run"), str(tmp_path / "fixed")
    words = ["train", photos, "-m", "FakeNet", "--from-scratch", "--epochs", "1", "--workers", "0"]
    words += ["--image-size", "32", "--lr", "find", "--batch-size", "auto", "--progressive"]
    assert main([*words, "--output", run]) == 0
    said = capsys.readouterr().err
    assert "8 images per step: " in said
    assert said.count("a tenth of") == 1
    assert (tmp_path / "run" / "lr_find.png").is_file()
    assert main(["train", "--fix", "48", "--from", run, "--epochs", "1", "--output", fixed]) == 0
    said = capsys.readouterr().err
    assert "at the new size without training: top-1 " in said
    assert "backbone frozen" in said
