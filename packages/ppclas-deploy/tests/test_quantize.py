"""Quantisation on networks written by hand, where the right numbers are known."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from ppclas_core.bundle import Architecture, Bundle, Manifest, Preprocessing, write_manifest
from ppclas_core.config.schema import ComponentConfig, NormalizeConfig
from ppclas_core.errors import BundleError, DataError, ExportError
from ppclas_core.normalize import normalize_batch
from ppclas_deploy.quantize.judge import Judge, relative_error
from ppclas_deploy.quantize.network import FloatNetwork
from ppclas_deploy.quantize.photos import choose
from ppclas_deploy.quantize.ptq import quantize_guarded, sensitivities
from ppclas_deploy.quantize.receipt import report
from ppclas_deploy.quantize.run import quantize_bundle
from ppclas_engine.console import Console

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

SIDE = 8
PLAIN = NormalizeConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def save_net(path, first, second, head):
    """Conv 1x1, Conv 1x1, average, linear: three layers whose names are their places."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = {"w1": first[:, :, None, None], "w2": second[:, :, None, None], "w3": head}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "w1"], ["a"], name="first"),
            helper.make_node("Conv", ["a", "w2"], ["b"], name="second"),
            helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
            helper.make_node("Flatten", ["c"], ["d"], axis=1),
            helper.make_node("Gemm", ["d", "w3"], ["logits"], name="head"),
        ],
        "net",
        [helper.make_tensor_value_info("images", kind, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", kind, ["batch", head.shape[1]])],
        [
            onnx.numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in weights.items()
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(path),
    )


def colors(count, seed=0):
    """Plain pictures [N, H, W, 3] of red, green and blue in turns, and the colour's number."""
    labels = np.arange(count) % 3
    pixels = np.random.default_rng(seed).integers(0, 60, (count, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[np.arange(count), :, :, labels] += 120
    return pixels, labels


def calibrated(path, first, second, head, *, reduce_range=False):
    save_net(path, first, second, head)
    network = FloatNetwork(path, reduce_range=reduce_range)
    pixels, _ = colors(30)
    network.calibrate([normalize_batch(pixels, PLAIN)], "minmax")
    return network


@pytest.fixture
def easy(tmp_path):
    rng = np.random.default_rng(1)
    return calibrated(
        tmp_path / "easy.onnx", np.eye(3) + rng.normal(0, 0.1, (3, 3)), np.eye(3), np.eye(3)
    )


@pytest.fixture
def hard(tmp_path):
    """The first layer adds a channel that is 5000 times larger than the others, and the second
    drops it again.
    """
    first = np.vstack([np.eye(3), np.full((1, 3), 5000.0)])
    return calibrated(tmp_path / "hard.onnx", first, np.eye(3, 4), np.eye(3))


@pytest.fixture
def judge_of():
    def make(network):
        pixels, labels = colors(90, seed=5)
        return Judge(pixels, labels, PLAIN, network.model, 1)

    return make


@pytest.mark.parametrize(("reduce_range", "steps"), [(False, 127), (True, 64)])
def test_weights_are_stored_per_channel_in_whole_steps(tmp_path, reduce_range, steps):
    first = np.array([[1.0, -2.0, 0.5], [0.01, 0.02, -0.04], [3.0, 3.0, 3.0]])
    model = calibrated(
        tmp_path / "net.onnx", first, np.eye(3), np.eye(3), reduce_range=reduce_range
    ).quantized()
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert stored["w1_quantized"].dtype == np.int8
    np.testing.assert_allclose(stored["w1_scale"], np.abs(first).max(axis=1) / steps, rtol=0.01)
    np.testing.assert_allclose(
        stored["w1_quantized"][:, :, 0, 0] * stored["w1_scale"][:, None],
        first,
        atol=0.51 * 3 / steps,
    )
    assert not stored["w1_zero_point"].any()


def test_logits_stay_float_and_no_domain_is_left_over(easy):
    model = easy.quantized()
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.node[-1].op_type == "Gemm"
    assert [value.name for value in model.graph.output] == ["logits"]
    assert {entry.domain for entry in model.opset_import} == {
        node.domain for node in model.graph.node
    } | {""}


def test_an_easy_network_keeps_its_answers_and_every_layer_is_quantised(easy, judge_of):
    judge = judge_of(easy)
    found = quantize_guarded(easy, judge, [node.name for node in easy.nodes()], guard=0.0)
    assert found.stay_float == ()
    assert found.verdict.accuracy == judge.float_accuracy == 1.0
    assert found.verdict.agreement == 1.0
    assert relative_error(judge.logits(found.model), judge.reference) < 0.02


def test_layers_that_hurt_are_found_and_stay_float(hard, judge_of):
    judge = judge_of(hard)
    everything = judge.judge(hard.quantized())
    assert everything.accuracy < 0.7  # two thirds of the answers are a guess
    assert everything.lost >= 27
    table = sensitivities(hard, judge)
    assert {row.node.name for row in table[:2]} == {
        "first",
        "second",
    }  # what writes and what reads the wide range
    assert table[0].error > 10 * table[2].error
    tried = []
    found = quantize_guarded(
        hard, judge, [row.node.name for row in table], 0.01, lambda n, _: tried.append(n)
    )
    assert set(found.stay_float) == {"first", "second"}
    assert found.verdict.accuracy == 1.0
    assert tried == [0, 1, 2]


def test_a_guard_that_nothing_holds_says_so(easy, judge_of):
    judge = judge_of(easy)
    judge.float_accuracy = 1.5
    with pytest.raises(
        ExportError,
        match=r"no INT8 network holds the guard of 1\.00%.*100\.00% is left of 150\.00%",
    ):
        quantize_guarded(easy, judge, ["first", "second", "head"], 0.01)


def write_export(folder, **facts):
    """An export of the easy network, without Paddle."""
    folder.mkdir()
    save_net(folder / "model.onnx", np.eye(3), np.eye(3), np.eye(3))
    (folder / "labels.txt").write_text("0 red\n1 green\n2 blue\n")
    manifest = Manifest(
        kind="export",
        architecture=Architecture(name="Net", num_classes=3),
        preprocessing=Preprocessing(
            image_size=(SIDE, SIDE),
            transforms=(ComponentConfig(name="Resize", size=(SIDE, SIDE)),),
            normalize=PLAIN,
        ),
        labels=("red", "green", "blue"),
        export={"engine": "onnxruntime", "target": "onnx", "model": "model.onnx", **facts},
    )
    write_manifest(folder, manifest)
    return Bundle.load(folder)


def write_photos(folder, count, seed=0):
    pixels, labels = colors(count, seed)
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        place = folder / ("red", "green", "blue")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index:03}.png")
    return folder


def test_an_export_is_quantised_without_paddle_and_measured(tmp_path):
    export = write_export(tmp_path / "export")
    train, val = write_photos(tmp_path / "train", 30), write_photos(tmp_path / "val", 24, seed=9)
    receipt = quantize_bundle(
        export,
        tmp_path / "int8",
        calibrate=str(train),
        data=str(val),
        num_photos=12,
        threads=1,
        guard=0.0,
    )
    assert (receipt.float_accuracy, receipt.verdict.accuracy) == (1.0, 1.0)
    assert receipt.calibrated_on.count == 12
    said = json.loads((tmp_path / "int8" / "quantization.json").read_text())
    assert said == report(receipt) | {"seconds": said["seconds"]}
    assert said["bytes"]["int8"] == (tmp_path / "int8" / "model.onnx").stat().st_size
    assert set(said["latency_ms"]) == {"1", "8"}
    rows = (tmp_path / "int8" / "sensitivity.csv").read_text().splitlines()
    assert rows[0] == "rank,layer,op,weights,error,agreement,stays"
    assert len(rows) == 1 + 4
    assert all(row.endswith(",int8") for row in rows[1:])
    assert (tmp_path / "int8" / "export.log").is_file()
    made = Bundle.load(tmp_path / "int8")
    assert made.manifest.export["quantization"]["method"] == "ptq"
    assert made.manifest.metrics == {"top1": 1.0}
    with pytest.raises(BundleError, match="is quantised already"):
        quantize_bundle(made, tmp_path / "again", calibrate=str(train))


def test_labels_of_another_model_cannot_hide_a_loss(tmp_path):
    """An accuracy that is chance has nothing to lose: the guard counts changed answers then."""
    export, train = write_export(tmp_path / "export"), write_photos(tmp_path / "train", 12)
    pixels, labels = colors(30, seed=9)
    listed = []
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
        listed.append(f"{index}.png {(label + 1) % 3}\n")
    (tmp_path / "shifted.txt").write_text("".join(listed))
    shown = io.StringIO()
    receipt = quantize_bundle(
        export,
        tmp_path / "int8",
        calibrate=str(train),
        data=str(tmp_path / "shifted.txt"),
        console=Console(stream=shown),
    )
    assert "is right on 0.00% of" in shown.getvalue()
    assert "are its labels this model's?" in shown.getvalue()
    assert not receipt.labelled
    assert receipt.float_accuracy == 1.0
    assert "top1" not in Bundle.load(tmp_path / "int8").manifest.metrics
    assert "warning: the float network" in (tmp_path / "int8" / "export.log").read_text()


def test_what_takes_too_long_is_ended_and_leaves_nothing(tmp_path):
    export, photos = write_export(tmp_path / "export"), write_photos(tmp_path / "photos", 30)
    with pytest.raises(
        ExportError,
        match=r"the quantize step did not finish within 0\.05 s and was ended.*--timeout",
    ):
        quantize_bundle(export, tmp_path / "int8", calibrate=str(photos), timeout=0.05)
    assert [path.name for path in tmp_path.iterdir() if "int8" in path.name] in ([], ["int8.log"])


def test_progress_comes_from_the_other_process(tmp_path, monkeypatch):
    """Paths that are relative mean what they mean here, and lines are shown as they are told."""
    export, _ = write_export(tmp_path / "export"), write_photos(tmp_path / "photos", 30)
    monkeypatch.chdir(tmp_path)
    shown = io.StringIO()
    quantize_bundle(
        export, tmp_path / "int8", calibrate="photos", data="photos", console=Console(stream=shown)
    )
    lines = shown.getvalue().splitlines()
    assert "Calibrating on 6 photos of photos" in lines
    assert lines[-1] == "INT8 with 0 layers left float: top-1 100.00%"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"target": "openvino"}, "is no ONNX export"),
        ({"fp16": True}, "is in half precision"),
        ({"input": "pixels"}, "has its preprocessing inside"),
        ({"batch": 4}, "has a fixed batch size"),
    ],
)
def test_what_is_not_quantised(tmp_path, facts, said):
    export = write_export(tmp_path / "export", **facts)
    with pytest.raises(BundleError, match=said):
        quantize_bundle(
            export, tmp_path / "int8", calibrate=str(write_photos(tmp_path / "photos", 9))
        )
    assert not (tmp_path / "int8").exists()


def test_several_labels_a_photo(easy):
    """The answer is the set of labels whose logits reach their limits; one wrong label makes it
    wrong.
    """
    pixels, _ = colors(9)
    logits = Judge(pixels, None, PLAIN, easy.model, 1).reference
    limits = np.array([np.median(logits[:, c]) for c in range(3)])
    truth = (logits >= limits).astype(np.float32)
    truth[:2, 0] = 1 - truth[:2, 0]  # wrong in one label of three, twice
    judge = Judge(pixels, truth, PLAIN, easy.model, 1, limits)
    assert judge.measure == "exact match"
    assert judge.float_accuracy == pytest.approx(7 / 9)
    moved = logits.copy()
    moved[8, 2] = limits[2] + (1 if logits[8, 2] < limits[2] else -1)
    verdict = judge.verdict(moved)
    assert (verdict.lost, verdict.won) == (1, 0)
    assert verdict.agreement == pytest.approx(8 / 9)


class TestPhotos:
    def test_no_photo_calibrates_and_judges(self, tmp_path):
        export, photos = write_export(tmp_path / "export"), write_photos(tmp_path / "photos", 30)
        chosen = choose(export, str(photos), str(photos), count=100, judged=1000)
        calibrated = {record.path for record in chosen.calibrate.records}
        judged = {record.path for record in chosen.judge.records}
        assert (len(calibrated), len(judged)) == (6, 24)
        assert not calibrated & judged
        assert any("share" in note for note in chosen.notes)

    def test_photos_in_both_are_left_to_the_judgement(self, tmp_path):
        export, photos = write_export(tmp_path / "export"), write_photos(tmp_path / "photos", 30)
        chosen = choose(export, str(photos), str(photos / "red" / ".."), count=4, judged=10)
        assert len(chosen.judge) == 10
        whole = photos / "all.txt"
        whole.write_text(
            "".join(f"{p.relative_to(photos)} 0\n" for p in sorted(photos.glob("red/*.png")))
        )
        chosen = choose(export, str(photos), str(whole), count=100, judged=1000)
        assert len(chosen.calibrate) == 20  # green and blue
        assert len(chosen.judge) == 10

    def test_without_labels_the_float_network_judges(self, tmp_path):
        export, photos = write_export(tmp_path / "export"), write_photos(tmp_path / "photos", 15)
        chosen = choose(export, str(photos), None, count=3, judged=1000)
        assert not chosen.labelled
        assert len(chosen.judge) == 12

    def test_nothing_to_calibrate_on(self, tmp_path):
        with pytest.raises(DataError, match="--calibrate"):
            choose(write_export(tmp_path / "export"), None, None, count=3, judged=9)


class TestTraining:
    @pytest.fixture(autouse=True)
    def paddle(self):
        return pytest.importorskip("paddle", reason="needs the extra [cpu]")

    def test_the_layer_computes_what_onnxruntime_computes(self, easy, judge_of, paddle):
        from ppclas_deploy.quantize.qdq_layer import QdqLayer

        model, judge = easy.quantized(), judge_of(easy)
        pixels, _ = colors(90, seed=5)
        ours = QdqLayer(model, {})(paddle.to_tensor(normalize_batch(pixels, PLAIN))).numpy()
        theirs = judge.logits(model)
        # A sum that falls half-way between two steps may be rounded either way.
        assert np.abs(ours - theirs).max() < 0.02 * np.abs(theirs).max()
        assert np.mean(np.abs(ours - theirs) < 1e-5) > 0.9

    def test_a_layer_that_was_not_trained_writes_back_what_it_read(self, easy):
        from ppclas_deploy.quantize.qdq_layer import QdqLayer

        model = easy.quantized()
        before = model.SerializeToString()
        QdqLayer(model, {}).write_back()
        assert [onnx.numpy_helper.to_array(t).tolist() for t in model.graph.initializer] == [
            onnx.numpy_helper.to_array(t).tolist()
            for t in onnx.ModelProto.FromString(before).graph.initializer
        ]

    def test_training_learns_ranges_that_were_far_too_small(self, easy, judge_of, tmp_path):
        from ppclas_data.loading.pipeline import Pipeline
        from ppclas_data.sources.opening import load_image_set
        from ppclas_deploy.quantize.training import Training, train

        model, judge = easy.quantized(), judge_of(easy)
        for tensor in model.graph.initializer:
            if tensor.name in ("images_scale", "a_scale", "b_scale"):
                tensor.CopyFrom(
                    onnx.numpy_helper.from_array(
                        onnx.numpy_helper.to_array(tensor) / 4, tensor.name
                    )
                )
        before = relative_error(judge.logits(model), judge.reference)
        assert before > 0.5  # most of each value is cut off
        photos = load_image_set(str(write_photos(tmp_path / "photos", 32)))
        losses: list[float] = []
        settings = Training(steps=60, batch_size=8, scale_lr=0.05)
        train(model, easy.model, photos, Pipeline(()), PLAIN, settings, 1, losses.append)
        assert len(losses) == 60
        assert losses[-1] < 0.1 * losses[0]
        assert relative_error(judge.logits(model), judge.reference) < 0.5 * before

    def test_an_unknown_operator_is_one_line(self, easy):
        from ppclas_deploy.quantize.qdq_layer import QdqLayer

        model = easy.quantized()
        model.graph.node[-1].op_type = "Einsum"
        with pytest.raises(
            ExportError, match=r"does not know the operator Einsum\. Use --method ptq"
        ):
            QdqLayer(model, {})
