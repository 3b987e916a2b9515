"""Models for ``paddle.hub``: ``paddle.hub.load(FOLDER, "ResNet50_vd", source="local", …)``.

``paddle.hub.list(FOLDER, source="local")`` names them all, ``paddle.hub.help`` says what one is.
Needs ``pip install ppclas-cli ppclas-models`` and Paddle.
"""

import functools as _functools
import os as _os

from ppclas_core import list_models as _list_models
from ppclas_core.plugins import get_registries as _get_registries
from ppclas_engine import create_model as _create_model

dependencies = ["paddle", "ppclas_engine", "ppclas_models"]


def _build(
    name: str,
    pretrained: bool | str | _os.PathLike[str] = False,
    class_dim: int = 1000,
    **params: object,
) -> object:
    return _create_model(name, class_dim, pretrained=pretrained, **params)


def _entry_point(name: str) -> object:
    entry = _functools.partial(_build, name)
    entry.__doc__ = (
        f"{_get_registries().models.entry(name).summary or name}\n\n"
        "pretrained: True for the published weights, or a weight file; class_dim: classes.\n"
        "Images [N, 3, H, W] (float32, normalised) become logits [N, class_dim]."
    )
    return entry


globals().update({name: _entry_point(name) for name in _list_models()})
