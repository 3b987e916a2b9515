"""Explain a model's answers for photos: maps, pictures and how faithful they are, in a folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import ConfigError, DataError
from ppclas_core.files import write_json
from ppclas_core.wording import near_names
from ppclas_data.inspection.contact_sheet import Row, draw_sheet
from ppclas_engine.scoring.predictors import bundle_predictor, model_predictor, open_engine

from ppclas_search.heat.faithful import Faithfulness, measure_faithfulness
from ppclas_search.heat.maps import (
    Maps,
    Pixels,
    as_large,
    grad_cam,
    layer_cam,
    occlusion,
    random_maps,
    recipro_cam,
)
from ppclas_search.heat.pictures import overlay, write_picture
from ppclas_search.seen import see
from ppclas_search.writing import write_bytes

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_core.contracts.image_model import ImageModel

GRADIENT_METHODS = ("grad-cam", "layer-cam", "recipro-cam")
"""Those that need the model itself, in Paddle."""
METHODS = (*GRADIENT_METHODS, "occlusion", "heatmap")
"""``heatmap`` is the second output of an export that was made with it."""
_SHEET_ROWS = 40
_CELL = 160
_BATCH = 16


@dataclass(frozen=True)
class Explained:
    """What was found out about one photo."""

    path: str
    error: str = ""
    label: str = ""
    """The class that was asked about: the most probable one, unless another was named."""
    probability: float = 0.0
    """Of that class, in 0..1."""
    files: tuple[str, ...] = ()
    """Pictures and arrays in the output folder, by method."""
    deletion: dict[str, float] | None = None
    """Method, and ``random`` → area under the deletion curve in 0..1: small is good."""
    insertion: dict[str, float] | None = None
    """The same for insertion: large is good."""


class _Asked(NamedTuple):
    """A model that can be asked about pixels."""

    logits: Callable[[Pixels], NDArray[np.float32]]
    model: ImageModel | None
    """The Paddle model; None for an export."""
    heat: Callable[[Pixels], NDArray[np.float32]] | None = None
    """Pixels to the coarse maps [N, h, w] of the most probable classes, of an export that has
    them."""


def explain(
    bundle: Bundle,
    paths: Sequence[str],
    folder: Path,
    *,
    methods: Sequence[str] = (),
    label: str | None = None,
    layer: int | None = None,
    faithfulness: bool = False,
    engine: str | None = None,
    on_photos: Callable[[int], None] = lambda _: None,
) -> list[Explained]:
    """Write maps (``.npy``), pictures and ``sheet.png`` of the photos in ``paths`` to ``folder``.

    Args:
        bundle: what answers; a bundle, or an export.
        paths: image files.
        folder: a new one, or one that was written before.
        methods: of ``METHODS``. Nothing: Grad-CAM and LayerCAM; for an export its own heat
            map, or else occlusion.
        label: the class to explain. Nothing: each photo's most probable one.
        layer: feature map that Grad-CAM and LayerCAM look at, as in ``feature_info()``; negative
            numbers count from the last one. Nothing: what the classifier sees.
        faithfulness: measure deletion and insertion, beside those of a random map.
        engine: what runs an export. Nothing: its own.
        on_photos: called with the number of photos that are done.

    Raises:
        ConfigError: a method does not exist, or needs the Paddle model and gets an export.
        DataError: not one photo could be read, or the model has no class ``label``.
    """
    chosen = _choose_methods(bundle, methods)
    asked = _open(bundle, engine)
    wanted = None if label is None else _class_index(bundle, label)
    folder.mkdir(parents=True, exist_ok=True)
    names = _file_names(paths)
    results: list[Explained] = []
    rows: list[Row] = []
    rng = np.random.default_rng(0)
    for batch in _batches(list(zip(see(bundle, paths), names, strict=True))):
        good = [(one, name) for one, name in batch if one.pixels is not None]
        found: dict[str, Explained] = {
            name: Explained(one.path, one.error) for one, name in batch if one.pixels is None
        }
        if good:
            pixels = np.stack([one.pixels for one, _ in good if one.pixels is not None])
            chances = bundle.probabilities(asked.logits(pixels))
            classes = [int(row.argmax()) if wanted is None else wanted for row in chances]
            maps = {
                method: _map(method, bundle, asked, pixels, classes, layer) for method in chosen
            }
            scores = (
                _faithfulness(bundle, asked, pixels, classes, maps, rng) if faithfulness else {}
            )
            for place, (one, name) in enumerate(good):
                files, pictures = _write(folder, name, pixels[place], place, maps)
                result = Explained(
                    one.path,
                    label=bundle.labels[classes[place]],
                    probability=float(chances[place, classes[place]]),
                    files=files,
                    deletion={m: float(s.deletion[place]) for m, s in scores.items()} or None,
                    insertion={m: float(s.insertion[place]) for m, s in scores.items()} or None,
                )
                found[name] = result
                if len(rows) < _SHEET_ROWS:
                    rows.append(_row(result, pixels[place], pictures))
        results += [found[name] for _, name in batch]
        on_photos(len(batch))
    if not rows:
        raise DataError(
            "Not one of the photos could be read, so there is nothing to explain: "
            f"{results[0].error}"
        )
    draw_sheet(rows, folder / "sheet.png", _CELL)
    write_json(folder / "explain.json", [as_dict(result) for result in results])
    return results


def as_dict(result: Explained) -> dict[str, Any]:
    """For JSON: what is not there is left out."""
    return {name: value for name, value in vars(result).items() if value not in ("", None, ())}


def gives_heat(bundle: Bundle) -> bool:
    """Whether maps take a pass or two: of a bundle, and of an export with an output for them."""
    return bundle.manifest.kind != "export" or _has_heat(bundle)


def draw_maps(bundle: Bundle, pixels: Pixels, classes: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Pictures [H, W, 3] of ``pixels`` with their maps: Grad-CAM, or an export's own.

    Raises:
        ShapeError: the model has no feature map.
        ConfigError: an export's map is of another class.
    """
    method, asked, found = _choose_methods(bundle, ())[0], _open(bundle, None), []
    for start in range(0, len(pixels), _BATCH):
        part = slice(start, start + _BATCH)
        maps = _map(method, bundle, asked, pixels[part], classes[part], None)
        found += [overlay(image, heat) for image, heat in zip(pixels[part], maps, strict=True)]
    return found


def _choose_methods(bundle: Bundle, methods: Sequence[str]) -> tuple[str, ...]:
    export = bundle.manifest.kind == "export"
    if not methods:
        if not export:
            return "grad-cam", "layer-cam"
        return ("heatmap",) if _has_heat(bundle) else ("occlusion",)
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"There is no method {method!r}. There are: {', '.join(METHODS)}.")
        if method == "heatmap" and not _has_heat(bundle):
            raise ConfigError(
                f"heatmap is a second output, which {bundle.folder} has not got. Export the run "
                "with --heatmap, or use --method occlusion."
            )
        if export and method in GRADIENT_METHODS:
            raise ConfigError(
                f"{method} looks inside the model, and {bundle.folder} is an export, which gives "
                "answers alone. Use --method occlusion, or give the run that it was made from."
            )
    return tuple(dict.fromkeys(methods))


def _open(bundle: Bundle, engine: str | None) -> _Asked:
    if bundle.manifest.kind != "export":
        model = bundle.build_model()
        return _Asked(model_predictor(model, bundle.manifest.preprocessing.normalize), model)
    if engine is None and not _has_heat(bundle):
        return _Asked(bundle_predictor(bundle), None)
    opened: Any = open_engine(bundle, engine)
    ask = getattr(opened, "heat_maps", None) if _has_heat(bundle) else None
    return _Asked(
        lambda pixels: opened.logits(opened.prepare(pixels)),
        None,
        None if ask is None else lambda pixels: ask(opened.prepare(pixels)),
    )


def _has_heat(bundle: Bundle) -> bool:
    return bool((bundle.manifest.export or {}).get("heatmap"))


def _class_index(bundle: Bundle, label: str) -> int:
    if label not in bundle.labels:
        near = near_names(label, bundle.labels)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"The model has no class {label!r}.{hint} It has {len(bundle.labels)}: "
            f"{', '.join(bundle.labels[:5])}…"
        )
    return bundle.labels.index(label)


def _map(
    method: str,
    bundle: Bundle,
    asked: _Asked,
    pixels: Pixels,
    classes: Sequence[int],
    layer: int | None,
) -> Maps:
    normalize = bundle.manifest.preprocessing.normalize
    if method == "heatmap":
        return _given_map(asked, pixels, classes)
    if method == "occlusion" or asked.model is None:
        return occlusion(asked.logits, pixels, classes)
    if method == "recipro-cam":
        return recipro_cam(asked.model, pixels, classes, normalize)
    gradients = grad_cam if method == "grad-cam" else layer_cam
    return gradients(asked.model, pixels, classes, normalize, layer)


def _given_map(asked: _Asked, pixels: Pixels, classes: Sequence[int]) -> Maps:
    """The export's own map, as large as the photos."""
    if asked.heat is None:
        raise ConfigError("this engine gives no heat maps: use --engine onnxruntime or openvino")
    if (asked.logits(pixels).argmax(axis=1) != np.asarray(classes)).any():
        raise ConfigError(
            "the heat map of an export is of the most probable class: leave --class out, or use "
            "--method occlusion"
        )
    return as_large(asked.heat(pixels), pixels)


def _faithfulness(
    bundle: Bundle,
    asked: _Asked,
    pixels: Pixels,
    classes: Sequence[int],
    maps: dict[str, Maps],
    rng: np.random.Generator,
) -> dict[str, Faithfulness]:
    def probabilities(images: Pixels) -> NDArray[np.float32]:
        return bundle.probabilities(asked.logits(images))

    compared = {**maps, "random": random_maps(rng, pixels)}
    return {
        method: measure_faithfulness(probabilities, pixels, classes, heat)
        for method, heat in compared.items()
    }


def _write(
    folder: Path, name: str, image: NDArray[np.uint8], place: int, maps: dict[str, Maps]
) -> tuple[tuple[str, ...], list[NDArray[np.uint8]]]:
    """Names of the files of one photo, and its pictures."""
    files: list[str] = []
    pictures = []
    for method, heat in maps.items():
        stem = f"{name}-{method}"
        picture = overlay(image, heat[place])
        write_picture(folder / f"{stem}.png", picture)
        array = io.BytesIO()
        np.save(array, heat[place])
        write_bytes(folder / f"{stem}.npy", array.getvalue())
        files += [f"{stem}.png", f"{stem}.npy"]
        pictures.append(picture)
    return tuple(files), pictures


def _row(result: Explained, image: NDArray[np.uint8], pictures: list[NDArray[np.uint8]]) -> Row:
    methods = [Path(file).stem for file in result.files if file.endswith(".png")]
    known = [next(m for m in METHODS if stem.endswith(m)) for stem in methods]
    return Row(
        title=f"{result.label} {result.probability:.1%}",
        details=Path(result.path).name,
        images=(image, *pictures),
        captions=("what the model sees", *known),
    )


def _file_names(paths: Sequence[str]) -> list[str]:
    """A name for each photo, numbered where several have the same."""
    taken: dict[str, int] = {}
    names = []
    for path in paths:
        stem = Path(path).stem or "photo"
        taken[stem] = taken.get(stem, 0) + 1
        names.append(stem if taken[stem] == 1 else f"{stem}-{taken[stem]}")
    return names


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
