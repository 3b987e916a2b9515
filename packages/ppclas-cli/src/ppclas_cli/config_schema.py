"""JSON Schema (draft 2020-12) of a config, so that an editor completes and checks the YAML.

Each component is a choice among the registered names, each with its own parameters.
"""

from __future__ import annotations

from typing import Any

from ppclas_core.config.check import component_lists, default_component, single_components
from ppclas_core.config.schema import Config, OptimizerSection
from ppclas_core.plugins import Registries
from ppclas_core.registry import Registry

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def config_schema(registries: Registries) -> dict[str, Any]:
    """The schema of a whole config file, with every component and model name that ``registries``
    know.
    """
    schema = Config.model_json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = schema["$defs"]
    properties: dict[str, Any] = schema["properties"]
    for path, registry in single_components(registries).items():
        key = str(path[-1])
        holder = definitions["DataSection"]["properties"] if len(path) > 1 else properties
        common = definitions["OptimizerSection"]["properties"] if key == "optimizer" else {}
        default = default_component(path)
        definitions[key] = _choice(
            registry, definitions, default, {k: v for k, v in common.items() if k != "name"}
        )
        description = holder[key].get("description")
        holder[key] = {
            "$ref": f"#/$defs/{key}",
            **({"description": description} if description else {}),
        }
    for path, registry in component_lists(registries).items():
        key = str(path[-1])
        kind = registry.kind.replace(" ", "_")
        if kind not in definitions:
            definitions[kind] = _choice(registry, definitions)
        items = {"type": "array", "items": {"$ref": f"#/$defs/{kind}"}}
        holder = definitions["DataSection"]["properties"] if len(path) > 1 else properties
        is_optional = "anyOf" in holder[key]
        holder[key] = {
            **{
                word: holder[key][word]
                for word in ("default", "description", "title")
                if word in holder[key]
            },
            **({"anyOf": [items, {"type": "null"}]} if is_optional else items),
        }
    _models(definitions["ModelSection"]["properties"]["name"], registries.models)
    for unused in ("ComponentConfig", OptimizerSection.__name__):
        definitions.pop(unused, None)
    return {"$schema": _DRAFT, **schema, "title": "ppclas config"}


def _choice(
    registry: Registry,
    definitions: dict[str, Any],
    default: str | None = None,
    common: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One of the registry's names with its parameters; the ``default`` may leave its name out."""
    choices = [
        _component(registry, name, definitions, name == default, common or {}) for name in registry
    ]
    # Where nothing is registered, nothing may stand.
    return {"oneOf": choices} if choices else {"not": {}}


def _component(
    registry: Registry,
    name: str,
    definitions: dict[str, Any],
    is_default: bool,
    common: dict[str, Any],
) -> dict[str, Any]:
    entry = registry.entry(name)
    prefix = f"{registry.kind}.{name}".replace(" ", "_")
    schema = entry.params_model().model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    for nested, definition in schema.pop("$defs", {}).items():
        definitions[f"{prefix}.{nested}"] = definition
    description = entry.summary or schema.get("description", "")
    required = schema.get("required", []) if is_default else ["name", *schema.get("required", [])]
    return {
        "title": name,
        "type": "object",
        **({"description": description} if description else {}),
        "properties": {
            "name": {"enum": [name, *registry.aliases(name)]},
            **common,
            **schema.get("properties", {}),
        },
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _models(name: dict[str, Any], models: Registry) -> None:
    known = [spelling for model in models for spelling in (model, *models.aliases(model))]
    if known:
        name["enum"] = known
