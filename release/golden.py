"""Files of this version for later versions to read: ``python release/golden.py``.

Writes ``tests/golden/<version>/``: a bundle, a checkpoint and a config, and what the model answers.
Run once per release that changes a format; a folder that is there stays as it is.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from ppclas_core.bundle import Bundle, versions
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.testing import use_plugin
from ppclas_data import builtin_photos
from ppclas_engine.console import Console
from ppclas_engine.session import train
from ppclas_engine.testing import FakePlugin

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"


def answers(bundle: Bundle) -> list[list[float]]:
    """Logits [2, C] of two fixed images."""
    import paddle

    height, width = bundle.image_size
    images = np.linspace(-1, 1, 2 * 3 * height * width, dtype=np.float32)
    model = bundle.build_model()
    model.eval()
    return model(paddle.to_tensor(images.reshape(2, 3, height, width))).numpy().tolist()


def main() -> None:
    """Train for two epochs on the built-in photos and keep what matters."""
    folder = GOLDEN / versions()["ppclas-core"]
    if folder.exists():
        sys.exit(f"{folder} is there; what was released stays as it is.")
    with tempfile.TemporaryDirectory() as name, use_plugin(FakePlugin()):
        run = Path(name) / "run"
        config = Config(
            model=ModelSection(name="FakeNet", pretrained=False),
            data=DataSection(
                train=str(builtin_photos() / "train"),
                val=str(builtin_photos() / "val"),
                image_size=32,
                workers=0,
            ),
            schedule=ComponentConfig(name="Constant", lr=0.01),
            train=TrainSection(epochs=1, output=str(run), device="cpu"),
        )
        train(config, Console(quiet=True))
        folder.mkdir(parents=True)
        without_card = shutil.ignore_patterns("README.md")
        shutil.copytree(run / "bundle", folder / "bundle", ignore=without_card)
        shutil.copy(run / "checkpoints" / "last.safetensors", folder / "checkpoint.safetensors")
        text = (run / "config.yaml").read_text("utf-8")
        text = text.replace(str(builtin_photos()), "photos").replace(str(run), "run")
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        logits = answers(Bundle.load(folder / "bundle"))
        (folder / "logits.json").write_text(json.dumps(logits) + "\n", encoding="utf-8")
    print(folder)


if __name__ == "__main__":
    main()
