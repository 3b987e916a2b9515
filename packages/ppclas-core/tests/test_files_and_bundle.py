"""Atomic files, and bundles that notice what was done to them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ppclas_core.bundle import Bundle, Manifest
from ppclas_core.errors import BundleError
from ppclas_core.files import building_folder, write_atomic, write_json, write_text
from ppclas_core.testing import FakeNetPlugin, make_tiny_bundle, use_plugin


@pytest.fixture
def bundle(tmp_path):
    with use_plugin(FakeNetPlugin()):
        yield make_tiny_bundle(tmp_path / "bundle")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomic(file, fail)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_names_that_are_not_utf8_are_spelt_out(tmp_path):
    write_text(tmp_path / "a.csv", "caf\udce9,茶\n")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "caf\\udce9,茶\n"
    write_json(tmp_path / "a.json", ["caf\udce9", "茶"])
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == ["caf\udce9", "茶"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    with building_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")

    def interrupted():
        with building_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_bundle_gives_its_model_back(bundle):
    model = bundle.build_model()
    assert not model.training
    assert list(bundle.normalize(np.zeros((2, 32, 32, 3), np.uint8)).shape) == [2, 3, 32, 32]


def test_normalisation_is_the_one_of_the_specification(bundle):
    # shared specification of NormalizeImage: 255 and 0 in RGB with ImageNet's mean and std.
    white, black = (
        bundle.normalize(np.full((1, 1, 1, 3), value, np.uint8)).ravel() for value in (255, 0)
    )
    np.testing.assert_allclose(white, [2.2489083, 2.4285715, 2.64], rtol=1e-6)
    np.testing.assert_allclose(black, [-2.117904, -2.0357141, -1.8044444], rtol=1e-6)


def test_probabilities_follow_the_activation(bundle):
    logits = np.array([[0.0, np.log(3.0), 1000.0]], np.float32)
    softmax = bundle.probabilities(logits[:, :2])
    np.testing.assert_allclose(softmax, [[0.25, 0.75]], rtol=1e-6)
    assert np.isfinite(bundle.probabilities(logits)).all()


@pytest.mark.parametrize("change", ["one byte", "truncated", "gone"])
def test_changed_weights_are_noticed(bundle, change):
    content = bytearray(bundle.weights_file.read_bytes())
    if change == "one byte":
        content[-1] ^= 1
    elif change == "truncated":
        content = content[:-4]
    bundle.weights_file.unlink()
    if change != "gone":
        bundle.weights_file.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.safetensors (is not the file|is missing)"):
        Bundle.load(bundle.folder)


def edit(bundle, **changes):
    path = bundle.folder / "bundle.json"
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def test_a_newer_schema_says_to_upgrade(bundle):
    edit(bundle, schema_version=99)
    with pytest.raises(
        BundleError,
        match=r"schema version 99; this ppclas-core reads up to 1.*pip install --upgrade",
    ):
        Bundle.load(bundle.folder)


def test_files_outside_the_bundle_are_refused(bundle):
    (bundle.folder.parent / "secret").write_text("x")
    edit(bundle, files={"../secret": {"bytes": 1, "sha256": "0" * 64}})
    with pytest.raises(BundleError, match="lies outside the bundle"):
        Bundle.load(bundle.folder, edited=True)


def test_an_architecture_of_a_missing_plugin_names_its_package(bundle):
    content = json.loads((bundle.folder / "bundle.json").read_text())
    architecture = {
        **content["architecture"],
        "name": "Gone",
        "distribution": "ppclas-gone",
        "version": "2.1",
    }
    edit(bundle, architecture=architecture)
    with pytest.raises(
        BundleError, match=r"comes from ppclas-gone 2\.1, which is not installed. Run: pip install"
    ):
        Bundle.load(bundle.folder, edited=True).build_model()


def test_places_without_a_bundle_say_what_they_are(tmp_path):
    with pytest.raises(BundleError, match="No such bundle"):
        Bundle.load(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"holds no bundle\.json"):
        Bundle.load(tmp_path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(BundleError, match="has not evaluated an epoch yet"):
        Bundle.load(tmp_path)
    weights = tmp_path / "w.pdparams"
    weights.write_bytes(b"x")
    with pytest.raises(BundleError, match="give the architecture as well: --model NAME --weights"):
        Bundle.load(weights)


def test_the_manifest_survives_its_file(bundle):
    text = (bundle.folder / "bundle.json").read_text()
    assert Manifest.model_validate(json.loads(text)) == bundle.manifest
