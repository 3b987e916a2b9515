"""Every transform that ships has an example in its docstring, and it is right."""

import doctest

import pytest
from ppclas_core.contracts.data import Transform
from ppclas_data.transforms import basic, framing

TRANSFORMS = [
    kind
    for module in (basic, framing)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Transform) and kind.__module__ == module.__name__
]


def test_there_are_transforms():
    assert {"Resize", "RandomFlip", "Letterbox"} <= {kind.__name__ for kind in TRANSFORMS}


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda kind: kind.__name__)
def test_the_example_of_a_transform(transform, capsys):
    # Nothing but the class is known: what else an example needs it imports.
    (example,) = doctest.DocTestFinder(recurse=False).find(
        transform, globs={transform.__name__: transform}
    )
    assert example.examples, f"{transform.__name__} has no example"
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert not failed, capsys.readouterr().out
