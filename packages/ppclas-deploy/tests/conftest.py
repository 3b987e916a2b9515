"""Bundles of small models that an outside plugin brings, and exports that need no exporter."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.bundle import (
    Architecture,
    Bundle,
    Manifest,
    Preprocessing,
    architecture_of,
    write_bundle,
    write_manifest,
)
from ppclas_core.config.schema import ComponentConfig, NormalizeConfig
from ppclas_core.models import create_model
from ppclas_core.plugins import get_plugin_manager

PLUGIN = Path(__file__).parent / "plugin"
SIZE = (4, 5)
"""Height and width of a linear export's images."""
LABELS = ("pear", "oat milk", "番茄")


@pytest.fixture(scope="module", autouse=True)
def outside_plugin():
    """Make ``deploy_test_models`` an installed plugin, here and in the processes that are
    started.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
        )
        get_plugin_manager.cache_clear()
        yield
    get_plugin_manager.cache_clear()
    for module in ("deploy_test_models", "deploy_test_layers", "deploy_test_targets"):
        sys.modules.pop(module, None)


def write_random_bundle(
    folder: Path,
    model: str = "Tiny",
    size: tuple[int, int] = (48, 64),
    seed: int = 0,
    *,
    grey: bool = False,
) -> Bundle:
    """A bundle of ``model`` with random weights and logits of everyday size, for images of
    ``size``, which ``grey`` makes of one channel.
    """
    params = {"in_channels": 1} if grey else {}
    rng = np.random.default_rng(seed)
    state = {
        name: rng.normal(0.0, 0.3, value.shape).astype(np.float32)
        for name, value in create_model(model, len(LABELS), **params).state_dict().items()
    }
    state["norm._variance"] = np.abs(state["norm._variance"]) + 0.5
    height, width = size
    manifest = Manifest(
        architecture=architecture_of(model, len(LABELS), params),
        preprocessing=Preprocessing(
            image_size=size,
            transforms=(
                ComponentConfig(name="Resize", short=72),
                ComponentConfig(name="CenterCrop", size=(height, width)),
                *([ComponentConfig(name="Grayscale")] if grey else []),
            ),
            normalize=NormalizeConfig(mean=(0.45,), std=(0.2,)) if grey else NormalizeConfig(),
        ),
        labels=LABELS,
    )
    return write_bundle(folder, manifest, state)


@pytest.fixture(scope="session")
def make_bundle():
    return write_random_bundle


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return write_random_bundle(tmp_path / "bundle")


def linear_weights(size: tuple[int, int] = SIZE, num_classes: int = 2) -> np.ndarray:
    """float32 [3 * H * W, num_classes]"""
    rng = np.random.default_rng(3)
    return rng.normal(size=(3 * size[0] * size[1], num_classes)).astype(np.float32)


def linear_manifest(size: tuple[int, int] = SIZE, **facts) -> Manifest:
    """Of a linear classifier of the classes a and b, exported to ONNX unless ``facts`` say
    otherwise.
    """
    return Manifest(
        kind="export",
        architecture=Architecture(name="Linear", num_classes=2),
        preprocessing=Preprocessing(
            image_size=size, transforms=(ComponentConfig(name="Resize", size=size),)
        ),
        labels=("a", "b"),
        export={"engine": "onnxruntime", "target": "onnx", "model": "model.onnx", **facts},
    )


def write_linear_export(folder: Path, size: tuple[int, int] = SIZE, **facts) -> Bundle:
    """A linear classifier without an exporter: ``model.onnx``, and ``weights.npy`` for the plugin's
    engines.
    """
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    folder.mkdir(parents=True)
    np.save(folder / "weights.npy", linear_weights(size))
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("images", kind, ["batch", 3, *size])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 2])],
        [onnx.numpy_helper.from_array(linear_weights(size), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    write_manifest(folder, linear_manifest(size, **facts))
    return Bundle.load(folder)


@pytest.fixture(scope="session")
def make_export():
    return write_linear_export


@pytest.fixture
def export(tmp_path) -> Bundle:
    """A linear classifier as an ONNX export."""
    return write_linear_export(tmp_path / "export")


@pytest.fixture
def rewrite():
    """Give an export other facts in its ``bundle.json``, with the hashes of its files as they
    are.
    """

    def change(export: Bundle, **facts) -> Bundle:
        manifest = export.manifest.replace(export={**export.manifest.export, **facts}, files={})
        write_manifest(export.folder, manifest)
        return Bundle.load(export.folder)

    return change


@pytest.fixture(scope="session")
def weights():
    """What a linear export's images, flattened, are multiplied with."""
    return linear_weights()


@pytest.fixture
def python():
    """Run Python code in a process of its own; its output, once it has ended well unless
    ``code`` says otherwise.
    """

    def run(source: str, *, code: int = 0, cwd: Path | None = None, **environment: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={**os.environ, **environment},
        )
        assert ran.returncode == code, ran.stderr
        return ran.stdout if code == 0 else ran.stderr

    return run
