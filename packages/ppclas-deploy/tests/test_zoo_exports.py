"""A few small models of the zoo, one a family, through every target; weights are random."""

import pytest
from ppclas_core.bundle import Manifest, Preprocessing, architecture_of, write_bundle
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_core.weights import model_state
from ppclas_data.loading.pipeline import default_eval_transforms
from ppclas_deploy.export import export_bundle

pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("paddle", reason="needs the extra [cpu]")

MODELS = [
    "ResNet18_vd",
    "MobileNetV1_x0_25",
    "MobileNetV2_x0_25",
    "MobileNetV3_small_x0_35",
    "ShuffleNetV2_x0_25",
    "ShuffleNetV2_swish",
    "SqueezeNet1_1",
    "GhostNet_x0_5",
    "MicroNet_M0",
    "DeiT_tiny_patch16_224",
    "SwinTransformer_tiny_patch4_window7_224",
]
SIZE = 64
# Batch norms that never saw data let activations grow a thousandfold, and rounding errors with
# them.
LOOSE = {"tolerance": 1e-3}


@pytest.mark.sweep
@pytest.mark.parametrize("model", MODELS)
def test_every_target(model, tmp_path):
    if model not in get_registries().models:
        pytest.skip("needs ppclas-models")
    manifest = Manifest(
        architecture=architecture_of(model, 10, {}),
        preprocessing=Preprocessing(
            image_size=(SIZE, SIZE), transforms=default_eval_transforms(SIZE, None, "bilinear")
        ),
        labels=tuple(f"class {i}" for i in range(10)),
    )
    bundle = write_bundle(tmp_path / "bundle", manifest, model_state(create_model(model, 10)))
    for target, options in (("onnx", {}), ("paddle", {}), ("paddle", {"ir": "old"})):
        folder = tmp_path / "-".join([target, *options.values()])
        receipt = export_bundle(bundle, target, folder, options={**options, **LOOSE}, num_photos=5)
        print(f"{model} {folder.name}: {receipt.parity.summary()}")
        assert receipt.parity.agrees
