import doctest
import importlib
import subprocess
import sys

import ppclas_augment
import pytest
from ppclas_core.plugins import get_registries


def test_all_lists_what_is_there():
    registries = get_registries()
    ours = {
        name
        for registry in (registries.transforms, registries.batch_transforms)
        for name in registry
        if registry.entry(name).owner == "ppclas-augment"
    }
    assert set(ppclas_augment.__all__) == ours
    assert all(getattr(ppclas_augment, name).__name__ == name for name in ours)
    with pytest.raises(AttributeError, match="no attribute 'Cutoff'"):
        _ = ppclas_augment.Cutoff


def test_names_are_registered_with_their_owner():
    registries = get_registries()
    assert registries.transforms.entry("RandomErasing").owner == "ppclas-augment"
    assert registries.batch_transforms.entry("Mixup").owner == "ppclas-augment"


def test_the_plugin_module_imports_nothing_heavy():
    code = (
        "import sys, ppclas_augment, ppclas_augment.plugin; "
        "print({'numpy', 'paddle', 'cv2', 'pydantic'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "set()\n"
    )


@pytest.mark.parametrize("module", ["automatic", "batch", "erasing"])
def test_every_docstring_example_gives_what_it_says(module):
    pytest.importorskip("paddle")
    found = importlib.import_module(f"ppclas_augment.{module}")
    public = [name for name in ppclas_augment.__all__ if hasattr(found, name)]
    assert public
    assert all(">>>" in getattr(found, name).__doc__ for name in public)
    result = doctest.testmod(found)
    assert result.attempted >= 3 * len(public)
    assert result.failed == 0
