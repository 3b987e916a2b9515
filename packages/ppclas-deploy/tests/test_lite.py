"""Finding a Python for Paddle-Lite, and what goes to a phone with the model."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from ppclas_core.errors import ConfigError, ExportError, MissingDependencyError
from ppclas_deploy.engines.lite import LiteProcess
from ppclas_deploy.export import make_exporter
from ppclas_deploy.lite import interpreters
from ppclas_deploy.lite.interpreters import find_runtime
from ppclas_deploy.lite.phone import write_phone_files

IMAGES = {"batch": None, "input": "images", "output": "logits"}


@pytest.fixture
def pythons(tmp_path, monkeypatch):
    """Interpreters that answer the probe as they are told, in a pyenv of this test; nothing else is
    on the machine.
    """
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.delenv(interpreters.VARIABLE, raising=False)
    monkeypatch.setattr(interpreters, "_uv", lambda: "/bin/uv")
    monkeypatch.setattr(interpreters, "_has_wheels", lambda: True)
    monkeypatch.setattr(interpreters.shutil, "which", lambda name: None)
    monkeypatch.setattr(interpreters, "_known_to_uv", lambda: iter(()))

    def add(version, answer):
        python = tmp_path / "versions" / version / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(
            f"#!/bin/sh\necho '{answer if isinstance(answer, str) else json.dumps(answer)}'\n"
        )
        python.chmod(0o755)
        return str(python)

    return add


def test_the_one_that_can_compute_is_preferred(pythons):
    pythons("3.10.13", [[3, 10], "CPython", 64, ""])
    old = pythons("3.7.16", [[3, 7], "CPython", 64, ""])
    runtime = find_runtime()
    assert (runtime.python, runtime.version, runtime.computes) == (old, "2.12", True)
    assert runtime.script("run", "model.nb") == [
        *("/bin/uv", "run", "--quiet", "--no-project", "--python", old),
        *(
            "--with",
            "paddlelite==2.12",
            "--with",
            "numpy",
            "python",
            str(interpreters.SCRIPT),
            "run",
            "model.nb",
        ),
    ]


def test_a_converter_alone_is_not_asked_to_compute(pythons):
    newer = pythons("3.10.13", [[3, 10], "CPython", 64, ""])
    assert find_runtime().python == newer
    assert not find_runtime().computes
    with pytest.raises(
        MissingDependencyError, match=r"needs CPython 3\.7 \(for paddlelite 2\.12\) on 64-bit Linux"
    ):
        find_runtime(computing=True)


def test_one_that_has_it_needs_no_uv(pythons, monkeypatch):
    monkeypatch.setattr(interpreters, "_uv", lambda: None)
    python = pythons("3.7.16", [[3, 7], "CPython", 64, "v2.12"])
    assert find_runtime().command == (python,)


@pytest.mark.parametrize(
    "answer",
    [
        "pyenv: python3.7: command not found",
        [[3, 7], "PyPy", 64, ""],
        [[3, 7], "CPython", 32, ""],
        [[3, 9], "CPython", 64, ""],
    ],
)
def test_shims_and_strangers_are_passed_over(pythons, answer):
    python = pythons("3.7.16", answer)
    with pytest.raises(
        MissingDependencyError, match=r"--lite-python PATH or PPCLAS_LITE_PYTHON.*--ir old"
    ):
        find_runtime()
    with pytest.raises(
        ConfigError, match="is no interpreter for Paddle-Lite: expected a 64-bit CPython"
    ):
        find_runtime(python)


def test_the_variable_names_one(pythons, monkeypatch):
    pythons("3.7.16", [[3, 7], "CPython", 64, ""])
    other = pythons("3.8.18", [[3, 8], "CPython", 64, ""])
    monkeypatch.setenv(interpreters.VARIABLE, other)
    assert (find_runtime().python, find_runtime().version) == (other, "2.13rc0")


def test_int8_weights_are_refused_where_they_would_be_chance():
    with pytest.raises(
        ExportError, match=r"does not turn int8 weights back on x86: the answers would be chance"
    ):
        make_exporter("lite", {"place": "x86", "weights": "int8"}).check()


def test_rounding_to_steps_of_a_channel():
    pytest.importorskip("paddle", reason="needs the extra [cpu]")
    from ppclas_deploy.lite.rounding import round_to_steps

    weights = np.array(
        [[12.7, 0.06, -0.04], [0.0, 0.0, 0.0]], np.float32
    )  # steps of 0.1; nothing to divide by
    np.testing.assert_allclose(
        round_to_steps(weights, 0, 8), [[12.7, 0.1, 0.0], [0, 0, 0]], atol=1e-6
    )
    np.testing.assert_allclose(
        round_to_steps(weights.T, 1, 8), [[12.7, 0], [0.1, 0], [0.0, 0]], atol=1e-6
    )
    np.testing.assert_allclose(round_to_steps(weights, 0, 16), weights, atol=12.7 / 32767 / 2)


def test_a_runtime_that_dies_is_an_error_with_its_last_words():
    process = LiteProcess([sys.executable, "-c", "import sys; sys.exit('no kernel for conv9d')"])
    with pytest.raises(Exception, match=r"Paddle-Lite ended \(exit code 1\): no kernel for conv9d"):
        process.ask(np.zeros((1, 3, 4, 5), np.float32))


def test_the_commands_and_constants_of_this_bundle(bundle, tmp_path):
    write_phone_files(bundle, tmp_path, IMAGES, "arm")
    readme = (tmp_path / "README.md").read_text()
    assert "2. Resize: short 72.\n3. CenterCrop: size (48, 64)." in readme
    assert "--input_shape=1,3,48,64" in readme
    assert "logits; softmax makes probabilities" in readme
    assert (
        "classify $LITE/cxx/lib/libpaddle_light_api_shared.so photo.rgb /data" in readme
    )  # all that the program opens
    for name in ("classify.cc", "Classifier.java"):
        code = (tmp_path / name).read_text()
        assert "0.485f, 0.456f, 0.406f" in code
        assert "0.229f, 0.224f, 0.225f" in code


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
        '  System.out.println(new Classifier("model.nb").classify(new android.graphics.Bitmap())); } }'
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
  void Resize(std::vector<int> shape) { size_t n = 1; for (int s : shape) n *= s; floats.resize(n); bytes.resize(n); }
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
template <class C> std::shared_ptr<Predictor> CreatePaddlePredictor(const C&) { return std::make_shared<Predictor>(); }
}}
"""
