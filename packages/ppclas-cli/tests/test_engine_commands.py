"""``ppclas quantize`` and ``ppclas benchmark``: what they refuse and what they print."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from ppclas_core.bundle import Architecture, Manifest, Preprocessing, write_manifest
from ppclas_core.config.schema import ComponentConfig

onnx = pytest.importorskip("onnx", reason="needs onnx to write a network by hand")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")


@pytest.fixture
def export(tmp_path):
    """A network that tells dark photos from light ones, as an ONNX export of 8 x 8 pixels."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    filters = (
        np.ones((4, 3, 1, 1), np.float32)
        * np.array([1, -1, 0.5, -0.5], np.float32)[:, None, None, None]
    )
    head = np.array([[-1, 1], [1, -1], [-1, 1], [1, -1]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "filters"], ["maps"], name="conv"),
            helper.make_node("GlobalAveragePool", ["maps"], ["means"], name="pool"),
            helper.make_node("Flatten", ["means"], ["features"], axis=1),
            helper.make_node("Gemm", ["features", "head"], ["logits"], name="head"),
        ],
        "light",
        [helper.make_tensor_value_info("images", kind, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 2])],
        [
            onnx.numpy_helper.from_array(filters, "filters"),
            onnx.numpy_helper.from_array(head, "head"),
        ],
    )
    folder = tmp_path / "light-onnx"
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "labels.txt").write_text("0 dark\n1 light\n")
    manifest = Manifest(
        kind="export",
        architecture=Architecture(name="Light", num_classes=2),
        preprocessing=Preprocessing(
            image_size=(8, 8), transforms=(ComponentConfig(name="Resize", size=(8, 8)),)
        ),
        labels=("dark", "light"),
        export={"engine": "onnxruntime", "target": "onnx", "model": "model.onnx"},
    )
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def photos(tmp_path):
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = np.random.default_rng(index).integers(
                level - 30, level + 30, (8, 8, 3), dtype=np.uint8
            )
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


def test_int8_from_start_to_finish(ppclas, export, photos, tmp_path):
    output = str(tmp_path / "int8")
    done = ppclas(
        "quantize",
        str(export),
        "--calibrate",
        str(photos),
        "--data",
        str(photos),
        "--threads",
        "1",
        "-o",
        output,
    )
    assert done.code == 0, done.err
    assert "top-1        100.00% → 100.00% on 16 photos" in done.out
    assert "0 of 3 layers stay float" in done.out
    assert "4 photos calibrate, others judge" in done.err
    again = ppclas("quantize", str(export), "--calibrate", str(photos), "-o", output)
    assert again.code == 1
    assert "--overwrite" in again.err
    answers = json.loads(ppclas("predict", str(photos), "-m", output, "--format", "json").out)
    assert {row["label"] for row in answers if "dark" in row["path"]} == {"dark"}
    assert {row["label"] for row in answers if "light" in row["path"]} == {"light"}


def test_benchmark_prints_a_row_for_each_batch(ppclas, export, photos, tmp_path):
    table = str(tmp_path / "table.csv")
    measured = ["--batch", "1,4", "--threads", "1", "--seconds", "0.1", "--data", str(photos)]
    written = ["--csv", table, "--lite-format", str(tmp_path / "lite.txt")]
    done = ppclas("benchmark", str(export), *measured, *written)
    assert done.code == 0, done.err
    assert "100.00%" in done.out
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["batch"], row["top1"]) for row in rows] == [
        ("light-onnx", "1", "1.0"),
        ("light-onnx", "4", "1.0"),
    ]
    assert (tmp_path / "lite.txt").read_text().startswith("PaddleLite Benchmark\nThreads=1 ")


def test_the_size_of_a_lite_export_is_that_of_the_file_for_the_phone(export):
    from ppclas_core.bundle import Bundle
    from ppclas_deploy.benchmark import model_bytes

    for name, size in (("model.nb", 100), ("twin-x86.nb", 110), ("classify.cc", 7)):
        (export / name).write_bytes(bytes(size))
    manifest = Bundle.load(export).manifest
    facts = {"engine": "lite", "target": "lite", "model": "twin-x86.nb", "nb": "model.nb"}
    write_manifest(export, manifest.replace(export=facts))
    assert model_bytes(Bundle.load(export)) == 100


def test_several_labels_a_photo(ppclas, export, photos, tmp_path):
    """INT8 is judged by the whole answer; benchmark compares top-1 and says that there is none."""
    manifest = Manifest.model_validate_json((export / "bundle.json").read_text())
    write_manifest(export, manifest.replace(task="multilabel", activation="sigmoid", files={}))
    rows = [f"{name}/{index}.png,{name}" for name in ("dark", "light") for index in range(10)]
    (photos / "many.csv").write_text("\n".join(["path,labels", *rows]) + "\n")
    output = str(tmp_path / "int8")
    given = ["--data", str(photos / "many.csv"), "--threads", "1"]
    done = ppclas("quantize", str(export), "--calibrate", str(photos), "-o", output, *given)
    assert done.code == 0, done.err
    assert "exact match" in done.out
    assert (
        json.loads((tmp_path / "int8" / "quantization.json").read_text())["measure"]
        == "exact match"
    )
    refused = ppclas("benchmark", str(export), *given)
    assert refused.code == 1
    assert "--data compares top-1, and a photo of light-onnx may have several labels" in refused.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["benchmark", "EXPORT", "--batch", "1,x"],
            "expected whole numbers of 1 or more with commas",
        ),
        (
            ["benchmark", "EXPORT", "--batch", "0"],
            "expected whole numbers of 1 or more with commas",
        ),
        (["benchmark", "EXPORT", "--batch", "8", "--lite-format", "x.txt"], "add 1 to --batch"),
        (["quantize", "EXPORT", "--steps", "5"], "--steps belongs to --method qat"),
        (["quantize"], "Expected a run, a bundle, an export"),
    ],
)
def test_wrong_options(ppclas, export, arguments, words):
    done = ppclas(*(str(export) if word == "EXPORT" else word for word in arguments))
    assert done.code == 2
    assert words in done.err
