"""Photos with their answers: copied to a folder for each class, or with the answer drawn below."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.errors import DataError, ImageError

from ppclas_cli.answers import said_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from ppclas_engine.results.predict import Prediction

_LONGEST = 1024
"""Of a saved picture, in pixels."""
_NARROWEST = 320
"""Of one below which its answer would have no room."""
_DPI = 100


def sort_into(folder: Path, predictions: Sequence[Prediction], least: float) -> int:
    """Copy each photo to ``folder``/class/, one with several labels to each; how many copies.

    Raises:
        DataError: a copy cannot be written.
    """
    from ppclas_data.decoding.web import is_address, read_photo

    count = 0
    for prediction in predictions:
        source = Path(prediction.path)
        for name in [] if prediction.error else said_of(prediction, least) or ["no label"]:
            try:
                content = read_photo(prediction.path)
                target = _free(folder / _folder_name(name) / source.name, content)
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                    if not is_address(prediction.path):
                        shutil.copystat(source, target)
            except ImageError:  # it is not there any more
                continue
            except OSError as error:
                raise _unwritable(error, folder, "--sort-into") from error
            count += 1
    return count


def save_images(folder: Path, predictions: Sequence[Prediction], least: float) -> int:
    """Write each photo to ``folder`` as a JPEG with its answer below it; how many.

    Raises:
        DataError: a picture cannot be written.
    """
    import cv2
    from ppclas_data.decoding.decode import decode
    from ppclas_data.decoding.web import read_photo

    names: set[Path] = set()
    for prediction in predictions:
        if prediction.error:
            continue
        source = Path(prediction.path)
        name, number = Path(f"{source.stem}.jpg"), 2
        while name in names:
            name, number = Path(f"{source.stem}-{number}.jpg"), number + 1
        names.add(name)
        try:
            photo = decode(read_photo(prediction.path), prediction.path)
            picture = with_answer(photo, prediction, least)
            folder.mkdir(parents=True, exist_ok=True)
            quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
            _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
            (folder / name).write_bytes(data.tobytes())
        except ImageError:  # it changed since it was classified
            continue
        except OSError as error:
            raise _unwritable(error, folder, "--save-images") from error
    return len(names)


def with_answer(photo: NDArray[Any], prediction: Prediction, least: float) -> NDArray[Any]:
    """The photo [H, W, 3] (uint8 RGB), made smaller if it is large, above a strip with up to three
    answers, the first one large.
    """
    import cv2
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from ppclas_engine.results.fonts import families, in_words

    height, width = photo.shape[:2]
    scale = min(max(1.0, _NARROWEST / width), _LONGEST / max(height, width))
    size = max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale))
    photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    ranked = prediction.top if prediction.labels is None else prediction.labels
    said = [in_words(name) for name in said_of(prediction, least)] or ["no label"]
    rest = [f"{in_words(name)} {probability:.1%}" for name, probability in ranked[:3]]
    width = max(size[0], _NARROWEST)
    figure = Figure(figsize=(width / _DPI, 0.52), dpi=_DPI, facecolor="#111827")
    canvas = FigureCanvasAgg(figure)
    fonts = families("".join((*said, *rest)))
    for parts, up, points, colour in ((said, 0.68, 13, "white"), (rest, 0.24, 8.5, "#d1d5db")):
        text = figure.text(8 / width, up, "", size=points, color=colour, va="center")
        text.set_fontfamily(fonts)
        for count in range(len(parts), 0, -1):  # as many as have room
            text.set_text("   ".join(parts[:count]))
            if text.get_window_extent().width <= width - 16:
                break
    canvas.draw()
    strip = np.asarray(canvas.buffer_rgba())[..., :3]
    left = (strip.shape[1] - photo.shape[1]) // 2
    sides = (left, strip.shape[1] - photo.shape[1] - left)
    return np.vstack([np.pad(photo, ((0, 0), sides, (0, 0)), constant_values=17), strip])


def _folder_name(name: str) -> str:
    """A class name as the name of a folder."""
    plain = "".join("_" if sign in '/\\:*?"<>|' or sign < " " else sign for sign in name)
    return plain.strip(" .") or "_"


def _free(target: Path, content: bytes) -> Path:
    """``target``, or where another photo has that name, the name with a number; the same photo may
    be there already.
    """
    number, path = 2, target
    while path.exists() and path.read_bytes() != content:
        path = target.with_stem(f"{target.stem}-{number}")
        number += 1
    return path


def _unwritable(error: OSError, folder: Path, option: str) -> DataError:
    where = os.fspath(error.filename or folder)
    return DataError(f"{where}: {error.strerror or error}. Choose another {option}.")
