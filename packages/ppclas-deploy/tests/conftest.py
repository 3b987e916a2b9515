"""Bundles of small models that an outside plugin brings."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.bundle import Bundle, Manifest, Preprocessing, architecture_of, write_bundle
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.models import create_model
from ppclas_core.plugins import get_plugin_manager

PLUGIN = Path(__file__).parent / "plugin"
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
    for module in ("deploy_test_models", "deploy_test_layers"):
        sys.modules.pop(module, None)


def write_random_bundle(
    folder: Path, model: str = "Tiny", size: tuple[int, int] = (48, 64), seed: int = 0
) -> Bundle:
    """A bundle of ``model`` with random weights and logits of everyday size, for images of
    ``size``.
    """
    rng = np.random.default_rng(seed)
    state = {
        name: rng.normal(0.0, 0.3, value.shape).astype(np.float32)
        for name, value in create_model(model, len(LABELS)).state_dict().items()
    }
    state["norm._variance"] = np.abs(state["norm._variance"]) + 0.5
    height, width = size
    manifest = Manifest(
        architecture=architecture_of(model, len(LABELS), {}),
        preprocessing=Preprocessing(
            image_size=size,
            transforms=(
                ComponentConfig(name="Resize", short=72),
                ComponentConfig(name="CenterCrop", size=(height, width)),
            ),
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
