"""Folds: how photos are dealt out (properties), and runs against a loop made by hand."""

import csv
import doctest
import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ppclas_cli.main import main
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.errors import CheckpointError, ConfigError, DataError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.sources.opening import load_image_set
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.session import train
from ppclas_engine.testing import FakePlugin
from ppclas_search.crossval import dealing, spread
from ppclas_search.crossval.dealing import ALWAYS, deal
from ppclas_search.crossval.folds import cross_validate, resume_folds
from ppclas_search.crossval.groups import groups_of
from ppclas_search.crossval.spread import Spread, student
from ppclas_search.crossval.tables import in_words, read_answers
from scipy import stats

QUIET = Console(quiet=True)
photos_of_groups = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 25)), min_size=1, max_size=120
)


@given(photos_of_groups, st.integers(2, 6), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_no_group_is_on_both_sides(photos, folds, seed):
    classes, groups = [(label,) for label, _ in photos], [group for _, group in photos]
    try:
        found = deal(classes, groups, folds, seed)
    except DataError:  # too few groups; test_what_cannot_be_folded_is_refused reads its words
        return
    assert set(found) <= {ALWAYS, *range(folds)}
    for fold in range(folds):
        held = {group for group, own in zip(groups, found, strict=True) if own == fold}
        trained = {group for group, own in zip(groups, found, strict=True) if own != fold}
        assert not held & trained
        # Nothing is asked about that could not be learnt.
        asked = {label for (label, _), own in zip(photos, found, strict=True) if own == fold}
        learnt = {label for (label, _), own in zip(photos, found, strict=True) if own != fold}
        assert asked <= learnt


@given(st.lists(st.integers(0, 5), min_size=12, max_size=150), st.integers(2, 6))
@settings(max_examples=100, deadline=None)
def test_single_photos_are_stratified(labels, folds):
    try:
        found = deal([(label,) for label in labels], range(len(labels)), folds)
    except DataError:
        return
    counts = defaultdict(lambda: [0] * folds)
    for label, own in zip(labels, found, strict=True):
        if own != ALWAYS:
            counts[label][own] += 1
        else:
            assert labels.count(label) == 1
    for of_class in counts.values():
        assert max(of_class) - min(of_class) <= 1


def test_large_groups_are_spread_as_scikit_learn_does():
    from sklearn.model_selection import StratifiedGroupKFold

    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 1500)
    labels = (groups + rng.integers(0, 3, 1500)) % 5
    found = np.array(deal([(label,) for label in labels.tolist()], groups.tolist(), 5))
    shares = np.stack([np.bincount(labels[found == fold], minlength=5) for fold in range(5)])
    peers = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(groups, labels, groups)
    theirs = np.stack([np.bincount(labels[held], minlength=5) for _, held in peers])
    assert shares.std(axis=0).sum() <= 1.2 * theirs.std(axis=0).sum()


def test_interval_is_that_of_nadeau_and_bengio():
    assert [student(n) for n in (1, 4, 9, 10, 19, 50)] == pytest.approx(
        [stats.t.ppf(0.975, n) for n in (1, 4, 9, 10, 19, 50)], abs=2e-4
    )
    values = [0.81, 0.85, 0.9, 0.84, 0.79]
    found = Spread.of(values)
    half = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 1 / 4) * np.var(values, ddof=1))
    assert (found.mean, found.deviation) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (found.low, found.high) == pytest.approx(
        (found.mean - half, found.mean + half), rel=1e-4
    )
    shares = Spread.of([0.9, 1.0, 1.0], is_share=True)
    assert shares.high == 1.0
    assert in_words("top1", shares).startswith("96.67% (5.77%; ")


@pytest.mark.parametrize("module", [dealing, spread])
def test_examples_of_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


# Groups


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, _ = make_tiny_dataset(tmp_path_factory.mktemp("photos"), per_class=12, size=40)
    return folder


def test_groups_by_column_and_by_expression(photos, tmp_path):
    images = load_image_set(photos)
    rows = [("path", "label", "patient")]
    rows += [
        (record.path, images.class_names[record.label], f"p{place % 7}")
        for place, record in enumerate(images.records)
    ]
    table = tmp_path / "photos.csv"
    with table.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    listed = load_image_set(table)
    assert groups_of(listed, "patient") == [f"p{place % 7}" for place in range(36)]
    assert Counter(groups_of(listed, r"/(\d\d)\d\.")) == {"00": 30, "01": 6}
    assert len(set(groups_of(images, r"\d\.(?:png|jpg)"))) == 10
    assert len(set(groups_of(images, None))) == 36
    with pytest.raises(DataError, match=r"not in .*\. Put the part that names the group in par"):
        groups_of(images, "patient_([0-9]+)")
    with pytest.raises(DataError, match=r"regular expression; as an expression it is wrong: mis"):
        groups_of(images, "(")
    rows[3] = (*rows[3][:2], "")
    with table.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    with pytest.raises(DataError, match=r"photos\.csv:4: expected the photo's group in the column"):
        groups_of(load_image_set(table), "patient")


# Runs


@pytest.fixture
def plugin():
    with use_plugin(FakePlugin()) as used:
        yield used


def config(photos, output):
    return Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(train=str(photos), image_size=32, batch_size=8, workers=0),
        schedule=ComponentConfig(name="Constant", lr=0.02),
        train=TrainSection(epochs=2, output=str(output), device="cpu", seed=3),
    )


def test_folds_are_what_a_loop_by_hand_gives(photos, tmp_path, plugin):
    said = config(photos, tmp_path / "cv")
    found = cross_validate(said, 3, QUIET, group=r"(\d)\.(?:jpg|png)$")
    assert [run.name for run in found.runs] == ["fold-1", "fold-2", "fold-3"]
    images = load_image_set(photos)
    labels = {record.path: images.class_names[record.label] for record in images.records}
    answers = read_answers(tmp_path / "cv" / "out_of_fold.csv")
    assert dict(zip(answers.paths, answers.labels, strict=True)) == labels
    rows = list(csv.DictReader((tmp_path / "cv" / "out_of_fold.csv").read_text().splitlines()))
    held = [{row["path"] for row in rows if row["fold"] == str(fold)} for fold in (1, 2, 3)]

    top1, right = [], 0
    for number, asked in enumerate(held):
        lists = {}
        for side in ("train", "val"):
            lists[side] = tmp_path / f"{number}-{side}.csv"
            lines = [f"{p},{own}" for p, own in labels.items() if (p in asked) == (side == "val")]
            lists[side].write_text("\n".join(["path,label", *lines]) + "\n")
        data = said.data.replace(**{side: str(path) for side, path in lists.items()})
        section = said.train.replace(output=str(tmp_path / f"by-hand-{number}"))
        result = train(said.replace(data=data, train=section), QUIET)
        top1.append(result.best["top1"])
        assert found.metrics[number]["loss"] == pytest.approx(result.best["loss"], abs=1e-9)
        best = result.evaluation
        right += int((best.logits.argmax(1) == best.labels).sum())
    assert [metrics["top1"] for metrics in found.metrics] == top1
    assert found.spread["top1"].mean == pytest.approx(np.mean(top1), abs=1e-12)
    assert found.answers.metrics["top1"] == pytest.approx(right / 36)
    assert answers.probabilities.sum(axis=1) == pytest.approx(np.ones(36), abs=1e-4)
    table = list(csv.DictReader((tmp_path / "cv" / "folds.csv").read_text().splitlines()))
    assert float(table[3]["top1"]) == pytest.approx(np.mean(top1))
    summary = json.loads((tmp_path / "cv" / "folds_summary.json").read_text())
    assert summary["spread"]["top1"]["deviation"] == pytest.approx(np.std(top1, ddof=1))
    page = (tmp_path / "cv" / "report.html").read_text()
    assert "3 folds: every photo is answered by the run that did not train on it" in page


class Killer(FakePlugin):
    """Ends the process, as it were, at a step of the second run."""

    def __init__(self):
        super().__init__()
        self.runs = 0

    @hookimpl
    def on_train_start(self, context):
        self.runs += 1

    @hookimpl
    def on_step_end(self, context):
        if self.runs == 2 and context.epoch == 1:
            raise KeyboardInterrupt


def test_folds_that_were_stopped_go_on(photos, tmp_path):
    with use_plugin(FakePlugin()):
        whole = cross_validate(config(photos, tmp_path / "whole"), 2, QUIET)
    with use_plugin(Killer()), pytest.raises(KeyboardInterrupt):
        cross_validate(config(photos, tmp_path / "cv"), 2, QUIET)
    assert (tmp_path / "cv" / "fold-1" / "summary.json").is_file()
    assert not (tmp_path / "cv" / "fold-2" / "summary.json").exists()
    before = (tmp_path / "cv" / "fold-1" / "summary.json").stat().st_mtime_ns
    with use_plugin(FakePlugin()):
        found = resume_folds(tmp_path / "cv", QUIET)
    assert found.metrics == whole.metrics
    assert (found.answers.logits == whole.answers.logits).all()
    assert (tmp_path / "cv" / "fold-1" / "summary.json").stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match=r"holds no folds \(it has no folds\.json\)"):
        resume_folds(tmp_path, QUIET)


def test_what_cannot_be_folded_is_refused(photos, tmp_path, plugin):
    said = config(photos, tmp_path / "cv")
    with pytest.raises(ConfigError, match="expected no validation photos with folds"):
        cross_validate(said.replace(data=said.data.replace(val=str(photos))), 3, QUIET)
    with pytest.raises(DataError, match=r"40 folds: expected as many groups.*; got 36"):
        cross_validate(said, 40, QUIET)
    assert not (tmp_path / "cv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--group", "x"], "--group goes with --kfold"),
        (["--kfold", "3", "--dry-run"], "--kfold does not go with --dry-run"),
        (["--kfold", "3", "--resume", "x"], "alone goes on with the folds in DIR"),
        (["--kfold", "1"], "1 is not in the range"),
    ],
)
def test_options_that_do_not_go_together(capsys, words, said):
    assert main(["train", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_command(photos, tmp_path, plugin, capsys):
    words = ["train", str(photos), "-m", "FakeNet", "--from-scratch", "--epochs", "1"]
    words += ["--image-size", "32", "--kfold", "2", "--workers", "0", "--output"]
    assert main([*words, str(tmp_path / "cv"), "--augment", "light"]) == 0
    printed = capsys.readouterr().out
    header, _, *rows = printed.splitlines()
    assert header.split() == ["fold", "top-1", "loss"]
    numbers = [float(line.split()[1].rstrip("%")) for line in rows]
    assert numbers[2] == pytest.approx(sum(numbers[:2]) / 2, abs=0.011)
    assert "ColorJitter" in (tmp_path / "cv" / "fold-2" / "config.yaml").read_text()
    assert main(["train", "--resume", str(tmp_path / "cv")]) == 0
    again = capsys.readouterr()
    assert again.out == printed
    assert again.err.count("finished already") == 2
