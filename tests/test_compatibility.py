"""What docs/en/compatibility.md promises: names stay, and files of earlier versions are read."""

import json
import re
import runpy
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.bundle import Bundle
from ppclas_core.config.load import load_config
from ppclas_core.testing import use_plugin
from ppclas_engine.runs.checkpoint import load_checkpoint
from ppclas_engine.testing import FakePlugin

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
SURFACE = runpy.run_path(str(ROOT / "release" / "surface.py"))
ENDING = json.loads((GOLDEN / "ending.json").read_text("utf-8"))
"""Kind → name → {"since": "0.2", "ends": "0.4", "instead": "…"}: names on their way out."""
VERSIONS = sorted(folder.name for folder in GOLDEN.iterdir() if folder.is_dir())


def minor(version):
    return tuple(int(part) for part in version.split(".")[:2])


def gone(promised, exists, ending, version):
    """The promised names that are not there, and had not reached the version where they end."""
    return [
        f"{kind}: {name}"
        for kind, names in promised.items()
        for name in names
        if name not in exists.get(kind, ())
        and not (
            name in ending.get(kind, {}) and minor(version) >= minor(ending[kind][name]["ends"])
        )
    ]


def test_no_public_name_is_gone_before_its_time():
    promised = json.loads((GOLDEN / "surface.json").read_text("utf-8"))
    missing = gone(promised, SURFACE["surface"](), ENDING, metadata.version("ppclas-core"))
    assert missing == [], "keep the name, or let it end by the rules of docs/en/compatibility.md"


def test_what_ends_has_two_minor_releases_and_says_what_to_use():
    for kind, names in ENDING.items():
        for name, facts in names.items():
            since, ends = minor(facts["since"]), minor(facts["ends"])
            assert ends[0] > since[0] or ends[1] >= since[1] + 2, f"{kind}: {name}"
            assert facts["instead"], f"{kind}: {name}"


def test_a_name_that_is_taken_away_is_found_until_it_ends():
    promised = {"config keys": ["train.epochs", "train.old"]}
    exists = {"config keys": ["train.epochs"]}
    ending = {"config keys": {"train.old": {"since": "0.2", "ends": "0.4", "instead": "x"}}}
    assert gone(promised, exists, {}, "0.1.0") == ["config keys: train.old"]
    assert gone(promised, exists, ending, "0.3.9") == ["config keys: train.old"]
    assert gone(promised, exists, ending, "0.4.0") == []


@pytest.fixture
def fake_plugin():
    with use_plugin(FakePlugin()):
        yield


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bundle_of_an_earlier_version_answers_as_it_did(version, fake_plugin):
    import paddle

    bundle = Bundle.load(GOLDEN / version / "bundle")
    height, width = bundle.image_size
    images = np.linspace(-1, 1, 2 * 3 * height * width, dtype=np.float32)
    model = bundle.build_model()
    model.eval()
    logits = model(paddle.to_tensor(images.reshape(2, 3, height, width))).numpy()
    written = json.loads((GOLDEN / version / "logits.json").read_text("utf-8"))
    assert logits == pytest.approx(np.float32(written), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_config_of_an_earlier_version_is_read(version, fake_plugin):
    config = load_config(GOLDEN / version / "config.yaml").config
    text = (GOLDEN / version / "config.yaml").read_text("utf-8")
    assert config.model.name == "FakeNet"
    assert f"epochs: {config.train.epochs}" in text
    assert config.schedule.params["lr"] == float(re.search(r"\blr: ([\d.]+)", text)[1])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_checkpoint_of_an_earlier_version_is_read(version):
    checkpoint = load_checkpoint(GOLDEN / version / "checkpoint.safetensors")
    assert checkpoint.arrays
    assert checkpoint.state
