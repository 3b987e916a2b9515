"""The engines on small graphs written by hand, and what they say when something is missing."""

import subprocess
import sys

import numpy as np
import pytest
from ppclas_core.bundle import Architecture, Bundle, Manifest, Preprocessing, write_manifest
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import BundleError, MissingDependencyError
from ppclas_core.plugins import get_registries
from ppclas_deploy.cpus import usable_cpus
from ppclas_deploy.engines.onnxruntime import OnnxRuntimeEngine
from ppclas_deploy.engines.paddle_inference import has_resize, onednn_crashes

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

SIZE = (4, 5)


@pytest.fixture
def weights():
    return np.random.default_rng(3).normal(size=(3 * 4 * 5, 2)).astype(np.float32)


@pytest.fixture
def export(tmp_path, weights) -> Bundle:
    """A linear classifier as an ONNX export, made without any exporter."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder = tmp_path / "export"
    folder.mkdir()
    onnx.save(model, str(folder / "model.onnx"))
    write_manifest(folder, manifest())
    return Bundle.load(folder)


def manifest(**facts) -> Manifest:
    return Manifest(
        kind="export",
        architecture=Architecture(name="Linear", num_classes=2),
        preprocessing=Preprocessing(
            image_size=SIZE, transforms=(ComponentConfig(name="Resize", size=SIZE),)
        ),
        labels=("a", "b"),
        export={"engine": "onnxruntime", "model": "model.onnx", **facts},
    )


@pytest.mark.parametrize("count", [1, 6])
def test_onnxruntime_computes_what_the_graph_says(export, weights, count):
    images = np.random.default_rng(count).normal(size=(count, 3, *SIZE)).astype(np.float32)
    engine = get_registries().engines.build("onnxruntime", threads=1)
    engine.load(export)
    np.testing.assert_allclose(
        engine.logits(images), images.reshape(count, -1) @ weights, rtol=1e-5, atol=1e-5
    )
    assert engine.versions()["provider"] == "CPUExecutionProvider"


def test_onnxruntime_runs_without_paddle(export):
    code = (
        "import sys\n"
        "sys.modules['paddle'] = None\n"  # importing it raises
        "import numpy as np\n"
        "from ppclas_core.bundle import Bundle\n"
        "from ppclas_engine.results.predictors import bundle_predictor\n"
        f"predict = bundle_predictor(Bundle.load({str(export.folder)!r}))\n"
        "print(predict(np.zeros((2, 4, 5, 3), np.uint8)).shape)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == "(2, 2)\n", ran.stderr


def test_a_provider_that_is_not_there_is_an_error(export):
    with pytest.raises(
        MissingDependencyError,
        match=r"has no QuantumExecutionProvider; it has .*CPUExecutionProvider",
    ):
        OnnxRuntimeEngine(provider="QuantumExecutionProvider").load(export)


def test_a_provider_that_falls_back_is_an_error(export, monkeypatch):
    """As onnxruntime-gpu does where CUDA's libraries are missing: listed, then silently not
    used.
    """
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: real(path, options, ["CPUExecutionProvider"]),
    )
    with pytest.raises(
        MissingDependencyError,
        match="lists CUDAExecutionProvider but fell back to CPUExecutionProvider",
    ):
        OnnxRuntimeEngine(provider="CUDAExecutionProvider").load(export)


def test_a_file_that_is_no_model_is_an_error(export):
    (export.folder / "model.onnx").write_bytes(b"no model")
    write_manifest(export.folder, manifest())
    with pytest.raises(BundleError, match=r"model.onnx does not load in onnxruntime [0-9.]+: "):
        OnnxRuntimeEngine().load(Bundle.load(export.folder))


def test_a_changed_file_is_noticed_by_its_hash(export):
    model = export.folder / "model.onnx"
    content = bytearray(model.read_bytes())
    content[-100] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError, match="is not the file that"):
        Bundle.load(export.folder)


def test_a_missing_package_names_the_extra(export, monkeypatch):
    from ppclas_deploy import dependencies

    real = dependencies.importlib.util.find_spec
    monkeypatch.setattr(
        dependencies.importlib.util,
        "find_spec",
        lambda name: None if name == "onnxruntime" else real(name),
    )
    with pytest.raises(MissingDependencyError, match=r'pip install "ppclas-deploy\[onnx\]"'):
        OnnxRuntimeEngine().load(export)


@pytest.mark.parametrize(
    ("version", "crashes"),
    [("3.0.0", False), ("3.1.1", False), ("3.2.2", False), ("3.3.0", True), ("3.3.1", True)],
)
def test_known_bad_releases(version, crashes):
    assert onednn_crashes(version) is crashes


@pytest.mark.parametrize(
    ("op", "found"),
    [
        ("bilinear_interp", True),
        ("nearest_interp", True),
        ("conv2d", False),
        ("my_bilinear_interpreter", False),
    ],
)
def test_resize_operators_are_found_in_a_program(tmp_path, op, found):
    program = tmp_path / "inference.json"
    program.write_text(f'{{"base_code":{{}},"ops":[{{"#":"1.{op}","A":[]}}]}}')
    assert has_resize(program) is found


def test_eight_bit_weights_on_a_cpu_that_overflows_are_noted(export, monkeypatch, capsys):
    from ppclas_deploy.engines import onnxruntime

    write_manifest(export.folder, manifest(quantization={"weight_bits": 8}))
    monkeypatch.setattr(onnxruntime, "has_vnni", lambda: True)
    OnnxRuntimeEngine().load(Bundle.load(export.folder))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(onnxruntime, "has_vnni", lambda: False)
    OnnxRuntimeEngine().load(Bundle.load(export.folder))
    assert "can overflow on this CPU (x86 without VNNI)" in capsys.readouterr().err


def test_cpus_are_those_of_this_process():
    assert usable_cpus() >= 1
