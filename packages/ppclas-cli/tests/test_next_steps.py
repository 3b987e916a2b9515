"""What the last lines of a run say to do next."""

from __future__ import annotations

import re

import pytest
from ppclas_cli.next_steps import stronger_model
from ppclas_core.config.schema import Config
from ppclas_core.plugins import get_registries


def trained(name: str, pretrained: str | bool = "weights.pdparams") -> Config:
    config = Config()
    return config.replace(model=config.model.replace(name=name, pretrained=pretrained))


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "SqueezeNet1_1"])
def test_a_stronger_model_costs_no_more_than_twice_as_much(name):
    said = stronger_model(trained(name))
    found = re.fullmatch(r"A stronger model is (\S+) .* ([\d.]+)% on .*: --model (\S+)", said)
    models = get_registries().models
    own, other = models.entry(name).metadata, models.entry(found[1]).metadata
    assert found[1] == found[3]
    assert 100 * other["top1"] == pytest.approx(float(found[2]), abs=0.05)
    assert other["top1"] >= own["top1"] + 0.03
    assert other["macs_g"] <= 2 * own["macs_g"]
    assert other["weights_url"]


def test_none_is_named_where_there_is_none():
    assert stronger_model(trained("ResNet50", pretrained=False)) is None
    best = max(
        (entry.metadata["top1"] or 0, name)
        for name in get_registries().models
        if "top1" in (entry := get_registries().models.entry(name)).metadata
    )
    assert stronger_model(trained(best[1])) is None
