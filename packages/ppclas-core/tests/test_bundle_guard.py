"""Whatever is changed in a bundle or an export after it was written is refused, and named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from ppclas_core.bundle import (
    LABELS,
    MANIFEST,
    PARITY,
    WEIGHTS,
    Bundle,
    labels_text,
    write_manifest,
)
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import BundleError, WeightsError
from ppclas_core.testing import FakeNetPlugin, make_tiny_bundle, use_plugin
from ppclas_core.weights import read_state, save_state

pytest.importorskip("paddle")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    transforms = (ComponentConfig.model_validate({"name": "Resize", "size": (32, 32)}),)
    with use_plugin(FakeNetPlugin()):
        yield make_tiny_bundle(tmp_path_factory.mktemp("m") / "bundle", transforms=transforms)


@pytest.fixture
def bundle(written, tmp_path):
    shutil.copytree(written.folder, tmp_path / "b")
    return Bundle.load(tmp_path / "b")


@pytest.fixture
def export(bundle):
    """An export's folder: the bundle's files, with labels and a receipt beside them."""
    folder = bundle.folder
    (folder / LABELS).write_text(labels_text(bundle.labels))
    manifest = bundle.manifest.replace(kind="export", export={"engine": "fake", "model": WEIGHTS})
    files = write_manifest(folder, manifest.replace(files={})).files
    receipt = {
        "verdict": "agrees",
        "meaning": manifest.meaning(),
        "files": {name: entry.sha256 for name, entry in files.items()},
    }
    (folder / PARITY).write_text(json.dumps(receipt))
    write_manifest(folder, manifest.replace(files={}))
    return Bundle.load(folder)


def leaves(value, path=()):
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 0.5 if isinstance(value, float) else value + 1
    return f"{value}x" if isinstance(value, str) else ["x"]


def content_of(bundle):
    return json.loads((bundle.folder / MANIFEST).read_text())


def put(bundle, content):
    (bundle.folder / MANIFEST).write_text(json.dumps(content))


def test_every_single_change_of_the_manifest_is_refused(bundle):
    original = content_of(bundle)
    tried = list(leaves(original))
    assert len(tried) > 30
    for path, value in tried:
        content = json.loads(json.dumps(original))
        node = content
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = other(value)
        put(bundle, content)
        with pytest.raises(BundleError, match=MANIFEST.replace(".", r"\.")):
            Bundle.load(bundle.folder)
    put(bundle, original)
    Bundle.load(bundle.folder)


def test_a_change_is_named_and_what_to_do(bundle):
    content = content_of(bundle)
    content["labels"].reverse()
    put(bundle, content)
    with pytest.raises(BundleError, match=r"changed after it was written: labels\. .*bundle set"):
        Bundle.load(bundle.folder)
    assert Bundle.load(bundle.folder, edited=True).labels == bundle.labels[::-1]


@pytest.mark.parametrize("field", ["seals", "labels", "activation", "preprocessing"])
def test_a_field_that_was_taken_out_is_missed(bundle, field):
    content = content_of(bundle)
    del content[field]
    put(bundle, content)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.load(bundle.folder)


def test_seals_made_anew_do_not_fit_the_weights(bundle):
    reverse = bundle.manifest.replace(labels=bundle.labels[::-1], files={})
    write_manifest(bundle.folder, reverse)
    with pytest.raises(BundleError, match=r"model\.safetensors was made with another one"):
        Bundle.load(bundle.folder)


def test_a_bundle_from_before_the_seals_is_read(bundle):
    save_state(bundle.weights_file, read_state(bundle.weights_file))
    content = content_of(bundle)
    write_manifest(bundle.folder, bundle.manifest.replace(files={}))
    content = content_of(bundle)
    del content["seals"]
    put(bundle, content)
    assert Bundle.load(bundle.folder).labels == bundle.labels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"labels": [], "labels": []}', "the key 'labels' is there twice"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "is no map"),
        ("", "cannot be read"),
    ],
)
def test_manifests_that_are_none(bundle, text, words):
    (bundle.folder / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=words):
        Bundle.load(bundle.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["a"]},
        {"thresholds": [0.5]},
        {"thresholds": [0.5, 0.5, 1.5]},
        {"files": {WEIGHTS: {"bytes": -1, "sha256": "0" * 64}}},
        {"files": {WEIGHTS: {"bytes": 1, "sha256": "../x"}}},
    ],
)
def test_counts_and_ranges_hold_even_where_edits_are_taken(bundle, changes):
    put(bundle, {**content_of(bundle), **changes})
    with pytest.raises(BundleError, match="Copy or export it again"):
        Bundle.load(bundle.folder, edited=True)


def test_weights_that_are_not_listed_are_not_read(bundle):
    content = content_of(bundle)
    put(bundle, {**content, "files": {}})
    with pytest.raises(BundleError, match=r"does not list model\.safetensors"):
        Bundle.load(bundle.folder, edited=True)


def test_an_export_keeps_to_its_labels_file(export):
    (export.folder / LABELS).write_text(labels_text(export.labels[::-1]))
    write_manifest(export.folder, export.manifest.replace(files={}))
    with pytest.raises(BundleError, match="it has other labels"):
        Bundle.load(export.folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "differs"}, "its verdict is 'differs'"),
        ({"meaning": "0" * 16}, r"parity\.json was made with another one"),
        ({"files": {WEIGHTS: "0" * 64}}, r"its verdict is about another model\.safetensors"),
    ],
)
def test_an_exports_receipt_counts(export, change, words):
    receipt = json.loads((export.folder / PARITY).read_text())
    (export.folder / PARITY).write_text(json.dumps({**receipt, **change}))
    write_manifest(export.folder, export.manifest.replace(files={}))
    with pytest.raises(BundleError, match=words):
        Bundle.load(export.folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(bundle, value):
    state = {key: array.copy() for key, array in read_state(bundle.weights_file).items()}
    name = next(key for key, array in state.items() if array.ndim > 1)
    state[name].flat[3] = value
    save_state(bundle.weights_file, state)
    write_manifest(bundle.folder, bundle.manifest.replace(files={}))
    with pytest.raises(WeightsError, match=f"not finite .*{name}"):
        Bundle.load(bundle.folder).build_model()
