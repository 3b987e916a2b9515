"""What needs a GPU, in a few minutes: ``nox -s gpu``, or ``pytest -m gpu``. The report that it
leaves, ``gpu-report.txt``, is worth sending back: nothing here has run on a GPU of the project.

Numbers are compared with the same arithmetic on the CPU of this machine.
"""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.normalize import normalize_batch
from ppclas_data.loading.device import normalize_on_device
from ppclas_data.testing import make_tiny_dataset

paddle = pytest.importorskip("paddle")
gpus = paddle.device.cuda.device_count() if paddle.device.is_compiled_with_cuda() else 0

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not gpus, reason="Paddle sees no GPU here"),
]
two = pytest.mark.skipif(gpus < 2, reason="needs two GPUs")


@pytest.fixture(autouse=True)
def on_gpu():
    paddle.set_device("gpu")
    yield
    paddle.set_device("gpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu") / "photos"
    make_tiny_dataset(folder, classes=3, per_class=24, size=64)
    return folder


def ppclas(*arguments, **options):
    command = [sys.executable, "-m", "ppclas_cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(photos, output, *more):
    fixed = "--model ResNet18 --from-scratch --image-size 64 --batch-size 16 --epochs 2"
    ppclas("train", photos, *fixed.split(), "--output", output, *more)
    rows = (output / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row) for row in rows]


def difference(ours, theirs):
    """Root mean square of the difference, as a share of that of ``theirs``."""
    return float(np.sqrt(((ours - theirs) ** 2).mean() / (theirs**2).mean()))


def test_pixels_are_normalised_as_on_the_cpu():
    images = np.random.default_rng(0).integers(0, 256, (8, 40, 50, 3), dtype=np.uint8)
    ours = normalize_on_device(images, NormalizeConfig())
    assert ours.place.is_gpu_place()
    np.testing.assert_allclose(
        ours.numpy(), normalize_batch(images, NormalizeConfig()), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", ["ResNet18", "MobileNetV3_small_x1_0", "PPLCNet_x1_0"])
def test_logits_are_those_of_the_cpu(name):
    import ppclas

    images = paddle.to_tensor(np.random.default_rng(0).normal(size=(4, 3, 224, 224)), "float32")
    model = ppclas.create_model(name, pretrained=False)
    model.eval()
    with paddle.no_grad():
        on_gpu = model(images).numpy()
        paddle.set_device("cpu")
        on_cpu = ppclas.create_model(name, pretrained=False)
        on_cpu.set_state_dict({key: value.cpu() for key, value in model.state_dict().items()})
        on_cpu.eval()
        expected = on_cpu(images.cpu()).numpy()
    # TF32, Paddle's default from Ampere on, has 10 bits of mantissa.
    assert difference(on_gpu, expected) < 1e-2


@pytest.mark.parametrize(
    "precision",
    [
        (),
        ("--amp", "fp16"),
        ("--amp", "bf16"),
        ("--amp", "fp16", "-o", "train.amp_level=O2"),
    ],
    ids=" ".join,
)
def test_training_learns(photos, tmp_path, precision):
    capability = paddle.device.cuda.get_device_capability()
    needs = (8, 0) if "bf16" in precision else (7, 0) if precision else (0, 0)
    if capability < needs:
        pytest.skip(f"needs compute capability {needs}, this card has {capability}")
    history = train(photos, tmp_path / "run", "--device", "gpu", *precision)
    assert np.isfinite([row["train_loss"] for row in history]).all()


@two
def test_two_gpus_train_as_one(photos, tmp_path):
    alone = train(photos, tmp_path / "one", "--devices", "0")
    shared = train(photos, tmp_path / "two", "--devices", "0,1")
    losses = ([row["train_loss"] for row in history] for history in (alone, shared))
    np.testing.assert_allclose(*losses, rtol=2e-2)


@two
@pytest.mark.parametrize("precision", [(), ("--amp", "fp16")], ids=" ".join)
@pytest.mark.parametrize("shard", ["optimizer", "gradients"])
def test_two_gpus_that_divide_the_optimizer_train_as_two(photos, tmp_path, shard, precision):
    whole = train(photos, tmp_path / "whole", "--devices", "0,1", *precision)
    setting = ("-o", f"train.shard={shard}")
    parts = train(photos, tmp_path / "parts", "--devices", "0,1", *precision, *setting)
    losses = ([row["train_loss"] for row in history] for history in (whole, parts))
    np.testing.assert_allclose(*losses, rtol=2e-2)


@two
def test_one_gpu_by_its_number_is_the_one_that_is_used():
    from ppclas_engine.planning.device import select_device

    select_device("gpu", "1")
    assert paddle.get_device() == "gpu:1"


@two
def test_predictions_of_two_gpus_are_those_of_one(photos, tmp_path):
    train(photos, tmp_path / "run", "--devices", "0")
    common = ("predict", photos, "-m", tmp_path / "run", "--format", "csv", "--batch-size", 8)
    assert ppclas(*common) == ppclas(*common, "--devices", "0,1")


@pytest.mark.parametrize("engine", ["CudaEngine", "TensorRTEngine"])
def test_onnxruntime_answers_as_on_the_cpu(engine, photos, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    from ppclas_core.bundle import Bundle
    from ppclas_deploy.engines import onnxruntime

    made = getattr(onnxruntime, engine)()
    if made.provider not in ort.get_available_providers():
        pytest.skip(f"this onnxruntime has no {made.provider} (pip install onnxruntime-gpu)")
    train(photos, tmp_path / "run", "--device", "gpu")
    ppclas("export", tmp_path / "run", "--target", "onnx", "--output", tmp_path / "onnx")
    bundle, plain = Bundle.load(tmp_path / "onnx"), onnxruntime.OnnxRuntimeEngine()
    images = np.random.default_rng(0).integers(0, 256, (4, *bundle.image_size, 3), dtype=np.uint8)
    made.load(bundle)
    plain.load(bundle)
    answers = [one.logits(one.prepare(images)) for one in (made, plain)]
    assert difference(*answers) < (1e-4 if engine == "CudaEngine" else 1e-2)


def test_throughput_is_written_down(record_property):
    """No limit: the number is for the report."""
    import ppclas

    model = ppclas.create_model("ResNet50", pretrained=False)
    model.eval()
    images = paddle.ones([64, 3, 224, 224])
    with paddle.no_grad():
        for _ in range(3):
            model(images)
        paddle.device.synchronize()
        started = time.perf_counter()
        for _ in range(10):
            model(images)
        paddle.device.synchronize()
    speed = 640 / (time.perf_counter() - started)
    record_property("ResNet50, float32, forward, batches of 64, images/s", f"{speed:.0f}")
    assert speed > 0
