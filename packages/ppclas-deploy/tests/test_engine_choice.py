"""Which engine is taken, and what is remembered of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.bundle import Architecture, Bundle, Manifest, Preprocessing, write_manifest
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import BundleError, ExportError, ShapeError, UnknownNameError
from ppclas_deploy import engine_choice, load
from ppclas_deploy.benchmark import Row, benchmark, draw, lite_format, write_csv
from ppclas_deploy.engine_choice import candidates, choose, readers, runnable
from ppclas_deploy.measuring import Measurement, measure_engine, most_memory
from ppclas_deploy.timing import Latency, measure

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

SIZE = (6, 5)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PPCLAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def export(tmp_path):
    """A linear classifier of two classes as an ONNX export, made without Paddle."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(3).normal(size=(3 * 6 * 5, 2)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("images", kind, ["batch", 3, *SIZE])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 2])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    folder = tmp_path / "export"
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    write_manifest(
        folder,
        Manifest(
            kind="export",
            architecture=Architecture(name="Linear", num_classes=2),
            preprocessing=Preprocessing(
                image_size=SIZE, transforms=(ComponentConfig(name="Resize", size=SIZE),)
            ),
            labels=("a", "b"),
            export={"engine": "onnxruntime", "target": "onnx", "model": "model.onnx"},
        ),
    )
    return Bundle.load(folder)


@pytest.fixture
def measured(monkeypatch):
    """Let engines answer at set speeds; ``asked`` lists which ones were measured."""
    asked: list[str] = []

    def install(**speeds: tuple[float, float] | None) -> list[str]:
        def answer(bundle, engine, photos, **_):
            asked.append(engine)
            if speeds.get(engine) is None:
                raise ExportError(f"the measure step crashed (SIGSEGV): {engine}")
            speed, logit = speeds[engine]
            logits = np.full((len(photos), 2), logit, np.float32)
            return Measurement(
                engine, None, {8: Latency(8, (8 / speed,))}, {8: None}, 0.0, {}, logits
            )

        monkeypatch.setattr(engine_choice, "measure_engine", answer)
        return asked

    return install


def test_the_fastest_that_answers_right_is_taken_and_remembered(export, measured, home):
    asked = measured(onnxruntime=(100.0, 1.0), openvino=(150.0, 1.0), onnxruntime_cuda=(900.0, 1.1))
    choice = choose(export, "auto")
    assert (
        choice.engine == "openvino"
    )  # CUDA is faster, and says 1.1 where the export's own engine says 1.0
    assert choice.reason == (
        "150 photos/s in batches of 8 (onnxruntime 100); all give the same answers on 8 photos"
    )
    assert asked == ["onnxruntime", "openvino", "onnxruntime_cuda", "onnxruntime_tensorrt"]
    again = choose(export, "auto")
    assert (again.engine, len(asked)) == ("openvino", 4)
    assert "(measured 20" in again.reason
    choose(export, "auto", threads=1)  # another question
    assert len(asked) == 8
    assert len(json.loads((home / "engines.json").read_text())) == 2


def test_a_damaged_memory_is_measured_again(export, measured, home):
    measured(onnxruntime=(100.0, 1.0))
    home.mkdir()
    (home / "engines.json").write_text('{"cut": ')
    assert choose(export, "auto").engine == "onnxruntime"


def test_no_engine_at_all_is_an_error(export, measured):
    measured()
    with pytest.raises(ExportError, match="no engine here runs this model"):
        choose(export, "auto")


def test_engines_that_could_run_an_onnx_export(export):
    assert candidates(export) == [
        "openvino",
        "onnxruntime",
        "onnxruntime_cuda",
        "onnxruntime_tensorrt",
    ]


def test_an_engine_that_cannot_run_an_export_says_which_can(export):
    with pytest.raises(
        BundleError,
        match=r"paddle_inference runs exports for paddle; .*export for onnx. Its own engine is onnxruntime",
    ):
        choose(export, "paddle_inference")
    with pytest.raises(UnknownNameError, match="Did you mean 'onnxruntime'"):
        choose(export, "onnxrutime")


def test_a_real_measurement_in_a_process_of_its_own(export, tmp_path):
    photos = [tmp_path / "photo.png"]
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photos[0])
    found = measure_engine(export, "onnxruntime", photos, batches=[1, 3], threads=1, seconds=0.05)
    assert set(found.latencies) == {1, 3}
    assert len(found.latencies[3].seconds) >= 5
    assert found.versions["provider"] == "CPUExecutionProvider"
    expected = load(export.folder).engine.logits(export.normalize(pixels[None]))
    np.testing.assert_allclose(found.logits, expected, rtol=1e-5)
    if found.memory[3] is not None:
        assert 20e6 < found.memory[1] <= found.memory[3] < 2e9


class TestLoad:
    def test_files_and_pixels_give_names_and_probabilities(self, export, tmp_path):
        from PIL import Image

        pixels = np.random.default_rng(2).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photo.png")
        model = load(str(export.folder), threads=1)
        weights = onnx.numpy_helper.to_array(
            onnx.load(str(export.folder / "model.onnx")).graph.initializer[0]
        )
        scaled = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        logits = scaled.transpose(2, 0, 1).reshape(-1) @ weights
        expected = np.exp(logits) / np.exp(logits).sum()
        (file,), (array,) = model.predict(tmp_path / "photo.png"), model.predict(pixels)
        assert (file.path, array.path) == (str(tmp_path / "photo.png"), "image 1")
        assert file.top == array.top
        assert dict(array.top) == pytest.approx({"a": expected[0], "b": expected[1]}, abs=1e-5)
        assert len(model.predict([pixels] * 5, top_k=1, batch_size=2)) == 5
        assert model.labels == ("a", "b")

    def test_an_unreadable_file_does_not_stop_the_others(self, export, tmp_path):
        (tmp_path / "broken.jpg").write_text("no photo")
        good = np.zeros((*SIZE, 3), np.uint8)
        bad, answered = load(export.folder).predict([tmp_path / "broken.jpg", good])
        assert "not an image" in bad.error
        assert answered.top

    @pytest.mark.parametrize(
        "pixels", [np.zeros((6, 5), np.uint8), np.zeros((6, 5, 3), np.float32)]
    )
    def test_other_arrays_are_refused(self, export, pixels):
        with pytest.raises(ShapeError, match=r"expected RGB pixels, uint8 \[H, W, 3\]"):
            load(export.folder).predict([pixels])


def test_readers_take_the_cpus_that_the_engine_leaves(monkeypatch):
    monkeypatch.setattr(engine_choice, "available_cpus", lambda: 4)
    assert [readers(threads) for threads in (1, 3, 4, None)] == [3, 1, 2, 2]
    monkeypatch.setattr(engine_choice, "available_cpus", lambda: 64)
    assert readers(1) == 8


def test_percentiles_by_hand():
    latency = Latency(4, tuple(k / 1000 for k in range(1, 102)))
    assert latency.milliseconds(50) == pytest.approx(51)
    assert latency.milliseconds(90) == pytest.approx(91)
    assert latency.images_per_second == pytest.approx(4 / 0.051)


def test_runs_take_turns():
    order: list[str] = []
    found = measure(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 1, seconds=0.0, least=4
    )
    assert order[-8:] == ["a", "b"] * 4
    assert len(found["a"].seconds) == 4


class TestBenchmark:
    def test_rows_files_and_a_failing_engine(self, export, tmp_path):
        rows = benchmark(
            [("net", export)],
            engines=["onnxruntime", "dygraph"],
            batches=[2, 1],
            threads=[1],
            seconds=0.05,
        )
        assert [(row.engine, row.batch, bool(row.error)) for row in rows] == [
            ("onnxruntime", 1, False),
            ("onnxruntime", 2, False),
            ("dygraph", 1, True),
            ("dygraph", 2, True),
        ]
        good = rows[0]
        assert good.min_ms <= good.p50_ms <= good.p90_ms <= good.p99_ms <= good.max_ms
        assert good.size_mb == pytest.approx((export.folder / "model.onnx").stat().st_size / 1e6)
        assert "dygraph runs runs and bundles" in rows[2].error
        write_csv(rows, tmp_path / "rows.csv")
        assert len((tmp_path / "rows.csv").read_text().splitlines()) == 5
        draw(rows, tmp_path / "rows.png")
        assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")

    def test_the_format_of_paddle_lite(self):
        rows = [
            Row(
                name, "lite", threads, batch, runs=30, min_ms=low, mean_ms=low + 0.5, max_ms=low + 1
            )
            for threads in (1, 2)
            for name, batch, low in (
                ("MobileNetV1", 1, 30.736),
                ("MobileNetV1", 8, 240.0),
                ("MobileNetV2", 1, 20.0),
            )
        ]
        lines = lite_format(rows).splitlines()
        # As PaddleLite's benchmark.sh prints it, but with min below max.
        assert lines[0] == "PaddleLite Benchmark"
        assert lines[1] == "Threads=1 Warmup=3 Repeats=30"
        assert (
            lines[2]
            == "MobileNetV1                           min = 30.73600    max = 31.73600    average "
            "= 31.23600"
        )
        assert lines[3].startswith("MobileNetV2 ")
        assert lines[4] == ""
        assert lines[5] == "Threads=2 Warmup=3 Repeats=30"
        assert len(lines) == 9


def test_a_bundle_is_exported_once_into_the_cache(export, monkeypatch, home):
    made = []

    def export_bundle(bundle, target, folder, **_):
        made.append((target, folder.parent))
        folder.mkdir(parents=True)
        for file in export.folder.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())

    monkeypatch.setattr(engine_choice, "export_bundle", export_bundle)
    bundle = Bundle(
        export.folder, export.manifest.replace(kind="bundle", export=None), export.folder
    )
    console = engine_choice.Console(quiet=True)
    first = runnable(bundle, "onnxruntime", console)
    again = runnable(bundle, "openvino", console)
    assert first.folder == again.folder
    assert made == [("onnx", home / "exports")]
    (first.folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(FileExistsError):  # asks to be made again
        runnable(bundle, "onnxruntime", console)
    assert runnable(bundle, "dygraph", console) is bundle


def test_memory_counts_what_was_started():
    """Paddle-Lite runs in a process of its own, and its memory is what a benchmark of it is
    about.
    """
    if not Path("/proc/self/task").is_dir():
        pytest.skip("only Linux says what a process has started")
    before = most_memory()
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "held = bytearray(200_000_000); print(len(held), flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"200000000\n"
        assert most_memory() - before > 200e6
        process.communicate(b"\n")
