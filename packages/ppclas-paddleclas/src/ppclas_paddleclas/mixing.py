"""PaddleClas' operators on whole batches in this project's words."""

from __future__ import annotations

from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.params import Component, OperatorParams
from ppclas_paddleclas.translation import Translation, one_entry

_OPERATORS = {
    "MixupOperator": ("Mixup", None),
    "CutmixOperator": ("CutMix", 0.2),
    "FmixOperator": ("FMix", 1.0),
}
"""Old name → new name, and the old default of alpha. None: it depends on the schema."""
_SAMPLER, _HYBRID = "OpSampler", "MixupCutmixHybrid"


def translate_batch_operators(
    t: Translation, *path: str | int, mixup_alpha: float
) -> list[Component]:
    """The batch transforms of the list of batch operators at ``path``.

    ``mixup_alpha`` is what a MixupOperator without alpha meant: another number in each schema.
    """
    found = []
    for index, item in enumerate(t.items(*path)):
        try:
            name, params = one_entry(item)
            if name == _SAMPLER:
                found.append(_one_of(params, mixup_alpha))
            elif name == _HYBRID:
                found.append(_hybrid(t, OperatorParams(name, params), (*path, index)))
            else:
                found.append(_component(name, params, mixup_alpha))
        except ConfigError as error:
            t.refuse((*path, index), str(error))
    return found


def _component(name: str, params: dict[str, Any], mixup_alpha: float) -> Component:
    if name not in _OPERATORS:
        near = near_names(name, (*_OPERATORS, _SAMPLER, _HYBRID))
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(_OPERATORS)}."
        raise ConfigError(f"there is no batch transform for {name}. {hint}")
    new, default = _OPERATORS[name]
    taken = OperatorParams(name, params)
    alpha = taken.number("alpha", mixup_alpha if default is None else default)
    if alpha <= 0:
        raise taken.error("alpha", f"expected more than 0, got {alpha:g}.")
    component: Component = {"name": new, "alpha": alpha, "per": "batch"}
    if name == "FmixOperator":
        component |= {
            "decay_power": taken.number("decay_power", 3),
            "max_soft": taken.number("max_soft", 0),
        }
        if taken.flag("reformulate"):
            raise taken.error("reformulate", "true has no setting here.")
    taken.drop("class_num")
    taken.finish()
    return component


def _one_of(params: dict[str, Any], mixup_alpha: float) -> Component:
    """One operator drawn for each batch, by their ``prob``; what is left to 1 is no mixing."""
    parts: dict[str, tuple[Component, float]] = {}
    for name, given in params.items():
        if name == "class_num":
            continue
        if not isinstance(given, dict):
            raise ConfigError(f"{_SAMPLER}.{name}: expected a map with its prob, got {given!r}.")
        share = OperatorParams(name, {"prob": given.get("prob", 0)}).number("prob", 0)
        rest = {key: value for key, value in given.items() if key != "prob"}
        component = _component(name, rest, mixup_alpha)
        if share > 0:
            parts[component["name"]] = (component, share)
    total = sum(share for _, share in parts.values())
    if not parts or total > 1 + 1e-9:
        raise ConfigError(f"{_SAMPLER}: expected prob of all operators from 0 to 1, got {total:g}.")
    if len(parts) == 1:
        (component, share) = next(iter(parts.values()))
        return {**component, "probability": share}
    if set(parts) != {"Mixup", "CutMix"}:
        raise ConfigError(f"{_SAMPLER}: expected MixupOperator and CutmixOperator, or one alone.")
    each = {
        name: {key: value for key, value in component.items() if key != "name"}
        for name, (component, _) in parts.items()
    }
    return _either(each["Mixup"], each["CutMix"], parts["CutMix"][1] / total, min(1.0, total))


def _hybrid(t: Translation, params: OperatorParams, where: KeyPath) -> Component:
    """timm's Mixup and CutMix by turns, which smooth the labels as well."""
    alphas = [params.number("mixup_alpha", 1.0), params.number("cutmix_alpha", 0.0)]
    chance, share = params.number("prob", 1.0), params.number("switch_prob", 0.5)
    smoothing = params.number("label_smoothing", 0.1)
    for key, default in (("cutmix_minmax", None), ("mode", "batch"), ("correct_lam", True)):
        if (value := params.take(key, default)) != default:
            raise params.error(key, f"expected {describe(default)}, got {describe(value)}.")
    params.drop("num_classes")
    params.finish()
    if not any(alpha > 0 for alpha in alphas):
        raise ConfigError(f"{_HYBRID}: expected an alpha of more than 0.")
    if smoothing:
        known = t.new.get("loss", {}).get("label_smoothing", 0.0)
        if known not in (0.0, smoothing):
            raise params.error(
                "label_smoothing", f"the loss smooths by {known:g}. Give one of both."
            )
        t.set("loss.label_smoothing", smoothing, *where)
    mixup, cutmix = ({"alpha": alpha, "per": "batch"} for alpha in alphas)
    if all(alpha > 0 for alpha in alphas):
        return _either(mixup, cutmix, share, chance)
    name, one = ("Mixup", mixup) if alphas[0] > 0 else ("CutMix", cutmix)
    return {"name": name, **one, "probability": chance}


def _either(mixup: Component, cutmix: Component, share: float, chance: float) -> Component:
    """CutMix for a ``share`` of the mixed batches, and Mixup for the others."""
    return {
        "name": "MixupOrCutMix",
        "mixup": {**mixup, "probability": chance},
        "cutmix": {**cutmix, "probability": chance},
        "cutmix_share": share,
    }
