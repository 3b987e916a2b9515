"""``ppclas export``: its words, its receipt, its exit codes."""

import json

import pytest
from ppclas_cli.main import main
from ppclas_core.bundle import Bundle, Manifest, Preprocessing, architecture_of, write_bundle
from ppclas_core.plugins import get_registries
from ppclas_data.loading.pipeline import default_eval_transforms

MODEL, LABELS = "MobileNetV3_small_x0_35", ("pear", "milk", "番茄")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle with random weights."""
    pytest.importorskip("paddle", reason="needs the extra [cpu]")
    pytest.importorskip("ppclas_models", reason="needs ppclas-models")
    from ppclas_core.models import create_model
    from ppclas_core.weights import model_state

    path = tmp_path_factory.mktemp("bundles") / "net"
    manifest = Manifest(
        architecture=architecture_of(MODEL, len(LABELS), {}),
        preprocessing=Preprocessing(
            image_size=(64, 64), transforms=default_eval_transforms(64, None, "bilinear")
        ),
        labels=LABELS,
    )
    write_bundle(path, manifest, model_state(create_model(MODEL, len(LABELS))))
    return path


def test_help_lists_the_registered_targets(capsys):
    assert main(["export", "--help"]) == 0
    assert f"--target {'|'.join(get_registries().exporters)}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["RUN"], 2, "Missing option '--target'"),
        (["RUN", "--target", "onxx"], 1, "Unknown export target 'onxx'. Did you mean 'onnx'"),
        (["no/run", "--target", "onnx"], 1, "No such bundle: no/run"),
        (["--target", "onnx"], 2, "Expected a run, a bundle, an export or the name of a model"),
        (["RUN", "--target", "onnx", "--model", "ResNet18"], 2, "both name what to work on"),
        (
            ["RUN", "--target", "paddle", "--opset", "17"],
            1,
            "paddle has no option 'opset'. It takes: batch, image_size, ir, ",
        ),
        (["RUN", "--target", "paddle", "--ir", "new"], 1, "option 'ir'"),
        (["RUN", "--target", "onnx", "--option", "fast"], 2, "expected KEY=VALUE"),
        (
            ["RUN", "--target", "onnx", "--image-size", "0"],
            2,
            "expected a side (160) or HEIGHTxWIDTH (192x256)",
        ),
        (["RUN", "--target", "onnx", "--option", "fast=1"], 1, "onnx has no option 'fast'"),
        (["RUN", "--target", "onnx", "--num-photos", "0"], 2, "--num-photos"),
        (
            ["RUN", "--target", "paddle", "--photos", "no/photos"],
            1,
            "No such file, folder or pattern: no/photos",
        ),
    ],
)
def test_mistakes_are_one_line(ppclas, folder, tmp_path, arguments, code, words):
    given = [str(folder) if word == "RUN" else word for word in arguments]
    said = ppclas("export", *given, cwd=tmp_path)
    assert (said.code, said.out) == (code, "")
    assert len(said.err.splitlines()) == 1
    assert words in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_receipt_and_json(folder, tmp_path, capsys):
    assert (
        main(
            [
                "export",
                str(folder),
                "--target",
                "onnx",
                "-o",
                str(tmp_path / "out"),
                "--num-photos",
                "4",
            ]
        )
        == 0
    )
    said, steps = capsys.readouterr()
    assert steps.splitlines()[-2:] == [
        "writing the onnx model",
        "comparing its answers on 4 photos with the trained model's",
    ]
    assert said.startswith(f"{MODEL} for onnx in {tmp_path / 'out'}")
    assert "Same answers as the trained model on 4 photos (the built-in photos)" in said
    assert "same top-1 on 4 of 4 photos; ran in onnxruntime" in said

    arguments = [
        "export",
        str(folder),
        "--target",
        "onnx",
        "-o",
        str(tmp_path / "out"),
        "--num-photos",
        "4",
    ]
    assert main(arguments) == 1
    assert "Replace it with --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--json", "--option", "batch=2"]) == 0
    receipt = json.loads(capsys.readouterr().out)
    assert receipt["target"] == "onnx"
    assert receipt["parity"]["agrees"] is True
    assert receipt["photos"] == {"origin": "the built-in photos", "count": 4}
    assert receipt["files"]["model.onnx"] == (tmp_path / "out" / "model.onnx").stat().st_size
    assert Bundle.load(tmp_path / "out").manifest.export["batch"] == 2
