"""Check a config's plain values against the schema, and components against their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from pydantic import BaseModel, ValidationError

from ppclas_core.config.explain import Problem, dotted, problems_of, unknown_key
from ppclas_core.config.schema import Config, OptimizerSection
from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.contracts.variants import LazyModel
from ppclas_core.errors import MissingDependencyError, UnknownNameError
from ppclas_core.params import Params
from ppclas_core.plugins import Registries
from ppclas_core.registry import Entry, Registry

_COMMON: dict[KeyPath, tuple[str, ...]] = {
    ("optimizer",): tuple(name for name in OptimizerSection.model_fields if name != "name")
}
"""Fields of a section that stand beside its component's parameters and are not among them."""


@dataclass(frozen=True)
class Checked:
    """What a check found: no config where the values do not fit the schema."""

    config: Config | None
    problems: list[Problem]
    notes: list[str]
    """What could not be checked, a sentence each."""


def check(values: dict[str, Any], registries: Registries) -> Checked:
    """Check ``values`` and collect every mistake in them."""
    config, problems = None, []
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems += problems_of(error, Config, values, _known_keys(registries))
    for path, value, registry in _components(values, registries):
        problems += _component_problems(path, value, registry, registries)
    model_problems, notes = _check_model(values.get("model"), registries.models)
    return Checked(config, problems + model_problems, notes)


def single_components(registries: Registries) -> dict[KeyPath, Registry]:
    """The paths that hold one component, and the registry of each."""
    return {
        ("loss",): registries.losses,
        ("objective",): registries.objectives,
        ("optimizer",): registries.optimizers,
        ("schedule",): registries.schedulers,
        ("data", "reader"): registries.readers,
    }


def component_lists(registries: Registries) -> dict[KeyPath, Registry]:
    """The paths that hold a list of components, and the registry of each."""
    return {
        ("data", "train_transforms"): registries.transforms,
        ("data", "eval_transforms"): registries.transforms,
        ("data", "batch_transforms"): registries.batch_transforms,
        ("metrics",): registries.metrics,
        ("trackers",): registries.trackers,
    }


def default_component(path: KeyPath) -> str:
    """The name of the component that stands at ``path`` where none is named."""
    return str(value_at(Config().model_dump(), path)["name"])


def value_at(values: Any, path: KeyPath) -> Any:
    """What stands at ``path`` in nested maps; None where the way there ends."""
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _components(
    values: dict[str, Any], registries: Registries
) -> Iterator[tuple[KeyPath, dict[str, Any], Registry]]:
    """Each given component with its registry; what is not shaped like one the schema will tell."""
    for path, registry in single_components(registries).items():
        value = value_at(values, path)
        if _is_component(value):
            yield path, value, registry
    for path, registry in component_lists(registries).items():
        items = value_at(values, path)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if _is_component(item):
                yield (*path, index), item, registry


def _is_component(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def _component_problems(
    path: KeyPath, value: dict[str, Any], registry: Registry, registries: Registries
) -> list[Problem]:
    try:
        entry = registry.entry(value["name"])
    except UnknownNameError as error:
        elsewhere = _lists_that_take(value["name"], registries)
        hint = f" It belongs in {' or '.join(elsewhere)}." if elsewhere else ""
        return [Problem((*path, "name"), f"{error}{hint}")]
    common = _COMMON.get(path, ())
    params = {key: item for key, item in value.items() if key != "name" and key not in common}
    return _params_problems(path, entry, entry.params_model(), params, common)


def _lists_that_take(name: str, registries: Registries) -> list[str]:
    """Dotted keys of the lists that a component of this name may stand in."""
    lists = component_lists(registries).items()
    return [dotted(path) for path, registry in lists if name in registry]


def _params_problems(
    path: KeyPath,
    entry: Entry,
    model: type[BaseModel],
    params: dict[str, Any],
    common: tuple[str, ...] = (),
) -> list[Problem]:
    try:
        model.model_validate(params)
    except ValidationError as error:
        problems = []
        for problem in problems_of(error, model, params):
            message = problem.message
            if problem.about_key and len(problem.path) == 1:
                message = unknown_key(str(problem.path[0]), [*model.model_fields, *common])
            said, place = f"{entry.name}: {message}", (*path, *problem.path)
            problems.append(Problem(place, said, problem.about_key))
        return problems
    return []


def _check_model(section: Any, models: Registry) -> tuple[list[Problem], list[str]]:
    """Mistakes in the model's name and, where given, its parameters, which imports Paddle."""
    if not isinstance(section, dict):
        return [], []
    name = section.get("name", Config().model.name)
    params = section.get("params")
    if not isinstance(name, str) or ("name" not in section and not params):
        return [], []
    try:
        entry = models.entry(name)
    except UnknownNameError as error:
        return [Problem(("model", "name"), str(error))], []
    if not isinstance(params, dict) or not params:
        return [], []
    path = ("model", "params")
    if "num_classes" in params:
        message = "the class count comes from the data; leave it out."
        return [Problem((*path, "num_classes"), message, about_key=True)], []
    try:
        if isinstance(entry.builder, LazyModel):
            # A variant fixes what its family requires: its own parameters are the defaults here.
            fixed = entry.builder.variant().config
            model: type[Params] = type(fixed)
            params = {**fixed.model_dump(), **params}
        else:
            model = entry.params_model()
        return _params_problems(path, entry, model, params), []
    except MissingDependencyError as error:
        return [], [f"model.params is not checked here. {error}"]


def _known_keys(registries: Registries) -> list[str]:
    """Every dotted key of the schema and the default components: where a key may belong."""
    known = [dotted(path) for path in paths(Config().model_dump())]
    for path, registry in single_components(registries).items():
        name = default_component(path)
        if name in registry:
            fields = registry.entry(name).params_model().model_fields
            known += [f"{dotted(path)}.{key}" for key in fields]
    return known


def paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of everything inside a plain tree, containers before what they hold."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    for key, item in value.items() if isinstance(value, dict) else ():
        here = (*path, key)
        yield here
        yield from paths(item, here)


def leaves(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every value in a plain tree: scalars, lists of plain values, empty maps."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path
