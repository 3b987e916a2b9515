"""What the tests of configs name: registries without a plugin."""

from __future__ import annotations

from typing import Literal

import pytest
from ppclas_core.contracts.data import BatchTransform, Transform
from ppclas_core.contracts.objective import Objective
from ppclas_core.contracts.readers import BatchReader
from ppclas_core.contracts.training import Loss, Optimizer, Scheduler
from ppclas_core.errors import MissingDependencyError
from ppclas_core.params import Params
from ppclas_core.plugins import Registries
from pydantic import PositiveInt


class Crop(Transform):
    size: PositiveInt | tuple[PositiveInt, PositiveInt]
    mode: Literal["centre", "random"] = "centre"


class Mix(BatchTransform):
    alpha: float = 0.2


class CrossEntropy(Loss):
    label_smoothing: float = 0.0


class Momentum(Optimizer):
    momentum: float = 0.9


class CosineWarmup(Scheduler):
    warmup_epochs: float = 5.0


class Supervised(Objective):
    pass


class Workers(BatchReader):
    pass


class Net(Params):
    num_classes: int = 1000
    depth: int = 18


def needs_paddle(**params):
    raise MissingDependencyError("PaddlePaddle is needed and is not installed.")


class LazyNet:
    def params_model(self):
        needs_paddle()


@pytest.fixture
def registries(tmp_path):
    """A component for each name that a config has by default, and a few more."""
    found = Registries()
    found.transforms.register("Crop", Crop)
    found.batch_transforms.register("Mix", Mix)
    found.losses.register("CrossEntropy", CrossEntropy)
    found.losses.register("Broken", "no_such_module:Loss")
    found.optimizers.register("Momentum", Momentum)
    found.schedulers.register("CosineWarmup", CosineWarmup)
    found.objectives.register("Supervised", Supervised)
    found.readers.register("workers", Workers)
    found.models.register("ResNet18", Net, params=Net, aliases=("r18",))
    found.models.register("NeedsPaddle", LazyNet())
    recipe = tmp_path / "recipes" / "quick.yaml"
    recipe.parent.mkdir()
    recipe.write_text("train:\n  epochs: 2\n", encoding="utf-8")
    found.recipes.register("quick", lambda: recipe)
    return found
