"""What is refused before anything heavy, and what a failing export leaves: nothing new."""

import shutil

import pytest
from ppclas_core.bundle import Bundle
from ppclas_core.errors import ConfigError, ExportError, UnknownNameError
from ppclas_core.files import sha256
from ppclas_deploy.export import (
    check_output,
    default_output,
    export_bundle,
    export_manifest,
    make_exporter,
)

pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("paddle", reason="needs the extra [cpu]")


@pytest.fixture(scope="module")
def source(tmp_path_factory, outside_plugin, make_bundle) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("source") / "bundle")


class TestFailing:
    """What an exporter leaves that raises."""

    @pytest.mark.parametrize("words", ["", "line 1\nline 2\n"])
    def test_nothing_is_left_but_what_it_said(self, source, tmp_path, words):
        with pytest.raises(ExportError, match=r"^the converter gave up\.") as caught:
            export_bundle(source, "silent", tmp_path / "out", options={"words": words})
        log = tmp_path / "out.log"
        assert [path.name for path in tmp_path.iterdir()] == (["out.log"] if words else [])
        assert str(caught.value).endswith(f" Log: {log}" if words else "gave up.")
        if words:
            assert log.read_text().startswith(words)

    def test_an_older_export_is_as_it_was(self, source, make_export, tmp_path):
        older = make_export(tmp_path / "out")
        before = {path.name: path.read_bytes() for path in older.folder.iterdir()}
        with pytest.raises(ExportError, match="gave up"):
            export_bundle(source, "silent", tmp_path / "out", overwrite=True)
        assert {path.name: path.read_bytes() for path in older.folder.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


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

    @pytest.mark.parametrize("name", ["file/out", "file"])
    def test_a_place_where_no_folder_can_be(self, source, tmp_path, name):
        (tmp_path / "file").write_text("years of work")
        with pytest.raises(ExportError, match=r"(cannot be written.*|is no export.*)-o\."):
            export_bundle(source, "onnx", tmp_path / name)
        assert (tmp_path / "file").read_text() == "years of work"

    def test_an_empty_folder_is_as_good_as_none(self, tmp_path):
        (tmp_path / "empty").mkdir()
        check_output(tmp_path / "empty", overwrite=False)
        check_output(tmp_path / "none", overwrite=False)

    def test_a_link_to_nowhere_is_not_replaced(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        with pytest.raises(ExportError, match="exists and is no export"):
            check_output(tmp_path / "link", overwrite=True)

    def test_a_manifest_of_another_version_is_not_touched(self, make_export, tmp_path):
        export = make_export(tmp_path / "out")
        (export.folder / "bundle.json").write_text('{"format": 999}')
        with pytest.raises(ExportError, match="is no bundle of this version, so it is not touched"):
            check_output(export.folder, overwrite=True)

    def test_an_older_export_may_go_when_told(self, make_export, tmp_path):
        export = make_export(tmp_path / "out")
        check_output(export.folder, overwrite=True)
        with pytest.raises(ExportError, match="holds an export already"):
            check_output(export.folder, overwrite=False)

    def test_what_an_export_says_of_its_source(self, source):
        made = export_manifest(source, "abacus", {"engine": "beads", "model": "m"})
        assert made.kind == "export"
        assert made.export == {
            "target": "abacus",
            "weights_sha256": sha256(source.weights_file),
            "engine": "beads",
            "model": "m",
        }
        assert made.preprocessing == source.manifest.preprocessing
        assert made.labels == source.labels

    def test_where_exports_go(self, source, tmp_path):
        assert default_output(source, "onnx") == source.folder.parent / "bundle-onnx"
        assert str(default_output(source, "onnx", "MobileNetV2")) == "MobileNetV2-onnx"
        run = tmp_path / "run"
        shutil.copytree(source.folder, run / "bundle")
        (run / "config.yaml").touch()
        assert default_output(Bundle.load(run), "onnx") == run / "export-onnx"
