"""Models of a 2.x pair whose maps a loss looks at: PaddleClas' AttentionModel, for AFDLoss."""

from __future__ import annotations

from typing import Any, NamedTuple

from ppclas_core.config.explain import describe
from ppclas_core.errors import ConfigError

from ppclas_paddleclas.params import OperatorParams
from ppclas_paddleclas.translation import Translation, one_entry
from ppclas_paddleclas.values import read_flag

_ATTENTION, _TRANSFORM = "AttentionModel", "LinearTransform"
"""A network, and layers that AFDLoss trains beside it: LinearTransformTeacher or -Student."""
_DIM = 128
"""The length of queries and keys if nothing is said."""


class Watched(NamedTuple):
    """What AFDLoss compares of a model."""

    layers: str
    """Their paths, with a space between them."""
    dim: int


def open_watched(
    t: Translation,
    named: dict[str, dict[str, Any]],
    frozen: dict[str, Any],
    weights: dict[str, Any],
) -> dict[str, Watched]:
    """Put the network of each AttentionModel in its place, and give what is watched of it."""
    found: dict[str, Watched] = {}
    for index, (title, given) in enumerate(named.items()):
        if given.get("name") != _ATTENTION:
            continue
        try:
            network, still, own, watched = _open(title, given)
        except ConfigError as error:
            t.refuse(("Arch", "models", index), str(error))
            continue
        named[title], found[title] = network, watched
        frozen[title] = frozen.get(title) or still
        weights[title] = weights.get(title) or own
    return found


def _open(title: str, given: dict[str, Any]) -> tuple[dict[str, Any], bool, Any, Watched]:
    """Its network's parameters, whether that is frozen, its weights, and what is watched."""
    params = OperatorParams(title, given)
    params.drop("name", "infer_model_name")
    models = params.take("models")
    frozen, weights = (
        params.take(key, [None]) for key in ("freeze_params_list", "pretrained_list")
    )
    params.finish()
    if not isinstance(models, list) or len(models) != 2:
        raise params.error(
            "models", f"expected a network and its transform, got {describe(models)}."
        )
    for key, value in (("freeze_params_list", frozen), ("pretrained_list", weights)):
        if not isinstance(value, list) or not value:
            raise params.error(key, f"expected a value for each model, got {describe(value)}.")
    network = dict(one_entry(models[0])[1])
    name, transform = one_entry(models[1])
    layers = OperatorParams(name, transform)
    kind = layers.take("name")
    if not isinstance(kind, str) or not kind.startswith(_TRANSFORM):
        raise layers.error(
            "name", f"expected {_TRANSFORM}Teacher or -Student, got {describe(kind)}."
        )
    paths = layers.take("keys")
    if not isinstance(paths, list) or not paths or not all(isinstance(p, str) for p in paths):
        raise layers.error("keys", f"expected the names of layers, got {describe(paths)}.")
    dim = layers.integer("qk_dim", _DIM)
    layers.drop("s_shapes", "t_shapes")  # the channels are those of the maps
    layers.finish()
    joined = " ".join(map(layer_path, paths))
    return network, frozen[0] is not None and read_flag(frozen[0]), weights[0], Watched(joined, dim)


def layer_path(name: str) -> str:
    """PaddleClas' name of a layer, ``blocks[2].conv``, as a path: ``blocks.2.conv``."""
    return name.replace("[", ".").replace("]", "")


def attention_term(
    params: OperatorParams, pair: tuple[str, str], watched: dict[str, Watched]
) -> dict[str, Any]:
    """The loss ``afd`` between a student and its teacher, as a term without weight.

    Raises:
        ConfigError: it is for other models, or of other values of them.
    """
    if params.take("model_name_pair", list(pair)) != list(pair):
        raise params.error("model_name_pair", f"expected [{', '.join(pair)}].")
    for key, expected in (("student_keys", "bilinear_key"), ("teacher_keys", "query")):
        if params.take(key, [expected, "value"]) != [expected, "value"]:
            raise params.error(key, f"expected [{expected}, value].")
    params.drop("s_shapes", "t_shapes", "name")
    dims = {params.integer("qk_dim", _DIM)}
    missing = [name for name in pair if name not in watched]
    if missing:
        raise ConfigError(f"AFDLoss: expected {' and '.join(missing)} to be an {_ATTENTION}.")
    dims |= {watched[name].dim for name in pair}
    if len(dims) > 1:
        raise params.error("qk_dim", f"expected the same everywhere, got {sorted(dims)}.")
    ours, theirs = (watched[name].layers for name in pair)
    return {"name": "afd", "dim": dims.pop(), "student_map": ours, "teacher_map": theirs}
