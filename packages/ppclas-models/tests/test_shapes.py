"""The table of tensor names and shapes."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest
from ppclas_core.errors import WeightsError
from ppclas_models.catalog import load_catalog
from ppclas_models.shapes import check_shapes, shapes_of

ZOO = Path(__file__).parents[3] / "../shared/zoo"
STATISTICS = ("._mean", "._variance")
FOLDERS = (ZOO / "parameters", ZOO / "modern" / "parameters")


def test_every_name_with_published_weights_has_a_table():
    for row in load_catalog().values():
        # Of a few later architectures there is no reference data.
        if row.weights_url is not None and (row.year is None or row.params is not None):
            assert shapes_of(row.architecture)


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"no reference data at {ZOO}")
def test_the_table_is_the_reference_data():
    compared = 0
    for file in [file for folder in FOLDERS for file in folder.glob("*.json")]:
        rows = json.loads(file.read_text())
        if isinstance(rows, list):
            assert [(key, tuple(shape)) for key, shape, _, *mark in rows if not mark] == list(
                shapes_of(file.stem).items()
            )
            compared += 1
    assert compared == 111 + 227


def test_what_does_not_fit_is_named():
    found = {**shapes_of("ResNet18"), "more": (3,)}
    check_shapes(found, "ResNet18")
    found["fc.bias"] = (102,)
    del found["stem.0.conv.weight"]
    with pytest.raises(WeightsError) as caught:
        check_shapes(found, "ResNet18")
    assert str(caught.value) == (
        "these are no weights of ResNet18: 1 of the 107 tensors are missing: stem.0.conv.weight; "
        "1 have another shape: fc.bias [102] instead of [1000]"
    )


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("TinyNet_A", 6.2),
        ("TinyNet_B", 3.7),
        ("TinyNet_C", 2.5),
        ("TinyNet_D", 2.3),
        ("TinyNet_E", 2.0),
    ],
)
def test_the_published_files_of_tinynet_have_the_papers_parameters(name, millions):
    # Table 3 of https://arxiv.org/abs/2010.14819.
    shapes = shapes_of(load_catalog()[name].weights_table)
    learned = [prod(shape) for key, shape in shapes.items() if not key.endswith(STATISTICS)]
    assert sum(learned) / 1e6 == pytest.approx(millions, abs=0.05)


def test_an_architecture_without_published_names_says_so():
    with pytest.raises(WeightsError, match="ResNet50_ACNet_deploy"):
        shapes_of("ResNet50_ACNet_deploy")
