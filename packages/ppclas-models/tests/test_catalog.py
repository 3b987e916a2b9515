"""The catalogue against the published tables, and what of it is registered."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ppclas_core.plugins import get_registries, make_plugin_manager
from ppclas_models import plugin
from ppclas_models.catalog import load_catalog

ZOO = Path(__file__).parents[3] / "../shared/zoo"
CATALOG = load_catalog()


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"no reference data at {ZOO}")
def test_every_published_fact_is_there():
    published = json.loads((ZOO / "models.json").read_text(encoding="utf-8"))
    assert [name for name, row in CATALOG.items() if row.year is None] == [
        model["name"] for model in published
    ]
    for model in published:
        row = CATALOG[model["name"]]
        for key in ("architecture", "group", "series", "top1", "top5", "reference_top1",
            "reference_top5",
                    "weights_top1", "weights_top5", "flops_g", "params_m", "storage_mb",
                    "weights_url",
                    "legacy_weights_url"):  # fmt: skip
            assert getattr(row, key) == model.get(key), (row.name, key)
        assert row.params == model.get("params_exact")
        # What the published data does not count is counted here.
        assert row.macs_g == (model.get("macs_g") or row.macs_g)
        assert {
            "image_size": row.image_size,
            "resize_short": row.resize_short,
            "interpolation": row.interpolation,
        } == (model["eval"])
        assert (row.paper_title, row.paper_url) == (
            (model["paper"] or {}).get("title"),
            (model["paper"] or {}).get("url"),
        )
        assert {f"{key}_ms": value for key, value in row.latency_ms.items()} == {
            key: value for key, value in model.items() if key.endswith("_ms")
        }


def test_the_catalogue_is_whole_and_plausible():
    first = [row for row in CATALOG.values() if row.year is None]
    assert len(first) == 124
    assert len({row.architecture for row in first}) == 112
    for row in CATALOG.values():
        assert row.top1 is not None or row.year is not None
        if row.top1 is not None:
            assert 0.46 < row.top1 < 0.88
            assert row.top5 is None or row.top1 < row.top5 < 1
        assert row.resize_short >= row.image_size
        assert row.architecture in CATALOG
        assert CATALOG[row.architecture].family == row.family


def test_registered_are_the_names_whose_family_is_built():
    manager = make_plugin_manager(discover=False)
    manager.add(plugin, "models")
    assert manager.registries.models.names() == [
        row.name for row in CATALOG.values() if row.family is not None
    ]


def test_every_family_has_the_variants_that_the_catalogue_says():
    for family in {row.family for row in CATALOG.values() if row.family is not None}:
        variants = importlib.import_module(f"ppclas_models.families.{family}").models
        assert set(variants) == {
            row.architecture for row in CATALOG.values() if row.family == family
        }


def test_every_family_file_is_in_the_catalogue():
    import ppclas_models.families

    files = {path.stem for path in Path(ppclas_models.families.__path__[0]).glob("*.py")} - {
        "__init__"
    }
    assert files == {row.family for row in CATALOG.values()} - {None}


def test_weights_that_share_an_architecture_share_a_variant():
    models = get_registries().models
    base = models.entry("ResNet50_vd").builder.variant()
    for name in (
        "ResNet50_vd_v2",
        "ResNet50_vd_ssld",
        "ResNet50_vd_ssld_v2",
        "Fix_ResNet50_vd_ssld_v2",
    ):
        assert models.entry(name).builder.variant() is base


def test_metadata_says_how_to_evaluate():
    models = get_registries().models
    fix = models.entry("Fix_ResNet50_vd_ssld_v2").metadata
    assert (fix["image_size"], fix["resize_short"], fix["interpolation"]) == (320, 320, "bilinear")
    plain = models.entry("MobileNetV2").metadata
    assert (plain["image_size"], plain["resize_short"], plain["top1"]) == (224, 256, 0.722)
    assert models.entry("MobileNetV2").summary == "MobileNetV2: top-1 72.2 %, 3.44 M parameters"
    assert models.entry("PPLCNet_x1_0").metadata["legacy_weights_url"] is None


def test_a_summary_leaves_out_what_is_not_published():
    models = get_registries().models
    assert models.entry("PPHGNet_base").summary == "PP-HGNet: 71.62 M parameters"
    assert models.entry("TinyNet_E").summary == "TinyNet"


def test_params_are_known_without_building():
    from ppclas_models.families.mobilenet_v3 import MobileNetV3Config

    assert (
        get_registries().models.entry("MobileNetV3_large_x1_0_ssld").params_model()
        is MobileNetV3Config
    )


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from ppclas_core.plugins import make_plugin_manager; from ppclas_models "
        "import plugin\nmanager = make_plugin_manager(discover=False); manager.add(plugin, "
        "'models')\nassert len(manager.registries.models) > 40\nheavy = {'paddle', 'numpy', "
        "'pydantic', 'cv2', 'ppclas_models.families'} & set(sys.modules)\nsys.exit(', "
        "'.join(sorted(heavy)) or 0)"
    )
    listing = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert listing.returncode == 0, f"imported: {listing.stderr}"
