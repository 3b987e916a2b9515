"""The engines on small graphs written by hand, and what they say when something is missing."""

import numpy as np
import pytest
from ppclas_core.bundle import Bundle, write_manifest
from ppclas_core.errors import BundleError, MissingDependencyError, ShapeError
from ppclas_core.plugins import get_registries
from ppclas_deploy.cpus import has_vnni, usable_cpus
from ppclas_deploy.dependencies import load, need
from ppclas_deploy.engines.onnxruntime import OnnxRuntimeEngine, TensorRTEngine, make_session
from ppclas_deploy.engines.paddle_inference import has_resize, has_windows, onednn_crashes
from ppclas_deploy.engines.tensorrt import provider_options

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

SIZE = (4, 5)


def random_images(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3, *SIZE)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_onnx_file_is_computed_as_the_graph_says(export, weights, engine, count):
    if engine == "openvino":
        pytest.importorskip("openvino", reason="needs the extra [openvino]")
    images = random_images(count)
    engine = get_registries().engines.build(engine, threads=1)
    engine.load(export)
    expected = images.reshape(count, -1) @ weights
    first = engine.logits(images)
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-5)
    assert first.dtype == np.float32
    engine.logits(images * 2)
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-5)  # its own, not the session's


def test_versions_say_what_ran(export):
    import onnxruntime

    engine = OnnxRuntimeEngine(threads=1)
    engine.load(export)
    assert engine.versions() == {
        "onnxruntime": onnxruntime.__version__,
        "provider": "CPUExecutionProvider",
    }


def test_openvino_computes_in_single_precision_whatever_the_cpu_likes(export):
    openvino = pytest.importorskip("openvino", reason="needs the extra [openvino]")
    engine = get_registries().engines.build("openvino", threads=1)
    engine.load(export)
    assert engine.versions() == {
        "openvino": openvino.get_version().split("-")[0],
        "device": "CPU",
    }
    compiled = engine._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


class TestBatches:
    """An export with a fixed batch size is asked for any number of images."""

    @pytest.fixture
    def fours(self, export, rewrite):
        """An engine for batches of 4."""
        engine = get_registries().engines.build("linear")
        engine.load(rewrite(export, engine="linear", model="weights.npy", batch=4))
        return engine

    @pytest.mark.parametrize(
        ("count", "batches"), [(1, [4]), (4, [4]), (5, [4, 4]), (9, [4, 4, 4])]
    )
    def test_the_last_batch_is_filled_up(self, fours, weights, count, batches):
        images = random_images(count)
        answers = fours.logits(images)
        assert fours.batches == batches
        np.testing.assert_allclose(answers, images.reshape(count, -1) @ weights, atol=1e-5)

    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((1, 3, 5, 4), np.float32),
            np.zeros((1, 3, *SIZE), np.float64),
            np.zeros((3, *SIZE), np.float32),
            np.zeros((0, 3, *SIZE), np.float32),
        ],
    )
    def test_other_images_are_refused(self, fours, images):
        with pytest.raises(ShapeError, match=r"takes float32 images \[N, 3, 4, 5\]; got float"):
            fours.logits(images)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_are_turned_back_into_logits(export, weights, activation):
    """Up to a constant an image for softmax, which cannot be known."""
    images = random_images(3) * 0.2
    wanted = images.reshape(3, -1) @ weights
    helper = onnx.helper
    model = onnx.load(str(export.folder / "model.onnx"))
    model.graph.node[1].output[0] = "raw"
    name = activation.title()
    attributes = {"axis": 1} if activation == "softmax" else {}
    model.graph.node.append(helper.make_node(name, ["raw"], ["logits"], **attributes))
    onnx.save(model, str(export.folder / "model.onnx"))
    manifest = export.manifest.replace(
        activation=activation, export={**export.manifest.export, "output": "probabilities"}
    )
    write_manifest(export.folder, manifest.replace(files={}))
    engine = OnnxRuntimeEngine()
    engine.load(Bundle.load(export.folder))
    given = engine.logits(images)
    if activation == "softmax":
        given, wanted = given - given[:, :1], wanted - wanted[:, :1]
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)


class TestWithout:
    """What is said where something is not installed."""

    def test_onnxruntime_runs_without_paddle(self, export, python):
        said = python(
            "import sys\n"
            "sys.modules['paddle'] = None\n"  # importing it raises
            "import numpy as np\n"
            "from ppclas_core.bundle import Bundle\n"
            "from ppclas_engine.scoring.predictors import bundle_predictor\n"
            f"predict = bundle_predictor(Bundle.load({str(export.folder)!r}))\n"
            "print(predict(np.zeros((2, 4, 5, 3), np.uint8)).shape)\n"
        )
        assert said == "(2, 2)\n"

    @pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
    def test_a_missing_package_names_the_extra(self, export, python, package):
        extra = {"onnxruntime": "onnx", "openvino": "openvino"}[package]
        said = python(
            f"import sys\nsys.modules[{package!r}] = None\n"
            "from ppclas_core.bundle import Bundle\n"
            "from ppclas_core.plugins import get_registries\n"
            f"engine = get_registries().engines.build({package!r})\n"
            f"engine.load(Bundle.load({str(export.folder)!r}))\n",
            code=1,
        )
        last = said.strip().splitlines()[-1]
        assert last == (
            f"ppclas_core.errors.MissingDependencyError: the engine {package} needs {package}, not "
            f'installed here. Run: pip install "ppclas-deploy[{extra}]"'
        )

    def test_all_that_is_missing_is_named_at_once(self):
        need("json", "onnx", purpose="this", extra="none")
        with pytest.raises(
            MissingDependencyError,
            match=r'^a flight needs wings_xyz and tail_xyz, not .*"ppclas-deploy\[air\]"$',
        ):
            need("wings_xyz", "json", "tail_xyz", purpose="a flight", extra="air")

    def test_a_package_that_fails_to_import_is_to_be_installed_again(self, tmp_path, python):
        (tmp_path / "broken_xyz.py").write_text("import nowhere_xyz\n")
        said = python(
            "from ppclas_deploy.dependencies import load\nload('broken_xyz', 'a test', 'onnx')\n",
            code=1,
            PYTHONPATH=str(tmp_path),
        )
        assert "which is installed and fails to import (No module named 'nowhere_xyz')" in said
        assert 'pip install --force-reinstall "ppclas-deploy[onnx]"' in said

    def test_what_is_there_is_returned(self):
        assert load("onnx", "a test", "onnx") is onnx


class TestProviders:
    def test_one_that_is_not_there_is_an_error(self, export):
        with pytest.raises(
            MissingDependencyError,
            match=r"has no QuantumExecutionProvider; it has .*CPUExecutionProvider",
        ):
            OnnxRuntimeEngine(provider="QuantumExecutionProvider").load(export)

    def test_one_that_falls_back_is_an_error(self, export, tmp_path, python):
        """As onnxruntime-gpu does where CUDA's libraries are missing: listed, then silently not
        used.
        """
        (tmp_path / "onnxruntime.py").write_text(
            "__version__ = '9.9'\n"
            "def get_available_providers():\n"
            "    return ['CUDAExecutionProvider', 'CPUExecutionProvider']\n"
            "class SessionOptions:\n"
            "    def add_session_config_entry(self, key, value): pass\n"
            "class InferenceSession:\n"
            "    def __init__(self, model, options, providers, enable_fallback):\n"
            "        print([p if isinstance(p, str) else p[0] for p in providers])\n"
            "    def get_providers(self): return ['CPUExecutionProvider']\n"
        )
        said = python(
            "from ppclas_core.bundle import Bundle\n"
            "from ppclas_core.errors import MissingDependencyError\n"
            "from ppclas_deploy.engines.onnxruntime import CudaEngine\n"
            "try:\n"
            f"    CudaEngine().load(Bundle.load({str(export.folder)!r}))\n"
            "except MissingDependencyError as error:\n"
            "    print(error)\n",
            PYTHONPATH=str(tmp_path),
        )
        asked, error = said.splitlines()
        assert asked == "['CUDAExecutionProvider', 'CPUExecutionProvider']"
        assert error.startswith(
            "onnxruntime 9.9 lists CUDAExecutionProvider but fell back to CPUExecutionProvider"
        )

    def test_compiled_engines_are_kept_in_the_users_cache(self, python, tmp_path):
        said = python(
            "from ppclas_deploy.engines.onnxruntime import TensorRTEngine\n"
            "print(TensorRTEngine().kept()['trt_engine_cache_path'])",
            PPCLAS_HOME=str(tmp_path / "home"),
        )
        assert said.strip() == str(tmp_path / "home" / "tensorrt")
        assert TensorRTEngine().provider == "TensorrtExecutionProvider"
        assert OnnxRuntimeEngine().kept() == {}

    def test_switches_of_tensorrt_are_the_words_that_it_reads(self, export):
        """Its parser refuses everything but these (CreateExecutionProviderInstance in ONNX
        Runtime's ``onnxruntime_pybind_state.cc``).
        """
        for precision in ("fp32", "fp16"):
            options = provider_options(export, {"precision": precision}, 1)
            switches = {key: value for key, value in options.items() if key.endswith("_enable")}
            assert set(switches.values()) <= {"True", "False"}
            assert switches["trt_fp16_enable"] == str(precision == "fp16")
            assert options["device_id"] == "1"
        assert TensorRTEngine().kept()["trt_engine_cache_enable"] == "True"

    def test_threads_are_those_asked_for(self, export):
        session = make_session(export.folder / "model.onnx", threads=3)
        options = session.get_session_options()
        assert options.intra_op_num_threads == 3
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


class TestFiles:
    @pytest.mark.parametrize(
        ("engine", "message"),
        [
            ("onnxruntime", r"model.onnx does not load in onnxruntime [0-9.]+: "),
            ("openvino", r"model.onnx does not load in OpenVINO [0-9.]+: "),
        ],
    )
    def test_one_that_is_no_model_is_an_error(self, export, rewrite, engine, message):
        if engine == "openvino":
            pytest.importorskip("openvino", reason="needs the extra [openvino]")
        (export.folder / "model.onnx").write_bytes(b"no model")
        with pytest.raises(BundleError, match=message) as caught:
            get_registries().engines.build(engine).load(rewrite(export))
        assert "\n" not in str(caught.value)

    def test_bytes_that_are_no_model_have_no_name(self):
        with pytest.raises(BundleError, match=r"^the model does not load in onnxruntime"):
            make_session(b"no model")

    def test_a_change_is_noticed_by_its_hash(self, export):
        model = export.folder / "model.onnx"
        content = bytearray(model.read_bytes())
        content[-100] ^= 1
        model.write_bytes(content)
        with pytest.raises(BundleError, match="is not the file that"):
            Bundle.load(export.folder)

    @pytest.mark.parametrize("model", ["../model.onnx", "other.onnx", None])
    def test_only_files_of_the_export_are_opened(self, export, rewrite, tmp_path, model):
        (tmp_path / "model.onnx").write_bytes((export.folder / "model.onnx").read_bytes())
        with pytest.raises(BundleError, match=r"export\.model in bundle\.json should name one"):
            OnnxRuntimeEngine().load(rewrite(export, model=model))

    def test_paddle_inference_says_in_a_line_what_does_not_load(self, export, rewrite):
        pytest.importorskip("paddle", reason="needs the extra [cpu]")
        for name in ("inference.json", "inference.pdiparams"):
            (export.folder / name).write_text("{}")
        facts = {"model": "inference.json", "params": "inference.pdiparams"}
        with pytest.raises(BundleError, match=r"inference.json does not load in Paddle") as caught:
            get_registries().engines.build("paddle_inference").load(rewrite(export, **facts))
        assert "\n" not in str(caught.value)

    def test_dygraph_runs_no_export(self, export):
        pytest.importorskip("paddle", reason="needs the extra [cpu]")
        with pytest.raises(BundleError, match="the engine dygraph runs runs and bundles only"):
            get_registries().engines.build("dygraph").load(export)


class TestDygraph:
    """Paddle's layers, against the model called by hand."""

    def test_it_gives_the_models_logits(self, bundle):
        paddle = pytest.importorskip("paddle", reason="needs the extra [cpu]")
        pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
        engine = get_registries().engines.build("dygraph", threads=1)
        engine.load(bundle)
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        planes = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
        wanted = bundle.build_model()(paddle.to_tensor(planes)).numpy()
        np.testing.assert_allclose(engine.logits(engine.prepare(pixels)), wanted, atol=1e-4)
        assert engine.versions() == {"paddle": paddle.__version__}


@pytest.mark.parametrize(
    ("version", "crashes"),
    [
        ("3.0.0", False),
        ("3.1.1", False),
        ("3.2.2", False),
        ("3.3.0", True),
        ("3.3.1", True),
        ("3.3.0rc1", True),
        ("3.3.1.post126", True),
        ("3.30.0", False),
        ("4.3.3", False),
        ("0.0.0", False),
    ],
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


@pytest.mark.parametrize(("axes", "found"), [(4, False), (5, False), (6, True)])
def test_windows_are_found_in_a_program(tmp_path, axes, found):
    paddle = pytest.importorskip("paddle", reason="needs the extra [cpu]")

    class Turned(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.scale = self.create_parameter([1])

        def forward(self, x):
            return (x * self.scale).transpose([0, *range(axes - 1, 0, -1)])

    spec = paddle.static.InputSpec([None, *range(2, axes + 1)], "float32", "images")
    traced = paddle.jit.to_static(Turned(), input_spec=[spec], full_graph=True)
    paddle.jit.save(traced, str(tmp_path / "net"))
    assert has_windows(tmp_path / "net.json") is found


class TestCpus:
    def test_those_of_this_process(self, python):
        assert usable_cpus() >= 1
        one = python(
            "import os\nfrom ppclas_deploy.cpus import usable_cpus\n"
            "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nprint(usable_cpus())"
        )
        assert one == "1\n"

    @pytest.mark.parametrize(
        ("flags", "machine", "found"),
        [
            ("avx2 avx512_vnni", "x86_64", True),
            ("avx2 avx_vnni fma", "AMD64", True),
            ("amx_int8", "x86_64", True),
            ("avx2 avx512f avx512bw", "x86_64", False),
            ("not_avx_vnni_yet", "x86_64", False),
            ("avx2", "aarch64", True),
        ],
    )
    def test_vnni_is_read_from_the_list_of_flags(self, tmp_path, flags, machine, found):
        (tmp_path / "cpuinfo").write_text(f"model name\t: Example\nflags\t\t: fpu {flags} sse\n")
        assert has_vnni(tmp_path / "cpuinfo", machine) is found

    def test_where_there_is_no_list_nothing_is_claimed(self, tmp_path):
        assert has_vnni(tmp_path / "nothing", "x86_64") is None

    @pytest.mark.parametrize("bits", [7, 8])
    def test_weights_that_overflow_on_this_cpu_are_noted(self, export, rewrite, capsys, bits):
        OnnxRuntimeEngine().load(rewrite(export, quantization={"weight_bits": bits}))
        said = capsys.readouterr().err
        noted = "can overflow on this CPU (x86 without VNNI)" in said
        assert noted is (bits == 8 and has_vnni() is False)


def asking(export, **options):
    facts = {**export.manifest.export, "provider_options": options}
    write_manifest(export.folder, export.manifest.replace(export=facts, files={}))
    return Bundle.load(export.folder)


@pytest.mark.parametrize(
    "name",
    [
        "trt_extra_plugin_lib_paths",
        "trt_engine_cache_path",
        "trt_int8_calibration_table_name",
        "trt_ep_context_file_path",
        "anything_new",
    ],
)
def test_a_bundle_sets_no_provider_option_that_names_a_file(export, name):
    with pytest.raises(BundleError, match=f"asks the provider for {name}, which a bundle may not"):
        OnnxRuntimeEngine(threads=1).load(asking(export, **{name: "/tmp/x.so"}))


def test_provider_options_of_a_bundle_are_texts(export):
    with pytest.raises(BundleError, match="should be a map of texts"):
        OnnxRuntimeEngine(threads=1).load(asking(export, device_id=0))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_onnx_file_with_tensors_elsewhere_is_not_run(export, engine):
    if engine == "openvino":
        pytest.importorskip("openvino", reason="needs the extra [openvino]")
    path = export.folder / export.manifest.export["model"]
    model = onnx.load(str(path))
    onnx.save_model(
        model, str(path), save_as_external_data=True, location="more.bin", size_threshold=0
    )
    write_manifest(export.folder, export.manifest.replace(files={}))
    with pytest.raises(BundleError, match="keeps tensors in other files"):
        get_registries().engines.build(engine, threads=1).load(Bundle.load(export.folder))
