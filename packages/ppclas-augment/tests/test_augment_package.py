import subprocess
import sys

import ppclas_augment
import pytest
from ppclas_core.plugins import get_registries


def test_all_lists_what_is_there():
    assert {name for name in ppclas_augment.__all__ if hasattr(ppclas_augment, name)} == {"Mixup", "RandomErasing"}
    with pytest.raises(AttributeError, match="no attribute 'Cutout'"):
        _ = ppclas_augment.Cutout


def test_names_are_registered_with_their_owner():
    registries = get_registries()
    assert registries.transforms.entry("RandomErasing").owner == "ppclas-augment"
    assert registries.batch_transforms.entry("Mixup").owner == "ppclas-augment"


def test_the_plugin_module_imports_nothing_heavy():
    code = "import sys, ppclas_augment.plugin; print({'numpy', 'paddle', 'cv2', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
