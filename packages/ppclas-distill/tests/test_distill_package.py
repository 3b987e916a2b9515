import doctest
import importlib
import subprocess
import sys

import ppclas_distill
import pytest
from ppclas_core.plugins import get_registries


def test_all_lists_what_is_registered_and_what_opens_teachers():
    registries = get_registries()
    registered = {
        registry.entry(name).params_model().__name__
        for registry in (registries.losses, registries.feature_losses, registries.objectives)
        for name in registry
        if registry.entry(name).owner == "ppclas-distill"
    }
    assert set(ppclas_distill.__all__) == registered | {"TeacherConfig", "open_teacher"}
    assert all(getattr(ppclas_distill, name).__name__ == name for name in ppclas_distill.__all__)
    with pytest.raises(AttributeError, match="no attribute 'KD'"):
        _ = ppclas_distill.KD


def test_names_are_registered_with_their_owner():
    losses = get_registries().losses
    assert {losses.entry(name).owner for name in ("ssld", "js")} == {"ppclas-distill"}


def test_the_plugin_module_imports_nothing_heavy():
    code = (
        "import sys, ppclas_distill, ppclas_distill.plugin; "
        "print({'numpy', 'paddle', 'cv2', 'pydantic'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "set()\n"
    )


@pytest.mark.parametrize("module", ["features", "losses"])
def test_every_docstring_example_gives_what_it_says(module):
    pytest.importorskip("paddle")
    found = importlib.import_module(f"ppclas_distill.{module}")
    public = [name for name in ppclas_distill.__all__ if hasattr(found, name)]
    assert public
    assert all(">>>" in getattr(found, name).__doc__ for name in public)
    result = doctest.testmod(found)
    assert result.attempted >= 3 * len(public)
    assert result.failed == 0
