"""docs/cli.md says what the commands say."""

import importlib.util
from pathlib import Path

import pytest

GENERATOR = Path(__file__).parents[3] / "docs" / "generate_cli.py"


@pytest.mark.skipif(not GENERATOR.exists(), reason="the docs are in the repository, not in the package")
def test_the_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("generate_cli", GENERATOR)
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = GENERATOR.with_name("cli.md").read_text(encoding="utf-8")
    assert generator.render() == page, "run: python docs/generate_cli.py"
