"""``--devices`` of predict and eval: the answers of one process, to the digit."""

import json

import pytest
from click.testing import CliRunner
from ppclas_cli.main import main
from ppclas_data.testing import make_tiny_dataset

pytest.importorskip("paddle")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    make_tiny_dataset(folder / "photos", classes=2, per_class=9, size=32)
    arguments = f"train {folder}/photos --model SqueezeNet1_1 --from-scratch --epochs 1 --quiet"
    more = f"--image-size 32 --batch-size 4 --workers 0 --device cpu --output {folder}/run"
    result = CliRunner().invoke(main, [*arguments.split(), *more.split()])
    assert result.exit_code == 0, result.output
    return folder


def said(*arguments):
    return CliRunner().invoke(main, [str(word) for word in arguments])


def test_predictions_come_in_order_and_are_the_same(run, tmp_path):
    (run / "photos" / "broken.jpg").write_bytes(b"no picture")
    common = ("predict", run / "photos", "-m", run / "run", "--batch-size", 4)
    alone = said(*common, "-o", tmp_path / "one.jsonl")
    shared = said(*common, "-o", tmp_path / "two.jsonl", "--devices", "cpu:2")
    (run / "photos" / "broken.jpg").unlink()
    assert alone.exit_code == shared.exit_code == 1  # the broken one has no answer
    assert (tmp_path / "one.jsonl").read_text() == (tmp_path / "two.jsonl").read_text()
    assert len((tmp_path / "two.jsonl").read_text().splitlines()) == 19


def test_an_evaluation_has_the_same_numbers(run):
    common = ("eval", run / "run", "--data", run / "photos", "--batch-size", 4, "--json")
    numbers = [said(*common, *more).stdout for more in ((), ("--devices", "cpu:3"))]
    assert json.loads(numbers[0])["num_images"] == 18
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    ("devices", "more", "message"),
    [
        ("x", (), "--devices: expected GPU numbers"),
        ("0", ("--engine", "onnxruntime"), "the engine onnxruntime runs on the CPU"),
        ("cpu:2", ("--tta", "flip"), "--devices and --tta do not go together"),
    ],
)
def test_what_cannot_be_shared_is_said(run, devices, more, message):
    result = said("predict", run / "photos", "-m", run / "run", "--devices", devices, *more)
    assert result.exit_code in (1, 2)
    assert message in result.output + str(result.exception)
