"""Networks with branches: fused by the command and by every export, with the answers they had."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from ppclas_core.bundle import Bundle, write_bundle
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import ExportError
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_core.testing.exporters import make_tiny_bundle
from ppclas_core.weights import model_state
from ppclas_deploy.export import export_bundle
from ppclas_deploy.fusing import fuse_bundle
from safetensors.numpy import load_file

pytest.importorskip("ppclas_models", reason="ppclas-models has networks with branches")

CONVOLUTIONS = {
    # The stem and the layers of four stages: the paper's table 2, section 4.1.
    "RepVGG_A0": 1 + 2 + 4 + 14 + 1,
    # The stem and 21 pairs of a depthwise and a 1x1 layer: the paper's table 2.
    "MobileOne_s0": 1 + 2 * 21,
}
FAMILIES = ["RepVGG_A0", "MobileOne_s0", "FastViT_t8", "PPLCNetV2_small"]
SIDE = 64


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """``trained(name)``: a bundle of photos of side 64 whose batch norms are not as they began."""
    made: dict[str, Bundle] = {}

    def make(name: str) -> Bundle:
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / "bundle"
            transforms = (
                ComponentConfig(name="Resize", short=SIDE),
                ComponentConfig(name="CenterCrop", size=SIDE),
            )
            empty = make_tiny_bundle(folder, name, 3, SIDE, transforms)
            model, rng = create_model(name, 3), np.random.default_rng(0)
            for key, tensor in model.state_dict().items():
                if key.endswith(("_mean", "_variance")) or "gamma" in key:
                    tensor.set_value(rng.uniform(0.5, 1.5, tensor.shape).astype("float32"))
            made[name] = write_bundle(folder, empty.manifest.replace(files={}), model_state(model))
        return made[name]

    return make


def logits(model, images):
    with paddle.no_grad():
        return model(images).numpy()


@pytest.mark.parametrize(
    "name",
    [
        "MobileOne_s0",
        *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES[:1] + FAMILIES[2:]),
    ],
)
def test_the_command_writes_a_bundle_of_the_same_answers(name, trained, ppclas, tmp_path):
    source, folder = trained(name), tmp_path / "fused"
    said = ppclas("models", "fuse", source.folder, "-o", folder, "--json")
    report = json.loads(said.stdout)
    fused = Bundle.load(folder)
    assert fused.manifest.architecture.params == {"fused": True}
    assert fused.labels == source.labels
    images = paddle.to_tensor(
        np.random.default_rng(1).standard_normal((2, 3, SIDE, SIDE), dtype="float32")
    )
    expected = logits(source.build_model(), images)
    found = logits(fused.build_model(), images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    before, after = report["before"], report["after"]
    assert after["params"] < before["params"]
    assert after["bytes"] == (folder / "model.safetensors").stat().st_size < before["bytes"]
    stored = load_file(folder / "model.safetensors")
    statistics = ("_mean", "_variance")
    assert after["params"] == sum(v.size for k, v in stored.items() if not k.endswith(statistics))
    assert report["difference"] < 1e-9  # double precision
    assert report["speedup"] == pytest.approx(before["latency_ms"] / after["latency_ms"])


def test_the_fused_bundle_is_a_bundle(trained, ppclas, tmp_path):
    source, folder = trained("MobileOne_s0"), tmp_path / "fused"
    ppclas("models", "fuse", source.folder, "-o", folder)
    photo = tmp_path / "photo.png"
    from PIL import Image

    pixels = np.random.default_rng(2).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    answers = []
    for path in (source.folder, folder):
        ppclas("predict", photo, "-m", path, "-o", tmp_path / "answers.json")
        (answer,) = json.loads((tmp_path / "answers.json").read_text())
        answers.append({each["label"]: each["probability"] for each in answer["top"]})
    first, second = answers
    assert first.keys() == second.keys()
    assert [second[label] for label in first] == pytest.approx(list(first.values()), rel=1e-4)


def test_what_cannot_be_fused_is_one_line(trained, ppclas, tmp_path):
    plain = make_tiny_bundle(tmp_path / "plain", "SqueezeNet1_1", 3, SIDE)
    refused = ppclas("models", "fuse", plain.folder, "-o", tmp_path / "out", code=1)
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: SqueezeNet1_1 has no branches to fuse; RepVGG, MobileOne, ")
    assert not (tmp_path / "out").exists()
    source = trained("RepVGG_A0")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    refused = ppclas("models", "fuse", source.folder, "-o", tmp_path / "there", code=1)
    assert "is there already. Choose another folder with -o." in refused.stderr
    assert (tmp_path / "there" / "mine.txt").read_text() == "mine"
    ppclas("models", "fuse", source.folder, "-o", tmp_path / "out")
    refused = ppclas("models", "fuse", tmp_path / "out", "-o", tmp_path / "again", code=1)
    assert "error: RepVGG_A0 is fused already." in refused.stderr


def test_the_words_name_every_family_with_branches(tmp_path):
    models = get_registries().models
    families = {models.entry(name).metadata["family"]: name for name in models}
    fusible = {
        str(models.entry(name).metadata["series"])
        for name in families.values()
        if "fused" in models.entry(name).builder.params_model().model_fields
    }
    assert fusible == {"RepVGG", "MobileOne", "FastViT", "PP-LCNetV2"}
    plain = make_tiny_bundle(tmp_path / "plain", "SqueezeNet1_1", 3, SIDE)
    with pytest.raises(ExportError) as error:
        fuse_bundle(plain, tmp_path / "out")
    assert all(series in str(error.value) for series in fusible)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_an_onnx_export_has_the_papers_convolutions_alone(name, trained, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
    export_bundle(trained(name), "onnx", tmp_path / "out", num_photos=2)
    nodes = [node.op_type for node in onnx.load(str(tmp_path / "out" / "model.onnx")).graph.node]
    assert nodes.count("Conv") == CONVOLUTIONS[name]
    assert "BatchNormalization" not in nodes


@pytest.mark.slow
def test_a_fused_bundle_exports_as_the_trained_one(trained, ppclas, tmp_path):
    source = trained("MobileOne_s0")
    ppclas("models", "fuse", source.folder, "-o", tmp_path / "fused")
    receipts = [
        export_bundle(bundle, "paddle", tmp_path / name, num_photos=2)
        for name, bundle in (("one", source), ("two", Bundle.load(tmp_path / "fused")))
    ]
    sizes = [receipt.files["inference.pdiparams"] for receipt in receipts]
    assert sizes[0] == sizes[1] < source.weights_file.stat().st_size / 2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "MobileOne_s0" else pytest.mark.sweep)
        for name in FAMILIES
    ],
)
@pytest.mark.parametrize(
    ("target", "options"),
    [
        pytest.param("paddle", {}, marks=pytest.mark.slow),
        pytest.param("paddle", {"ir": "old"}, marks=pytest.mark.sweep),
        pytest.param("onnx", {}, marks=pytest.mark.slow),
        pytest.param("openvino", {}, marks=pytest.mark.sweep),
        pytest.param("serving", {}, marks=pytest.mark.sweep),
        pytest.param("triton", {}, marks=pytest.mark.sweep),
        pytest.param("lite", {"place": "x86"}, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value.values()),
)
def test_every_target_keeps_the_answers_of_the_branches(target, options, name, trained, tmp_path):
    source = trained(name)
    try:
        receipt = export_bundle(source, target, tmp_path / "out", options=options, num_photos=3)
    except ExportError as error:
        if "No module named" in str(error) or "is not installed" in str(error):
            pytest.skip(str(error))
        raise
    assert receipt.parity.agrees
    written = sum(receipt.files.values())
    assert written < source.weights_file.stat().st_size + 2**20
