"""Exports from start to finish: what they hold, and that one with other answers is never
finished.
"""

import json
import re
import shutil

import numpy as np
import pytest
from ppclas_core.bundle import Bundle, write_manifest
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import BundleError, ExportError, ParityError
from ppclas_core.files import sha256
from ppclas_deploy import parity
from ppclas_deploy.export import (
    export_bundle,
)
from ppclas_deploy.photos import choose_photos
from ppclas_engine.results.predict import predict
from ppclas_engine.scoring.predictors import bundle_predictor

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("paddle", reason="needs the extra [cpu]")


@pytest.fixture(scope="module")
def source(tmp_path_factory, outside_plugin, make_bundle) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("source") / "bundle")


@pytest.fixture(scope="module")
def onnx_export(source) -> Bundle:
    receipt = export_bundle(source, "onnx", source.folder.parent / "onnx", num_photos=11)
    return Bundle.load(receipt.folder)


@pytest.fixture(scope="module")
def model_answers(source, tmp_path_factory):
    """The trained model's answers on eight built-in photos."""
    log = tmp_path_factory.mktemp("logs") / "log"
    return parity.ask_model(source, choose_photos(source, None, 8), log, 300)


@pytest.mark.slow
class TestOnnx:
    def test_parity_json_tells_everything(self, onnx_export):
        parity = json.loads((onnx_export.folder / "parity.json").read_text(encoding="utf-8"))
        assert parity["verdict"] == "agrees"
        assert parity["engine"] == "onnxruntime"
        assert set(parity["versions"]["engine"]) == {"onnxruntime", "provider"}
        assert parity["versions"]["reference"]["paddle"]
        assert parity["photos"] == {"origin": "the built-in photos", "count": 11}
        assert len(parity["images"]) == 11
        assert parity["images"][0]["file"] == "Cantaloupe/000.jpg"
        assert 0 < parity["max_abs_diff"] < 1e-4 * parity["logits_rms"]
        assert parity["max_abs_diff"] == max(row["max_abs_diff"] for row in parity["images"])
        assert parity["top1_agreement"] == 1.0
        assert parity["files"]["model.onnx"] == sha256(onnx_export.folder / "model.onnx")

    def test_the_file_can_be_used_by_itself(self, onnx_export, source):
        model = onnx.load(str(onnx_export.folder / "model.onnx"))
        onnx.checker.check_model(model, full_check=True)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
        assert [(value.name, shape(value)) for value in model.graph.input] == [
            ("images", ["batch", 3, 48, 64])
        ]
        assert [(value.name, shape(value)) for value in model.graph.output] == [
            ("logits", ["batch", 3])
        ]
        facts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
        assert facts["labels"] == ["pear", "oat milk", "番茄"]
        assert facts["activation"] == "softmax"
        assert facts["preprocessing"]["normalize"]["mean"] == [0.485, 0.456, 0.406]
        assert facts["preprocessing"]["transforms"] == [
            {"name": "Resize", "short": 72},
            {"name": "CenterCrop", "size": [48, 64]},
        ]

    def test_the_activation_is_not_in_the_graph_and_weights_are_initializers(self, onnx_export):
        graph = onnx.load(str(onnx_export.folder / "model.onnx")).graph
        assert not {"Softmax", "Sigmoid", "Constant"} & {node.op_type for node in graph.node}
        assert {tensor.name for tensor in graph.initializer} <= {
            name for node in graph.node for name in node.input
        }
        sizes = sorted(int(np.prod(tensor.dims)) for tensor in graph.initializer)
        assert sizes[-2:] == [8 * 3 * 3 * 3, 16 * 8 * 3 * 3]

    def test_it_is_a_bundle_that_predicts_as_the_source_does(self, onnx_export, source):
        assert onnx_export.manifest.kind == "export"
        assert onnx_export.manifest.export["weights_sha256"] == sha256(source.weights_file)
        assert (onnx_export.folder / "labels.txt").read_text(
            encoding="utf-8"
        ) == "0 pear\n1 oat milk\n2 番茄\n"
        photos = [str(path) for path in choose_photos(source, None, 3).paths]
        ours, theirs = list(predict(onnx_export, photos)), list(predict(source, photos))
        assert [p.top[0][0] for p in ours] == [p.top[0][0] for p in theirs]
        assert [p.top[0][1] for p in ours] == pytest.approx([p.top[0][1] for p in theirs], abs=1e-5)

    @pytest.mark.parametrize("ends", [{}, {"with_preprocess": True}])
    def test_a_model_of_one_channel(self, make_bundle, tmp_path, ends):
        grey = make_bundle(tmp_path / "bundle", grey=True)
        receipt = export_bundle(grey, "onnx", tmp_path / "onnx", options=ends, num_photos=3)
        (taken,) = onnx.load(receipt.folder / "model.onnx").graph.input
        sizes = [size.dim_value for size in taken.type.tensor_type.shape.dim][1:]
        assert sizes == ([48, 64, 1] if ends else [1, 48, 64])

    def test_an_export_is_no_source(self, onnx_export, tmp_path):
        with pytest.raises(BundleError, match="is an export already"):
            export_bundle(onnx_export, "onnx", tmp_path / "again")

    def test_a_fixed_batch_and_another_opset(self, source, tmp_path):
        export_bundle(
            source, "onnx", tmp_path / "fixed", options={"batch": 4, "opset": 13}, num_photos=5
        )
        model = onnx.load(str(tmp_path / "fixed" / "model.onnx"))
        assert shape(model.graph.input[0]) == [4, 3, 48, 64]
        assert shape(model.graph.output[0]) == [4, 3]
        assert model.opset_import[0].version == 13
        pixels = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
        logits = bundle_predictor(Bundle.load(tmp_path / "fixed"))(pixels)
        np.testing.assert_allclose(logits, bundle_predictor(source)(pixels), rtol=1e-4, atol=1e-5)

    def test_resized_feature_maps(self, make_bundle, tmp_path):
        receipt = export_bundle(
            make_bundle(tmp_path / "bundle", "TinyResize"), "onnx", tmp_path / "out", num_photos=3
        )
        assert receipt.parity.agrees

    def test_an_aborting_converter_is_one_line(self, source, tmp_path):
        """paddle2onnx aborts the whole process on an opset that is too low."""
        with pytest.raises(
            ExportError, match=r"^the onnx step crashed \(SIGABRT\): .*opset"
        ) as caught:
            export_bundle(source, "onnx", tmp_path / "out", options={"opset": 6})
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(f"Log: {tmp_path / 'out.log'}")
        assert "SIGABRT" in (tmp_path / "out.log").read_text()
        assert [path.name for path in tmp_path.iterdir()] == ["out.log"]


def change_weights(shape, change):
    """Change the weights of that shape in a folder's ``model.onnx``."""

    def apply(folder):
        model = onnx.load(str(folder / "model.onnx"))
        tensor = next(t for t in model.graph.initializer if list(t.dims) == shape)
        weights = change(onnx.numpy_helper.to_array(tensor).copy())
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(weights), tensor.name))
        onnx.save(model, str(folder / "model.onnx"))

    return apply


def flip_one(weights):
    weights[5, 2, 1, 1] *= -1
    return weights


def add_softmax(folder):
    model = onnx.load(str(folder / "model.onnx"))
    for node in model.graph.node:
        node.output[:] = ["raw" if name == "logits" else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Softmax", ["raw"], ["logits"], axis=1))
    onnx.save(model, str(folder / "model.onnx"))


STRETCH = change_weights([16, 8, 3, 3], lambda weights: weights * np.float32(1.0005))


@pytest.mark.slow
class TestTampering:
    """The conversion is changed on its way to the check: each time nothing that looks finished may
    be left.
    """

    def refused(self, source, onnx_export, folder, change, model=None):
        before = {path.name for path in folder.iterdir()}
        options = {"source": onnx_export.folder, "change": change}
        with pytest.raises(
            ParityError, match=r"does not give the trained model's answers: .*Log: "
        ) as caught:
            export_bundle(model or source, "stored", folder / "out", options=options, num_photos=8)
        assert {path.name for path in folder.iterdir()} == {*before, "out.log"}
        return str(caught.value)

    def test_untouched_it_passes(self, source, onnx_export, tmp_path):
        options = {"source": onnx_export.folder}
        receipt = export_bundle(source, "stored", tmp_path / "out", options=options, num_photos=8)
        assert receipt.parity.agrees
        assert receipt.files["model.onnx"] == (tmp_path / "out" / "model.onnx").stat().st_size
        assert receipt.seconds > 0

    @pytest.mark.parametrize(
        "change",
        [
            change_weights([16, 8, 3, 3], flip_one),
            change_weights([8, 3, 3, 3], lambda weights: weights[:, ::-1]),
            add_softmax,
        ],
        ids=["one flipped weight", "blue for red", "a softmax in the graph"],
    )
    def test_other_answers_are_refused(self, source, onnx_export, tmp_path, change):
        self.refused(source, onnx_export, tmp_path, change)

    def test_weights_a_trifle_too_large(self, source, onnx_export, tmp_path):
        """A narrow miss: double precision says that it is not the model's own rounding."""
        message = self.refused(source, onnx_export, tmp_path, STRETCH)
        own = float(
            re.search(
                r"from double precision, where the model's own is (\S+) \(tolerance 0\.0001\)",
                message,
            )[1]
        )
        assert own < 1e-5

    def test_a_model_that_double_precision_cannot_ask_says_why(
        self, source, onnx_export, make_bundle, tmp_path
    ):
        """The same network in a layer that takes float32 alone."""
        single = make_bundle(tmp_path / "bundle", "SinglePrecision")
        message = self.refused(source, onnx_export, tmp_path, STRETCH, single)
        assert (
            "--option tolerance=0.001 accepts it. (In double precision: the reference step"
            in message
        )
        assert "TypeError: no float64 kernel)" in message

    def test_a_tolerance_that_was_asked_for_is_kept(self, source, onnx_export, tmp_path):
        options = {"source": onnx_export.folder, "change": STRETCH, "tolerance": 1e-2}
        receipt = export_bundle(source, "stored", tmp_path / "out", options=options, num_photos=3)
        assert receipt.parity.tolerance == 1e-2
        assert receipt.parity.own_rounding is None  # double precision was not asked

    def test_an_export_that_is_there_survives_a_failing_one(self, source, onnx_export, tmp_path):
        shutil.copytree(onnx_export.folder, tmp_path / "out")
        options = {"source": onnx_export.folder, "tolerance": 1e-12}
        with pytest.raises(ParityError):
            export_bundle(
                source, "stored", tmp_path / "out", options=options, overwrite=True, num_photos=8
            )
        assert Bundle.load(tmp_path / "out").manifest == onnx_export.manifest

    @pytest.mark.parametrize("spoilt", ["nothing", "mean", "channels"])
    def test_the_check_prepares_photos_as_the_export_says(
        self, onnx_export, model_answers, source, tmp_path, spoilt
    ):
        """So what is wrong in ``bundle.json`` shows, although the model's file is right."""
        from deploy_test_targets import take_marks_out

        shutil.copytree(onnx_export.folder, tmp_path / "out")
        preprocessing = onnx_export.manifest.preprocessing
        if spoilt == "mean":
            normalize = preprocessing.normalize.replace(mean=(0.5, 0.456, 0.406))
            preprocessing = preprocessing.replace(normalize=normalize)
        if spoilt == "channels":
            transforms = (*preprocessing.transforms, ComponentConfig(name="SwapChannels"))
            preprocessing = preprocessing.replace(transforms=transforms)
        manifest = onnx_export.manifest.replace(preprocessing=preprocessing, files={})
        (tmp_path / "out" / "parity.json").unlink()  # as while an export is made
        take_marks_out(tmp_path / "out")  # they would tell it first
        write_manifest(tmp_path / "out", manifest)
        photos = choose_photos(source, None, 8)
        given = parity.ask_export(tmp_path / "out", photos, tmp_path / "log", 300)
        found = parity.compare(model_answers.logits, given.logits, photos.names(), 1e-4)
        assert found.agrees is (spoilt == "nothing")


@pytest.mark.sweep
class TestPaddle:
    @pytest.mark.parametrize(
        ("ir", "structure"), [("pir", "inference.json"), ("old", "inference.pdmodel")]
    )
    def test_export(self, source, tmp_path, ir, structure):
        receipt = export_bundle(
            source, "paddle", tmp_path / "out", options={"ir": ir}, num_photos=5
        )
        assert {structure, "inference.pdiparams", "parity.json", "labels.txt"} <= set(receipt.files)
        export = Bundle.load(tmp_path / "out")
        assert export.manifest.export["engine"] == "paddle_inference"
        pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
        np.testing.assert_allclose(
            bundle_predictor(export)(pixels), bundle_predictor(source)(pixels), rtol=1e-4, atol=1e-5
        )

    def test_resized_feature_maps(self, make_bundle, tmp_path):
        export_bundle(
            make_bundle(tmp_path / "bundle", "TinyResize"), "paddle", tmp_path / "out", num_photos=3
        )
        import paddle

        log = (tmp_path / "out" / "export.log").read_text()
        assert ("note: oneDNN is off for inference.json" in log) is paddle.__version__.startswith(
            "3.3."
        )

    def test_a_model_that_gives_more_than_logits(self, make_bundle, tmp_path):
        with pytest.raises(
            ExportError, match=r"should return logits \[N, 3\] and nothing else.*returns a tuple"
        ):
            export_bundle(make_bundle(tmp_path / "bundle", "TwoHeads"), "paddle", tmp_path / "out")


def shape(value):
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
