"""Pictures of five bands, and grey ones of 12 bits in files of 16, from folder to prediction,
beside what the same samples give when another program scales them first.
"""

from __future__ import annotations

import json
import shlex

import cv2
import numpy as np
import ppclas
import pytest
from ppclas_cli.main import main
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import DataError
from ppclas_core.testing import FakeNetPlugin, use_plugin
from ppclas_deploy.photos import choose_photos

pytest.importorskip("paddle")
tifffile = pytest.importorskip("tifffile")
HOW = {"model": "FakeNet", "epochs": 4, "image_size": 32, "batch_size": 6, "lr": 0.1}
HOW |= {"device": "cpu", "pretrained": False}


@pytest.fixture(autouse=True)
def fake_net():
    with use_plugin(FakeNetPlugin()):
        yield


def scaled(samples, most):
    return np.floor(255.0 * np.minimum(samples, most) / most + 0.5).astype(np.uint8)


def write(folder, make, save):
    """A folder of three classes: ``make`` gives the samples, ``save`` writes them."""
    rng = np.random.default_rng(0)
    for kind in range(3):
        place = folder / f"class_{kind}"
        place.mkdir(parents=True)
        for number in range(12):
            save(place / f"{number:02d}", make(kind, rng))
    return folder


def five_bands(kind, rng):
    samples = rng.integers(0, 2000, (40, 48, 5)).astype(np.uint16)
    samples[..., kind + 1] += 6000
    return samples


def save_bands(path, samples):
    tifffile.imwrite(f"{path}.tif", samples, photometric="minisblack", planarconfig="contig")


def twelve_bits(kind, rng):
    stripes = (np.arange(48)[None, :] // (3 + 4 * kind)) % 2
    return (rng.integers(0, 900, (40, 48)) + 3000 * stripes).astype(np.uint16)


def test_five_bands_are_trained_on_saved_and_predicted(tmp_path):
    photos = write(tmp_path / "bands", five_bands, save_bands)
    settings = ["data.channels=5", "data.max_sample=10000", "data.workers=1"]
    result = ppclas.train(photos, **HOW, output=tmp_path / "run", overrides=settings)
    model = ppclas.load(tmp_path / "run")
    manifest = model.bundle.manifest
    assert manifest.architecture.params["in_channels"] == 5
    assert manifest.preprocessing.transforms[0] == ComponentConfig(
        name="Decode", channels=5, max_sample=10000
    )
    assert ppclas.evaluate(tmp_path / "run").metrics["top1"] == result.best["top1"]

    files = sorted(photos.rglob("*.tif"))
    answers = model.predict(files)
    right = [answer.label == file.parent.name for answer, file in zip(answers, files, strict=True)]
    assert sum(right) > 0.8 * len(files)
    arrays = [scaled(tifffile.imread(file), 10000) for file in files]
    assert [answer.top for answer in model.predict(arrays)] == [one.top for one in answers]
    first = [file.read_bytes() for file in files[:3]]
    assert [answer.top for answer in model.predict(first)] == [one.top for one in answers[:3]]
    assert choose_photos(model.bundle, None, 4).origin == "the run's validation photos"


def test_bands_that_nothing_is_said_of_are_refused_before_training(tmp_path):
    photos = write(tmp_path / "bands", five_bands, save_bands)
    with pytest.raises(DataError, match=r"none of \d+ images .* -o data.channels=5"):
        ppclas.train(photos, **HOW, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_check_reads_bands_and_finds_copies_of_them(tmp_path, capsys):
    photos = write(tmp_path / "bands", five_bands, save_bands)
    first = photos / "class_0" / "00.tif"
    (photos / "class_0" / "copy.tif").write_bytes(first.read_bytes())
    assert main(["data", "check", str(photos)]) == 1
    assert "-o data.channels=5" in capsys.readouterr().out
    options = ["--channels", "5", "--max-sample", "10000"]
    assert main(["data", "check", str(photos), *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["train"]["bad_images"] == [] == found["train"]["damaged_images"]
    assert len(found["duplicates"]) == 1


def test_the_line_of_a_run_that_a_program_started_trains_the_same(tmp_path, capsys):
    photos = write(tmp_path / "bands", five_bands, save_bands)
    settings = ["data.channels=5", "data.max_sample=10000", "data.workers=0"]
    ppclas.train(photos, **HOW, output=tmp_path / "run", overrides=settings)
    line = shlex.split((tmp_path / "run" / "command.txt").read_text())
    assert line[0] == "ppclas"
    again = tmp_path / "again"
    assert main([*line[1:], "--output", str(again)]) == 0
    assert "shapes nothing" not in "".join(capsys.readouterr())  # as the keys were not set
    first, second = (folder / "metrics.jsonl" for folder in (tmp_path / "run", again))
    losses = [
        [json.loads(row)["loss"] for row in file.read_text().splitlines()]
        for file in (first, second)
    ]
    assert losses[0] == losses[1]


def test_a_photo_is_no_picture_of_five_bands(tmp_path):
    photos = write(tmp_path / "bands", five_bands, save_bands)
    ppclas.train(photos, **HOW, output=tmp_path / "run",
                 overrides=["data.channels=5", "data.workers=0"])  # fmt: skip
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((40, 40, 3), np.uint8))
    (answer,) = ppclas.predict(tmp_path / "run", tmp_path / "photo.png")
    assert "expected a TIFF of 5 channels" in answer.error


@pytest.mark.parametrize("channels", [1, 3])
def test_twelve_bits_in_sixteen_give_what_scaled_pictures_give(tmp_path, channels):
    deep = write(tmp_path / "deep", twelve_bits, lambda at, grey: cv2.imwrite(f"{at}.png", grey))
    plain = write(
        tmp_path / "plain", twelve_bits,
        lambda at, grey: cv2.imwrite(f"{at}.png", scaled(grey, 4095)),
    )  # fmt: skip
    common = [f"data.channels={channels}", "data.workers=0"]
    of_deep = ppclas.train(deep, val=deep, **HOW, output=tmp_path / "a",
                           overrides=["data.max_sample=4095", *common])  # fmt: skip
    of_plain = ppclas.train(plain, val=plain, **HOW, output=tmp_path / "b", overrides=common)
    losses = [[row["loss"] for row in result.history] for result in (of_deep, of_plain)]
    assert losses[0] == losses[1]
    tops = [[one.top for one in ppclas.predict(tmp_path / run, folder)]
            for run, folder in (("a", deep), ("b", plain))]  # fmt: skip
    assert tops[0] == tops[1]
    assert ppclas.load(tmp_path / "a").bundle.image_size == (32, 32)
    # Without the setting they are seen nearly black, and that is said.
    assert "data.max_sample=4095" in dark_notes(deep)
    assert dark_notes(deep, max_sample=4095) == ""


def dark_notes(folder, **settings):
    from ppclas_engine.planning.plan import plan_run

    config = ppclas.Config()
    data = config.data.replace(train=str(folder), image_size=32, batch_size=6, **settings)
    model = config.model.replace(name="FakeNet", pretrained=False)
    return " ".join(n for n in plan_run(config.replace(data=data, model=model)).notes if "dark" in n
                    or "black" in n)  # fmt: skip
