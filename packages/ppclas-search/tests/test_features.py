"""Features against the layers, neighbours against scikit-learn, views against a loop."""

import doctest
import json

import numpy as np
import paddle
import ppclas_search
import pytest
from ppclas_core.errors import ConfigError, DataError, ShapeError
from ppclas_core.normalize import normalize_batch
from ppclas_core.testing import check_transform
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.bundles import open_model
from ppclas_engine.console import Console
from ppclas_engine.results.predict import predict
from ppclas_engine.results.score import plan_scoring
from ppclas_search import transforms
from ppclas_search.features import Features, load_features, nearest, save_features, vote
from ppclas_search.frozen import evaluate_frozen
from ppclas_search.neighbours import draw_neighbours, find_neighbours
from ppclas_search.photos import open_photos
from ppclas_search.seen import see
from ppclas_search.tta import evaluate_views, gain_and_cost, predict_views, view, views_of
from sklearn.neighbors import NearestNeighbors


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, _ = make_tiny_dataset(tmp_path_factory.mktemp("photos"), per_class=6)
    return folder


@pytest.fixture(scope="module")
def bundle():
    return open_model("SqueezeNet1_1", download=False)


@pytest.fixture(scope="module")
def found(bundle, photos):
    quiet = Console(quiet=True)
    return ppclas_search.extract_features(bundle, open_photos([str(photos)]), quiet, workers=0)


def test_features_are_what_the_classifier_gets(bundle, photos, found):
    assert len(found) == 18
    assert found.class_names == ("class_00", "class_01", "class_02")
    assert np.bincount(found.labels).tolist() == [6, 6, 6]
    model = bundle.build_model()
    (seen,) = see(bundle, [found.names[7]])
    images = normalize_batch(seen.pixels[None], bundle.manifest.preprocessing.normalize)
    with paddle.no_grad():
        maps = model.forward_features(paddle.to_tensor(images))
    assert found.values[7] == pytest.approx(maps.numpy().mean(axis=(2, 3))[0], abs=1e-4)


@pytest.mark.parametrize("name", ["f.npz", "f.parquet"])
def test_files_hold_what_was_written(tmp_path, found, name):
    save_features(found, tmp_path / name)
    again = load_features(tmp_path / name)
    assert again.names == found.names
    assert again.labels.tolist() == found.labels.tolist()
    assert again.class_names == found.class_names
    assert (again.values == found.values).all()
    with pytest.raises(DataError, match=r"ends in \.npz or \.parquet"):
        save_features(found, tmp_path / "f.csv")
    (tmp_path / "other.npz").write_text("no")
    with pytest.raises(DataError, match=r"expected features of 'ppclas features'"):
        load_features(tmp_path / "other.npz")


def test_photos_without_labels(photos):
    paths = [str(next((photos / name).iterdir())) for name in ("class_00", "class_02")]
    images = open_photos(paths)
    assert [record.label for record in images.records] == [-1, -1]


@pytest.mark.parametrize("index", ["numpy", "faiss"])
def test_neighbours_are_those_of_scikit_learn(index):
    if index == "faiss":
        pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    asked, known = (rng.normal(size=(n, 16)).astype(np.float32) for n in (1100, 300))
    places, cosines = nearest(asked, known, 5, index=index)
    peer = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(known)
    distances, expected = peer.kneighbors(asked)
    assert (places == expected).mean() > 0.999  # ties by rounding
    assert cosines == pytest.approx(1 - distances, abs=1e-5)
    assert nearest(asked[:2], known[:3], 5)[0].shape == (2, 3)


def test_votes_weigh_by_cosine():
    known = Features(("a", "b", "c"), np.array([0, 1, 1]), ("x", "y"), np.eye(3, dtype=np.float32))
    asked = np.array([[0.8, 0.6, 0.0]], np.float32)
    expected = np.exp(np.array([0.8, 0.6, 0.0]) / 0.07)
    assert vote(asked, known, 3)[0].tolist() == pytest.approx(
        [expected[0] / expected.sum(), expected[1:].sum() / expected.sum()], abs=1e-6
    )


def test_a_photo_is_not_its_own_neighbour(tmp_path, found):
    one, *_ = result = find_neighbours(found, found, 4)
    assert len(one.nearest) == 4
    assert one.name not in [other.name for other in one.nearest]
    assert sum(other.label == "class_00" for other in one.nearest) >= 3
    draw_neighbours(result, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    narrow = Features(found.names, found.labels, found.class_names, found.values[:, :3])
    with pytest.raises(ShapeError, match="expected features of 3 numbers"):
        find_neighbours(narrow, found, 4)


def test_frozen_features_tell_stripes_apart(bundle, photos):
    scores = evaluate_frozen(bundle, None, str(photos), Console(quiet=True), knn=3, probe=True)
    assert {how: one.num_images for how, one in scores.items()} == {"knn": 3, "probe": 3}
    assert scores["knn"].metrics["top1"] >= 2 / 3
    assert scores["probe"].metrics["top1"] >= 2 / 3
    with pytest.raises(DataError, match="Which photos"):
        evaluate_frozen(bundle, None, None, Console(quiet=True), knn=3)


def test_views_say_what_they_are():
    assert [len(views_of(said)) for said in ("flip", "5crop", "7")] == [2, 5, 7]
    assert all(views_of(said)[0] == (1.0, 0.5, 0.5, False) for said in ("flip", "5crop", "2"))
    for wrong in ("1", "65", "ten"):
        with pytest.raises(ConfigError, match="expected flip, 5crop or a number of views"):
            views_of(wrong)


def test_mean_over_views_is_that_of_a_loop(bundle, photos):
    paths = [str(path) for path in sorted((photos / "class_01").iterdir())[:2]]
    answered = predict_views(bundle, [*paths, "none.jpg"], "5crop", top_k=1000)
    each = [list(predict(view(bundle, one), paths, top_k=1000)) for one in views_of("5crop")]
    for row, answer in enumerate(answered[:2]):
        ours, theirs = dict(answer.top), [dict(views[row].top) for views in each]
        for name in list(ours)[:5]:
            mean = np.mean([one[name] for one in theirs])
            assert ours[name] == pytest.approx(mean, abs=1e-6)
    assert "none.jpg" in answered[2].error
    corners = set()
    for one in views_of("5crop"):
        (seen,) = see(view(bundle, one), paths[:1])
        corners.add(tuple(seen.pixels[0, 0]))
    assert len(corners) == 5


def test_evaluation_over_views(photos, tmp_path):
    bundle = open_model("SqueezeNet1_1", download=False)
    names = tmp_path / "list.txt"
    some = sorted(photos.glob("*/*.png"))[:4]
    names.write_text("".join(f"{path} 0\n" for path in some))
    scoring = plan_scoring(bundle, None, str(names))
    merged, plain = evaluate_views(bundle, scoring, Console(quiet=True), "flip", workers=0)
    mirrored, _ = evaluate_views(bundle, scoring, Console(quiet=True), "flip", workers=0)
    assert merged.probabilities == pytest.approx(mirrored.probabilities, abs=1e-6)
    assert not np.allclose(merged.probabilities, plain.probabilities, atol=1e-4)
    said = gain_and_cost(merged, plain, 2)
    assert said.startswith("2 views: top-1 ")
    assert said.endswith("at 2 times the cost")


def test_no_other_crops_without_a_crop(bundle):
    shown = bundle.manifest.preprocessing
    squash = shown.replace(transforms=(shown.transforms[0].replace(short=None, size=64),))
    from dataclasses import replace

    whole = replace(bundle, manifest=bundle.manifest.replace(preprocessing=squash))
    with pytest.raises(ConfigError, match="crops no middle"):
        view(whole, views_of("5crop")[1])
    assert (
        view(whole, views_of("flip")[1]).manifest.preprocessing.transforms[-1].name == "RandomFlip"
    )


def test_the_crop_keeps_the_contract():
    check_transform(transforms.PlacedCrop(size=20, down=0.3, right=1.0))
    assert doctest.testmod(transforms).failed == 0


def test_json_of_neighbours(found):
    text = json.dumps([one.to_dict() for one in find_neighbours(found, found, 1)])
    assert "cosine" in text
