"""The core by itself: its wheel, what that requires, pytest and hypothesis, a stranger's plugin.

No network is needed: what the core requires is linked from the environment that runs this.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="links the packages that are installed here"),
]

CORE = Path(__file__).parents[1] / "packages" / "ppclas-core"
TOOLS = ("pytest", "hypothesis")

PLUGIN = '''
"""A plugin: a transform, a loss and a model."""

from __future__ import annotations

from ppclas_core import hookimpl
from ppclas_core.contracts.variants import register_variants


@hookimpl
def register_transforms(registry):
    registry.register("Swirl", "swirl_parts:Swirl")


@hookimpl
def register_losses(registry):
    registry.register("Swirled", "swirl_parts:Swirled")


@hookimpl
def register_models(registry):
    register_variants(registry, "swirl_net:models", "SwirlNet")
'''

PARTS = '''
from ppclas_core.contracts.data import Transform
from ppclas_core.contracts.training import Loss, split_outputs


class Swirl(Transform):
    """Turn the image by a right angle, or not."""

    probability: float = 0.5
    """In 0..1."""

    def __call__(self, image, draw):
        return image.swapaxes(0, 1) if draw.rng.random() < self.probability else image


class Swirled(Loss):
    """Cross entropy, and a little for large logits."""

    weight: float = 0.1
    """Of the mean square of the logits."""

    def __call__(self, outputs, targets):
        import paddle

        logits, _ = split_outputs(outputs)
        entropy = paddle.nn.functional.cross_entropy(logits, targets.labels)
        return entropy + self.weight * logits.square().mean()
'''

NET = '''
from paddle import nn
from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants

models = Variants()


class SwirlNetConfig(ModelConfig):
    """A SwirlNet."""

    width: int = 8


@models.register(SwirlNet=SwirlNetConfig())
class SwirlNet(ImageModel):
    """One convolution and a classifier."""

    def __init__(self, config):
        super().__init__(config)
        self.conv = nn.Conv2D(config.in_channels, config.width, 3, stride=2, padding=1)
        self.fc = nn.Linear(config.width, config.num_classes) if config.num_classes else None

    def forward_features(self, images):
        return nn.functional.relu(self.conv(images))

    def forward_head(self, features, pre_logits=False):
        pooled = features.mean([2, 3])
        return pooled if pre_logits or self.fc is None else self.fc(pooled)

    def feature_info(self):
        return [Feature("conv", self.config.width, 2)]

    def stages(self):
        return {"stage1": ("conv",), "head": ("fc",)}
'''

CHECKS = """
import sys

import pytest
from ppclas_core import list_models
from ppclas_core.config.load import load_config
from ppclas_core.errors import WeightsError
from ppclas_core.testing import check_transform
from ppclas_core.weights import read_state
from swirl_parts import Swirl


def test_the_transform():
    check_transform(Swirl())


def test_the_transform_in_a_config():
    config = load_config(None, ["data.train_transforms=[{name: Swirl, probability: 1.0}]"]).config
    assert config.data.train_transforms[0].params == {"probability": 1.0}


def test_who_reads_other_weights_is_said(tmp_path):
    (tmp_path / "w.pdparams").write_bytes(b"\\x80\\x04}.")
    with pytest.raises(WeightsError, match="ppclas-models reads .pdparams as well: pip install"):
        read_state(tmp_path / "w.pdparams")


def test_the_model_is_listed_and_nothing_else_was_needed():
    assert list_models() == ["SwirlNet"]
    assert not {"paddle", "cv2", "PIL", "matplotlib", "rich"} & set(sys.modules)
"""

PADDLE_CHECKS = """
from ppclas_core.testing import check_loss, check_model
from swirl_parts import Swirled


def test_the_loss():
    check_loss(Swirled())


def test_the_model():
    check_model("SwirlNet", image_size=32)
"""


def required(names: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    """The installed distributions that ``names`` (with extras) require, ours left out."""
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = [Requirement(name) for name in names]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        distribution = importlib.metadata.distribution(name)
        if name in found:
            continue
        if not name.startswith("ppclas-"):
            found[name] = distribution
        for line in distribution.requires or ():
            each = Requirement(line)
            extras = wanted.extras or {""}
            if each.marker is None or any(each.marker.evaluate({"extra": x}) for x in extras):
                todo.append(each)
    return found


def link(distributions: Iterable[importlib.metadata.Distribution], folder: Path) -> None:
    """Make ``folder`` a place to import these from."""
    folder.mkdir(exist_ok=True)
    for distribution in distributions:
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))).resolve())


class Alone:
    """An environment with the core's wheel and nothing else of ours."""

    def __init__(self, folder: Path) -> None:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(build, cwd=CORE, check=True, capture_output=True)
        (wheel,) = folder.glob("*.whl")
        venv.create(folder / "env", symlinks=True)
        self.python = folder / "env" / "bin" / "python"
        (site,) = (folder / "env" / "lib").glob("python*/site-packages")
        link(required(["ppclas-core", *TOOLS]).values(), site)
        self.pip("install", "--no-index", "--no-deps", wheel)

    def run(self, *arguments: object, path: Iterable[Path] = ()) -> str:
        """What the environment's Python prints; ``path`` comes before its own packages."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PPCLAS_"))}
        done = subprocess.run(
            [self.python, *map(str, arguments)],
            env={**plain, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pip(self, *arguments: object) -> str:
        """What this environment's pip prints about that one."""
        command = [sys.executable, "-m", "pip", "--python", self.python, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Alone:
    return Alone(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Path:
    """A folder in which the plugin is installed, with its tests beside it."""
    folder = tmp_path_factory.mktemp("plugin")
    files = {
        "swirl.py": PLUGIN,
        "swirl_parts.py": PARTS,
        "swirl_net.py": NET,
        "test_swirl.py": CHECKS,
        "test_swirl_paddle.py": PADDLE_CHECKS,
        "swirl-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: swirl\nVersion: 1.0\n",
        "swirl-1.0.dist-info/entry_points.txt": "[ppclas]\nswirl = swirl\n",
    }
    (folder / "swirl-1.0.dist-info").mkdir()
    for name, text in files.items():
        (folder / name).write_text(text.lstrip(), encoding="utf-8")
    return folder


def test_nothing_else_is_there(alone):
    listed = {
        canonicalize_name(row["name"]) for row in json.loads(alone.pip("list", "--format=json"))
    }
    assert listed == {"ppclas-core", *required(["ppclas-core", *TOOLS])}
    assert not listed & {"opencv-python-headless", "pillow", "matplotlib", "rich", "paddlepaddle"}
    assert "No broken requirements" in alone.pip("check")


def test_the_import_is_quick(alone):
    def seconds(code: str) -> float:
        def once() -> float:
            start = time.perf_counter()
            alone.run("-c", code)
            return time.perf_counter() - start

        return min(once() for _ in range(7))

    assert seconds("import ppclas_core") - seconds("pass") <= 0.15


def test_a_plugin_is_tried_without_paddle(alone, plugin):
    said = alone.run("-m", "pytest", "-q", plugin / "test_swirl.py", path=[plugin])
    assert "4 passed" in said


@pytest.fixture(scope="module")
def paddle(tmp_path_factory) -> Path:
    """A folder to import Paddle from, and what it requires."""
    names = importlib.metadata.packages_distributions().get("paddle")
    if not names:
        pytest.skip("needs PaddlePaddle in the environment that runs this")
    folder = tmp_path_factory.mktemp("paddle")
    # Paddle's own modules import setuptools; the extra [cpu] of the core has it.
    link(required([names[0], "setuptools"]).values(), folder)
    return folder


def test_a_plugin_is_tried_with_paddle(alone, plugin, paddle):
    tests = plugin / "test_swirl_paddle.py"
    assert "2 passed" in alone.run("-m", "pytest", "-q", tests, path=[plugin, paddle])


def test_the_tests_of_the_core_need_no_other_package(alone, paddle):
    options = ("-q", "-p", "no:cacheprovider")
    said = alone.run("-m", "pytest", *options, CORE / "tests", path=[paddle])
    assert " passed" in said
    assert "skipped" not in said
