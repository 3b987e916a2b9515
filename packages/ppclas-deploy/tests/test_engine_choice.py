"""Which engine is taken, and what is remembered of it."""

import io
import json

import numpy as np
import pytest
from ppclas_core.bundle import Bundle
from ppclas_core.errors import BundleError, ExportError, UnknownNameError
from ppclas_deploy.engine_choice import (
    Choice,
    candidates,
    choose,
    fastest,
    load_engine,
    readers,
    runnable,
)
from ppclas_deploy.measuring import Measurement
from ppclas_deploy.timing import Latency
from ppclas_engine.console import Console

pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

PHOTOS = ("a/1.jpg", "b/2.jpg")
LOGITS = np.array([[3.0, -4.0], [0.0, 1.0]], np.float32)  # RMS: sqrt(26 / 4) = 2.55


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PPCLAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def linear(export, rewrite):
    """The export for the plugin's engines; ``linear_slow`` is its own."""
    return rewrite(export, engine="linear_slow", target="linear", model="weights.npy")


@pytest.fixture
def alone(export, rewrite):
    """An export that one engine runs: its own."""
    return rewrite(export, engine="linear", target="abacus", model="weights.npy")


@pytest.fixture
def shown():
    """A console, and what it has shown."""
    stream = io.StringIO()
    return Console(stream=stream), stream


def measurement(engine, seconds, logits=LOGITS):
    """Batches of 8 photos that took ``seconds`` each."""
    return Measurement(engine, None, {8: Latency(8, seconds)}, {8: None}, 0.0, {}, logits)


class TestFastest:
    """The rule alone, on measurements written by hand."""

    def pick(self, *found, console=None):
        loaded = [(f"bundle of {one.engine}", one) for one in found]
        return fastest(loaded, PHOTOS, console or Console(quiet=True))

    def test_the_most_photos_a_second_by_the_median(self):
        choice = self.pick(
            measurement("steady", (0.10, 0.10, 0.10)),
            measurement("jumpy", (0.04, 0.08, 0.90)),
            measurement("slow", (0.01, 0.16, 0.16)),
        )
        assert choice == Choice(
            "jumpy",
            "bundle of jumpy",
            "100 photos/s in batches of 8 (steady 80, slow 50); all give the same answers on 2 "
            "photos",
        )

    def test_one_alone_is_compared_with_nobody(self):
        choice = self.pick(measurement("only", (0.1,)))
        assert choice.reason.startswith("80 photos/s in batches of 8; all give")

    @pytest.mark.parametrize(("share", "engine"), [(0.99e-4, "quick"), (1.01e-4, "first")])
    def test_a_logit_may_differ_by_a_ten_thousandth_of_the_rms(self, share, engine):
        other = LOGITS.astype(np.float64)
        other[1, 0] += share * 6.5**0.5
        found = self.pick(measurement("first", (0.1,)), measurement("quick", (0.01,), other))
        assert found.engine == engine

    def test_others_are_compared_with_the_first_and_not_with_each_other(self):
        odd = LOGITS + 1
        choice = self.pick(
            measurement("reference", (0.4,)),
            measurement("odd", (0.1,), odd),
            measurement("odd too", (0.1,), odd),
        )
        assert choice.engine == "reference"

    @pytest.mark.parametrize("logits", [LOGITS * np.float32(np.nan), LOGITS[:, :1]])
    def test_answers_that_cannot_be_compared_do_not_stop_the_others(self, logits, shown):
        console, stream = shown
        choice = self.pick(
            measurement("first", (0.1,)),
            measurement("broken", (0.01,), logits),
            measurement("good", (0.05,)),
            console=console,
        )
        assert choice.engine == "good"
        assert "  broken: not used: the " in stream.getvalue()

    def test_none_is_an_error(self):
        with pytest.raises(ExportError, match=r"no engine here runs this model.*ppclas doctor"):
            self.pick()


class TestMeasured:
    """Engines of a plugin, each in a process of its own."""

    def test_the_fastest_that_answers_right_is_taken_and_remembered(self, linear, home, shown):
        console, stream = shown
        choice = choose(linear, "auto", threads=1, console=console)
        assert choice.engine == "linear"
        assert "(linear_slow 1" in choice.reason  # 8 photos in 0.05 seconds: at most 160 a second
        said = stream.getvalue()
        assert said.splitlines()[0] == (
            "Measuring engines on 8 photos: linear_slow, linear, linear_wrong, linear_abort"
        )
        assert "linear_abort: not used: the measure step crashed (SIGABRT): no kernel" in said
        assert "linear_wrong: not used: other answers: largest logit difference" in said
        kept = json.loads((home / "engines.json").read_text())
        assert [entry["engine"] for entry in kept.values()] == ["linear"]

    def test_the_engine_comes_loaded_with_a_line_that_says_why(self, alone, shown, weights):
        console, stream = shown
        bundle, engine = load_engine(alone, "auto", threads=1, console=console)
        images = np.ones((2, 3, 4, 5), np.float32)
        expected = np.tile(weights.sum(0), (2, 1))
        np.testing.assert_allclose(engine.logits(images), expected, rtol=1e-4)
        assert bundle is alone
        assert stream.getvalue().splitlines()[-1].startswith("Engine linear: ")


@pytest.fixture(scope="module")
def measured():
    """What was kept of ``alone`` when it was measured, for every test: its files are the
    same.
    """
    return {}


class TestRemembered:
    @pytest.fixture
    def remember(self, alone, home, measured):
        """Change what is kept of ``alone``."""
        if not measured:
            choose(alone, "auto", threads=1)
            measured.update(json.loads((home / "engines.json").read_text()))
        ((key, entry),) = measured.items()
        home.mkdir(exist_ok=True)

        def change(content):
            text = content if isinstance(content, str) else json.dumps({key: {**entry, **content}})
            (home / "engines.json").write_text(text)

        return change

    def test_it_is_not_measured_again(self, alone, remember, shown, home):
        console, stream = shown
        remember({"reason": "told", "date": "2026-01-02"})
        again = choose(alone, "auto", threads=1, console=console)
        assert (again.engine, again.reason) == ("linear", "told (measured 2026-01-02)")
        assert stream.getvalue() == ""
        choose(alone, "auto", threads=2)  # another question
        assert len(json.loads((home / "engines.json").read_text())) == 2

    @pytest.mark.parametrize("content", ['{"cut": ', "[1]", {"engine": "uninstalled"}])
    def test_what_is_no_use_is_measured_again(self, alone, remember, shown, content):
        console, stream = shown
        remember(content)
        assert choose(alone, "auto", threads=1, console=console).engine == "linear"
        assert stream.getvalue().startswith("Measuring engines on 8 photos: linear\n")

    def test_an_engine_that_is_no_use_any_more_is_said(self, alone, remember, shown):
        console, stream = shown
        remember({"engine": "openvino"})
        assert choose(alone, "auto", threads=1, console=console).engine == "linear"
        said = "The engine that was fastest cannot be used any more (the engine openvino runs"
        assert stream.getvalue().startswith(said)


class TestRunnable:
    def test_every_engine_that_could_run_an_onnx_export(self, export):
        assert candidates(export) == [
            "openvino",
            "onnxruntime",
            "onnxruntime_cuda",
            "onnxruntime_tensorrt",
        ]

    def test_every_engine_that_could_run_a_bundle(self, bundle):
        assert {"dygraph", "paddle_inference", "onnxruntime", "openvino"} <= {*candidates(bundle)}
        assert not {"lite", "tensorrt", "triton", "linear"} & {*candidates(bundle)}

    def test_an_exports_own_engine_runs_it_whatever_its_target(self, alone):
        assert candidates(alone) == ["linear"]
        assert runnable(alone, "linear", Console(quiet=True)) is alone

    @pytest.mark.parametrize(
        ("engine", "runs"),
        [
            ("paddle_inference", "exports for paddle"),
            ("dygraph", "runs and bundles"),
            ("openvino", "exports for openvino and exports for onnx"),
        ],
    )
    def test_an_engine_that_cannot_run_an_export_says_which_can(self, linear, engine, runs):
        with pytest.raises(
            BundleError,
            match=rf"^the engine {engine} runs {runs}; .*for linear. Its own engine is linear_slow",
        ):
            choose(linear, engine)

    def test_an_unknown_engine_suggests_a_near_name(self, export):
        with pytest.raises(UnknownNameError, match="Did you mean 'onnxruntime'"):
            choose(export, "onnxrutime")

    def test_a_bundle_is_its_own_for_paddles_layers(self, bundle):
        assert choose(bundle, "dygraph") == Choice("dygraph", bundle, "as asked")

    def test_what_no_target_writes_is_an_error(self, bundle):
        with pytest.raises(
            BundleError, match=r"no target writes what the engine nobody runs \(punch cards\)"
        ):
            choose(bundle, "nobody")

    @pytest.mark.slow
    def test_a_bundle_is_exported_once_into_the_cache(self, bundle, home, shown):
        pytest.importorskip("paddle2onnx", reason="needs the extra [onnx]")
        console, stream = shown
        first = runnable(bundle, "onnxruntime", console)
        assert first.folder.parent == home / "exports"
        assert first.manifest.export["target"] == "onnx"
        written = (first.folder / "model.onnx").stat().st_mtime_ns
        again = runnable(bundle, "onnxruntime_cuda", console)
        assert again.folder == first.folder
        assert (again.folder / "model.onnx").stat().st_mtime_ns == written
        (first.folder / "model.onnx").write_bytes(b"damaged")
        repaired = runnable(bundle, "onnxruntime", console)
        again = Bundle.load(repaired.folder).manifest.files
        assert again["model.onnx"] == first.manifest.files["model.onnx"]
        lines = stream.getvalue().splitlines()
        assert [line.split()[0] for line in lines] == ["Exporting"] * 3
        assert "model.onnx is not the file that" in lines[1]


@pytest.mark.parametrize(
    ("threads", "cpus", "count"),
    [
        (1, 4, 3),
        (3, 4, 1),
        (4, 4, 2),  # they run while it waits
        (None, 4, 2),
        (6, 4, 2),
        (1, 64, 8),
        (None, 1, 2),
    ],
)
def test_readers_take_the_cpus_that_the_engine_leaves(threads, cpus, count):
    assert readers(threads, cpus) == count


def test_readers_know_the_cpus_of_this_process(python):
    code = (
        "import os\nfrom ppclas_deploy.engine_choice import readers\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nprint(readers(1), readers(None))"
    )
    assert python(code) == "2 2\n"
