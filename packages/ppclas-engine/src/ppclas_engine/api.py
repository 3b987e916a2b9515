"""What a notebook calls: ``train``, ``evaluate``, ``predict``, ``load`` and ``create_model``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core import models as core_models
from ppclas_core.config.load import load_config
from ppclas_core.config.schema import Config
from ppclas_core.errors import ConfigError

from ppclas_engine import session
from ppclas_engine.bundles import DEFAULT_MODEL, open_model, pretrained_path, published_params
from ppclas_engine.classifier import Classifier, Picture
from ppclas_engine.console import Console
from ppclas_engine.loop.channels import load_fitting
from ppclas_engine.loop.train import RunResult
from ppclas_engine.results.predict import Predictions
from ppclas_engine.results.score import evaluate_bundle, plan_scoring
from ppclas_engine.scoring.evaluate import Evaluation

if TYPE_CHECKING:
    from ppclas_core.contracts.feature_extractor import FeatureExtractor
    from ppclas_core.contracts.image_model import ImageModel

    from ppclas_engine.planning.plan import Plan

_Path = str | os.PathLike[str]


def train(
    data: _Path | Config | None = None,
    *,
    model: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    image_size: int | None = None,
    val: _Path | None = None,
    pretrained: bool | _Path | None = None,
    output: _Path | None = None,
    device: str | None = None,
    seed: int | None = None,
    augment: _Path | Callable[[Plan], Plan] | None = None,
    config: _Path | None = None,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> RunResult:
    """Train or fine-tune a classifier, as ``ppclas train`` does, in a new run folder.

    What is not given is inferred from the photos and printed.

    Args:
        data: a folder with a folder of photos for each class, a list file or a CSV. Nothing: the
            built-in photos. Or a whole ``Config``, which then says everything.
        model: a name of the catalogue.
        epochs: passes over the training photos.
        batch_size: photos in a step.
        lr: peak learning rate.
        image_size: side of what the model sees, in pixels.
        val: photos for validation. Nothing: a part of ``data``.
        pretrained: weights to start from: a file, or False for random ones. Nothing: the published
            ones.
        output: the run folder. Nothing: ``runs/<model>-<n>``.
        device: ``auto``, ``cpu`` or ``gpu``.
        seed: of everything random.
        augment: ``light``, ``medium``, ``strong`` or a YAML file of transforms, which
            ``ppclas.train`` alone knows; or what changes the plan.
        config: a YAML file or the name of a recipe, below the arguments above.
        overrides: further settings, ``"train.patience=3"``, as after ``-o``. ``ppclas.train`` takes
            the other flags of the command too: ``patience=3``.
        console: where lines and the bar go. Nothing: stderr.

    Raises:
        PpclasError: what was given cannot be trained with; nothing that was saved is lost.
    """
    settings: dict[str, tuple[str, Any]] = {
        "data": ("data.train", data),
        "val": ("data.val", val),
        "batch_size": ("data.batch_size", batch_size),
        "image_size": ("data.image_size", image_size),
        "model": ("model.name", model),
        "pretrained": ("model.pretrained", pretrained),
        "lr": ("schedule.lr", lr),
        "epochs": ("train.epochs", epochs),
        "output": ("train.output", output),
        "device": ("train.device", device),
        "seed": ("train.seed", seed),
    }
    given = {
        f"{name}=": (key, _plain(value))
        for name, (key, value) in settings.items()
        if value is not None
    }
    console = console or Console()
    if isinstance(data, Config):
        if len(given) > 1 or config is not None or overrides:
            raise ConfigError(
                "expected a Config that says everything, got other settings beside it: put them "
                "into it with config.replace(…)"
            )
        whole = data
    else:
        loaded = load_config(None if config is None else os.fspath(config), overrides, given)
        for note in loaded.notes:
            console.line(note)
        whole = loaded.config
    if augment is None:
        return session.train(whole, console)
    if not callable(augment):
        raise ConfigError(f"augment={str(augment)!r}: a name that ppclas.train knows; call that")
    return session.train_plan(augment(session.plan_run(whole)), console)


def create_model(
    name: str = DEFAULT_MODEL,
    num_classes: int | None = None,
    *,
    pretrained: bool | _Path = False,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    **params: Any,
) -> ImageModel | FeatureExtractor:
    """A layer by its name, with fresh or published weights, in training mode as Paddle makes them.

    Images [N, in_channels, H, W] (float32, normalised) become logits [N, num_classes]; with
    ``num_classes=0`` pooled features [N, C]; with ``features_only`` feature maps, finest first.

    Args:
        name: of the catalogue.
        num_classes: of the classifier. Nothing: 1000. A published classifier of another size is
            left out.
        pretrained: True for the published weights, downloaded where they are not on this machine,
            or a weight file.
        features_only: a backbone for a detector.
        out_indices: which feature maps. Nothing: all.
        params: further parameters of the architecture.

    Raises:
        UnknownNameError: no installed package has that model.
        ConfigError: ``params`` does not fit the model.
        WeightsError: the weights are not to be had, or do not fit.
    """
    if pretrained is True:
        params = {**published_params(name), **params}
    built: ImageModel | FeatureExtractor
    if features_only:
        if num_classes:
            raise ConfigError("features_only gives feature maps: leave num_classes out")
        built = core_models.create_model(
            name, features_only=True, out_indices=out_indices, **params
        )
        model = built.model
    else:
        if out_indices is not None:
            raise ConfigError("out_indices picks feature maps: give features_only=True with it")
        classes = 1000 if num_classes is None else num_classes
        built = model = core_models.create_model(name, classes, **params)
    if pretrained is not False:
        file = pretrained_path(name, download=True) if pretrained is True else Path(pretrained)
        load_fitting(model, file)
    return built


def load(path: _Path = DEFAULT_MODEL, *, readers: int = 2) -> Classifier:
    """A run, bundle, export or published model, ready to answer: ``load().predict("cat.jpg")``.

    Args:
        path: a run folder, a bundle, an export, or a name of the catalogue, which stands for its
            published weights.
        readers: images that are read at a time, while the batch before them is answered.

    Raises:
        BundleError, UnknownNameError: ``path`` names nothing, or something damaged.
        WeightsError: the published weights are not to be had.
        MissingDependencyError: what runs it is not installed.
    """
    return Classifier(open_model(path), readers=readers)


def predict(path: _Path, images: Picture | Iterable[Picture], *, top_k: int = 5) -> Predictions:
    """Answers of the model at ``path``, in the order of the images; see ``Classifier.predict``.

    To ask more than once, ``load`` the model and keep it.
    """
    return load(path).predict(images, top_k=top_k)


def evaluate(
    path: _Path, data: _Path | None = None, *, console: Console | None = None
) -> Evaluation:
    """Score a run, bundle, export or published model on labelled photos: its ``metrics`` are in
    0..1.

    Args:
        path: a run folder, a bundle, an export or a name of the catalogue.
        data: labelled photos. Nothing: those that the run was validated on, which gives the numbers
            of its training to the last digit.
        console: where the bar and warnings go. Nothing: stderr.

    Raises:
        DataError: no photos are named, or their classes are not the model's.
    """
    bundle = open_model(path)
    where = None if data is None else os.fspath(data)
    scoring = plan_scoring(bundle, os.fspath(path), where)
    return evaluate_bundle(bundle, scoring, console or Console())


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
