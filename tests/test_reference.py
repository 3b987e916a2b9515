"""The reference says what exists, all of it and nothing else, in both languages."""

import json
import math
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from ppclas_core.config.schema import Config, DataSection, ModelSection, TrainSection
from ppclas_core.testing import use_plugin
from ppclas_data import builtin_photos
from ppclas_engine.console import Console
from ppclas_engine.session import train as run
from ppclas_engine.testing import FakePlugin

DOCS = Path(__file__).parents[1] / "docs"
LANGUAGES = ("en", "zh")


@pytest.fixture(scope="module")
def generator():
    return runpy.run_path(str(DOCS / "generate_settings.py"))


@pytest.fixture(scope="module")
def schema():
    """What an editor is told: ``ppclas config schema``."""
    command = [sys.executable, "-X", "utf8", "-m", "ppclas_cli", "config", "schema"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def headings(page):
    return re.findall(r"^### `([^`]+)`", page.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", ["settings", "components"])
def test_the_page_is_up_to_date(generator, page, language):
    written = (DOCS / language / f"{page}.md").read_text("utf-8")
    assert written == generator["render"](page, language), "run: python docs/generate_settings.py"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_setting_is_on_the_page_and_no_other(schema, language):
    def keys(properties, path=""):
        for name, about in properties.items():
            target = schema["$defs"].get(about.get("$ref", "").rpartition("/")[2], {})
            if "properties" in target:
                yield from keys(target["properties"], f"{path}{name}.")
            else:
                yield path + name

    exists = set(keys(schema["properties"])) - {"optimizer"}
    common = {"weight_decay", "no_decay_norm_bias", "clip_norm", "lr_mult", "layer_decay", "name"}
    listed = headings(DOCS / language / "settings.md")
    assert len(listed) == len(set(listed))
    assert set(listed) == exists | {f"optimizer.{name}" for name in common}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "kind", ["optimizer", "schedule", "loss", "objective", "reader", "metric", "transform"]
)
def test_every_component_is_on_the_page_with_all_its_parameters(schema, kind, language):
    sections = re.split(
        r"^### ", (DOCS / language / "components.md").read_text("utf-8"), flags=re.M
    )
    registry = {"schedule": "schedulers", "loss": "losses"}.get(kind, f"{kind}s")
    found = {}
    for section in sections:
        heading = re.match(rf"`([^`]+)` \{{#{registry}\.", section)
        if heading:
            section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
            found[heading[1]] = set(re.findall(r"^- `(\w+)`", section, re.MULTILINE))
    common = {"name"}
    if kind == "optimizer":
        common |= {"weight_decay", "no_decay_norm_bias", "clip_norm", "lr_mult", "layer_decay"}
    exist = {
        choice["title"]: set(choice["properties"]) - common
        for choice in schema["$defs"][kind]["oneOf"]
    }
    assert {name: found.get(name) for name in exist} == exist


def keys(generator):
    """Of each thing with a meaning: settings, sections, components, parameters."""
    nested = {path for path, _ in generator["sections"]()}
    for path, model in generator["sections"]():
        if path:
            yield f"settings.{path[:-1]}"
        yield from (
            f"settings.{path}{name}"
            for name in model.model_fields
            if f"{path}{name}." not in nested
        )
    for kind, entry, model in generator["entries"]():
        yield f"components.{kind}.{entry.name}"
        properties = model.model_json_schema().get("properties", {})
        yield from (f"components.{kind}.{entry.name}.{name}" for name in properties)


def test_every_meaning_is_there_in_chinese(generator):
    missing = [key for key in keys(generator) if not generator["chinese"](key)]
    assert missing == [], "add them to docs/site/zh-settings.yml"
    english = [
        key for key in keys(generator) if not re.search(r"[一-鿿]", generator["chinese"](key))
    ]
    assert english == []


def test_no_chinese_meaning_is_left_over(generator):
    exist = set(keys(generator))
    for part, texts in generator["_CHINESE"].items():
        for name in texts:
            pattern = re.escape(f"{part}.{name}").replace(r"\*", r"\w+")
            assert any(re.fullmatch(pattern, key) for key in exist), f"zh-settings.yml: {name}"


def test_every_setting_has_an_english_meaning():
    for section in re.split(r"^### ", (DOCS / "en/settings.md").read_text("utf-8"), flags=re.M)[1:]:
        name, facts, meaning = re.split(r"\n\n", section.strip())[:3]
        assert re.search(r"Default: |Required", facts), name
        assert len(meaning) > 10, name


@pytest.fixture(scope="module")
def api():
    return runpy.run_path(str(DOCS / "generate_api.py"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_of_python_names_is_up_to_date(api, language):
    written = (DOCS / language / "api.md").read_text("utf-8")
    assert written == api["render"](language), "run: python docs/generate_api.py"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_public_name_is_on_the_page(language):
    listed = {name.rpartition(".")[2] for name in headings(DOCS / language / "api.md")}
    packages = [path.name for path in (DOCS.parent / "packages").iterdir()]
    facade = DOCS.parent / "packages/ppclas-cli/src/ppclas/__init__.py"
    public = set(
        re.findall(r'"(\w+)"', re.search(r"__all__[^=]*= \[(.*?)\]", facade.read_text(), re.S)[1])
    )
    for package in packages:
        source = DOCS.parent / "packages" / package / "src" / package.replace("-", "_")
        found = re.search(r"__all__[^=]*= \[(.*?)\]", (source / "__init__.py").read_text(), re.S)
        public |= set(re.findall(r'"(\w+)"', found[1]))
    # The translation of old configs is called by its hook alone.
    assert public - listed == {"PaddleClasFormat"}
    assert listed <= public


def test_every_public_name_has_a_sentence_in_chinese(api):
    for package, name, value in api["names"]():
        assert re.search(r"[一-鿿]", api["chinese"](package, name, value) or ""), (
            f"{package}.{name}"
        )


CATALOGUE = DOCS.parent / "packages/ppclas-models/src/ppclas_models/catalog.json"


@pytest.fixture(scope="module")
def models():
    return runpy.run_path(str(DOCS / "generate_models.py"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_published_name_has_a_row_on_a_page_of_its_family(models, language):
    written = dict(models["pages"](language))
    listed = {
        name: page
        for page, text in written.items()
        for name in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    }
    rows = json.loads(CATALOGUE.read_text("utf-8"))
    assert set(listed) == {row["name"] for row in rows}
    for row in rows:
        if row["family"]:
            assert listed[row["name"]] == f"{row['family']}.md"
    assert set(re.findall(r"\]\(([\w.-]+\.md)\)", written["index.md"])) == set(listed.values())


def test_every_series_is_described_in_both_languages(models):
    series = CATALOGUE.with_name("series.json")
    described = json.loads(series.read_text("utf-8"))
    assert set(models["_CHINESE"]) == set(described)
    assert all(re.search(r"[一-鿿]", text) for text in models["_CHINESE"].values())


def test_a_figure_shows_what_the_catalogue_says(models):
    svg = dict(models["figures"]())["resnet-macs.svg"]
    circles = re.findall(r'cx="([\d.]+)" cy="([\d.]+)".*?<title>(\w+):', svg)
    at = {name: (float(x), float(y)) for x, y, name in circles}
    rows = {row["name"]: row for row in json.loads(CATALOGUE.read_text("utf-8"))}
    resnets = {n for n, r in rows.items() if r["family"] == "resnet" and r["macs_g"] and r["top1"]}
    assert set(at) == resnets
    # The scale of the axes from two models; a third lies where it says.
    (x1, y1), (x2, y2) = at["ResNet18"], at["ResNet152_vd"]
    a, b = rows["ResNet18"], rows["ResNet152_vd"]
    for name in resnets:
        row = rows[name]
        across = math.log(row["macs_g"] / a["macs_g"]) / math.log(b["macs_g"] / a["macs_g"])
        up = (row["top1"] - a["top1"]) / (b["top1"] - a["top1"])
        assert at[name] == pytest.approx((x1 + across * (x2 - x1), y1 + up * (y2 - y1)), abs=0.2)


def test_the_line_of_the_best_leaves_out_what_something_cheaper_beats(models):
    point = models["Point"]
    found = [point(1, 70, "a"), point(2, 69, "b"), point(2, 75, "c"), point(3, 75, "d")]
    assert [each.name for each in models["best_of"](found)] == ["a", "c"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_environment_variable_is_on_the_page_and_no_other(language):
    sources = [*DOCS.parent.glob("packages/*/src/**/*.py")]
    used = {
        name
        for source in sources
        for name in re.findall(r"\bPPCLAS_[A-Z_]+\b", source.read_text("utf-8"))
    }
    page = (DOCS / language / "environment.md").read_text("utf-8")
    assert set(re.findall(r"`(PPCLAS_[A-Z_]+)`", page)) == used


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("0", ["--version"]),
        ("1", ["config", "show", "no-such-file.yaml"]),
        ("2", ["train", "--no-such-option"]),
    ],
)
def test_exit_codes_are_those_of_the_page(code, arguments):
    command = [sys.executable, "-m", "ppclas_cli", *arguments]
    assert subprocess.run(command, capture_output=True, check=False).returncode == int(code)
    for language in LANGUAGES:
        page = (DOCS / language / "environment.md").read_text("utf-8")
        assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == ["0", "1", "2", "130"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_field_of_a_bundle_is_on_the_page(language):
    written = json.loads((DOCS.parent / "tests/golden/0.1.0/bundle/bundle.json").read_text("utf-8"))
    page = (DOCS / language / "files.md").read_text("utf-8")
    fields = re.findall(r"^\| `(\w+)` \|", page.split("parity.json")[0], re.MULTILINE)
    assert set(fields) == set(written)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_file_of_a_run_is_on_the_page(language, finished_run):
    page = (DOCS / language / "files.md").read_text("utf-8")
    for file in sorted(finished_run.iterdir()):
        named = "`*.png`" if file.suffix == ".png" else f"`{file.name}{'/' * file.is_dir()}"
        assert named in page, file.name
    for file in (*(finished_run / "bundle").iterdir(), *(finished_run / "checkpoints").iterdir()):
        assert f"{file.name}`" in page, file.name


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train = Path(builtin_photos())
    config = Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(
            train=str(train / "val"), val=str(train / "val"), image_size=16, workers=0
        ),
        train=TrainSection(epochs=1, output=str(folder), device="cpu"),
    )
    with use_plugin(FakePlugin()):
        run(config, Console(quiet=True))
    return folder


def test_every_command_has_a_sentence_in_chinese():
    page = (DOCS / "zh" / "cli.md").read_text("utf-8")
    listed = re.findall(r"^- \[`(\w+)`\]\(#ppclas-\w+\): (.*)", page, re.MULTILINE)
    assert len(listed) > 20
    english = [name for name, said in listed if not re.search(r"[一-鿿]", said)]
    assert english == [], "add them to _CHINESE in docs/generate_cli.py"
