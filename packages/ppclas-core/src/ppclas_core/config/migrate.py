"""Write a PaddleClas config in this project's schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from ppclas_core.config.load import load_config
from ppclas_core.config.overrides import apply_override
from ppclas_core.config.paddleclas import is_paddleclas, translate
from ppclas_core.config.yaml_source import Dumper, read_yaml
from ppclas_core.errors import ConfigError


def migrate(path: str | Path, overrides: Sequence[str] = ()) -> tuple[str, list[str]]:
    """The YAML that says what the PaddleClas config at ``path`` says, and what became of each old key, a line each.

    ``overrides`` are ``KEY=VALUE`` in the old words.

    Raises:
        ConfigError: it is no PaddleClas config, or something in it cannot be translated; with its place.
    """
    document = read_yaml(Path(path))
    if not is_paddleclas(document.value):
        raise ConfigError(
            f"{path}: expected a PaddleClas config (ARCHITECTURE: or Global: and Arch:); got another one."
        )
    load_config(path, overrides)  # every mistake, with its line
    for assignment in overrides:
        apply_override(document.value, assignment)
    translation = translate(document.value)
    text = yaml.dump(translation.new, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text, translation.lines
