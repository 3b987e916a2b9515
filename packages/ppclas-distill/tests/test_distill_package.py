import subprocess
import sys

import ppclas_distill
import pytest
from ppclas_core.plugins import get_registries


def test_all_lists_what_is_there():
    assert {name for name in ppclas_distill.__all__ if hasattr(ppclas_distill, name)} == set(
        ppclas_distill.__all__
    )
    with pytest.raises(AttributeError, match="no attribute 'KD'"):
        _ = ppclas_distill.KD


def test_names_are_registered_with_their_owner():
    losses = get_registries().losses
    assert {losses.entry(name).owner for name in ("ssld", "js")} == {"ppclas-distill"}


def test_the_plugin_module_imports_nothing_heavy():
    code = (
        "import sys, ppclas_distill.plugin; print({'numpy', 'paddle', 'cv2', 'pydantic'} & "
        "set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "set()\n"
    )
