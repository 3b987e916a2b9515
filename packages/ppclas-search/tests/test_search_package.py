import subprocess
import sys

import ppclas_search
import pytest
from ppclas_core.plugins import get_registries


def test_all_lists_what_is_there():
    assert all(hasattr(ppclas_search, name) for name in ppclas_search.__all__)
    assert set(ppclas_search.__all__) <= set(dir(ppclas_search))
    with pytest.raises(AttributeError, match="no attribute 'explane'"):
        _ = ppclas_search.explane


def test_commands_and_transform_are_ours():
    registries = get_registries()
    assert registries.transforms.entry("PlacedCrop").owner == "ppclas-search"
    ours = [n for n in registries.commands if registries.commands.entry(n).owner == "ppclas-search"]
    assert {"explain", "features", "neighbours"} <= {*ours}


def test_the_plugin_module_imports_nothing_heavy():
    code = (
        "import sys, ppclas_search, ppclas_search.plugin; "
        "print({'numpy', 'paddle', 'cv2', 'pydantic', 'optuna', 'click'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
