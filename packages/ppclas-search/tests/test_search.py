"""Spaces against the published ones, choosing against formulas, trials against kills."""

import csv
import doctest
import io
import itertools
import json
import math
import queue

import cv2
import numpy as np
import optuna
import pytest
from ppclas_core.config.load import load_config
from ppclas_core.config.schema import Config
from ppclas_core.errors import ConfigError, DataError, TrainingError, UnknownNameError
from ppclas_core.testing import FakeNetPlugin, use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.api import train
from ppclas_engine.console import Console
from ppclas_engine.runs.run import RunFolder
from ppclas_search.search import report, space
from ppclas_search.search.candidates import Candidate, Cost, Limits, candidates_of, keep_best
from ppclas_search.search.choosing import Tried, choose
from ppclas_search.search.run import search
from ppclas_search.search.settings import Found, Settings, check_space
from ppclas_search.search.space import Range, Space, key_of, open_space
from ppclas_search.search.trials import Trial, Trials
from ppclas_search.search.worker import Asking, outcome

# The page of the seeds, section 11: learning rate, L2, smoothing, mixup.
LR = [0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4]
L2 = [1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6]


def published_points():
    return {
        (lr, l2, smoothing, mixup)
        for lr, l2, smoothing, mixup in itertools.product(LR, L2, (False, True), (False, True))
    }


def read(point):
    return (
        point["schedule.lr"],
        point["optimizer.weight_decay"],
        point["loss.label_smoothing"] > 0,
        [each["name"] for each in point["data.batch_transforms"]] == ["Mixup"],
    )


def test_the_grid_of_the_seeds_is_enumerated_once():
    seeds = open_space(["seeds-grid"])
    assert (seeds.sampler, seeds.trials) == ("grid", None)
    tried = []
    while (point := choose(seeds, "grid", tried)) is not None:
        tried.append(Tried(point, 0.5))
    assert len(tried) == 196 == 14 * 14
    assert {read(each.point) for each in tried} == published_points()


def test_its_bayesian_twin_has_the_same_points_and_never_asks_twice():
    seeds = open_space(["seeds-bayes"])
    assert (seeds.sampler, seeds.trials) == ("gp", 20)
    assert {read(point) for point in seeds.points()} == published_points()
    tried = []
    for number in range(24):
        point = choose(seeds, "gp", tried, seed=1)
        tried.append(Tried(point, bowl(point) if number % 5 else None, running=not number % 5))
    assert len({read(each.point) for each in tried}) == 24
    assert {read(each.point) for each in tried} <= published_points()


def test_every_point_of_the_named_spaces_is_a_config():
    for name in space.NAMED:
        for key, part in open_space([name]).parts.items():
            for value in part:
                load_config(None, [f"{key}={json.dumps(value)}"])


def test_rates_for_stages_of_ssld_weights_are_the_published_ones():
    lists = open_space(["ssld"]).parts["optimizer.lr_mult"]
    for published in ([0.1, 0.1, 0.2, 0.2, 0.3], [0.25, 0.25, 0.5, 0.5, 0.75]):
        assert published in lists


def bowl(point):
    """Best at lr 0.01 and L2 1e-4, without smoothing."""
    return (
        0.9
        - 0.05 * abs(math.log10(point["schedule.lr"]) + 2)
        - 0.01 * abs(math.log10(point["optimizer.weight_decay"]) + 4)
        - 0.01 * (point["loss.label_smoothing"] > 0)
    )


@pytest.mark.parametrize(("sampler", "most"), [("gp", 0.002), ("tpe", 0.012)])
def test_samplers_that_learn_come_near_the_best_of_196(sampler, most):
    seeds = open_space(["seeds-bayes"])
    best = max(map(bowl, seeds.points()))
    short = []
    for seed in range(2):
        tried = []
        for _ in range(20):
            point = choose(seeds, sampler, tried, seed=seed)
            tried.append(Tried(point, bowl(point)))
        short.append(best - max(each.height for each in tried))
    assert np.mean(short) <= most


def test_the_same_history_gives_the_same_point():
    seeds = open_space(["seeds-bayes"])
    tried = [Tried(point, bowl(point)) for point in itertools.islice(seeds.points(), 0, 60, 7)]
    for sampler in ("gp", "tpe", "random"):
        first, again = (choose(seeds, sampler, tried, seed=3) for _ in range(2))
        assert first == again
        assert first != choose(seeds, sampler, tried, seed=4) or sampler == "gp"


def test_a_probe_leads_where_nothing_was_tried():
    models = Space({"model.name": ("a", "b", "c"), "x": (1, 2, 3, 4)}, "gp", None)
    worth = {"a": 0.5, "b": 0.9, "c": 0.7}

    def prior(point):
        return worth[point["model.name"]]

    first = choose(models, "gp", [], prior=prior, start={"x": 3})
    assert first == {"model.name": "b", "x": 3}
    # Where that reached what the probe says, the second is the same model with another x; where it
    # failed, it is the next model. Two jobs do not begin at one place.
    for reached, name in ((0.9, "b"), (0.2, "c")):
        second = choose(models, "gp", [Tried(first, reached)], prior=prior)
        assert second["model.name"] == name
        assert second != first
    second = choose(models, "gp", [Tried(first, None, running=True)], prior=prior)
    assert second["model.name"] == "b"
    assert second["x"] != 3
    # What is known above the probes is the same everywhere: the best probe is the best guess.
    tried = [
        Tried({"model.name": name, "x": x}, worth[name] + 0.01 * x)
        for name, x in [("a", 1), ("b", 1), ("c", 2), ("b", 2), ("a", 3)]
    ]
    assert choose(models, "gp", tried, prior=prior)["model.name"] == "b"


@pytest.mark.parametrize(
    ("usual", "nearest"), [(0.02, 0.01), (0.002, 0.003), (3e-5, 1e-4), (0.0, 1e-4)]
)
def test_what_is_usual_need_not_be_of_the_space(usual, nearest):
    """The nearest rate by its factor comes first."""
    rates = Space({"schedule.lr": (1e-4, 1e-3, 3e-3, 1e-2), "x": ("a", "b")}, "gp", None)
    first = choose(rates, "gp", [], start={"schedule.lr": usual, "x": "b"})
    assert first == {"schedule.lr": nearest, "x": "b"}


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random", "grid"])
def test_points_that_are_not_allowed_are_never_chosen(sampler):
    small = Space({"x": (1, 2, 3), "y": (1, 2)}, "gp", None)
    tried = []
    while True:
        point = choose(small, sampler, tried, allowed=lambda point: point["x"] != 2)
        if point is None:
            break
        tried.append(Tried(point, float(point["x"])))
    assert {key_of(each.point) for each in tried} == {
        key_of({"x": x, "y": y}) for x in (1, 3) for y in (1, 2)
    }


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_ranges_are_drawn_from_within(sampler):
    wide = Space({"lr": Range(1e-4, 0.1, log=True), "n": Range(2, 5, whole=True)}, "gp", None)
    tried = []
    for _ in range(8):
        point = choose(wide, sampler, tried)
        assert 1e-4 <= point["lr"] <= 0.1
        assert point["n"] in (2, 3, 4, 5)
        tried.append(Tried(point, -abs(math.log10(point["lr"]) + 3)))
    assert len({each.point["lr"] for each in tried}) > 4
    with pytest.raises(ConfigError, match="lr is a range, which has no end of points"):
        choose(wide, "grid", [])


def test_a_range_is_even_on_its_own_scale():
    log = Range(1e-4, 1.0, log=True)
    assert [log.at(share) for share in (0, 0.25, 0.5, 1)] == pytest.approx([1e-4, 1e-3, 1e-2, 1])
    assert log.share(1e-3) == pytest.approx(0.25)
    assert [Range(1, 4, whole=True).at(share) for share in (0, 0.4, 1)] == [1, 2, 4]


# Files


def write(tmp_path, text):
    file = tmp_path / "space.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_a_file_adds_to_a_named_space(tmp_path):
    file = write(
        tmp_path,
        "model.name: ['MobileNetV3_small_x*', SqueezeNet1_1]\n"
        "schedule.lr: {low: 1e-4, high: 0.1, log: true}\n"
        "data.image_size: {low: 64, high: 96}\n",
    )
    found = open_space(["seeds-grid", file])
    assert "MobileNetV3_small_x0_35" in found.parts["model.name"]
    assert found.parts["model.name"][-1] == "SqueezeNet1_1"
    assert found.parts["schedule.lr"] == Range(1e-4, 0.1, log=True)
    assert found.parts["data.image_size"] == Range(64, 96, whole=True)
    assert found.parts["loss.label_smoothing"] == (0.0, 0.1)
    assert found.size is None
    assert open_space([file], ["SqueezeNet1_0"]).parts["model.name"] == ("SqueezeNet1_0",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model.name: ['NoSuch*']", r"space.yaml:1: model.name: no model is called 'NoSuch\*'"),
        ("schedule.lr: 0.1", "space.yaml:1: schedule.lr: expected a list of values, or a range"),
        ("schedule.lr: {low: 1, high: 0.1}", "expected numbers low <= high"),
        ("schedule.lr: {low: 0, high: 0.1, log: true}", "log needs numbers above 0, got low 0"),
        ("schedule.lr: {low: 0, high: 1, logg: true}", "got the key 'logg'"),
        ("- 1", "expected a map of config keys"),
    ],
)
def test_a_file_that_says_something_else(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        open_space([write(tmp_path, text)])


def test_unknown_spaces_and_models_suggest_near_names():
    with pytest.raises(ConfigError, match="Did you mean 'seeds-grid'"):
        open_space(["seed-grid"])
    with pytest.raises(UnknownNameError, match="Did you mean 'SqueezeNet1_1'"):
        open_space([], ["SqueezNet1_1"])


def test_values_that_no_config_takes_are_refused_before_anything_runs():
    with pytest.raises(ConfigError, match=r"the space's loss.label_smoothing: .*got 2"):
        check_space(Config(), Space({"loss.label_smoothing": (0.1, 2)}, "gp", None))
    with pytest.raises(ConfigError, match="Did you mean 'lr'"):
        check_space(Config(), Space({"schedule.lrr": (0.1,)}, "gp", None))


def test_doctests():
    for module in (space, report):
        assert doctest.testmod(module).failed == 0


# Candidates


def test_models_and_their_input_make_candidates():
    parts = {
        "model.name": ("a", "b"),
        "schedule.lr": (1, 2),
        "data.image_size": (64, 96),
        "data.batch_transforms": ([], [1]),
    }
    found = candidates_of(Space(parts, "gp", None))
    assert found == [
        {"model.name": name, "data.image_size": size} for name in ("a", "b") for size in (64, 96)
    ]
    assert candidates_of(Space({"schedule.lr": (1, 2)}, "gp", None)) == [{}]


def test_limits_say_what_is_too_much():
    limits = Limits(latency_ms=10, size_mb=5)
    assert limits.broken_by(Cost(9.9, 5.0)) == ""
    assert limits.broken_by(Cost(12.34, 1)) == "12.3 ms for a photo, and at most 10 wanted"
    assert limits.broken_by(Cost(1, 6)) == "6.0 MB, and at most 5 are wanted"


def test_time_decides_how_many_models_are_trained():
    found = [
        Candidate("slow", {"m": 1}, probe=0.9, seconds=100),
        Candidate("good", {"m": 2}, probe=0.8, seconds=10),
        Candidate("gone", {"m": 3}, dropped="too large"),
        Candidate("poor", {"m": 4}, probe=0.2, seconds=10),
    ]

    def kept(seconds, jobs=1):
        return [each.name for each in keep_best(found, seconds, jobs) if not each.dropped]

    assert kept(1000) == ["slow", "good", "poor"]
    assert kept(115) == ["slow", "good"]
    assert kept(60, jobs=2) == ["slow", "good", "poor"]
    assert kept(1) == ["slow"]  # the best is always tried
    assert keep_best(found, 115, 1)[3].dropped.startswith("place 3 of 3 by the probe")


# Trials


SMALL = Space({"x": (1, 2), "y": ([], [1])}, "grid", None)


def trials(folder, storage=None, definition=None):
    folder.mkdir(exist_ok=True)
    return Trials(folder, storage, SMALL, definition or {"--seed": 0})


@pytest.mark.parametrize("storage", [None, "sqlite"])
def test_another_process_sees_what_was_begun_and_ended(tmp_path, storage):
    url = f"sqlite:///{tmp_path}/study.db" if storage else None
    first = trials(tmp_path / "s", url)
    begun = first.begin({"x": 1, "y": [1]})
    assert (begun.number, begun.point) == (0, {"x": 1, "y": [1]})
    first.report(0, 50, 0.4, prune=True)
    second = trials(tmp_path / "s", url)
    assert [each.number for each in second.interrupted()] == [0]
    second.finish(0, "complete", 0.7, {"seconds": 3, "height": 0.7})
    second.finish(0, "failed", None, {})  # once is enough
    (found,) = trials(tmp_path / "s", url).all()
    assert (found.state, found.height, found.facts["seconds"]) == ("complete", 0.7, 3)
    assert second.interrupted() == []


def test_two_machines_that_choose_the_same_point_try_it_once(tmp_path):
    url = str(tmp_path / "shared.journal")
    machines = [
        trials(tmp_path / name / "s", url)
        for name in ("a", "b")
        if (tmp_path / name).mkdir() is None
    ]
    assert machines[0].begin({"x": 1, "y": []}).number == 0
    assert machines[1].begin({"x": 1, "y": []}) is None
    assert machines[1].begin({"x": 2, "y": []}).point == {"x": 2, "y": []}
    assert [each.point["x"] for each in machines[0].all()] == [1, 2]
    # Each takes up its own alone.
    assert [each.point["x"] for each in machines[1].interrupted()] == [2]


@pytest.mark.parametrize("moment", ["enqueued", "asked"])
def test_a_kill_while_a_trial_is_begun_loses_nothing(tmp_path, monkeypatch, moment):
    """The process ends between the steps in which a trial is written."""
    first = trials(tmp_path / "s")
    name = "ask" if moment == "enqueued" else "tell"
    if moment == "enqueued":
        monkeypatch.setattr(optuna.Study, name, killed)
    else:
        monkeypatch.setattr(Trials, "_claim", killed)
    with pytest.raises(KeyboardInterrupt):
        first.begin({"x": 1, "y": []})
    monkeypatch.undo()
    second = trials(tmp_path / "s")
    waiting = second.interrupted()
    begun = waiting[0] if waiting else second.begin({"x": 2, "y": []})
    assert (begun.number, begun.point) == (0, {"x": 1, "y": []})
    assert len(second.all()) == 1


def killed(*_, **__):
    raise KeyboardInterrupt


def test_a_run_that_is_worse_than_half_of_the_others_is_stopped(tmp_path):
    some = Trials(tmp_path, None, Space({"x": tuple(range(9))}, "grid", None), {"--seed": 0})
    for number in range(5):
        some.begin({"x": number})
        for step, height in ((20, 0.1 * number), (50, 0.2 * number), (100, 0.2 * number)):
            assert not some.report(number, step, height, prune=False)
        some.finish(number, "complete", 0.2 * number, {})
    some.begin({"x": 5})
    assert not some.report(5, 20, 0.0, prune=True)  # too early to tell
    assert not some.report(5, 50, 0.5, prune=True)
    some.begin({"x": 6})
    assert not some.report(6, 50, 0.3, prune=False)  # not asked for
    assert some.report(6, 50, 0.3, prune=True)


def test_a_folder_of_another_search_is_refused(tmp_path):
    trials(tmp_path / "s", definition={"--sampler": "gp", "--seed": 0})
    trials(tmp_path / "s", definition={"--sampler": "gp", "--seed": 0})
    with pytest.raises(ConfigError, match="holds a search with another --seed"):
        trials(tmp_path / "s", definition={"--sampler": "gp", "--seed": 1})


def test_a_search_without_a_trial_makes_room_for_another(tmp_path):
    photos, _ = make_tiny_dataset(tmp_path / "photos", per_class=6)
    quiet = Console(quiet=True)
    lines = [f"data.train={photos}", "data.image_size=32", "model.name=FakeNet"]
    only = Space({"schedule.lr": (0.1, 0.01)}, "grid", None)

    def look(*others, **said):
        base = load_config(None, [*lines, "model.pretrained=false", *others]).config
        settings = Settings(tmp_path / "s", base, only, "grid", **said)
        return search(settings, lambda bundle: Cost(1.0, 9.0), quiet)

    small = Limits(size_mb=1.0)
    with use_plugin(FakeNetPlugin(), "net"):
        with pytest.raises(DataError, match=r"nowhere: expected a folder of class folders"):
            look("data.train=nowhere")
        with pytest.raises(ConfigError, match=r"no evaluation gives 'top2'.*It gives: .*top1"):
            look("train.monitor=top2")
        for seed in (0, 1):  # neither these settings nor this seed are those of before
            with pytest.raises(TrainingError, match=r"^No model.*FakeNet 32x32: 9\.0 MB"):
                look(limits=small, seed=seed)
        (tmp_path / "s" / "trials").mkdir()
        with pytest.raises(ConfigError, match="another --seed"):
            look(limits=small, seed=2)
        with pytest.raises(ConfigError, match="other settings"):
            look("train.epochs=2", limits=small, seed=1)


def test_a_storage_that_cannot_be_opened(tmp_path):
    with pytest.raises(ConfigError, match="The storage nosuch://x cannot be opened"):
        trials(tmp_path / "s", "nosuch://x")


# The process that trains


def test_a_run_ends_with_the_epoch_after_which_it_is_told_so(tmp_path):
    photos, _ = make_tiny_dataset(tmp_path / "photos", per_class=6)
    out, answers = io.StringIO(), queue.Queue()
    for go in (True, False):
        answers.put({"go": go})
    settings = ["data.image_size=32", "data.workers=0", "train.epochs=4"]
    line = [f"data.train={photos}", "model.name=FakeNet", f"train.output={tmp_path / 'run'}"]
    with use_plugin(FakeNetPlugin(), "net"), use_plugin(Asking(out, answers), "asking"):
        train(load_config(None, [*settings, *line]).config, console=Console(quiet=True))
        found = outcome(RunFolder(tmp_path / "run"))
    sent = [json.loads(text) for text in out.getvalue().splitlines()]
    assert [message["step"] for message in sent] == [25, 50]
    assert (found["epochs"], found["planned"]) == (2, 4)
    assert found["height"] == found["best"]["top1"] == max(m["height"] for m in sent)


# Reports


def found_of(tmp_path):
    parts = {"model.name": ("a", "b"), "schedule.lr": (0.1, 0.01), "loss.name": ("CrossEntropy",)}
    settings = Settings(tmp_path, Config(), Space(parts, "grid", None), "grid")
    rows = [
        ("a", 0.1, "complete", 0.5, 10),
        ("a", 0.01, "complete", 0.75, 11),
        ("b", 0.1, "pruned", 0.8, 4),
    ]
    some = [
        Trial(
            number,
            {"model.name": model, "schedule.lr": lr, "loss.name": "CrossEntropy"},
            state,
            height,
            "here",
            {"height": height, "seconds": seconds, "reason": "" if state == "complete" else "bad"},
        )
        for number, (model, lr, state, height, seconds) in enumerate(rows)
    ]
    candidates = [
        Candidate("a", {"model.name": "a"}, latency_ms=2.0, size_mb=3.0),
        Candidate("b", {"model.name": "b"}, latency_ms=1.0, size_mb=4.0),
        Candidate("c", {"model.name": "c"}, dropped="too slow"),
    ]
    return Found(settings, "top1", some, candidates, 25.0, "the time is over")


def test_the_table_has_the_best_first_and_what_differs(tmp_path):
    header, rows = report.table(found_of(tmp_path))
    assert header == ["trial", "top-1", "ms", "time", "state", "settings"]
    assert rows == [
        [1, "75.00%", "2.0", "0:11", "done", "a, lr 0.01"],
        [0, "50.00%", "2.0", "0:10", "done", "a, lr 0.1"],
        [2, "80.00%", "1.0", "0:04", "stopped", "b, lr 0.1"],
    ]


def test_a_stopped_run_is_best_only_where_none_is_complete(tmp_path):
    found = found_of(tmp_path)
    assert found.best.number == 1
    (stopped,) = [trial for trial in found.trials if trial.state == "pruned"]
    only = Found(found.settings, "top1", [stopped], found.candidates, 1.0, "")
    assert only.best.number == 2


def test_what_was_not_tried_is_said(tmp_path):
    assert report.not_tried(found_of(tmp_path)) == [
        "c: too slow",
        "1 of 4 points of the space: the time is over",
    ]


def test_files_hold_every_trial_also_those_of_other_machines(tmp_path):
    found = found_of(tmp_path)
    report.write_all(found)
    (header, *rows) = csv.reader((tmp_path / "trials.csv").read_text().splitlines())
    assert [dict(zip(header, row, strict=True))["top1"] for row in rows] == ["0.5", "0.75", "0.8"]
    kept = json.loads((tmp_path / "search.json").read_text())
    assert (kept["best"]["trial"], len(kept["trials"]), kept["ended"]) == (1, 3, "the time is over")
    assert cv2.imread(str(tmp_path / "search.png")).std() > 10  # something is drawn
    assert not (tmp_path / "best.yaml").exists()  # its run is not here


def test_the_front_is_what_no_other_beats_in_both():
    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in rng.random((40, 2))]
    slow = [
        i
        for i, (x, y) in enumerate(points)
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]
    assert sorted(report.front(points)) == slow
