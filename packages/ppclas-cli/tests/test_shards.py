"""``--devices`` of predict and eval: the answers of one process, to the digit."""

import json

import pytest
from ppclas_cli.main import main
from ppclas_data.testing import make_tiny_dataset

pytest.importorskip("paddle")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    make_tiny_dataset(folder / "photos", classes=2, per_class=9, size=32)
    arguments = f"train {folder}/photos --model SqueezeNet1_1 --from-scratch --epochs 1"
    more = f"--image-size 32 --batch-size 4 --workers 0 --device cpu --output {folder}/run"
    assert main([*arguments.split(), *more.split()]) == 0
    return folder


def test_predictions_come_in_order_and_are_the_same(trained, ppclas, tmp_path):
    photos, one, two = trained / "photos", tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    (photos / "broken.jpg").write_bytes(b"no picture")
    common = ("predict", str(photos), "-m", str(trained / "run"), "--batch-size", "4")
    alone = ppclas(*common, "-o", str(one))
    shared = ppclas(*common, "-o", str(two), "--devices", "cpu:2")
    (photos / "broken.jpg").unlink()
    assert alone.code == shared.code == 1  # the broken one has no answer
    assert len(one.read_text().splitlines()) == 19
    assert one.read_text() == two.read_text()


def test_an_evaluation_has_the_same_numbers(trained, ppclas):
    common = ("eval", str(trained / "run"), "--data", str(trained / "photos"), "--json")
    alone, shared = (
        ppclas(*common, "--batch-size", "4", *more).out for more in ((), ("--devices", "cpu:3"))
    )
    assert json.loads(alone)["num_images"] == 18
    assert shared == alone


def test_a_selection_is_the_same(trained, ppclas, tmp_path):
    """Also in its order, with a photo that cannot be read."""
    make_tiny_dataset(tmp_path / "pool", classes=2, per_class=11, size=32)
    (tmp_path / "pool" / "a_broken.jpg").write_bytes(b"no picture")
    common = ("distill", "select", str(tmp_path / "pool"), "--teacher", str(trained / "run"))
    for name, more in (("one", ()), ("two", ("--devices", "cpu:2"))):
        given = ("--per-class", "4", "--batch-size", "3", "-o", str(tmp_path / name), *more)
        result = ppclas(*common, *given)
        assert result.code == 0, result.err
        assert "a_broken.jpg" in result.err
        assert "1 could not be read" in result.err
    for name in ("selected.txt", "selected.csv", "summary.json"):
        alone, shared = ((tmp_path / run / name).read_text() for run in ("one", "two"))
        assert alone
        assert shared == alone


def test_a_teacher_that_cannot_be_opened_in_a_process_is_named(trained, ppclas, tmp_path):
    common = ("distill", "select", str(trained / "photos"), "--teacher", str(trained / "run"))
    result = ppclas(*common, "--per-class", "4", "-o", str(tmp_path / "out"), "--devices", "0")
    assert result.code == 1
    assert "GPU 0" in result.err


@pytest.mark.parametrize(
    ("devices", "more", "message"),
    [
        ("x", (), "--devices: expected GPU numbers"),
        ("0", ("--engine", "onnxruntime"), "the engine onnxruntime runs on the CPU"),
        ("cpu:2", ("--tta", "flip"), "--devices and --tta do not go together"),
    ],
)
def test_what_cannot_be_shared_is_said(trained, ppclas, devices, more, message):
    photos, model = str(trained / "photos"), str(trained / "run")
    result = ppclas("predict", photos, "-m", model, "--devices", devices, *more)
    assert result.code in (1, 2)
    assert message in result.err
