"""What goes to a phone with the model: words, and samples that are compiled and run here."""

import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from ppclas_deploy.lite.phone import write_phone_files

DEMO = Path(__file__).parents[3] / "examples" / "android-demo"
IMAGES = {"batch": None, "input": "images", "output": "logits"}


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
        '  Classifier model = new Classifier("model.nb");'
        "  System.out.println(model.classify(new android.graphics.Bitmap()));"
        "  System.out.println(model.probabilities(new android.graphics.Bitmap())[1]);"
        "  System.out.println(Classifier.SHORT_SIDE); } }"
    )
    subprocess.run(["javac", "-Xlint:all", "-Werror", "Main.java"], cwd=tmp_path, check=True)
    ran = subprocess.run(
        ["java", "-cp", ".", "Main"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    shape = ["2", "3", "48", "64"]  # of each call; the green plane is the largest by far
    assert ran.stdout.split() == [*shape, "1", *shape, "1.0", "72"]


@pytest.mark.slow
@pytest.mark.skipif(not DEMO.exists(), reason="the demo is in the repository, not in the package")
def test_the_android_demo_fits_the_files_of_an_export(bundle, tmp_path):
    """Its Java compiles with the export's, and its other files name what is there."""
    if shutil.which("javac") is None:
        pytest.skip("needs javac")
    write_phone_files(bundle, tmp_path, IMAGES, "arm")
    main = DEMO / "app" / "src" / "main"
    demo = tmp_path / "org" / "ppclas" / "demo"
    lite = tmp_path / "com" / "baidu" / "paddle" / "lite"
    demo.mkdir(parents=True)
    lite.mkdir(parents=True)
    for name, body in FAKE_JAVA.items():
        (lite / f"{name}.java").write_text(f"package com.baidu.paddle.lite; public {body}")
    for name, body in FAKE_ANDROID.items():
        file = tmp_path / f"{name.replace('.', '/')}.java"
        file.parent.mkdir(parents=True, exist_ok=True)
        package, _, kind = name.rpartition(".")
        file.write_text(f"package {package}; public {body.replace('NAME', kind)}")
    (demo / "MainActivity.java").write_text(
        (main / "java" / "org" / "ppclas" / "demo" / "MainActivity.java").read_text()
    )
    # As app/build.gradle does it.
    (demo / "Classifier.java").write_text(
        "package org.ppclas.demo;\n" + (tmp_path / "Classifier.java").read_text()
    )
    strings = ElementTree.parse(main / "res" / "values" / "strings.xml").getroot()
    texts = {text.get("name") for text in strings}
    chinese = ElementTree.parse(main / "res" / "values-zh" / "strings.xml").getroot()
    assert {text.get("name") for text in chinese} == texts
    layout = (main / "res" / "layout" / "main.xml").read_text()
    ElementTree.fromstring(layout)
    ids = set(re.findall(r"@\+id/(\w+)", layout))
    fields = {"id": ids, "string": texts, "layout": {"main"}}
    classes = "".join(
        f"public static final class {kind} {{"
        + "".join(f"public static final int {name} = 0;" for name in sorted(names))
        + "}"
        for kind, names in fields.items()
    )
    (demo / "R.java").write_text(f"package org.ppclas.demo; public final class R {{{classes}}}")
    manifest = ElementTree.parse(main / "AndroidManifest.xml").getroot()
    android = "{http://schemas.android.com/apk/res/android}"
    assert [node.get(f"{android}name") for node in manifest.iter("activity")] == [".MainActivity"]
    command = ["javac", "-Xlint:all", "-Werror", "org/ppclas/demo/MainActivity.java"]
    subprocess.run(command, cwd=tmp_path, check=True)


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

FAKE_ANDROID = {
    "android.app.Activity": "class NAME extends android.content.Context {"
    " public static final int RESULT_OK = -1;"
    " protected void onCreate(android.os.Bundle b) {} protected void onDestroy() {}"
    " public void setContentView(int layout) {}"
    " public <T extends android.view.View> T findViewById(int id) { return null; }"
    " public void startActivityForResult(android.content.Intent i, int code) {}"
    " protected void onActivityResult(int code, int result, android.content.Intent data) {}"
    " public void runOnUiThread(Runnable r) {} }",
    "android.content.Context": "abstract class NAME {"
    " public android.content.res.AssetManager getAssets() { return null; }"
    " public java.io.File getFilesDir() { return null; }"
    " public android.content.ContentResolver getContentResolver() { return null; }"
    " public String getString(int id) { return null; } }",
    "android.content.res.AssetManager": "class NAME {"
    " public java.io.InputStream open(String n) throws java.io.IOException { return null; } }",
    "android.content.ContentResolver": "class NAME {"
    " public java.io.InputStream openInputStream(android.net.Uri u)"
    " throws java.io.FileNotFoundException { return null; } }",
    "android.content.Intent": "class NAME {"
    ' public static final String ACTION_GET_CONTENT = "g", CATEGORY_OPENABLE = "c";'
    " public NAME(String action) {} public NAME setType(String t) { return this; }"
    " public NAME addCategory(String c) { return this; }"
    " public android.net.Uri getData() { return null; }"
    " public android.os.Bundle getExtras() { return null; } }",
    "android.content.ActivityNotFoundException": "class NAME extends RuntimeException {"
    " private static final long serialVersionUID = 1L; }",
    "android.net.Uri": "class NAME { }",
    "android.os.Bundle": "class NAME { @Deprecated public Object get(String k) { return null; }"
    " public <T> T getParcelable(String key) { return null; } }",
    "android.provider.MediaStore": "class NAME {"
    ' public static final String ACTION_IMAGE_CAPTURE = "i"; }',
    "android.view.View": "class NAME { public void setOnClickListener(OnClickListener l) {}"
    " public interface OnClickListener { void onClick(NAME v); } }",
    "android.widget.ImageView": "class NAME extends android.view.View {"
    " public void setImageBitmap(android.graphics.Bitmap b) {} }",
    "android.widget.TextView": "class NAME extends android.view.View {"
    " public void setText(CharSequence t) {} public void setText(int id) {} }",
    "android.graphics.Bitmap": "class NAME { public int getWidth() { return 0; }"
    " public int getHeight() { return 0; }"
    " public void getPixels(int[] p, int o, int s, int x, int y, int w, int h) {}"
    " public static NAME createScaledBitmap(NAME b, int w, int h, boolean f) { return b; }"
    " public static NAME createBitmap(NAME b, int x, int y, int w, int h) { return b; }"
    " public static NAME createBitmap(NAME b, int x, int y, int w, int h,"
    " android.graphics.Matrix m, boolean f) { return b; } }",
    "android.graphics.Matrix": "class NAME { public boolean postRotate(float d) { return true; }"
    " public boolean postScale(float x, float y) { return true; } }",
    "android.graphics.BitmapFactory": "class NAME {"
    " public static android.graphics.Bitmap decodeByteArray(byte[] d, int o, int n, Options p)"
    " { return null; } public static class Options { public int inSampleSize;"
    " public boolean inJustDecodeBounds; public int outWidth, outHeight; } }",
    "android.media.ExifInterface": "class NAME {"
    ' public static final String TAG_ORIENTATION = "o";'
    " public NAME(java.io.InputStream s) throws java.io.IOException {}"
    " public int getAttributeInt(String t, int d) { return d; } }",
}
"""What the demo calls of Android: enough to see that it compiles."""

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
