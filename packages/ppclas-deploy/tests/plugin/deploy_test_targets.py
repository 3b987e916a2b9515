"""Exporters, engines and a transform written by hand, to see what becomes of theirs."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.data import Transform
from ppclas_core.contracts.export import Engine, Exporter, export_file
from ppclas_core.errors import ExportError
from pydantic import PrivateAttr


class SwapChannels(Transform):
    """Blue for red."""

    def __call__(self, image, draw):
        return np.ascontiguousarray(image[..., ::-1])


def take_marks_out(folder: Path) -> None:
    """As in files from before the marks; every file keeps its length."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes().replace(b"ppclas-meaning:", b"ppclas-nothing:"))


class StoredExporter(Exporter):
    """Gives the files of an export that is there as its own, changed on the way."""

    source: Path
    """Folder of the export."""
    change: Callable[[Path], object] = lambda folder: None
    """What is done to the files before anyone compares answers."""
    claims: Mapping[str, Any] = {}
    """What it says of itself otherwise than the export that is there."""

    def export(self, bundle, folder):
        stored = Bundle.load(self.source)
        for name in stored.manifest.files:
            if name not in ("parity.json", "labels.txt", "export.log"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(stored.folder / name, folder / name)
        (folder / "export.log").write_text("converted\n")
        self.change(folder)
        take_marks_out(folder)
        return {**stored.manifest.export, **self.claims}


class SilentExporter(Exporter):
    """Fails with nothing but words in its log."""

    words: str = ""

    def export(self, bundle, folder):
        if self.words:
            (folder / "export.log").write_text(self.words)
        raise ExportError("the converter gave up.")


class Linear(Engine):
    """Logits [N, C] = images, flattened, times ``weights.npy``."""

    _weights: Any = PrivateAttr(None)
    _batches: list[int] = PrivateAttr(default_factory=list)

    @property
    def batches(self):
        """Sizes of the batches that it was asked for."""
        return self._batches

    def open(self, bundle):
        self._weights = np.load(export_file(bundle, "model"), allow_pickle=False)

    def run(self, images):
        self._batches.append(len(images))
        return (images.reshape(len(images), -1) @ self._weights).astype(np.float32)

    def versions(self):
        return {"linear": "1.0"}


class LinearSlow(Linear):
    """0.05 seconds for a batch."""

    def run(self, images):
        time.sleep(0.05)
        return super().run(images)


class LinearWrong(Linear):
    """One part in a thousand too large."""

    def run(self, images):
        return super().run(images) * np.float32(1.001)


class LinearAbort(Linear):
    """Dies as C++ does."""

    def run(self, images):
        print("no kernel for this CPU", flush=True)
        os.abort()


class LinearHang(Linear):
    """Never answers."""

    def run(self, images):
        time.sleep(3600)
