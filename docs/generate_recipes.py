"""Write the recipes of ppclas-paddleclas: ``python docs/generate_recipes.py RECIPES.json``.

RECIPES.json has the content of PaddleClas' config files of 2020: ``{"recipes": [{"file": …,
"config": …}]}``. Each file becomes a recipe in this project's schema, and so does each of the files
of 2.x in ``recipes_2x``; what was published of it is in the tables below and, for ImageNet, in the
catalogue of models.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ppclas_core.config.load import migrate
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries
from recipes_2x import FILES, tree_of

FOLDER = Path(__file__).parents[1] / "packages/ppclas-paddleclas/src/ppclas_paddleclas/recipes"
FLOWERS = {
    "ResNet50_vd": ("scratch", 0.2735, "ResNet50_vd from random weights"),
    "MobileNetV3_large_x1_0_finetune": ("mobilenet", 0.9000, "MobileNetV3_large_x1_0 fine-tuned"),
    "ResNet50_vd_finetune": ("finetune", 0.9402, "ResNet50_vd fine-tuned"),
    "ResNet50_vd_ssld_finetune": ("ssld", 0.9500, "ResNet50_vd_ssld fine-tuned"),
    "ResNet50_vd_ssld_random_erasing_finetune": (
        "ssld-erasing",
        0.9627,
        "the same with RandomErasing",
    ),
    "R50_vd_distill_MV3_large_x1_0": (
        "distill",
        0.9647,
        "MobileNetV3_large_x1_0 learns from the former",
    ),
}
"""docs/zh_CN/tutorials/quick_start.md of PaddleClas 2020: one V100, top-1 on the validation set."""
AUGMENTED = {
    "Baseline": 0.7731,
    "AutoAugment": 0.7795,
    "Mixup": 0.7828,
    "Cutmix": 0.7839,
    "Cutout": 0.7801,
    "GridMask": 0.7785,
    "RandAugment": 0.7770,
    "RandomErasing": 0.7791,
    "HideAndSeek": 0.7743,
}
"""docs/zh_CN/advanced_tutorials/image_augmentation/ImageAugment.md of PaddleClas 2020."""
DISTILLED = {"MobileNetV3_large_x1_0": 0.7710, "ResNet50_vd": None}
"""docs/zh_CN/advanced_tutorials/distillation/distillation.md: 360 epochs on ImageNet-1k alone."""
TEACHER = "the run of flowers102-ssld-erasing as the teacher's weights"
MEASURED: dict[str, str] = {}
"""Recipe → what a run here gave, with its size."""


def described(file: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The recipe's name and facts; None of a file that does not train."""
    group, stem = file.removesuffix(".yaml").rsplit("/", 1) if "/" in file else ("", file)
    if config.get("mode") != "train" or group == "kunlun":
        return None
    facts: dict[str, Any] = {"source": f"configs/{file} of PaddleClas 2020"}
    model = config["ARCHITECTURE"]["name"]
    epochs = config["epochs"]
    if group == "quick_start":
        short, top1, words = FLOWERS[stem]
        name = f"flowers102-{short}"
        facts |= {
            "summary": f"flowers102: {words}, {epochs} epochs",
            "hardware": "1 V100",
            "time": "not stated",
            "published": top1,
        }
    elif group == "DataAugment":
        name = stem
        facts |= {
            "summary": f"ImageNet-1k: {model} with {stem.split('_', 1)[1]}, {epochs} epochs",
            "published": AUGMENTED[stem.split("_", 1)[1]],
        }
    elif group == "Distillation":
        name = f"distill-{stem}"
        student = model.rpartition("_distill_")[2]
        facts |= {
            "summary": f"ImageNet-1k: {student} learns from {model.partition('_distill_')[0]}",
            "published": DISTILLED.get(student),
        }
    else:
        name = stem
        models = get_registries().models
        top1 = models.entry(model).metadata.get("top1") if model in models else None
        facts |= {"summary": f"ImageNet-1k: {model}, {epochs} epochs", "published": top1}
    facts.setdefault("hardware", "not stated")
    facts.setdefault("time", "not stated")
    facts["measured"] = MEASURED.get(name)
    return name, facts


def described_2x(file: str) -> tuple[str, dict[str, Any]]:
    """The name and facts of a recipe of 2.x."""
    model, settings = file.rpartition("/")[2], FILES[file]
    devices = settings.get("devices")
    images = f"{settings['batch']} images on each device"
    hardware = f"{devices} devices, {images}" if devices else f"not stated ({images})"
    top1 = get_registries().models.entry(model).metadata.get("top1")
    kind = ", from the published weights" if settings.get("pretrained") else ""
    facts = {
        "source": f"ppcls/configs/ImageNet/{file}.yaml of PaddleClas 2.5",
        "summary": f"ImageNet-1k: {model}, {settings['epochs']} epochs{kind}",
        "hardware": hardware,
        "time": "not stated",
        # The file of PPHGNetV2 is for fine-tuning, and says that its accuracy comes from elsewhere.
        "published": None if settings.get("pretrained") else top1,
        "measured": MEASURED.get(model),
    }
    return model, facts


def migrated(tree: dict[str, Any]) -> str:
    """YAML in this project's schema."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "old.yaml")
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        return migrate(path)[0]


def by_name(text: str) -> str:
    """Published weights by their name where the old file has the path that they were put at."""
    text = re.sub(
        r"name: \w+\n  pretrained: \./pretrained/(\w+)_pretrained/?\n",
        r"name: \1\n  pretrained: true\n",
        text,
    )
    return re.sub(
        r"source: \w+\n    weights: \./pretrained/(\w+)_pretrained/?\n", r"source: \1\n", text
    )


def header(name: str, facts: dict[str, Any]) -> str:
    """What stands above a recipe."""
    top1 = facts["published"]
    published = "accuracy not stated" if top1 is None else f"{100 * top1:.2f} % top-1"
    return (
        f"# {facts['summary']}.\n#\n"
        f"# Command:   ppclas recipes run {name} photos/\n"
        f"# Source:    {facts['source']}\n"
        f"# Published: {published}; hardware {facts['hardware']}, time {facts['time']}\n"
        f"# Measured:  {facts['measured'] or 'not measured'}\n"
        + (f"# Needs:     {TEACHER}\n" if name == "flowers102-distill" else "")
    )


def main(source: str) -> None:
    """Write all of them anew."""
    data = json.loads(Path(source).read_text(encoding="utf-8"))
    for old in FOLDER.glob("*.yaml"):
        old.unlink()
    index: dict[str, dict[str, Any]] = {}
    for recipe in data["recipes"]:
        found = described(recipe["file"], recipe["config"])
        if found is None:
            continue
        name, facts = found
        try:
            text = migrated(recipe["config"])
        except ConfigError as error:
            print(f"{recipe['file']}: {error}", file=sys.stderr)
            continue
        assert name not in index, name
        index[name] = facts
        (FOLDER / f"{name}.yaml").write_text(header(name, facts) + by_name(text), encoding="utf-8")
    for file in FILES:
        name, facts = described_2x(file)
        assert name not in index, name
        index[name] = facts
        (FOLDER / f"{name}.yaml").write_text(
            header(name, facts) + migrated(tree_of(file)), encoding="utf-8"
        )
    (FOLDER / "index.json").write_text(
        json.dumps(dict(sorted(index.items())), indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main(sys.argv[1])
