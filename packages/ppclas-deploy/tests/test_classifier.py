"""A model that is ready to answer, from Python."""

import numpy as np
import pytest
from PIL import Image
from ppclas_core.errors import BundleError
from ppclas_deploy import load

pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

SIZE = (4, 5)


@pytest.fixture
def photos(tmp_path):
    """Two files and their pixels."""
    pixels = np.random.default_rng(2).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    return [tmp_path / "0.png", tmp_path / "1.png"], pixels


def by_hand(pixels, weights):
    """Probabilities of a linear export: normalise, multiply, softmax."""
    scaled = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    logits = scaled.transpose(2, 0, 1).reshape(-1) @ weights
    return np.exp(logits) / np.exp(logits).sum()


def test_files_and_pixels_give_names_and_probabilities(export, weights, photos):
    files, pixels = photos
    model = load(str(export.folder), threads=1)
    (file,), (array,) = model.predict(files[0]), model.predict(pixels[0])
    assert (file.path, array.path) == (str(files[0]), "image 1")
    assert file.top == array.top
    expected = by_hand(pixels[0], weights)
    assert dict(array.top) == pytest.approx({"a": expected[0], "b": expected[1]}, abs=1e-5)
    assert array.top[0][1] >= array.top[1][1]
    assert model.labels == ("a", "b")


def test_several_keep_their_order_in_batches(export, weights, photos):
    files, pixels = photos
    mixed = [files[1], pixels[0], str(files[0]), pixels[1], files[1]]
    answers = load(export.folder).predict(iter(mixed), top_k=1, batch_size=2)
    assert [answer.path for answer in answers] == [
        str(files[1]),
        "image 2",
        str(files[0]),
        "image 4",
        str(files[1]),
    ]
    for answer, index in zip(answers, (1, 0, 0, 1, 1), strict=True):
        expected = by_hand(pixels[index], weights)
        ((label, probability),) = answer.top
        assert label == "ab"[expected.argmax()]
        assert probability == pytest.approx(expected.max(), abs=1e-5)


def test_a_batch_of_pixels_is_several_images(export, photos):
    assert len(load(export.folder).predict(photos[1])) == 2
    assert load(export.folder).predict([]) == []


def test_an_unreadable_file_does_not_stop_the_others(export, tmp_path):
    (tmp_path / "broken.jpg").write_text("no photo")
    good = np.zeros((*SIZE, 3), np.uint8)
    bad, missing, answered = load(export.folder).predict(
        [tmp_path / "broken.jpg", tmp_path / "missing.jpg", good]
    )
    assert "not an image" in bad.error
    assert missing.error
    assert answered.top
    assert not answered.error


def test_the_engine_is_the_one_asked_for(export, photos):
    pytest.importorskip("openvino", reason="needs the extra [openvino]")
    theirs = load(export.folder, engine="openvino", threads=1)
    assert "openvino" in theirs.engine.versions()
    ours = load(export.folder)
    assert "onnxruntime" in ours.engine.versions()
    first, second = ours.predict(photos[0]), theirs.predict(photos[0])
    for one, other in zip(first, second, strict=True):
        assert dict(one.top) == pytest.approx(dict(other.top), abs=1e-5)


def test_a_bundle_runs_in_paddle_unless_told(bundle):
    pytest.importorskip("paddle", reason="needs the extra [cpu]")
    model = load(bundle.folder, threads=1)
    assert set(model.engine.versions()) == {"paddle"}
    pixels = np.random.default_rng(4).integers(0, 256, (72, 90, 3), dtype=np.uint8)
    (answer,) = model.predict(pixels)
    assert {label for label, _ in answer.top} == {"pear", "oat milk", "番茄"}
    assert sum(probability for _, probability in answer.top) == pytest.approx(1.0, abs=1e-5)


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(BundleError, match="No such bundle"):
        load(tmp_path / "nothing")
