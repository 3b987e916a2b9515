"""Every target that can run here, converted and answered in this process, and each way of spoiling
it caught.
"""

import json
import os
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.bundle import Bundle, write_manifest
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import (
    BundleError,
    ConfigError,
    ExportError,
    MissingDependencyError,
    ParityError,
    PpclasError,
)
from ppclas_core.files import sha256
from ppclas_core.registry import resolve
from ppclas_deploy import parity
from ppclas_deploy.export import export_bundle, make_exporter
from ppclas_deploy.lite.interpreters import find_runtime, make_ready
from ppclas_deploy.photos import choose_photos
from ppclas_deploy.worker import STEPS
from ppclas_engine.scoring.predictors import bundle_predictor

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("paddle", reason="needs the extra [cpu]")
pytestmark = pytest.mark.slow

CASES = {
    "openvino": ("openvino", {}),
    "openvino, pixels in": ("openvino", {"with_preprocess": True, "batch": 2}),
    "onnx, pixels in": ("onnx", {"with_preprocess": True, "image_size": (32, 48)}),
    "onnx, half": ("onnx", {"fp16": True}),
    "paddle": ("paddle", {}),
    "paddle, old": ("paddle", {"ir": "old"}),
    "paddle, pixels in": ("paddle", {"with_preprocess": True}),
    "serving": ("serving", {}),
    "triton": ("triton", {"batch": 3}),
    "triton, ensemble": ("triton", {"ensemble": True}),
    "trt": ("trt", {}),
    "lite": ("lite", {}),
    "lite, int8": ("lite", {"weights": "int8", "with_preprocess": True, "batch": 2}),
    "lite, pixels in": ("lite", {"with_preprocess": True, "place": "x86"}),
}


def take_marks_out(folder):
    from deploy_test_targets import take_marks_out

    take_marks_out(folder)


@contextmanager
def empty_folder():
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


@pytest.fixture(scope="module")
def here():
    """Steps run in this process: starting Paddle takes longer than all of a test. Processes have
    tests of their own.
    """

    one_at_a_time = (
        threading.Lock()
    )  # the model answers while the converter works, and the working folder is everyone's

    def run(step, job, log, timeout, stop=None):
        with one_at_a_time, empty_folder():
            return resolve(STEPS[step])(json.loads(json.dumps(job)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "run_isolated", run)
        for step in ("onnx", "openvino", "paddle", "serving", "triton", "trt", "lite"):
            patch.setattr(sys.modules[resolve(STEPS[step]).__module__], "run_isolated", run)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory, outside_plugin, make_bundle) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("source") / "bundle")


@pytest.fixture(scope="module")
def exported(source, here, tmp_path_factory):
    """Export a case, once."""
    done: dict[str, Bundle] = {}

    def get(case):
        if case not in done:
            target, options = CASES[case]
            if target == "openvino":
                pytest.importorskip("openvino", reason="needs the extra [openvino]")
            if target == "lite":
                need_lite(tmp_path_factory)
            folder = tmp_path_factory.mktemp("exports") / "out"
            done[case] = Bundle.load(
                export_bundle(source, target, folder, options=options, num_photos=5).folder
            )
        return done[case]

    return get


def need_lite(tmp_path_factory):
    try:
        make_ready(find_runtime(computing=True), tmp_path_factory.mktemp("lite") / "log")
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("case", CASES)
def test_it_answers_as_the_model(case, exported, source, here):
    export = exported(case)
    facts = export.manifest.export
    report = json.loads((export.folder / "parity.json").read_text())
    assert report["verdict"] == "agrees"
    assert report["top1_agreement"] == 1.0
    assert {name: sha256(export.folder / name) for name in report["files"]} == report["files"]
    if "verified_with" in facts:
        assert "not run" in report["verified"]
        return
    pixels = np.random.default_rng(0).integers(0, 256, (5, *export.image_size, 3), dtype=np.uint8)
    expected = source.probabilities(bundle_predictor(source)(pixels))
    given = export.probabilities(bundle_predictor(export)(pixels))
    np.testing.assert_allclose(given, expected, atol=3e-3 if "half" in case else 1e-5)


def test_receipts_say_what_was_not_run(exported):
    said = {
        case: exported(case).manifest.export["verified"]
        for case in ("serving", "triton, ensemble", "trt", "lite")
    }
    assert said["serving"].endswith("Paddle Serving itself was not run")
    assert said["triton, ensemble"].endswith("Triton itself was not run")
    assert "so TensorRT and fp16 were not run" in said["trt"]
    assert said["lite"].endswith("model.nb itself (arm) was converted and not run")


def test_an_int8_nb_holds_the_weights_that_its_second_twin_was_asked_with(exported, source):
    """model.nb cannot run here; that it has these integers can be seen."""
    from ppclas_core.weights import read_state

    export, state = exported("lite, int8"), read_state(source.weights_file)
    stored = (export.folder / "model.nb").read_bytes()
    for name, others in (("conv.weight", (1, 2, 3)), ("fc.weight", (0,))):
        weights = state[name]
        integers = np.rint(weights / (np.abs(weights).max(axis=others, keepdims=True) / 127))
        assert integers.astype(np.int8).tobytes() in stored
    facts = export.manifest.export
    assert 0 < facts["rounding"]["max_rel_diff"] < 0.2
    assert facts["rounding"]["changed"] == 0
    assert "Its int8 weights, in rounded-x86.nb, change a logit by up to" in facts["verified"]
    assert (export.folder / "rounded-x86.nb").read_bytes() != (
        export.folder / "twin-x86.nb"
    ).read_bytes()


def test_a_trt_export_never_runs_on_the_cpu(exported):
    with pytest.raises(
        MissingDependencyError, match=r"is for TensorRT; without a GPU export with --target onnx"
    ):
        bundle_predictor(exported("trt"))


def test_the_models_inside_a_triton_ensemble(exported):
    repository = exported("triton, ensemble").folder / "model_repository"
    assert sorted(path.name for path in repository.iterdir()) == [
        "Tiny",
        "Tiny_network",
        "Tiny_prepare",
    ]
    config = (repository / "Tiny" / "config.pbtxt").read_text()
    assert 'platform: "ensemble"' in config
    assert "TYPE_UINT8" in config
    assert "dynamic_batching" in (repository / "Tiny_network" / "config.pbtxt").read_text()
    fixed = exported("triton").folder / "model_repository" / "Tiny" / "config.pbtxt"
    assert "max_batch_size: 0" in fixed.read_text()


def test_labels_travel_with_the_model(exported):
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(str(exported("openvino").folder / "model.xml"))
    assert json.loads(model.get_rt_info(["ppclas", "labels"]).astype(str)) == [
        "pear",
        "oat milk",
        "番茄",
    ]
    facts = {
        entry.key: json.loads(entry.value)
        for entry in onnx.load(
            str(exported("onnx, pixels in").folder / "model.onnx")
        ).metadata_props
    }
    assert facts["labels"] == ["pear", "oat milk", "番茄"]
    assert (facts["input"], facts["output"]) == ("pixels", "probabilities")
    assert facts["preprocessing"]["image_size"] == [32, 48]


CHANGES = {
    "labels": lambda m: m.replace(labels=m.labels[::-1]),
    "activation": lambda m: m.replace(activation="sigmoid"),
    "task": lambda m: m.replace(task="multilabel"),
    "thresholds": lambda m: m.replace(thresholds=(0.1, 0.2, 0.3)),
    "mean": lambda m: with_preprocessing(
        m, normalize=m.preprocessing.normalize.replace(mean=(0.5, 0.456, 0.406))
    ),
    "std": lambda m: with_preprocessing(
        m, normalize=m.preprocessing.normalize.replace(std=(0.5, 0.224, 0.225))
    ),
    "transforms": lambda m: with_preprocessing(m, transforms=m.preprocessing.transforms[1:]),
    "output": lambda m: m.replace(
        export=m.export | {"output": {"logits": "probabilities"}.get(m.export["output"], "logits")}
    ),
    "input": lambda m: m.replace(
        export=m.export | {"input": {"images": "pixels"}.get(m.export["input"], "images")}
    ),
}
"""What could be changed in a bundle.json without another file being touched."""


def with_preprocessing(manifest, **changes):
    return manifest.replace(preprocessing=manifest.preprocessing.replace(**changes))


@pytest.mark.parametrize("receipts", ["kept", "taken out"])
@pytest.mark.parametrize("case", [case for case in CASES if case != "trt"])
def test_no_change_of_the_meaning_answers_on(case, receipts, exported, tmp_path):
    """Even with seals and hashes made anew, and with the receipts taken out."""
    stored = exported(case)
    for name, change in CHANGES.items():
        folder = tmp_path / name
        shutil.copytree(stored.folder, folder)
        (folder / "labels.txt").unlink()
        if receipts == "taken out":
            (folder / "parity.json").unlink()
            if not case.startswith("lite"):  # a .nb has no place for the mark: the proof is it
                (folder / "proof.safetensors").unlink()
        write_manifest(folder, stored.manifest.replace(files={}))
        bundle_predictor(Bundle.load(folder))  # what was taken out was not needed
        write_manifest(folder, change(stored.manifest.replace(files={})))
        with pytest.raises(BundleError, match=r"bundle\.json was changed after it was written"):
            bundle_predictor(Bundle.load(folder))


def test_the_mark_of_a_trt_export_is_checked_before_a_gpu_is_looked_for(exported, tmp_path):
    stored = exported("trt")
    shutil.copytree(stored.folder, tmp_path / "out")
    (tmp_path / "out" / "parity.json").unlink()
    write_manifest(tmp_path / "out", stored.manifest.replace(activation="none", files={}))
    with pytest.raises(BundleError, match=r"model\.onnx was made with other labels"):
        bundle_predictor(Bundle.load(tmp_path / "out"))


def test_an_export_from_before_the_marks_answers(exported, tmp_path):
    stored = exported("openvino")
    shutil.copytree(stored.folder, tmp_path / "out")
    take_marks_out(tmp_path / "out")
    (tmp_path / "out" / "parity.json").unlink()
    write_manifest(tmp_path / "out", stored.manifest.replace(files={}))
    bundle_predictor(Bundle.load(tmp_path / "out"))


TAMPERED = ["openvino", "triton, ensemble", "serving", "lite"]


class TestTampering:
    """The export is changed between conversion and check: it must be refused, and nothing be left
    of it.
    """

    @pytest.fixture
    def refused(self, exported, source, tmp_path):
        """Export a case that was converted before, after ``change(folder)``; the words of the
        refusal.
        """

        def attempt(case, change=lambda folder: None, **claims):
            options = {"source": exported(case).folder, "change": change, "claims": claims}
            with pytest.raises(PpclasError) as caught:
                export_bundle(source, "stored", tmp_path / "out", options=options, num_photos=5)
            assert [path.name for path in tmp_path.iterdir()] in ([], ["out.log"])
            assert isinstance(caught.value, ParityError), caught.value
            return str(caught.value)

        return attempt

    @pytest.mark.parametrize("case", TAMPERED)
    def test_one_flipped_weight(self, case, refused, source):
        from ppclas_core.weights import read_state

        weights = read_state(source.weights_file)["conv.weight"].tobytes()

        def flip(folder):
            files = [
                path
                for path in folder.rglob("*")
                if path.is_file() and weights in path.read_bytes()
            ]
            assert files, "the weights are stored in another way"
            for file in files:
                content = bytearray(file.read_bytes())
                # The sign bit of the hundredth number, little-endian.
                content[content.find(weights) + 4 * 100 + 3] ^= 0x80
                file.write_bytes(content)

        assert "does not give the trained model's answers" in refused(case, flip)

    @pytest.mark.parametrize("case", TAMPERED)
    @pytest.mark.parametrize("spoilt", ["nothing", "mean", "channels"])
    def test_photos_are_prepared_as_the_export_says(
        self, case, spoilt, exported, source, tmp_path, here
    ):
        """What is wrong in ``bundle.json`` shows in the answers of every engine."""
        stored = exported(case)
        shutil.copytree(stored.folder, tmp_path / "out")
        preprocessing = stored.manifest.preprocessing
        if spoilt == "mean":
            normalize = preprocessing.normalize.replace(mean=(0.5, 0.456, 0.406))
            preprocessing = preprocessing.replace(normalize=normalize)
        if spoilt == "channels":
            transforms = (*preprocessing.transforms, ComponentConfig(name="SwapChannels"))
            preprocessing = preprocessing.replace(transforms=transforms)
        manifest = stored.manifest.replace(preprocessing=preprocessing, files={})
        (tmp_path / "out" / "parity.json").unlink()  # as while an export is made
        take_marks_out(tmp_path / "out")
        write_manifest(tmp_path / "out", manifest)
        photos, log = choose_photos(source, None, 5), tmp_path / "log"
        model = parity.ask_model(source, photos, log, 300)
        given = parity.ask_export(tmp_path / "out", photos, log, 300)
        activate = None if manifest.export["output"] == "logits" else source.probabilities
        found = parity.compare(model.logits, given.logits, photos.names(), 1e-4, activate)
        # The ensemble normalises by constants of its own: bundle.json's mean is not asked.
        inside = case == "triton, ensemble" and spoilt == "mean"
        assert found.agrees is (spoilt == "nothing" or inside)

    def test_a_wrong_mean_inside(self, refused):
        def shift(folder):
            path = folder / "model_repository" / "Tiny_prepare" / "1" / "model.onnx"
            model = onnx.load(str(path))
            tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "shift")
            values = onnx.numpy_helper.to_array(tensor) + np.float32(0.07)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "shift"))
            onnx.save(model, str(path))

        refused("triton, ensemble", shift)

    @pytest.mark.parametrize(
        ("case", "claim"),
        [("openvino", "probabilities"), ("lite", "probabilities"), ("serving", "logits")],
    )
    def test_an_activation_too_few_or_too_many(self, case, claim, refused):
        refused(case, output=claim)

    def test_a_configuration_that_does_not_fit_its_model(self, exported, source, tmp_path):
        folder = tmp_path / "export"
        shutil.copytree(exported("triton").folder, folder)
        config = folder / "model_repository" / "Tiny" / "config.pbtxt"
        config.write_text(config.read_text().replace('name: "images"', 'name: "image"'))
        (folder / "parity.json").unlink()  # whose verdict is about the one before
        write_manifest(folder, Bundle(folder, exported("triton").manifest, folder).manifest)
        with pytest.raises(
            PpclasError, match=r"config.pbtxt says input \[\('image', .*the model has \[\('images'"
        ):
            bundle_predictor(Bundle.load(folder))


class TestBeforeAnythingHeavy:
    def test_options_that_do_not_go_together(self):
        for target, options, message in (
            ("triton", {"ensemble": True, "with_preprocess": True}, "take one of them"),
            ("triton", {"tensorrt": True}, "needs a GPU"),
            ("trt", {"precision": "int8"}, "go together"),
        ):
            with pytest.raises(ExportError, match=message):
                make_exporter(target, options).check()

    def test_half_precision_has_a_tolerance_of_its_own_unless_told(self):
        assert make_exporter("onnx", {}).accepted({}) == 1e-4
        assert make_exporter("onnx", {"fp16": True}).accepted({}) == 0.03
        assert make_exporter("onnx", {"fp16": True, "tolerance": 1e-3}).accepted({}) == 1e-3
        assert make_exporter("trt", {}).accepted({"verified_with": "onnxruntime"}) == 1e-4
        assert make_exporter("trt", {}).accepted({}) == 0.03

    def test_a_normalised_pipeline_cannot_go_inside(self, source, tmp_path):
        preprocessing = source.manifest.preprocessing
        transforms = (*preprocessing.transforms, ComponentConfig(name="Normalize"))
        manifest = source.manifest.replace(
            preprocessing=preprocessing.replace(transforms=transforms)
        )
        bundle = Bundle(source.folder, manifest, source.weights_file)
        with pytest.raises(
            ExportError, match=r"needs transforms that end in RGB pixels .*'s end in float32"
        ):
            make_exporter("onnx", {"with_preprocess": True}).interface(bundle)

    def test_image_size_is_checked(self, source, tmp_path):
        with pytest.raises(ConfigError, match="option 'image_size"):
            make_exporter("onnx", {"image_size": -5})
