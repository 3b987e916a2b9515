"""Photos, transforms and files that several test modules use."""

import contextlib
import importlib
import json
import sys
import textwrap

import cv2
import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.errors import DataError
from ppclas_data.builtin import builtin_photos
from ppclas_data.loading.pipeline import Pipeline, build_transforms, default_train_transforms
from ppclas_data.sources.opening import load_image_set
from ppclas_data.sources.splits import open_splits


def _photo(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((8, 12, 3), value % 256, np.uint8))[1].tobytes())
    return path


@pytest.fixture(scope="session")
def photo():
    """Writes a small photo."""
    return _photo


@pytest.fixture(scope="session")
def folders():
    """Writes so many photos of each class into a folder each."""

    def write(top, **counts):
        for name, count in counts.items():
            for index in range(count):
                _photo(top / name / f"{index:03}.png", index)
        return top

    return write


@pytest.fixture(scope="session")
def lines():
    """Writes a text file."""

    def write(path, *rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def said_about():
    """What is said of a mistake, in one line."""

    def call_and_read(call, *args, **kwargs):
        with pytest.raises(DataError) as caught:
            call(*args, **kwargs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return call_and_read


@pytest.fixture(scope="module")
def photos():
    return open_splits(DataSection()).train.subset(range(50))


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(build_transforms(default_train_transforms(32, "bilinear")))


@pytest.fixture
def module_from():
    """Makes a module that lies where the training script does."""

    @contextlib.contextmanager
    def make(path, source):
        path.write_text(textwrap.dedent(source))
        sys.path.insert(0, str(path.parent))
        try:
            yield importlib.import_module(path.stem)
        finally:
            sys.path.remove(str(path.parent))
            del sys.modules[path.stem]

    return make


@pytest.fixture
def outside(tmp_path, module_from):
    """Transforms in a module of their own that lies where the training script does."""
    source = """
        import os, signal, sys, tempfile, time
        from ppclas_core.contracts.data import Transform
        from ppclas_core.errors import ConfigError

        class TwoArguments(ConfigError):
            def __init__(self, what, why):
                super().__init__(f"{what}: {why}")

        class Refuses(Transform):
            def __call__(self, image, draw):
                if image.shape != (375, 500, 3):
                    raise TwoArguments("the mask", "not there")
                return image

        class Waits(Transform):
            folder: str
            trial: int
            def __call__(self, image, draw):
                if os.getpid() == self.trial:
                    return image
                if not image.any():
                    os.close(tempfile.mkstemp(dir=self.folder)[0])
                    return image
                count, before, tries = 0, -1, 0
                while (not count or count != before) and tries < 120:
                    time.sleep(0.5)
                    count, before, tries = len(os.listdir(self.folder)), count, tries + 1
                return image * 0 + count

        class Sometimes(Transform):
            def __call__(self, image, draw):
                return image.astype("float32") / 255 if draw.rng.random() < 0.5 else image

        class Talks(Transform):
            def __call__(self, image, draw):
                print("hello from a transform")
                return image

        class Dies(Transform):
            parent: int
            how: str
            def __call__(self, image, draw):
                if os.getpid() != self.parent:
                    os.kill(os.getpid(), signal.SIGKILL) if self.how == "killed" else os._exit(7)
                return image

        class Fails(Transform):
            def __call__(self, image, draw):
                if image.shape[:2] != (375, 500):  # that of the test image
                    raise KeyError("lost")
                return image

        class Epoch(Transform):
            def __call__(self, image, draw):
                return image[:4, :4] * 0 + draw.epoch * 10 + draw.epochs

        class Tells(Transform):
            def __call__(self, image, draw):
                return image[:1, :1] * 0 + ("paddle" in sys.modules)
        """
    with module_from(tmp_path / "outside_transforms.py", source) as module:
        yield module


@pytest.fixture(scope="module")
def folder():
    """The photos that ship for validation, read from their class folders."""
    return load_image_set(builtin_photos() / "val")


@pytest.fixture(scope="session")
def samples():
    """What makes two sets the same: bytes, class and class names, whatever the order."""
    return lambda images: sorted(
        (images.read(i), images.class_names[record.label])
        for i, record in enumerate(images.records)
    )


@pytest.fixture(scope="module")
def parquet(folder, tmp_path_factory):
    pa = pytest.importorskip("pyarrow", reason="needs the extra ppclas-data[parquet]")
    import pyarrow.parquet

    path = tmp_path_factory.mktemp("parquet") / "train-00000-of-00001.parquet"
    images = [{"bytes": folder.read(i), "path": f"{i}.jpg"} for i in range(len(folder))]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(folder.class_names), "_type": "ClassLabel"},
    }
    table = pa.table({"image": images, "label": folder.labels().tolist()}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pyarrow.parquet.write_table(table, path, row_group_size=10)
    return path
