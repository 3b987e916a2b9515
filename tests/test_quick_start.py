"""The commands of the quick start, one after the other, on a few of the real photos."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from ppclas_cli.main import main

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "en" / "quick-start.md"
FLOWERS = ROOT.parent / "shared" / "data" / "flowers14"
CLASSES, PHOTOS = 3, 4
"""Of each list, and of each class in it."""
SMALL = [
    word
    for setting in (
        "train.epochs=1",
        "data.batch_size=4",
        "data.eval_batch_size=4",
        "data.workers=0",
        "train.device=cpu",
        "optimizer.lr_mult={}",  # those of the recipes are for stages of a ResNet
        "model.name=SqueezeNet1_1",  # whose real weights are at hand
    )
    for word in ("-o", setting)
]


def commands():
    """The words of each command in the page's blocks."""
    blocks = re.findall(r"```shell\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    """A folder as 'ppclas data fetch' leaves it, with a few photos of a few kinds."""
    if not FLOWERS.is_dir():
        pytest.skip(f"no photos at {FLOWERS}")
    folder = tmp_path / "flowers102"
    (folder / "jpg").mkdir(parents=True)
    for name in ("train", "val"):
        lines = (FLOWERS / f"{name}_list.txt").read_text().splitlines()
        chosen = [
            line
            for label in range(CLASSES)
            for line in [line for line in lines if line.endswith(f" {label}")][:PHOTOS]
        ]
        (folder / f"{name}_list.txt").write_text("\n".join(chosen) + "\n")
        for line in chosen:
            shutil.copy(FLOWERS / line.split(" ")[0], folder / "jpg")
    extra = (FLOWERS / "extra_list.txt").read_text().splitlines()[:PHOTOS]
    for line in extra:
        shutil.copy(FLOWERS / line.split(" ")[0], folder / "jpg")
    (folder / "extra_list.txt").write_text("".join(f"{line.split(' ')[0]}\n" for line in extra))
    first = next((folder / "jpg").iterdir())
    shutil.copy(first, folder / "jpg" / "image_00001.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPCLAS_OFFLINE", "1")
    return folder


@pytest.mark.slow
def test_the_quick_start_runs_from_the_photos_to_the_export(flowers, capfd):
    done = []
    for program, *words in commands():
        assert program == "ppclas"
        if words[:2] == ["data", "fetch"]:  # tests/…/test_published.py
            continue
        small = SMALL if words[:2] == ["recipes", "run"] else []
        code = main([*words, *small])
        said = capfd.readouterr()
        assert code == 0, f"{words}: {said.err}"
        done.append(" ".join(words[:3]))
        if "scratch" in words[-1]:
            assert "starts from random weights" in said.err or "tensors loaded" not in said.err
    assert len(done) == 10
    runs = {path.name for path in Path("runs").iterdir()}
    assert {"scratch", "finetune", "ssld", "erasing", "mobilenet", "distilled"} <= runs
    assert "runs/erasing" in Path("runs/distilled/config.yaml").read_text()


def test_the_page_has_every_run_and_what_was_published():
    from ppclas_paddleclas.recipes import facts_of

    text = PAGE.read_text(encoding="utf-8")
    named = {words[3] for words in commands() if words[1:3] == ["recipes", "run"]}
    flowers102 = {name: facts for name, facts in facts_of().items() if "flowers102" in name}
    assert named == set(flowers102)
    for name, facts in flowers102.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*\| ([\d.]+) % \|$", text, re.MULTILINE)
        assert float(row) / 100 == pytest.approx(facts["published"])
