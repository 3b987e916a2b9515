"""Exports from start to finish: what they hold, and that one with other answers is never
finished.
"""

import json
import os
import re
import shutil

import numpy as np
import pytest
from ppclas_core.bundle import Bundle
from ppclas_core.errors import BundleError, ConfigError, ExportError, ParityError, UnknownNameError
from ppclas_core.files import sha256
from ppclas_deploy import export as flow
from ppclas_deploy import parity
from ppclas_deploy.export import default_output, export_bundle, make_exporter
from ppclas_deploy.exporters.onnx import OnnxExporter
from ppclas_deploy.photos import choose_photos
from ppclas_engine.results.predict import predict
from ppclas_engine.results.predictors import bundle_predictor

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
    return parity.ask_model(
        source, choose_photos(source, None, 8), tmp_path_factory.mktemp("logs") / "log", 300
    )


@pytest.fixture
def stored_onnx(onnx_export, model_answers, monkeypatch):
    """Let the exporter take the file that is there, changed by a function; every start of Paddle
    takes seconds.
    """
    monkeypatch.setattr(parity, "ask_model", lambda *_: model_answers)

    def install(change=lambda model: None):
        def export(self, bundle, folder):
            model = onnx.load(str(onnx_export.folder / "model.onnx"))
            change(model)
            onnx.save(model, str(folder / "model.onnx"))
            (folder / "export.log").write_text("converted\n")
            return {"engine": "onnxruntime", "model": "model.onnx", "batch": None}

        monkeypatch.setattr(OnnxExporter, "export", export)

    return install


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


@pytest.mark.slow
class TestTampering:
    """The conversion is changed on its way to the check: each time nothing that looks finished may
    be left.
    """

    def refused(self, source, tmp_path):
        with pytest.raises(
            ParityError, match=r"does not give the trained model's answers: .*Log: "
        ) as caught:
            export_bundle(source, "onnx", tmp_path / "out", num_photos=8)
        assert [path.name for path in tmp_path.iterdir()] == ["out.log"]
        return str(caught.value)

    def test_untouched_it_passes(self, source, tmp_path, stored_onnx):
        stored_onnx()
        assert export_bundle(source, "onnx", tmp_path / "out", num_photos=8).parity.agrees

    def test_one_flipped_weight(self, source, tmp_path, stored_onnx):
        def flip(model):
            tensor = next(t for t in model.graph.initializer if list(t.dims) == [16, 8, 3, 3])
            weights = onnx.numpy_helper.to_array(tensor).copy()
            weights[5, 2, 1, 1] *= -1
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))

        stored_onnx(flip)
        self.refused(source, tmp_path)

    @staticmethod
    def stretch(model):
        tensor = next(t for t in model.graph.initializer if list(t.dims) == [16, 8, 3, 3])
        weights = onnx.numpy_helper.to_array(tensor) * np.float32(1.0005)
        tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))

    def test_weights_a_trifle_too_large(self, source, tmp_path, stored_onnx):
        """A narrow miss: double precision says that it is not the model's own rounding."""
        stored_onnx(self.stretch)
        message = self.refused(source, tmp_path)
        own = float(
            re.search(
                r"from double precision, where the model's own is (\S+) \(tolerance 0\.0001\)",
                message,
            )[1]
        )
        assert own < 1e-5

    def test_a_model_that_double_precision_cannot_ask_says_why(
        self, source, tmp_path, stored_onnx, monkeypatch
    ):
        def cannot(*args):
            raise ExportError("the reference step failed: no float64 kernel")

        stored_onnx(self.stretch)
        monkeypatch.setattr(flow.parity, "ask_model_exactly", cannot)
        message = self.refused(source, tmp_path)
        assert (
            "accepts it. (In double precision: the reference step failed: no float64 kernel)"
            in message
        )

    def test_blue_for_red(self, source, tmp_path, stored_onnx):
        def swap(model):
            tensor = next(t for t in model.graph.initializer if list(t.dims) == [8, 3, 3, 3])
            weights = onnx.numpy_helper.to_array(tensor)[:, ::-1]
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.ascontiguousarray(weights), tensor.name)
            )

        stored_onnx(swap)
        self.refused(source, tmp_path)

    def test_a_softmax_in_the_graph(self, source, tmp_path, stored_onnx):
        def squash(model):
            for node in model.graph.node:
                node.output[:] = ["raw" if name == "logits" else name for name in node.output]
            model.graph.node.append(onnx.helper.make_node("Softmax", ["raw"], ["logits"], axis=1))

        stored_onnx(squash)
        self.refused(source, tmp_path)

    def test_a_wrong_mean(self, source, tmp_path, stored_onnx, monkeypatch):
        real = flow.export_manifest

        def wrong(*args):
            manifest = real(*args)
            preprocessing = manifest.preprocessing
            normalize = preprocessing.normalize.replace(mean=(0.5, 0.456, 0.406))
            return manifest.replace(preprocessing=preprocessing.replace(normalize=normalize))

        stored_onnx()
        monkeypatch.setattr(flow, "export_manifest", wrong)
        self.refused(source, tmp_path)

    def test_an_export_that_is_there_survives_a_failing_one(
        self, source, onnx_export, tmp_path, stored_onnx
    ):
        shutil.copytree(onnx_export.folder, tmp_path / "out")
        stored_onnx()
        with pytest.raises(ParityError):
            export_bundle(
                source,
                "onnx",
                tmp_path / "out",
                options={"tolerance": 1e-12},
                overwrite=True,
                num_photos=8,
            )
        assert Bundle.load(tmp_path / "out").manifest == onnx_export.manifest


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


class TestBeforeAnythingHeavy:
    """Mistakes that show at once."""

    def test_unknown_target(self, source, tmp_path):
        with pytest.raises(
            UnknownNameError, match=r"Unknown export target 'onxx'. Did you mean 'onnx'"
        ):
            export_bundle(source, "onxx", tmp_path / "out")

    def test_option_of_another_target(self):
        with pytest.raises(
            ConfigError, match=r"paddle has no option 'opset'. It takes: batch, image_size, ir, "
        ):
            make_exporter("paddle", {"opset": 17})

    def test_option_with_a_wrong_value(self):
        with pytest.raises(
            ConfigError, match=r"target paddle: option 'ir': .*'pir' or 'old' \(got 'new'\)"
        ):
            make_exporter("paddle", {"ir": "new"})

    def test_a_folder_that_is_no_export_is_never_replaced(self, source, tmp_path):
        (tmp_path / "thesis.txt").write_text("years of work")
        with pytest.raises(ExportError, match="exists and is no export, so it is not replaced"):
            export_bundle(source, "onnx", tmp_path, overwrite=True)
        with pytest.raises(ExportError, match="exists and is no export"):
            export_bundle(source, "onnx", source.folder, overwrite=True)
        assert (tmp_path / "thesis.txt").read_text() == "years of work"

    def test_an_export_is_replaced_only_when_told(self, source, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        manifest = source.manifest.replace(
            kind="export", export={"engine": "onnxruntime"}, files={}
        )
        (out / "bundle.json").write_text(manifest.model_dump_json())
        with pytest.raises(
            ExportError, match=r"holds an export already. Replace it with --overwrite"
        ):
            export_bundle(source, "onnx", out)

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
    def test_a_folder_that_cannot_be_written(self, source, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(ExportError, match=r"cannot be written.*-o"):
            export_bundle(source, "onnx", tmp_path / "out")

    def test_where_exports_go(self, source, tmp_path):
        assert default_output(source, "onnx") == source.folder.parent / "bundle-onnx"
        assert str(default_output(source, "onnx", "MobileNetV2")) == "MobileNetV2-onnx"
        run = tmp_path / "run"
        shutil.copytree(source.folder, run / "bundle")
        (run / "config.yaml").touch()
        assert default_output(Bundle.load(run), "onnx") == run / "export-onnx"


def shape(value):
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
