"""Open the teacher that a config names: catalogue weights, a bundle, an export, an ONNX file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import NormalizeConfig, Size
from ppclas_core.errors import ConfigError, WeightsError
from ppclas_core.files import sha256
from ppclas_core.plugins import get_registries
from ppclas_data.sources.labels import are_ids
from ppclas_engine.bundles import bundle_from_weights, pretrained_path

from ppclas_distill.onnx_file import OnnxFile
from ppclas_distill.teacher import (
    ArrayTeacher,
    PaddleTeacher,
    Student,
    Teacher,
    TeacherConfig,
    View,
)

if TYPE_CHECKING:
    from ppclas_core.contracts.export import Engine

ONNX_SUFFIX = ".onnx"


def open_teacher(config: TeacherConfig, student: Student, batch_statistics: bool) -> Teacher:
    """The teacher behind ``config``, ready to answer.

    Raises:
        ConfigError: it knows other classes than the student learns, or its parameters contradict
            each other.
        BundleError, WeightsError, MissingDependencyError: it cannot be opened.
    """
    if config.source.endswith(ONNX_SUFFIX):
        return _open_onnx(config, student)
    bundle = open_bundle(config)
    manifest = bundle.manifest
    view = View(
        student,
        config.normalize or manifest.preprocessing.normalize,
        _pair(config.image_size) if config.image_size is not None else bundle.image_size,
    )
    if manifest.activation != "softmax":
        raise ConfigError(
            f"teacher {config.source}: expected one of exclusive classes, got one of several "
            "labels."
        )
    # Published weights call their classes as they like; the data may use synsets, or other words.
    foreign = config.is_name and not set(bundle.labels) & set(student.class_names)
    same_order = foreign and len(bundle.labels) == len(student.class_names)
    columns = None if same_order else _columns(bundle.labels, student.class_names, config.source)
    teacher: Teacher
    if manifest.export is not None:
        run = _engine_run(bundle, config.normalize or manifest.preprocessing.normalize)
        teacher = ArrayTeacher(config.source, view, columns, _fingerprint(bundle, view), run)
    else:
        model = bundle.build_model()
        teacher = PaddleTeacher(
            config.source, view, columns, _fingerprint(bundle, view), model, batch_statistics
        )
    if columns is None and bundle.labels != student.class_names:
        teacher.assumed = "its classes or the data's have no names: taken to be in the same order"
    return teacher


def open_bundle(config: TeacherConfig) -> Bundle:
    """The bundle behind a ``source`` that is no .onnx file; one made up around published weights.

    Raises:
        UnknownNameError, BundleError, WeightsError: there is none.
    """
    source = config.source
    if config.is_name:
        if config.weights is not None:
            weights = Path(config.weights)
        else:
            try:
                weights = pretrained_path(source, download=True)
            except WeightsError as error:
                raise WeightsError(
                    f"teacher {source}: {error} Or name its file: weights (--teacher-weights)."
                ) from error
        return bundle_from_weights(source, weights)
    if config.weights is not None:
        raise ConfigError(
            f"teacher {source}: weights are for a catalogue name; a run, bundle or export has its "
            "own."
        )
    if not Path(source).exists():
        if Path(source).name != source:
            raise ConfigError(
                f"teacher {source}: there is no such run, bundle, export or .onnx file."
            )
        get_registries().models.entry(source)  # an unknown name: says so, with near ones
    return Bundle.load(source)


def _columns(theirs: tuple[str, ...], ours: tuple[str, ...], source: str) -> list[int] | None:
    """For each of the student's classes its column in the teacher's answers; None where they are in
    the same order.
    """
    if len(theirs) != len(ours):
        raise ConfigError(
            f"teacher {source} knows {len(theirs)} classes and the data has {len(ours)}. Fine-tune "
            "a teacher on the data first (ppclas train DATA --model NAME) and give its run "
            "to --teacher."
        )
    if theirs == ours or are_ids(theirs) or are_ids(ours):
        return None
    if sorted(theirs) == sorted(ours) and len(set(ours)) == len(ours):
        return [theirs.index(name) for name in ours]
    odd = next(name for name in ours if name not in theirs)
    raise ConfigError(
        f"teacher {source} does not know the class {odd!r}; it knows {', '.join(theirs[:5])}"
        f"{' …' if len(theirs) > 5 else ''}. A teacher must have learnt the student's classes."
    )


def _engine_run(
    bundle: Bundle, normalize: NormalizeConfig
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Logits of an export for normalised images [N, 3, H, W]."""
    facts = bundle.manifest.export or {}
    engine: Engine = get_registries().engines.build(str(facts.get("engine")))
    engine.load(bundle)
    if facts.get("input") != "pixels":
        return engine.logits
    mean, std = (
        np.asarray(values, np.float32)[:, None, None] for values in (normalize.mean, normalize.std)
    )

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        # This export normalises by itself: give it the pixels back.
        pixels = np.clip(np.rint((images * std + mean) * 255.0), 0, 255).astype(np.uint8)
        return engine.logits(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)))

    return run


def bundle_fingerprint(bundle: Bundle) -> str:
    """What changes when the weights do."""
    hashes = [entry.sha256 for entry in bundle.manifest.files.values()] or [
        sha256(bundle.weights_file)
    ]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]


def _fingerprint(bundle: Bundle, view: View) -> str:
    return f"{bundle_fingerprint(bundle)} {view.fingerprint}"


def _open_onnx(config: TeacherConfig, student: Student) -> Teacher:
    if config.weights is not None:
        raise ConfigError(
            f"teacher {config.source}: an .onnx file holds its own weights; leave weights out."
        )
    file = OnnxFile(Path(config.source))
    size = file.size(config.image_size, student.image_size)
    classes, probabilities = file.try_out(size)
    if classes != len(student.class_names):
        raise ConfigError(
            f"teacher {config.source} answers with {classes} values and the data has "
            f"{len(student.class_names)} classes. A teacher must have learnt the student's "
            "classes, in the same order."
        )
    view = View(student, config.normalize_or_default, size)
    name = f"{config.source}{' (answers in probabilities)' if probabilities else ''}"
    teacher = ArrayTeacher(
        name, view, None, f"{file.fingerprint} {view.fingerprint}", file.run, probabilities
    )
    assumed = ["its classes are taken to be in the data's order"]
    if config.normalize is None:
        assumed.insert(
            0,
            "it is taken to want ImageNet's mean and std (the teacher's normalize says otherwise)",
        )
    if (Path(config.source).parent / "bundle.json").is_file():
        assumed.append(
            f"the export around it knows both: name its folder, {Path(config.source).parent}"
        )
    teacher.assumed = "; ".join(assumed)
    return teacher


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
