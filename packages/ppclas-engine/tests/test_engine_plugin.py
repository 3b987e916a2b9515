"""What this package registers, next to strangers; the README's example."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ppclas_core import hookimpl
from ppclas_core.errors import PluginError
from ppclas_core.plugins import PluginManager
from ppclas_engine import plugin


class Taker:
    @hookimpl
    def register_recipes(self, registry):
        registry.register("demo", dict)


def test_a_stranger_cannot_take_a_name_that_ships():
    manager = PluginManager()
    manager.add(plugin, "engine", "ppclas-engine")
    with pytest.raises(PluginError, match="registered twice: by ppclas-engine and by stranger"):
        manager.add(Taker(), "taker", "stranger")
    assert manager.registries.recipes.entry("demo").owner == "ppclas-engine"


@pytest.mark.slow
def test_the_example_of_the_readme(tmp_path):
    text = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    top1 = re.fullmatch(r"top-1 (\d+)%\n", said.stdout)
    assert int(top1[1]) > 30  # eight classes: chance is 12.5 %
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "metrics.csv", "report.html", "checkpoints", "bundle"} <= files
