"""What augmentations do to photos: the rows of ``ppclas data preview``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.component import build_component
from ppclas_core.config.schema import DataSection, NormalizeConfig
from ppclas_core.contracts.data import BatchTransform, Draw, Image, ImageSet, sample_draw
from ppclas_core.contracts.readers import BadImage
from ppclas_core.contracts.training import Targets
from ppclas_core.errors import (
    DataError,
    ImageError,
    MissingDependencyError,
    PpclasError,
    ShapeError,
)
from ppclas_core.plugins import get_registries
from pydantic_core import PydanticUndefined

from ppclas_data.decoding.decode import decode
from ppclas_data.inspection.contact_sheet import Row
from ppclas_data.loading.pipeline import RESIZE_OVER_CROP, Pipeline, build_transforms
from ppclas_data.transforms import functional

if TYPE_CHECKING:
    from ppclas_core.registry import Entry

_EPOCHS = 100
_BATCH_STREAM = 1 << 32
_ONE_PHOTO = "batch transforms are left out: one photo has none to be mixed with; show two or more"


@dataclass(frozen=True)
class Preview:
    """Rows of pictures, and what was left out."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def choose_photos(images: ImageSet, count: int, notes: list[str]) -> list[Image]:
    """``count`` photos spread evenly over the set, decoded; unreadable ones are passed over, which
    is noted.

    Raises:
        DataError: none can be read.
    """
    photos, problems = _decoded(images, count)
    if not photos:
        problem = problems[0] if problems else "it has no images"
        raise DataError(
            f"{images.origin}: expected photos to preview, and none can be read: {problem}"
        )
    if problems:
        notes.append(
            f"{len(problems)} photo(s) that cannot be read are passed over (the first: "
            f"{problems[0]})."
        )
    return photos


def _decoded(images: ImageSet, count: int) -> tuple[list[Image], list[str]]:
    """Up to ``count`` photos, and what is wrong with those that were tried in vain."""
    photos: list[Image] = []
    problems: list[str] = []
    # The last number of each round is the first photo of the next: a set sorted by class shows many
    # classes.
    for start in range(max(1, len(images) // max(1, count))):
        for index in range(start, len(images), max(1, len(images) // max(1, count))):
            try:
                photos.append(decode(images.read(index), images.records[index].where))
            except (ImageError, OSError) as error:
                bad = BadImage.of(index, images.records[index], error)
                problems.append(f"{bad.where}: {bad.reason}")
            if len(photos) == count:
                return photos, problems
    return photos, problems


def preview_everything(photos: Sequence[Image], side: int, seed: int = 0) -> Preview:
    """A row for each registered transform that is random, and each batch transform, on squares of
    ``side`` pixels.

    What is shown of one is in its registration: ``metadata={"preview": {...}}`` are the parameters,
    None leaves it out; without it the defaults are shown. Draws are those of a late epoch, for what
    grows with the epochs.
    """
    registries = get_registries()
    # A little larger than the squares, for what crops.
    short = round(side * RESIZE_OVER_CROP)
    large = [
        functional.resize_short(photo, short, "area" if min(photo.shape[:2]) > short else "bicubic")
        for photo in photos
    ]
    squares = [functional.center_crop(photo, (side, side)) for photo in large]
    rows = [Row("original", "", tuple(squares))]
    notes: list[str] = []
    for name in registries.transforms:
        entry = registries.transforms.entry(name)
        try:
            params = _shown_params(entry, side, notes)
            if params is None:
                continue
            alone = Pipeline([registries.transforms.build(name, **params)])
            images = [
                _as_pixels(
                    alone.transform(image, _late_draw(seed, index), f"photo {index + 1}"),
                    NormalizeConfig(),
                )
                for index, image in enumerate(large if "size" in params else squares)
            ]
        except (PpclasError, ValueError) as error:
            notes.append(f"{name} is left out: {error}")
            continue
        rows.append(Row(name, _said(entry, params), tuple(images)))
    if len(photos) == 1 and len(registries.batch_transforms):
        return Preview(tuple(rows), (*notes, _ONE_PHOTO))
    for name in registries.batch_transforms:
        entry = registries.batch_transforms.entry(name)
        try:
            params = _shown_params(entry, side, notes)
            if params is None:
                continue
            mixed = registries.batch_transforms.build(name, **params)
            draw = _late_draw(seed, _BATCH_STREAM)
            rows.append(
                _mixed_row(
                    name, _said(entry, params), mixed, np.stack(squares), NormalizeConfig(), draw
                )[0]
            )
        except (PpclasError, ValueError) as error:
            notes.append(f"{name} is left out: {error}")
    return Preview(tuple(rows), tuple(notes))


def preview_config(
    photos: Sequence[Image], data: DataSection, epochs: int, seed: int = 0
) -> Preview:
    """What training sees, step by step, and what evaluation sees; ``data`` has nothing left to
    infer.

    The draws are those of the last epoch.
    """
    assert data.train_transforms is not None
    assert data.eval_transforms is not None
    registries = get_registries()
    draws = [sample_draw(seed, epochs - 1, index, epochs) for index in range(len(photos))]
    rows = [Row("original", "", tuple(photos))]
    current = list(photos)
    for number, (component, transform) in enumerate(
        zip(data.train_transforms, build_transforms(data.train_transforms), strict=True), start=1
    ):
        step = Pipeline([transform])
        current = [
            step.transform(image, draw, f"photo {index + 1}")
            for index, (image, draw) in enumerate(zip(current, draws, strict=True))
        ]
        shown = tuple(_as_pixels(image, data.normalize) for image in current)
        rows.append(Row(f"{number}. {component.name}", _params_text(component.params), shown))
    notes: list[str] = []
    if data.batch_transforms and len(photos) == 1:
        notes.append(_ONE_PHOTO)
    elif data.batch_transforms:
        shapes = {image.shape[:2] for image in current}
        if len(shapes) > 1:
            sizes = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes)[:2])
            raise ShapeError(
                f"expected photos of one size before {data.batch_transforms[0].name}, got {sizes} "
                "from data.train_transforms; end them with Resize (size) or CenterCrop"
            )
        batch = np.stack([_as_pixels(image, data.normalize) for image in current])
        draw = sample_draw(seed, epochs - 1, _BATCH_STREAM, epochs)
        for component in data.batch_transforms:
            try:
                mixed = build_component(registries.batch_transforms, component)
                row, batch = _mixed_row(
                    component.name,
                    _params_text(component.params),
                    mixed,
                    batch,
                    data.normalize,
                    draw,
                )
            except MissingDependencyError as error:
                notes.append(f"{component.name} is left out: {error}")
                continue
            rows.append(row)
    evaluation = Pipeline(build_transforms(data.eval_transforms, "data.eval_transforms"))
    plain = [evaluation.transform(photo, sample_draw(0, 0, 0), "photo") for photo in photos]
    names = ", ".join(component.name for component in data.eval_transforms)
    rows.append(
        Row("evaluation", names, tuple(_as_pixels(image, data.normalize) for image in plain))
    )
    return Preview(tuple(rows), tuple(notes))


def _late_draw(seed: int, index: int) -> Draw:
    return sample_draw(seed, _EPOCHS - 1, index, _EPOCHS)


def _shown_params(entry: Entry, side: int, notes: list[str]) -> dict[str, Any] | None:
    """The parameters that ``entry`` is shown with; None where it is not shown."""
    shown = entry.metadata.get("preview", {})
    if shown is None:
        return None
    params = dict(shown)
    required = {
        name
        for name, field in entry.params_model().model_fields.items()
        if field.default is PydanticUndefined and field.default_factory is None
    } - params.keys()
    if "size" in required:
        params["size"] = side
    missing = required - params.keys()
    if missing:
        notes.append(
            f"{entry.name} is left out: it needs {', '.join(sorted(missing))}. Show it with a "
            "config (-c)."
        )
        return None
    return params


def _said(entry: Entry, params: dict[str, Any]) -> str:
    return (
        _params_text({name: value for name, value in params.items() if name != "size"})
        or entry.summary
    )


def _params_text(params: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in params.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        plain = len(value) <= 4 and all(isinstance(item, int | float | str) for item in value)
        return f"[{', '.join(map(_short, value))}]" if plain else f"[{len(value)} items]"
    return "{…}" if isinstance(value, dict) else str(value)


def _as_pixels(image: Image, normalize: NormalizeConfig) -> Image:
    """``image`` as uint8 [H, W, 3]; floats are taken as normalised."""
    if image.dtype != np.uint8:
        pixels = (
            image * np.asarray(normalize.std, np.float32) + np.asarray(normalize.mean, np.float32)
        ) * 255
        image = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return (
        np.repeat(image, 3, axis=2)
        if image.shape[2] == 1
        else np.ascontiguousarray(image[:, :, :3])
    )


def _mixed_row(
    name: str,
    details: str,
    transform: BatchTransform,
    batch: NDArray[np.uint8],
    normalize: NormalizeConfig,
    draw: Draw,
) -> tuple[Row, NDArray[np.uint8]]:
    """What ``transform`` makes of images [N, H, W, 3], with each one's share; and the images."""
    from ppclas_core.normalize import normalize_batch
    from ppclas_core.paddle_runtime import require_paddle

    require_paddle("ppclas data preview of batch transforms")
    import paddle

    paddle.set_device("cpu")
    images = paddle.to_tensor(normalize_batch(batch, normalize))
    targets = Targets(paddle.arange(len(batch), dtype="int64"))
    mixed, targets = transform(images, targets, draw)
    pixels = [_as_pixels(image, normalize) for image in mixed.numpy().transpose(0, 2, 3, 1)]
    captions: tuple[str, ...] = ()
    if targets.mixed_labels is not None and targets.weight is not None:
        captions = tuple(
            f"{share:.0%} {own + 1}, {1 - share:.0%} {other + 1}"
            for own, (share, other) in enumerate(
                zip(targets.weight.tolist(), targets.mixed_labels.tolist(), strict=True)
            )
        )
    return Row(name, details, tuple(pixels), captions), np.stack(pixels)
