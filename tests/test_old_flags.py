"""The table of the old tools' flags, line by line: every command in it is run."""

import os
import re
import shutil
from pathlib import Path

import pytest
from ppclas_cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / language / "from-paddleclas.md" for language in ("en", "zh")]
NAME = "MobileNetV3_small_x0_35"
OLD = """
Global: {device: cpu, epochs: 1, image_shape: [3, 32, 32]}
Arch: {name: MobileNetV3_small_x0_35}
Loss: {Train: [CELoss: ], Eval: [CELoss: ]}
Optimizer: {name: Momentum, momentum: 0.9, lr: {name: Constant, learning_rate: 0.01}}
DataLoader:
  Train:
    dataset:
      {cls_label_path: photos/train_list.txt, image_root: photos, transform_ops: [RandCropImage: {size: 32}]}
    sampler: {batch_size: 4}
    loader: {num_workers: 0}
  Eval:
    dataset:
      {cls_label_path: photos/val_list.txt, image_root: photos, transform_ops: [ResizeImage: {size: 32}]}
    sampler: {batch_size: 4}
"""  # noqa: E501
SAID = {
    "train -c FILE": ("train -c old.yaml --output a", "Best epoch"),
    "train -o KEY=VALUE": ("train -c old.yaml -o Global.epochs=2 --output b", "epoch 2/2"),
    "train --vdl-dir DIR": ("train -c old.yaml --vdl-dir curves --output c", "Best epoch"),
    "train --resume RUN": ("train --resume run", "has finished already"),
    "train --pretrained PATH": (
        "train -c old.yaml --pretrained WEIGHTS --output d",
        "tensors loaded",
    ),
    "train --device cpu": ("train -c old.yaml --device cpu --dry-run", "on CPU"),
    "train --devices 0,1": (
        "train -c old.yaml --devices 0,1 -o Global.device=null",
        "ppclas doctor",
        1,
    ),
    "train --nnodes 2 --master A:8000 --rank 0": (
        "train -c old.yaml --nnodes 2 --master 127.0.0.1:8000 --rank 0 --dry-run",
        NAME,
    ),
    "eval --model NAME --weights PATH --data LIST --root DIR": (
        f"eval --model {NAME} --weights WEIGHTS --data photos/val_list.txt --root photos",
        "top-1",
    ),
    "predict PHOTOS": ("predict photos -m run", "photo.png: "),
    "predict -m NAME": (f"predict photo.png -m {NAME}", "PPCLAS_OFFLINE", 1),
    "predict --weights PATH": (f"predict photo.png -m {NAME} --weights WEIGHTS", "photo.png: "),
    "predict -m EXPORT": ("predict photo.png -m export", "photo.png: "),
    "predict --batch-size": ("predict photo.png -m run --batch-size 2", "photo.png: "),
    "benchmark EXPORT": ("benchmark export", "ms"),
    "benchmark EXPORT --json": ("benchmark export --json", '"batch'),
    "export RUN --target paddle": ("export run --target paddle -o e", "Same answers"),
    "export -o DIR": ("export run --target onnx -o f", "Same answers"),
    "export --target serving": ("export run --target serving -o g", "Same answers"),
    "models download NAME": (f"models download {NAME}", "PPCLAS_OFFLINE", 1),
    "models download --path DIR": (f"models download {NAME} --path h", "PPCLAS_OFFLINE", 1),
    "models list": ("models list MobileNetV3*", NAME),
}
"""What the table says → the command as somebody types it, what it prints, and its exit code: 1
where published weights or two GPUs would be needed."""
ELSEWHERE = {"serve RUN"}
"""It goes on until it is stopped: packages/ppclas-serve/tests has both old forms of requests."""


def commands(page):
    """The commands in the last column of the table, each once."""
    rows = re.findall(r"^\| .*\| (.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {command for row in rows for command in re.findall(r"`ppclas ([^`]*)`", row)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_table_has_the_commands_that_are_tested(page):
    assert commands(page) == {*SAID, *ELSEWHERE}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos, an old config, a run of it, its weights and an export."""
    pytest.importorskip("paddle", reason="needs the extra [cpu]")
    from ppclas_data.testing import make_tiny_dataset

    folder = tmp_path_factory.mktemp("old")
    photos, _ = make_tiny_dataset(folder / "tiny", 2, 4)
    shutil.copytree(photos, folder / "photos")
    images = sorted((folder / "photos").rglob("*.png"))
    classes = sorted({image.parent.name for image in images})
    shutil.copy(images[0], folder / "photo.png")
    shutil.copy(images[0], folder / "photos" / "photo.png")
    lines = [
        f"{image.relative_to(folder / 'photos')} {classes.index(image.parent.name)}"
        for image in images
    ]
    for part in ("train", "val"):
        (folder / "photos" / f"{part}_list.txt").write_text("\n".join(lines) + "\n")
    (folder / "old.yaml").write_text(OLD)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "-c", "old.yaml", "--output", "run"]) == 0
        assert main(["export", "run", "--target", "paddle", "-o", "export"]) == 0
    finally:
        os.chdir(before)
    return folder


def paddle_sees_gpus():
    import paddle

    return paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


@pytest.mark.slow
@pytest.mark.parametrize("command", SAID)
def test_a_command_of_the_table_does_what_it_says(command, place, monkeypatch, capfd):
    if "--vdl-dir" in command:
        pytest.importorskip("visualdl", reason="needs the extra [vdl]")
    if "--devices" in command and paddle_sees_gpus():
        pytest.skip("there are GPUs: packages/ppclas-engine has tests of them")
    monkeypatch.chdir(place)
    monkeypatch.setenv("PPCLAS_OFFLINE", "1")
    line, said, *code = SAID[command]
    asked = main(line.replace("WEIGHTS", "run/bundle/model.safetensors").split())
    printed = "".join(capfd.readouterr())
    assert asked == (code[0] if code else 0), printed
    assert said in printed
