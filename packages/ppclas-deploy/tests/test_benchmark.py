"""Measuring: percentiles by hand, engines in processes of their own, and the tables made of it."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ppclas_core.bundle import labels_text, write_manifest
from ppclas_core.contracts.data import ImageSet, Record
from ppclas_core.errors import ExportError
from ppclas_deploy import load
from ppclas_deploy.benchmark import Row, benchmark, draw, lite_format, model_bytes, write_csv
from ppclas_deploy.measuring import measure_engine, most_memory
from ppclas_deploy.timing import WARMUP, Latency, measure
from ppclas_engine.results.score import Scoring

pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

SIZE = (4, 5)


@pytest.fixture
def photos(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(file)
    return files, pixels


class TestTiming:
    def test_percentiles_by_hand(self):
        latency = Latency(4, tuple(k / 1000 for k in range(1, 102)))
        assert latency.milliseconds(0) == pytest.approx(1)
        assert latency.milliseconds(50) == pytest.approx(51)
        assert latency.milliseconds(90) == pytest.approx(91)
        assert latency.milliseconds(100) == pytest.approx(101)
        assert latency.images_per_second == pytest.approx(4 / 0.051)

    def test_between_two_runs_it_is_interpolated(self):
        assert Latency(1, (0.010, 0.020)).milliseconds(25) == pytest.approx(12.5)

    def test_speed_is_that_of_the_median_run(self):
        """One run in which the machine did something else changes nothing."""
        assert Latency(8, (0.01, 0.01, 9.0)).images_per_second == pytest.approx(800)

    def test_runs_take_turns_after_a_warm_up(self):
        order = []
        runs = {name: lambda name=name: order.append(name) for name in "ab"}
        found = measure(runs, 1, seconds=0.0, least=4)
        assert order == ["a"] * WARMUP + ["b"] * WARMUP + ["a", "b"] * 4
        assert {name: len(latency.seconds) for name, latency in found.items()} == {"a": 4, "b": 4}

    @pytest.mark.parametrize(
        ("seconds", "least", "most", "rounds"), [(9.0, 2, 6, 6), (0.0, 2, 6, 2), (0.0, 9, 6, 6)]
    )
    def test_rounds_have_bounds(self, seconds, least, most, rounds):
        found = measure({"a": lambda: None}, 2, seconds=seconds, least=least, most=most)
        assert len(found["a"].seconds) == rounds
        assert found["a"].batch == 2

    def test_times_are_wall_times(self):
        import time

        found = measure({"nap": lambda: time.sleep(0.02)}, 1, seconds=0.0, least=3)
        assert all(0.02 <= taken < 0.5 for taken in found["nap"].seconds)


class TestMeasuring:
    def test_an_engine_in_a_process_of_its_own(self, export, photos):
        files, pixels = photos
        found = measure_engine(
            export, "onnxruntime", files, batches=[7, 1], threads=1, seconds=0.05
        )
        assert set(found.latencies) == {1, 7}
        assert found.latencies[7].batch == 7
        assert len(found.latencies[7].seconds) >= 5
        assert found.versions["provider"] == "CPUExecutionProvider"
        assert found.load_seconds > 0
        expected = load(export.folder).engine.logits(export.normalize(pixels))
        np.testing.assert_allclose(found.logits, expected, rtol=1e-5)
        if found.memory[7] is not None:
            assert 20e6 < found.memory[1] <= found.memory[7] < 2e9

    def test_a_time_limit_holds(self, export, rewrite, photos):
        slow = rewrite(export, engine="linear_hang", target="linear", model="weights.npy")
        with pytest.raises(ExportError, match=r"measure step did not finish within 2 s"):
            measure_engine(slow, "linear_hang", photos[0], timeout=2.0)

    def test_memory_counts_what_was_started(self):
        """Paddle-Lite runs in a process of its own, and its memory is what a benchmark of it is
        about.
        """
        if not Path("/proc/self/task").is_dir():
            pytest.skip("only Linux says what a process has started")
        before = most_memory()
        held = "held = bytearray(200_000_000); print(len(held), flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout.readline() == b"200000000\n"
            assert most_memory() - before > 200e6
            process.communicate(b"\n")


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
        assert good.min_ms <= good.mean_ms <= good.max_ms
        assert good.images_per_second == pytest.approx(1000 / good.p50_ms)
        assert rows[1].images_per_second == pytest.approx(2000 / rows[1].p50_ms)
        assert good.size_mb == pytest.approx(model_bytes(export) / 1e6)
        assert good.top1 is None
        assert "dygraph runs runs and bundles" in rows[2].error
        draw(rows, tmp_path / "rows.png")
        assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")

    def test_accuracy_is_counted_and_compared_with_the_first_model(
        self, export, rewrite, photos, weights
    ):
        """Two of three labels are the network's answers; the other network says the opposite."""
        files, pixels = photos
        scaled = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        answers = (scaled.transpose(0, 3, 1, 2).reshape(3, -1) @ weights).argmax(axis=1)
        labels = [int(answers[0]), int(answers[1]), 1 - int(answers[2])]
        records = tuple(
            Record(str(file), label, file.name) for file, label in zip(files, labels, strict=True)
        )
        linear = rewrite(export, engine="linear", target="linear", model="weights.npy")
        turned = export.folder.parent / "turned"
        turned.mkdir()
        np.save(turned / "weights.npy", -weights)
        write_manifest(turned, linear.manifest.replace(files={}))
        scoring = Scoring(ImageSet(records, ("a", "b"), "three photos"))
        rows = benchmark(
            [("net", linear), ("turned", type(linear).load(turned))],
            batches=[1],
            threads=[1],
            seconds=0.01,
            scoring=[scoring, scoring],
        )
        assert [(row.model, row.engine) for row in rows] == [
            ("net", "linear"),
            ("turned", "linear"),
        ]
        assert [row.top1 for row in rows] == pytest.approx([2 / 3, 1 / 3])
        assert [row.top1_delta for row in rows] == pytest.approx([0, -1 / 3])

    def test_a_crash_is_a_row_and_the_others_go_on(self, export, rewrite):
        linear = rewrite(export, engine="linear", target="linear", model="weights.npy")
        rows = benchmark(
            [("net", linear)], engines=["linear_abort", "linear"], batches=[1], seconds=0.01
        )
        assert "crashed (SIGABRT): no kernel for this CPU" in rows[0].error
        assert rows[0].p50_ms is None
        assert rows[1].runs >= 5


class TestTables:
    ROWS = (
        Row("net, small", "onnxruntime", 2, 8, runs=30, p50_ms=1.25, top1=0.5),
        Row("größer", "lite", None, 1, error='no "Paddle-Lite"\nhere'),
    )

    def test_csv_has_every_column_and_survives_commas_quotes_and_lines(self, tmp_path):
        write_csv(self.ROWS, tmp_path / "rows.csv")
        with open(tmp_path / "rows.csv", encoding="utf-8", newline="") as file:
            first, second = csv.DictReader(file)
        assert ",".join(first) == (
            "model,engine,threads,batch,runs,min_ms,p50_ms,p90_ms,p99_ms,max_ms,mean_ms,"
            "images_per_second,memory_mb,size_mb,top1,top1_delta,error"
        )
        assert (first["model"], first["threads"], first["p50_ms"], first["top1"]) == (
            "net, small",
            "2",
            "1.25",
            "0.5",
        )
        assert (second["model"], second["threads"], second["error"]) == (
            "größer",
            "",
            'no "Paddle-Lite"\\nhere',
        )

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
        rows.append(Row("broken", "lite", 1, 1, error="it crashed"))
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

    def test_repeats_are_the_fewest_of_the_block(self):
        rows = [
            Row("a", "lite", 4, 1, runs=runs, min_ms=1, mean_ms=2, max_ms=3) for runs in (70, 12)
        ]
        assert "Threads=4 Warmup=3 Repeats=12" in lite_format(rows, title="Mine")
        assert lite_format(rows, title="Mine").startswith("Mine\n")


class TestModelBytes:
    def test_a_bundle_is_its_weights(self, bundle):
        assert model_bytes(bundle) == bundle.weights_file.stat().st_size

    def test_an_export_is_its_model_files_without_what_lies_beside(self, export, rewrite):
        for name, size in (
            ("inference.json", 100),
            ("inference.pdiparams", 2000),
            ("parity.json", 30_000),
            ("export.log", 5),
        ):
            (export.folder / name).write_bytes(b'{"verdict": "agrees"}'.ljust(size))
        (export.folder / "labels.txt").write_text(labels_text(export.labels))
        (export.folder / "weights.npy").unlink()
        (export.folder / "model.onnx").unlink()
        assert model_bytes(rewrite(export, model="inference.json")) == 2100

    def test_for_a_phone_it_is_what_goes_there(self, export, rewrite):
        for name, size in (("model.nb", 11), ("twin-x86.nb", 1000)):
            (export.folder / name).write_bytes(b"x" * size)
        assert model_bytes(rewrite(export, model="twin-x86.nb", nb="model.nb")) == 11
