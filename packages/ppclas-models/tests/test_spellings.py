"""Models are found under the spellings of other libraries."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from ppclas_core.errors import UnknownNameError
from ppclas_core.plugins import get_registries
from ppclas_models.spellings import spellings

_SPEC = spec_from_file_location("torch_peers", Path(__file__).with_name("torch_peers.py"))
torch_peers = module_from_spec(_SPEC)
_SPEC.loader.exec_module(torch_peers)

# torchvision and timm publish other weights under these names, or ours is built otherwise.
NAMED = [
    peer
    for peer in torch_peers.PEERS
    if not (peer.arguments or peer.params or "_wsl" in peer.architecture)
    and peer.model != "shufflenet_v2_x1_0"
    and not peer.model.startswith("tf_mixnet")
    # Without the separators they are RegNetX_16GF and RegNetX_32GF.
    and peer.model not in ("regnet_x_1_6gf", "regnet_x_3_2gf")
    # One network for two sizes: the smaller is meant.
    and not (peer.architecture.endswith("384") and "384" not in peer.model)
]


@pytest.mark.parametrize("peer", NAMED, ids=lambda peer: f"{peer.library}-{peer.model}")
def test_a_library_s_own_name_finds_the_architecture(peer):
    models = get_registries().models
    found = models.entry(peer.model)
    wanted = models.entry(peer.architecture)
    assert found.metadata["architecture"] == wanted.metadata["architecture"]


@pytest.mark.parametrize(
    "spelling", ["mobilenetv2", "MOBILENET-V2", "mobilenet_v2", "MobileNet V2", "mobilenetv2_100"]
)
def test_case_and_separators_make_no_difference(spelling):
    assert get_registries().models.entry(spelling).name == "MobileNetV2"
    assert spelling in get_registries().models


def test_every_spelling_is_of_a_registered_name():
    models = get_registries().models
    given = {other: name for name in models for other in spellings(name)}
    assert len(given) >= 30
    assert all(models.entry(other).name == name for other, name in given.items())


def test_where_several_fit_they_are_listed_lightest_first():
    with pytest.raises(UnknownNameError, match="lightest first: ") as caught:
        get_registries().models.entry("mobilenetv3")
    listed = re.search(r"lightest first: (.*?)\. Run", str(caught.value))
    assert listed is not None
    names = re.sub(r" and \d+ more$", "", listed[1]).split(", ")
    sizes = [get_registries().models.entry(name).metadata["params"] for name in names]
    assert len(names) > 3
    assert sizes == sorted(sizes)
