import ast
import inspect
import subprocess
import sys

import ppclas_models
import pytest


def test_all_lists_what_is_there():
    (for_checkers,) = (
        node
        for node in ast.parse(inspect.getsource(ppclas_models)).body
        if isinstance(node, ast.If)
    )
    typed = {
        alias.name: node.module
        for node in for_checkers.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(ppclas_models.__all__) == set(typed)
    for name, module in typed.items():
        found = getattr(ppclas_models, name)
        assert (found.__name__, found.__module__) == (name, module)
    with pytest.raises(AttributeError, match="no attribute 'catalogue'"):
        _ = ppclas_models.catalogue


@pytest.mark.parametrize("module", ["ppclas_models", "ppclas_models.plugin"])
def test_nothing_heavy_is_imported(module):
    code = f"import sys, {module}; print({{'numpy', 'paddle', 'cv2'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
