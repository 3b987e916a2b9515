"""Finding a Python for Paddle-Lite, and what goes to a phone with the model."""

import gc
import json
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
from ppclas_core.errors import BundleError, ConfigError, ExportError, MissingDependencyError
from ppclas_deploy.engines.lite import LiteProcess
from ppclas_deploy.export import make_exporter
from ppclas_deploy.lite import interpreters
from ppclas_deploy.lite.interpreters import find_runtime, make_ready
from ppclas_deploy.lite.phone import write_phone_files

IMAGES = {"batch": None, "input": "images", "output": "logits"}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of this test's own: interpreters in its pyenv and on its PATH that answer the probe
    as they are told, and a uv that knows of others.
    """
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(interpreters.VARIABLE, raising=False)
    return Machine(tmp_path)


class Machine:
    def __init__(self, folder):
        self.folder = folder
        self.uv = self.write("bin/uv", "echo '[]'")

    def write(self, place, script):
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def python(self, version, answer, place=None):
        """One whose probe prints ``answer``."""
        said = answer if isinstance(answer, str) else json.dumps(answer)
        return self.write(place or f"pyenv/versions/{version}/bin/python", f"echo '{said}'")

    def known_to_uv(self, *pythons):
        listed = [
            {"path": path, "version_parts": {"major": major, "minor": minor, "patch": 1}}
            for path, major, minor in pythons
        ]
        self.write("bin/uv", f"echo '{json.dumps(listed)}'")


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="no wheels of Paddle-Lite"
)
class TestInterpreters:
    def test_the_one_that_can_compute_is_preferred(self, machine):
        machine.python("3.10.13", [[3, 10], "CPython", 64, ""])
        old = machine.python("3.7.16", [[3, 7], "CPython", 64, ""])
        runtime = find_runtime()
        assert (runtime.python, runtime.version, runtime.computes) == (old, "2.12", True)
        assert runtime.script("run", "model.nb") == [
            *(machine.uv, "run", "--quiet", "--no-project", "--python", old),
            *("--with", "paddlelite==2.12", "--with", "numpy", "python"),
            *(str(interpreters.SCRIPT), "run", "model.nb"),
        ]

    def test_a_converter_alone_is_not_asked_to_compute(self, machine):
        newer = machine.python("3.10.13", [[3, 10], "CPython", 64, ""])
        runtime = find_runtime()
        assert (runtime.python, runtime.version, runtime.computes) == (newer, "2.13rc0", False)
        with pytest.raises(
            MissingDependencyError,
            match=r"needs CPython 3\.7 \(for paddlelite 2\.12\) on 64-bit Linux",
        ):
            find_runtime(computing=True)
        with pytest.raises(
            MissingDependencyError,
            match=r"paddlelite 2\.13rc0, whose x86 runtime computes nonsense",
        ):
            find_runtime(newer, computing=True)

    @pytest.mark.parametrize(
        ("said", "version", "computes"),
        [
            ("v2.12", "2.12", True),
            ("2.12.1", "2.12.1", True),
            ("v2.13-rc", "2.13rc0", False),
            ("v2.1", "2.1", False),
            ("v2.120", "2.120", False),
            ("81ef66554", "81ef66554", False),  # a build of one's own is called by its commit
        ],
    )
    def test_one_that_has_it_is_taken_as_it_is(self, machine, said, version, computes):
        python = machine.python("3.7.16", [[3, 7], "CPython", 64, said])
        runtime = find_runtime()
        assert runtime.command == (python,)
        assert (runtime.version, runtime.computes) == (version, computes)

    @pytest.mark.parametrize(
        "answer",
        [
            "pyenv: python3.7: command not found",
            [[3, 7], "PyPy", 64, ""],
            [[3, 7], "CPython", 32, ""],
            [[3, 9], "CPython", 64, ""],
        ],
    )
    def test_shims_and_strangers_are_passed_over(self, machine, answer):
        python = machine.python("3.7.16", answer)
        with pytest.raises(
            MissingDependencyError, match=r"--lite-python PATH or PPCLAS_LITE_PYTHON.*--ir old"
        ):
            find_runtime()
        with pytest.raises(
            ConfigError, match="is no interpreter for Paddle-Lite: expected a 64-bit CPython"
        ):
            find_runtime(python)

    def test_the_variable_names_one(self, machine, monkeypatch):
        machine.python("3.7.16", [[3, 7], "CPython", 64, ""])
        other = machine.python("3.8.18", [[3, 8], "CPython", 64, ""])
        monkeypatch.setenv(interpreters.VARIABLE, other)
        assert (find_runtime().python, find_runtime().version) == (other, "2.13rc0")
        given = machine.python("3.10.1", [[3, 10], "CPython", 64, ""])
        assert find_runtime(given).python == given  # what is given comes before the variable

    def test_the_newest_of_a_release_and_pyenv_before_path(self, machine):
        on_path = machine.python("", [[3, 7], "CPython", 64, ""], "bin/python3.7")
        assert find_runtime().python == on_path
        machine.python("3.7.3", [[3, 7], "CPython", 64, ""])
        newest = machine.python("3.7.9", [[3, 7], "CPython", 64, ""])
        assert find_runtime().python == newest

    def test_uv_knows_others(self, machine):
        python = machine.python("", [[3, 7], "CPython", 64, ""], "elsewhere/python")
        newer = machine.python("", [[3, 12], "CPython", 64, ""], "elsewhere/python312")
        machine.known_to_uv((newer, 3, 12), (python, 3, 7))
        assert find_runtime(computing=True).python == python

    def test_a_uv_that_fails_knows_none(self, machine):
        machine.write("bin/uv", "echo broken; exit 2")
        with pytest.raises(MissingDependencyError, match="none was found"):
            find_runtime()

    def test_a_path_that_is_no_program(self, machine):
        with pytest.raises(ConfigError, match="nothing-here is no interpreter"):
            find_runtime(str(machine.folder / "nothing-here"))

    def test_it_is_fetched_when_the_cache_has_none(self, machine, capsys):
        """The first try is offline; the second may use the network, and leaves its marks."""
        python = machine.python("3.7.16", [[3, 7], "CPython", 64, ""])
        log = machine.folder / "log"
        machine.write("bin/uv", 'test -z "$UV_OFFLINE" && echo "fetched with $*" || exit 1')
        make_ready(find_runtime(python), log)
        assert "--with paddlelite==2.12 --with numpy" in log.read_text()
        assert f"Fetching paddlelite 2.12 for {python}" in capsys.readouterr().err
        machine.write("bin/uv", "echo 'error: no route to host'; exit 2")
        with pytest.raises(
            MissingDependencyError,
            match=r"could not be fetched .*no route to host.*pip install paddlelite==2\.12 numpy",
        ):
            make_ready(find_runtime(python), log)

    def test_what_is_installed_is_not_fetched(self, machine):
        python = machine.python("3.7.16", [[3, 7], "CPython", 64, "v2.12"])
        machine.write("bin/uv", "exit 1")
        make_ready(find_runtime(python), machine.folder / "log")
        assert not (machine.folder / "log").exists()


def test_int8_weights_are_refused_where_they_would_be_chance():
    with pytest.raises(
        ExportError, match=r"does not turn int8 weights back on x86: the answers would be chance"
    ):
        make_exporter("lite", {"place": "x86", "weights": "int8"}).check()


@pytest.fixture(scope="module")
def program(outside_plugin, make_bundle, tmp_path_factory):
    """An old-IR program of the tiny network, and its parameters by name."""
    pytest.importorskip("paddle", reason="needs the extra [cpu]")
    from ppclas_deploy.program import save_program

    folder = tmp_path_factory.mktemp("program")
    return save_program(make_bundle(folder / "bundle"), folder / "net", IMAGES, "old")


class TestRounding:
    @pytest.fixture(autouse=True)
    def rounding(self):
        pytest.importorskip("paddle", reason="needs the extra [cpu]")
        from ppclas_deploy.lite import rounding

        return rounding

    def test_steps_of_a_channel(self, rounding):
        # Steps of 0.1; nothing to divide by.
        weights = np.array([[12.7, 0.06, -0.04], [0.0, 0.0, 0.0]], np.float32)
        to_steps = rounding.round_to_steps
        rounded = [[12.7, 0.1, 0.0], [0, 0, 0]]
        np.testing.assert_allclose(to_steps(weights, 0, 8), rounded, atol=1e-6)
        np.testing.assert_allclose(to_steps(weights.T, 1, 8), np.transpose(rounded), atol=1e-6)
        np.testing.assert_allclose(to_steps(weights, 0, 16), weights, atol=12.7 / 32767 / 2)

    def test_rounded_weights_are_whole_steps_and_stay_so(self, rounding):
        weights = np.random.default_rng(0).normal(size=(5, 4, 3, 3)).astype(np.float32)
        once = rounding.round_to_steps(weights, 0, 8)
        steps = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
        integers = once / steps
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
        assert np.abs(integers).max() == pytest.approx(127, abs=1e-3)
        assert (np.abs(once - weights) <= steps / 2 + 1e-6).all()
        np.testing.assert_allclose(rounding.round_to_steps(once, 0, 8), once, atol=1e-6)

    def test_weights_in_a_file_are_rounded_and_nothing_else(
        self, rounding, program, tmp_path, outside_plugin
    ):
        """Two convolutions and a linear layer; biases and batch norms stay as they are."""
        import paddle

        params = tmp_path / "net.pdiparams"
        shutil.copyfile(program.with_suffix(".pdiparams"), params)
        shutil.copyfile(program, tmp_path / "net.pdmodel")
        before = state_of(paddle, program.with_suffix(""))
        assert rounding.round_weights(program, params, 8) == 3
        after = state_of(paddle, tmp_path / "net")
        assert before.keys() == after.keys()
        for name, old in before.items():
            new = after[name]
            if old.ndim == 1:
                np.testing.assert_array_equal(new, old)
                continue
            axis = 0 if old.ndim == 4 else 1
            others = tuple(i for i in range(old.ndim) if i != axis)
            steps = np.abs(old).max(axis=others, keepdims=True) / 127
            assert not np.array_equal(new, old)
            np.testing.assert_allclose(new, np.rint(old / steps) * steps, atol=1e-6)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda content: content[:-5], r"the parameter .* cannot be read to round it"),
            (lambda content: content + b"12345", r"has 5 bytes more than net.pdmodel tells of"),
            (lambda content: b"\xff" * 40 + content, r"cannot be read to round it"),
            (lambda content: b"", r"cannot be read to round it"),
        ],
        ids=["short", "long", "strange", "empty"],
    )
    def test_a_file_that_is_laid_out_otherwise_is_left_alone(
        self, rounding, program, tmp_path, spoil, message
    ):
        params = tmp_path / "net.pdiparams"
        params.write_bytes(spoil(program.with_suffix(".pdiparams").read_bytes()))
        before = params.read_bytes()
        with pytest.raises(ExportError, match=message):
            rounding.round_weights(program, params, 8)
        assert params.read_bytes() == before

    def test_the_patch_adds_what_lite_misses_and_only_once(self, program, tmp_path):
        from paddle.base.proto import framework_pb2
        from ppclas_deploy.lite.patch import patch_for_lite

        def operators():
            description = framework_pb2.ProgramDesc()
            description.ParseFromString((tmp_path / "net.pdmodel").read_bytes())
            return description.blocks[0]

        shutil.copyfile(program, tmp_path / "net.pdmodel")
        before = operators()
        kinds = [operator.type for operator in before.ops]
        assert "relu6" in kinds
        patch_for_lite(tmp_path / "net.pdmodel")
        once = (tmp_path / "net.pdmodel").read_bytes()
        after = operators()
        assert [operator.type for operator in after.ops] == kinds
        (relu6,) = [operator for operator in after.ops if operator.type == "relu6"]
        assert [(a.f, a.type) for a in relu6.attrs if a.name == "threshold"] == [
            (6.0, framework_pb2.FLOAT)
        ]
        patch_for_lite(tmp_path / "net.pdmodel")
        assert (tmp_path / "net.pdmodel").read_bytes() == once

    def test_the_patch_records_the_shape_before_a_reshape(self, tmp_path):
        """``XShape`` is [0, *shape of the input], as Paddle 2 wrote it."""
        from paddle.base.proto import framework_pb2
        from ppclas_deploy.lite.patch import patch_for_lite
        from ppclas_deploy.program import tensor_of

        description = framework_pb2.ProgramDesc()
        block = description.blocks.add(idx=0, parent_idx=-1)
        for name, dims in (("x", [-1, 8, 4, 4]), ("y", [-1, 128])):
            variable = block.vars.add(name=name)
            variable.type.type = framework_pb2.VarType.DENSE_TENSOR
            tensor = tensor_of(variable)
            tensor.data_type = framework_pb2.VarType.FP32
            tensor.dims.extend(dims)
        for kind in ("flatten_contiguous_range", "swish"):
            operator = block.ops.add(type=kind)
            operator.inputs.add(parameter="X", arguments=["x"])
            operator.outputs.add(parameter="Out", arguments=["y"])
        model = tmp_path / "net.pdmodel"
        model.write_bytes(description.SerializeToString())
        patch_for_lite(model)
        patched = framework_pb2.ProgramDesc()
        patched.ParseFromString(model.read_bytes())
        flatten, swish = patched.blocks[0].ops
        assert {out.parameter: list(out.arguments) for out in flatten.outputs} == {
            "Out": ["y"],
            "XShape": ["y.xshape"],
        }
        recorded = {v.name: list(tensor_of(v).dims) for v in patched.blocks[0].vars}
        assert recorded == {"x": [-1, 8, 4, 4], "y": [-1, 128], "y.xshape": [0, -1, 8, 4, 4]}
        assert [(a.name, a.f) for a in swish.attrs] == [("beta", 1.0)]
        assert [out.parameter for out in swish.outputs] == ["Out"]


def state_of(paddle, prefix):
    """Parameters of a saved program by name, as Paddle itself loads them."""
    paddle.enable_static()
    try:
        with paddle.pir_utils.OldIrGuard(), paddle.static.scope_guard(paddle.static.Scope()):
            executor = paddle.static.Executor(paddle.CPUPlace())
            program, *_ = paddle.static.load_inference_model(str(prefix), executor)
            return {name: np.array(value) for name, value in program.state_dict().items()}
    finally:
        paddle.disable_static()


def test_a_runtime_that_dies_is_an_error_with_its_last_words():
    process = LiteProcess([sys.executable, "-c", "import sys; sys.exit('no kernel for conv9d')"])
    with pytest.raises(
        BundleError, match=r"Paddle-Lite ended \(exit code 1\): no kernel for conv9d"
    ):
        process.ask(np.zeros((1, 3, 4, 5), np.float32))


class TestProcess:
    """Answers through a pipe, from a stand-in for ``script.py run`` that sums the planes."""

    SUMS = (
        "import struct, sys, numpy as np\n"
        "source, out = sys.stdin.buffer, sys.stdout.buffer\n"
        "while True:\n"
        "    head = source.read(20)\n"
        "    if len(head) < 20: break\n"
        "    kind, *shape = struct.unpack('<5I', head)\n"
        "    dtype = np.dtype(np.uint8 if kind else np.float32)\n"
        "    data = source.read(dtype.itemsize * int(np.prod(shape)))\n"
        "    values = np.frombuffer(data, dtype).reshape(shape)\n"
        "    sums = values.sum((2, 3) if not kind else (1, 2)).astype(np.float32)\n"
        "    out.write(struct.pack('<2I', *sums.shape) + sums.tobytes()); out.flush()\n"
    )

    def test_batches_of_any_size_and_both_kinds(self):
        process = LiteProcess([sys.executable, "-c", self.SUMS])
        rng = np.random.default_rng(0)
        for count in (1, 4, 2):
            images = rng.normal(size=(count, 3, 4, 5)).astype(np.float32)
            np.testing.assert_allclose(
                process.ask(images), images.sum((2, 3)), rtol=1e-4, atol=1e-5
            )
            pixels = rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
            np.testing.assert_array_equal(process.ask(pixels), pixels.sum((1, 2), dtype=np.float32))

    def test_half_an_answer_is_an_error(self):
        code = "import sys, time; sys.stdout.buffer.write(bytes([2, 0, 0, 0, 3, 0, 0, 0, 1, 2]))"
        process = LiteProcess([sys.executable, "-c", code])
        with pytest.raises(
            BundleError, match=r"Paddle-Lite ended \(exit code 0\): it said nothing"
        ):
            process.ask(np.zeros((1, 3, 4, 5), np.float32))

    def test_it_ends_with_its_object(self):
        process = LiteProcess([sys.executable, "-c", self.SUMS])
        running = process._process
        assert running.poll() is None
        del process
        gc.collect()
        assert running.poll() is not None


class TestPhoneFiles:
    def text(self, bundle, folder, interface, place="arm"):
        folder.mkdir()
        write_phone_files(bundle, folder, interface, place)
        assert {path.name for path in folder.iterdir() if path.is_file()} == {
            "README.md",
            "classify.cc",
            "Classifier.java",
        }
        readme, *code = [
            (folder / name).read_text() for name in ("README.md", "classify.cc", "Classifier.java")
        ]
        return readme, code

    def test_the_commands_and_constants_of_this_bundle(self, bundle, tmp_path):
        readme, codes = self.text(bundle, tmp_path / "phone", IMAGES)
        assert "2. Resize: short 72.\n3. CenterCrop: size (48, 64)." in readme
        assert "--input_shape=1,3,48,64" in readme
        assert "logits; softmax makes probabilities" in readme
        # All that the program opens.
        opened = "classify $LITE/cxx/lib/libpaddle_light_api_shared.so photo.rgb /data"
        assert opened in readme
        for code in codes:
            assert "0.485f, 0.456f, 0.406f" in code
            assert "0.229f, 0.224f, 0.225f" in code
            assert "48" in code
            assert "64" in code

    def test_pixels_in_and_a_fixed_batch(self, bundle, tmp_path):
        interface = {"batch": 4, "input": "pixels", "output": "probabilities"}
        readme, (cpp, _) = self.text(bundle, tmp_path / "phone", interface)
        assert "--input_shape=4,48,64,3" in readme
        assert (
            "input uint8 [N, 48, 64, 3], RGB; output [N, 3], probabilities; batch size 4" in readme
        )
        assert "kPixelsInside = true" in cpp
        assert "kBatch = 4" in cpp

    @pytest.mark.parametrize(
        ("place", "words"),
        [
            ("arm", "the phone's architecture, and"),
            ("armv8-fp16", "--with_arm82_fp16=ON"),
            ("opencl", "--with_opencl=ON"),
            ("x86", "on a phone a model for `x86` does not run"),
        ],
    )
    def test_the_library_is_the_places(self, bundle, tmp_path, place, words):
        readme, _ = self.text(bundle, tmp_path / "phone", IMAGES, place)
        assert words in readme

    def test_nothing_of_the_templates_is_left_over(self, bundle, tmp_path):
        _, codes = self.text(bundle, tmp_path / "phone", IMAGES)
        for code in codes:
            assert "$" not in code


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 3])
def test_the_cpp_sample_prepares_pixels_as_the_bundle_does(bundle, tmp_path, batch):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    write_phone_files(bundle, tmp_path, {**IMAGES, "batch": batch}, "arm")
    (tmp_path / "paddle_api.h").write_text(FAKE_API)
    build = [
        "g++",
        "-std=c++11",
        "-Wall",
        "-Werror",
        "-I",
        str(tmp_path),
        str(tmp_path / "classify.cc"),
        "-o",
    ]
    subprocess.run([*build, str(tmp_path / "classify")], check=True)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    (tmp_path / "photo.rgb").write_bytes(pixels.tobytes())
    ran = subprocess.run(
        [tmp_path / "classify", "model.nb", tmp_path / "photo.rgb"],
        capture_output=True,
        text=True,
        check=True,
    )
    planes = bundle.normalize(pixels[None])[0]
    # The stand-in for Paddle-Lite answers with the sums of the three planes.
    best = planes.sum((1, 2)).argmax()
    said, value = ran.stdout.rsplit(" ", 1)
    assert said == f"class_id: {best}, output:"
    assert float(value) == pytest.approx(planes[best].sum(), rel=1e-3)


@pytest.mark.slow
def test_the_java_sample_fills_a_fixed_batch(bundle, tmp_path):
    """It compiles against the calls of Paddle-Lite's Java API, and the photo is the first image of
    the batch.
    """
    if shutil.which("javac") is None:
        pytest.skip("needs javac")
    write_phone_files(bundle, tmp_path, {**IMAGES, "batch": 2}, "arm")
    lite = tmp_path / "com" / "baidu" / "paddle" / "lite"
    lite.mkdir(parents=True)
    for name, body in FAKE_JAVA.items():
        (lite / f"{name}.java").write_text(f"package com.baidu.paddle.lite; public {body}")
    (tmp_path / "android" / "graphics").mkdir(parents=True)
    (tmp_path / "android" / "graphics" / "Bitmap.java").write_text(
        "package android.graphics; public class Bitmap {"
        "  public void getPixels(int[] p, int o, int s, int x, int y, int w, int h) {"
        "    for (int i = 0; i < p.length; i++) p[i] = 0xff00ff00; } }"  # opaque green
    )
    (tmp_path / "Main.java").write_text(
        "public class Main { public static void main(String[] a) {"
        '  System.out.println(new Classifier("model.nb")'
        "    .classify(new android.graphics.Bitmap())); } }"
    )
    subprocess.run(["javac", "-Xlint:all", "-Werror", "Main.java"], cwd=tmp_path, check=True)
    ran = subprocess.run(
        ["java", "-cp", ".", "Main"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == [
        "2",
        "3",
        "48",
        "64",
        "1",
    ]  # the shape, and that the green plane is the largest


FAKE_JAVA = {
    "PowerMode": "enum PowerMode { LITE_POWER_HIGH }",
    "MobileConfig": "class MobileConfig { public void setModelFromFile(String f) {} public void "
    "setThreads(int n) {} public void setPowerMode(PowerMode m) {} }",
    "Tensor": "class Tensor { float[] data; public boolean resize(long[] shape) { for (long side "
    ": shape) System.out.println(side); return true; } public boolean setData(float[] "
    "d) { data = d; return true; } public boolean setData(byte[] d) { return true; } "
    "public float[] getFloatData() { return data; } }",
    "PaddlePredictor": "class PaddlePredictor { Tensor in = new Tensor(), out = new Tensor(); "
    "public static PaddlePredictor createPaddlePredictor(MobileConfig c) { "
    "return new PaddlePredictor(); } public Tensor getInput(int i) { return "
    "in; } public Tensor getOutput(int i) { return out; } public boolean run() "
    "{ out.data = new float[6]; for (int c = 0; c < 6; c++) for (int i = 0; i "
    "< 48 * 64; i++) out.data[c] += in.data[c * 48 * 64 + i]; out.data[5] += "
    "1e9f; return true; } }",
}

FAKE_API = """
#include <memory>
#include <string>
#include <vector>
namespace paddle { namespace lite_api {
struct Tensor {
  std::vector<float> floats; std::vector<unsigned char> bytes;
  void Resize(std::vector<int> shape) {
    size_t n = 1;
    for (int s : shape) n *= s;
    floats.resize(n);
    bytes.resize(n);
  }
  template <class T> T* mutable_data();
  template <class T> const T* data() { return floats.data(); }
};
template <> inline float* Tensor::mutable_data<float>() { return floats.data(); }
template <> inline unsigned char* Tensor::mutable_data<unsigned char>() { return bytes.data(); }
struct MobileConfig { void set_model_from_file(std::string) {} void set_threads(int) {} };
struct Predictor {
  Tensor in, out;
  Tensor* GetInput(int) { return &in; }
  Tensor* GetOutput(int) { return &out; }
  void Run() {
    out.floats.assign(3, 0.f);
    size_t plane = 48 * 64;
    for (int c = 0; c < 3; ++c) {
      double sum = 0;
      for (size_t i = 0; i < plane; ++i) sum += in.floats[c * plane + i];
      out.floats[c] = sum;
    }
  }
};
template <class C> std::shared_ptr<Predictor> CreatePaddlePredictor(const C&) {
  return std::make_shared<Predictor>();
}
}}
"""
