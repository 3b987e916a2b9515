"""Every loss, schedule, optimizer and metric has an example in its docstring, and it is right."""

import doctest

import pytest
from ppclas_components import losses, metrics, optimizers, schedulers
from pydantic import BaseModel

COMPONENTS = [
    component
    for module in (losses, metrics, optimizers, schedulers)
    for component in vars(module).values()
    if isinstance(component, type)
    and issubclass(component, BaseModel)
    and component.__module__ == module.__name__
]


def test_there_are_components():
    assert {"CrossEntropy", "TopK", "AdamW", "Cosine"} <= {kind.__name__ for kind in COMPONENTS}


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda kind: kind.__name__)
def test_the_example_of_a_component(component, capsys):
    # Nothing but the class is known: what else an example needs it imports.
    (example,) = doctest.DocTestFinder(recurse=False).find(
        component, globs={component.__name__: component}
    )
    assert example.examples, f"{component.__name__} has no example"
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert not failed, capsys.readouterr().out
