"""The engine contract: batches, shapes, and files that stay inside the export."""

import json

import numpy as np
import pytest
from ppclas_core.bundle import Architecture, Bundle, Manifest, Preprocessing, write_manifest
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.contracts.export import Engine, Exporter, export_file
from ppclas_core.errors import BundleError, ShapeError
from pydantic import PrivateAttr, ValidationError


class SumEngine(Engine):
    """Logits are the sum and the mean of each image's pixels."""

    _seen: list = PrivateAttr(default_factory=list)

    def open(self, bundle):
        self._seen.clear()

    def run(self, images):
        assert images.flags.c_contiguous
        self._seen.append(len(images))
        return np.stack([images.sum((1, 2, 3)), images.mean((1, 2, 3))], axis=1)


def make_export(folder, **facts):
    folder.mkdir()
    (folder / "net.bin").write_bytes(b"net")
    manifest = Manifest(
        kind="export",
        architecture=Architecture(name="Sum", num_classes=2),
        preprocessing=Preprocessing(
            image_size=(4, 6), transforms=(ComponentConfig(name="Resize", size=(4, 6)),)
        ),
        labels=("sum", "mean"),
        export={"engine": "sum", "model": "net.bin", **facts},
    )
    write_manifest(folder, manifest)
    return Bundle.load(folder)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(7, 3, 4, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("batch", "runs"), [(None, [7]), (1, [1] * 7), (3, [3, 3, 3]), (7, [7]), (16, [16])]
)
def test_a_fixed_batch_is_filled_up_and_cut_off_again(tmp_path, images, batch, runs):
    engine = SumEngine()
    engine.load(make_export(tmp_path / "export", batch=batch))
    logits = engine.logits(images)
    assert engine._seen == runs
    np.testing.assert_array_equal(
        logits, np.stack([images.sum((1, 2, 3)), images.mean((1, 2, 3))], axis=1)
    )


def test_a_view_with_strides_is_taken(tmp_path, images):
    engine = SumEngine()
    engine.load(make_export(tmp_path / "export"))
    mirrored = images[..., ::-1]
    np.testing.assert_allclose(engine.logits(mirrored), engine.logits(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 3, 6, 4), np.float32),  # height and width swapped
        np.zeros((2, 4, 6, 3), np.float32),  # channels last
        np.zeros((2, 3, 4, 6), np.uint8),  # not normalised
        np.zeros((3, 4, 6), np.float32),  # one image without a batch axis
        np.zeros((0, 3, 4, 6), np.float32),  # nothing
    ],
)
def test_images_of_another_shape_or_kind_are_refused(tmp_path, wrong):
    engine = SumEngine()
    engine.load(make_export(tmp_path / "export"))
    with pytest.raises(ShapeError, match=r"takes float32 images \[N, 3, 4, 6\]; got"):
        engine.logits(wrong)


def test_a_bundle_is_no_export(tmp_path):
    bundle = make_export(tmp_path / "export")
    plain = Bundle(
        bundle.folder, bundle.manifest.replace(kind="bundle", export=None), bundle.weights_file
    )
    with pytest.raises(
        BundleError, match=r"is a bundle, not an export.*ppclas export .* --target onnx"
    ):
        SumEngine().load(plain)


@pytest.mark.parametrize(
    "name", ["../secret.onnx", "/etc/passwd", "bundle.json", "other.bin", None, 7, ["net.bin"]]
)
def test_only_files_with_a_verified_hash_are_opened(tmp_path, name):
    (tmp_path / "secret.onnx").write_bytes(b"secret")
    bundle = make_export(tmp_path / "export", model=name)
    with pytest.raises(
        BundleError, match=r"export.model in bundle.json should name one of its files \(net.bin\)"
    ):
        export_file(bundle, "model")


def test_the_file_that_is_listed_is_given(tmp_path):
    bundle = make_export(tmp_path / "export")
    assert export_file(bundle, "model").read_bytes() == b"net"
    assert list(json.loads((tmp_path / "export" / "bundle.json").read_text())["files"]) == [
        "net.bin"
    ]


def test_options_are_strict():
    with pytest.raises(ValidationError):
        Exporter(timeout="60")
    with pytest.raises(ValidationError):
        SumEngine(threads=0)


class ActivatedEngine(SumEngine):
    """The activation of the same numbers, as an export with its activation inside gives."""

    def run(self, images):
        logits = super().run(images.astype(np.float32)) / images[0].size
        return logits if self._activation == "none" else self.activate(logits)

    @staticmethod
    def activate(logits):
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def test_an_export_with_its_activation_inside_gives_logits_all_the_same(tmp_path, images):
    plain, activated = ActivatedEngine(), ActivatedEngine()
    plain.load(make_export(tmp_path / "plain"))
    activated.load(bundle := make_export(tmp_path / "activated", output="probabilities"))
    logits = activated.logits(images)
    differences = logits - plain.logits(images)
    np.testing.assert_allclose(
        differences, np.broadcast_to(differences[:, :1], differences.shape), atol=1e-5
    )
    np.testing.assert_allclose(bundle.probabilities(logits), activated.answers(images), rtol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_certain_and_impossible_are_finite_logits(tmp_path, images, kind):
    class Certain(ActivatedEngine):
        def run(self, images):
            return np.tile(np.array([[1.0, 0.0]], np.float32), (len(images), 1))

    bundle = make_export(tmp_path / "export", output="probabilities")
    bundle = Bundle(bundle.folder, bundle.manifest.replace(activation=kind), bundle.weights_file)
    engine = Certain()
    engine.load(bundle)
    logits = engine.logits(images)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(bundle.probabilities(logits)[0], [1.0, 0.0], atol=1e-6)


def test_an_export_that_normalises_by_itself_takes_pixels(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    engine = SumEngine()
    engine.load(make_export(tmp_path / "export", input="pixels", batch=2))
    assert engine.prepare(pixels) is pixels
    np.testing.assert_allclose(engine.logits(pixels)[:, 0], pixels.sum((1, 2, 3)))
    with pytest.raises(ShapeError, match=r"takes uint8 images \[N, 4, 6, 3\]; got float32"):
        engine.logits(np.zeros((1, 3, 4, 6), np.float32))
