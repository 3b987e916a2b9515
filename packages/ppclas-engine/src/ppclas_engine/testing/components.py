"""What ``FakePlugin`` registers: one small, working component of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.explain import Problem
from ppclas_core.contracts.config_format import ConfigFormat, TranslatedConfig
from ppclas_core.contracts.data import (
    BatchTransform,
    Draw,
    Image,
    ImageSet,
    Record,
    Source,
    Transform,
)
from ppclas_core.contracts.export import Engine, Exporter
from ppclas_core.contracts.objective import Objective, ObjectiveContext, StepLoss, TrainBatch
from ppclas_core.contracts.readers import BatchReader, OpenReader, Reader, Request, Samples
from ppclas_core.contracts.training import (
    FeatureLoss,
    Loss,
    Metric,
    Optimizer,
    Scheduler,
    Targets,
    Tracker,
    split_outputs,
)
from ppclas_core.contracts.weight_format import WeightFormat
from pydantic import PrivateAttr

if TYPE_CHECKING:
    import paddle
    from paddle import Tensor, nn
    from ppclas_core.bundle import Bundle


class FakeTransform(Transform):
    """Turn the image upside down by chance."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        return image[::-1] if draw.rng.random() < 0.5 else image


class FakeBatchTransform(BatchTransform):
    """Reverse the order of the batch."""

    def __call__(self, images: Tensor, targets: Targets, draw: Draw) -> tuple[Tensor, Targets]:
        return images.flip(0), Targets(targets.labels.flip(0))


class FakeLoss(Loss):
    """Mean squared distance of the logits from the one-hot label."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        import paddle

        logits, _ = split_outputs(outputs)
        wanted = paddle.nn.functional.one_hot(targets.labels, logits.shape[1])
        return (logits - wanted).square().mean()


class FakeFeatureLoss(FeatureLoss):
    """Mean square of the difference of the maps' means."""

    def between(self, student: Tensor, teacher: Tensor, layers: Mapping[str, nn.Layer]) -> Tensor:
        return (student.mean() - teacher.mean()).square()


class FakeObjective(Objective):
    """The config's loss, and a penalty on large logits with a factor that is trained."""

    _loss: Loss = PrivateAttr()
    _factor: Any = PrivateAttr()

    def prepare(self, context: ObjectiveContext) -> None:
        from paddle import nn

        self._loss = context.loss
        self._factor = nn.Linear(1, 1)

    def step(self, batch: TrainBatch, forward: Callable[[Tensor], Any]) -> StepLoss:
        outputs = forward(batch.images)
        logits, _ = split_outputs(outputs)
        label, size = (
            self._loss(outputs, batch.targets),
            self._factor(logits.square().mean().reshape([1, 1])).square(),
        )
        return StepLoss(label + 0.01 * size.sum(), outputs, {"label": label, "size": size.sum()})

    def layers(self) -> Mapping[str, nn.Layer]:
        return {"factor": self._factor}


class FakeScheduler(Scheduler):
    """Straight down to 0."""

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return self.peak * (1 - step / (steps_per_epoch * epochs))


class FakeOptimizer(Optimizer):
    """Plain gradient descent."""

    def build(
        self,
        parameters: Sequence[Mapping[str, Any]],
        lr: float,
        weight_decay: float,
        grad_clip: Any | None,
    ) -> paddle.optimizer.Optimizer:
        import paddle

        return paddle.optimizer.SGD(
            lr, parameters=[dict(group) for group in parameters], grad_clip=grad_clip
        )


class FakeMetric(Metric):
    """Share of wrong answers: ``error``."""

    def __call__(
        self, probabilities: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> dict[str, float]:
        return {"error": float((probabilities.argmax(axis=1) != labels).mean())}


class FakeExporter(Exporter):
    """Write the bundle's weights under another name, for ``FakeEngine``."""

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        (folder / "fake.safetensors").write_bytes(bundle.weights_file.read_bytes())
        return {"engine": "FakeEngine", "model": "fake.safetensors"}


class FakeEngine(Engine):
    """Run such an export in Paddle itself."""

    _model: Any = PrivateAttr(None)

    def open(self, bundle: Bundle) -> None:
        from ppclas_core.contracts.export import export_file
        from ppclas_core.models import create_model
        from ppclas_core.weights import load_weights

        architecture = bundle.manifest.architecture
        model = create_model(architecture.name, architecture.num_classes, **architecture.params)
        load_weights(model, export_file(bundle, "model"))
        model.eval()
        self._model = model

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        import paddle

        with paddle.no_grad():
            logits: NDArray[np.float32] = self._model(paddle.to_tensor(images)).numpy()
        return logits

    def versions(self) -> dict[str, str]:
        import paddle

        return {"paddle": paddle.__version__}


class FakeTracker(Tracker):
    """Append each row to ``fake_tracker.jsonl`` in the run folder."""

    _file: Path | None = PrivateAttr(None)

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        self._file = run / "fake_tracker.jsonl"

    def log(self, row: Mapping[str, Any], step: int) -> None:
        if self._file is None:
            raise RuntimeError("start() comes before log()")
        with open(self._file, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")


class FakeSource(Source):
    """36 photos of three classes, behind any location that starts with ``fake:``."""

    @classmethod
    def recognises(cls, location: str) -> bool:
        return location.startswith("fake:")

    def load(self) -> ImageSet:
        names = ("class_00", "class_01", "class_02")
        records = tuple(
            Record(f"{self.location}/{index}", index % len(names), f"{self.location}/{index}")
            for index in range(36)
        )
        return _FakePhotos(records, names, self.location)


class _FakePhotos(ImageSet):
    """Photos that no disk holds: noise around a colour of the class, as binary PPM."""

    def read(self, index: int) -> bytes:
        record = self.records[index]
        rng = np.random.default_rng(int(record.path.rpartition("/")[2]))
        colour = 96 + 96 * np.eye(3)[record.label]
        pixels = np.clip(rng.normal(colour, 16, (48, 60, 3)), 0, 255).astype(np.uint8)
        return b"P6\n60 48\n255\n" + pixels.tobytes()


class FakeReader(BatchReader):
    """Read in a thread, a batch ahead."""

    def open(self, plain: Reader, workers: int, note: Callable[[str], None]) -> OpenReader:
        return _FakeOpenReader(plain)


class _FakeOpenReader(OpenReader):
    def __init__(self, plain: Reader) -> None:
        self._plain, self._thread = plain, ThreadPoolExecutor(1)

    def read(self, requests: Iterable[Request]) -> Iterator[Samples]:
        before = None
        for request in requests:
            following = self._thread.submit(self._plain.read, *request)
            if before is not None:
                yield before.result()
            before = following
        if before is not None:
            yield before.result()

    def close(self) -> None:
        self._thread.shutdown()


class FakeConfigFormat(ConfigFormat):
    """Configs of one key: ``fake_epochs: 3``."""

    description = "a fake config (fake_epochs:)"
    keys = frozenset({"fake_epochs"})
    implied = "as the fake program trains"

    def recognises(self, values: Mapping[str, Any]) -> bool:
        return "fake_epochs" in values

    def translate(self, values: dict[str, Any]) -> TranslatedConfig:
        unknown = tuple(
            Problem((key,), "this key is not known.", about_key=True)
            for key in values
            if key not in self.keys
        )
        epochs = values["fake_epochs"]
        return TranslatedConfig(
            {"train": {"epochs": epochs, "seed": 7}},
            {("train", "epochs"): ("fake_epochs",), ("train", "seed"): ()},
            (f"fake_epochs → train.epochs: {epochs}",),
            unknown,
        )


class FakeWeightFormat(WeightFormat):
    """A ``.safetensors`` file behind four letters."""

    def recognises(self, path: Path, start: bytes) -> bool:
        return start.startswith(b"FAKE")

    def read(self, path: Path) -> dict[str, NDArray[Any]]:
        from safetensors.numpy import load

        return load(path.read_bytes().removeprefix(b"FAKE"))


def fake_recipe() -> Path:
    """Path of a recipe that trains ``FakeNet`` for two epochs."""
    return Path(__file__).with_name("fake_recipe.yaml")
