"""A bundle is changed on purpose, proven, and read again; what does not answer changes nothing."""

from __future__ import annotations

import json

import pytest
from ppclas_cli.changing import change_bundle
from ppclas_core.bundle import MANIFEST, Bundle, write_manifest
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import BundleError, ConfigError
from ppclas_core.testing import FakeNetPlugin, make_tiny_bundle, use_plugin

pytest.importorskip("paddle")


@pytest.fixture
def folder(tmp_path):
    transforms = (ComponentConfig.model_validate({"name": "Resize", "size": (32, 32)}),)
    with use_plugin(FakeNetPlugin()):
        make_tiny_bundle(tmp_path / "b", transforms=transforms)
        yield tmp_path / "b"


def test_what_is_set_is_read_again(folder, tmp_path):
    (tmp_path / "names.txt").write_text("pear\nplum\nquince\n")
    change_bundle(
        str(folder), [f"labels={tmp_path / 'names.txt'}", "preprocessing.normalize.mean.0=0.5"]
    )
    changed = Bundle.load(folder)
    assert changed.labels == ("pear", "plum", "quince")
    assert changed.manifest.preprocessing.normalize.mean == (0.5, 0.456, 0.406)


def test_an_edit_by_hand_is_taken_on_purpose(folder):
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**content, "labels": ["a", "b", "c"]}))
    with pytest.raises(BundleError, match="ppclas bundle set"):
        Bundle.load(folder)
    change_bundle(str(folder), ["activation=sigmoid"])
    assert Bundle.load(folder).labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("assignment", "error", "words"),
    [
        ("labels=[a, b]", ConfigError, "labels has 2 values for 3 classes"),
        ("thresholds=[0.5, 0.5, 7]", ConfigError, "thresholds.2: expected 1 or less"),
        ("architecture.name=Other", ConfigError, "expected a key of labels, thresholds"),
        ("preprocessing.image_size=[64, 64]", BundleError, "32x32 pixels, and .*64, 64"),
    ],
)
def test_what_does_not_fit_changes_nothing(folder, assignment, error, words):
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(error, match=words):
        change_bundle(str(folder), [assignment])
    assert (folder / MANIFEST).read_bytes() == before
    Bundle.load(folder)


def test_exports_are_made_again(folder):
    manifest = Bundle.load(folder).manifest
    facts = {"engine": "x", "model": "model.safetensors"}
    write_manifest(folder, manifest.replace(kind="export", export=facts, files={}))
    with pytest.raises(BundleError, match="export that again"):
        change_bundle(str(folder), ["activation=none"])
