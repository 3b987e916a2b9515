"""ImageNet's classes: complete, in order, and the ones that the sample's lists give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ppclas_models import imagenet_classes

SAMPLE = Path(__file__).parents[3] / "../shared/data/imagenet-sample"


def test_the_classes_are_complete_unique_and_sorted_by_synset():
    classes = imagenet_classes()
    wnids = [row.wnid for row in classes]
    assert len(classes) == 1000
    assert wnids == sorted(set(wnids))
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    assert len({row.name.casefold() for row in classes}) == 1000


@pytest.mark.parametrize(
    ("label", "wnid", "name"),
    [
        (0, "n01440764", "tench"),
        (134, "n02012849", "crane (bird)"),
        (264, "n02113186", "Cardigan Welsh corgi"),
        (281, "n02123045", "tabby"),
        (517, "n03126707", "crane (machine)"),
        (639, "n03710721", "tank suit"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_classes_that_are_well_known(label, wnid, name):
    assert imagenet_classes()[label][:2] == (wnid, name)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no lists at {SAMPLE}")
def test_the_classes_are_those_of_the_published_lists():
    synsets = (SAMPLE / "synsets.txt").read_text().splitlines()
    names = (SAMPLE / "label_list.txt").read_text().splitlines()
    rows = list(enumerate(imagenet_classes()))
    assert synsets == [f"{label} {row.wnid}" for label, row in rows]
    assert names == [f"{label} {', '.join(row.words)}" for label, row in rows]
