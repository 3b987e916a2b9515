"""``ppclas models list`` and ``suggest``: what passes the filters, what stands where, and why."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("ppclas_models", reason="ppclas-models has the catalogue")

from ppclas_models.catalog import load_catalog

CATALOG = {row.name: row for row in load_catalog().values() if row.family is not None}


@pytest.fixture
def names(ppclas, tmp_path):
    """The names that ``ppclas models list`` with some options gives, as JSON."""

    def ask(*arguments: str) -> set[str]:
        result = ppclas("models", "list", *arguments, "--json", env={"PPCLAS_HOME": str(tmp_path)})
        assert result.code == 0, result.err
        return {row["name"] for row in json.loads(result.out)}

    return ask


def test_every_model_stands_once_under_its_family(ppclas):
    lines = ppclas("models", "list").out.splitlines()[2:]
    heading, found = "", {}
    for line in lines:
        if line.startswith("  "):
            found[line.split()[0]] = heading
        elif line:
            heading = re.split(r", \d{4}|: ", line)[0]
    assert found == {name: row.series for name, row in CATALOG.items()}
    headings = [line for line in lines if line and not line.startswith("  ")]
    assert len(headings) == len(set(headings)) == len({row.series for row in CATALOG.values()})


def test_a_line_for_each_family(ppclas):
    result = ppclas("models", "list", "--families")
    lines = result.out.splitlines()[2:]
    assert len(lines) == len({row.series for row in CATALOG.values()})
    (line,) = [line for line in lines if line.startswith("PP-LCNet ")]
    # The published tables: 8 widths, 3 of them and x2_5 distilled as well; 0.5186 to 0.8082.
    assert line.split()[1:4] == ["2021", "12", "51.9–80.8"]
    assert f"{len(CATALOG)} of {len(CATALOG)} models, {len(lines)} families" in result.err


@pytest.mark.parametrize(
    ("arguments", "passes"),
    [
        (["--max-params", "2"], lambda row: row.params / 1e6 <= 2),
        (["--min-top1", "86"], lambda row: row.top1 is not None and row.top1 >= 0.86),
        (["--licence", "mit"], lambda row: "MIT" in (row.weights_licence or "")),
        (["--licence", "bsd"], lambda row: row.weights_licence == "BSD-3-Clause"),
        (
            ["--max-latency", "2", "--latency", "t4_fp16_bs1"],
            lambda row: row.latency_ms.get("t4_fp16_bs1", 99) <= 2,
        ),
        (
            ["--max-flops", "0.3"],
            lambda row: (row.flops_g if row.flops_g is not None else 2 * row.macs_g) <= 0.3,
        ),
        (["--here"], lambda row: row.name in ("MobileNetV2", "SqueezeNet1_1")),  # in the wheel
    ],
)
def test_filters(names, arguments, passes):
    known = [row for row in CATALOG.values() if "--max-params" not in arguments or row.params]
    known = [row for row in known if "--max-flops" not in arguments or row.flops_g or row.macs_g]
    expected = {row.name for row in known if passes(row)}
    assert names(*arguments) == expected
    assert 0 < len(expected) < len(CATALOG)


def test_filters_join_and_a_family_is_found_by_its_title(names):
    assert names("pp-hgnetv2") == {n for n, row in CATALOG.items() if row.series == "PP-HGNetV2"}
    both = names("mobilenet", "--max-params", "4", "--min-top1", "70")
    assert both == names("mobilenet", "--max-params", "4") & names("mobilenet", "--min-top1", "70")


def test_weights_that_were_fetched_are_here(ppclas, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "ResNet18_pretrained.pdparams").write_bytes(b"")
    env = {"PPCLAS_HOME": str(tmp_path)}
    lines = ppclas("models", "list", "ResNet18", env=env).out.splitlines()
    (line,) = [line for line in lines if line.startswith("  ResNet18 ")]
    assert " here " in line
    assert line.endswith("Apache-2.0")


def test_measured_latencies(ppclas, tmp_path):
    (tmp_path / "mine.csv").write_text(
        "model,engine,threads,batch,p50_ms\n"
        "ResNet18,dygraph,,1,40.0\n"
        "ResNet18,onnxruntime,,1,20.5\n"
        "ResNet18,onnxruntime,,8,2.0\n"
        "ResNet50,onnxruntime,,1,50\n"
    )
    table = ["--latency", "mine.csv"]
    result = ppclas("models", "list", "--max-latency", "30", *table, cwd=tmp_path)
    assert re.search(r"^  ResNet18 .* 20\.50 ", result.out, re.MULTILINE)
    assert "ResNet50" not in result.out
    assert "ms: mine.csv, which 2 of" in result.err
    result = ppclas("models", "suggest", "--latency-ms", "60", *table, "--json", cwd=tmp_path)
    report = json.loads(result.out)
    assert [each["name"] for each in report["suggestions"]] == ["ResNet50", "ResNet18"]
    assert report["fitting"] == 2


def test_tables_of_latencies_that_are_none(ppclas, tmp_path):
    (tmp_path / "other.csv").write_text("name,time\nResNet18,3\n")
    result = ppclas("models", "list", "--latency", "other.csv", cwd=tmp_path)
    assert result.code == 1
    assert "error: other.csv cannot be read as a CSV of 'ppclas benchmark" in result.err
    assert "It needs the columns model, batch and p50_ms." in result.err
    assert ppclas("models", "list", "--latency", "none.csv", cwd=tmp_path).code == 1
    result = ppclas("models", "list", "--latency", "abacus")
    assert result.code == 2
    assert "no published column; there are: sd855_bs1, " in result.err


def suggestions(ppclas, *arguments):
    result = ppclas("models", "suggest", *arguments, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        (["--size-mb", "20"], lambda row: 4 * row.params <= 20e6),
        (
            ["--latency-ms", "5", "--latency", "t4_fp16_bs1"],
            lambda row: row.latency_ms.get("t4_fp16_bs1", 99) <= 5,
        ),
        (["--licence", "apache"], lambda row: row.weights_licence == "Apache-2.0"),
    ],
)
def test_three_that_keep_the_limits(ppclas, arguments, fits):
    report = suggestions(ppclas, *arguments)
    chosen = [CATALOG[each["name"]] for each in report["suggestions"]]
    assert len({row.name for row in chosen}) == 3
    assert all(fits(row) and row.weights_url for row in chosen)
    every = [r for r in CATALOG.values() if r.top1 and r.weights_url and r.params and fits(r)]
    assert report["fitting"] == len(every)
    assert chosen[0].top1 == max(row.top1 for row in every)
    assert chosen[0].name in report["command"]


def test_each_reason_is_true(ppclas):
    first, second, third = suggestions(ppclas, "--size-mb", "110")["suggestions"]
    points, share = re.fullmatch(
        r"([\d.]+) points below the first for (\d+)% of its operations\.", second["reason"]
    ).groups()
    assert 100 * (first["top1"] - second["top1"]) == pytest.approx(float(points), abs=0.051)
    assert 0 <= float(points) <= 2
    assert second["flops_g"] / first["flops_g"] == pytest.approx(int(share) / 100, abs=0.0051)
    points, share = re.fullmatch(
        r"([\d.]+) points below the first for (\d+)% of the weights\.", third["reason"]
    ).groups()
    assert 100 * (first["top1"] - third["top1"]) == pytest.approx(float(points), abs=0.051)
    assert third["size_mb"] / first["size_mb"] == pytest.approx(int(share) / 100, abs=0.0051)
    series = {CATALOG[each["name"]].series for each in (first, second, third)}
    assert CATALOG[third["name"]].series not in series - {CATALOG[third["name"]].series}


def test_nothing_fits(ppclas):
    result = ppclas("models", "suggest", "--size-mb", "0.5")
    assert (result.code, result.out) == (1, "")
    least = min(
        (row for row in CATALOG.values() if row.top1 and row.weights_url and row.params),
        key=lambda row: row.params,
    )
    assert f"the smallest is {least.name} with {4 * least.params / 1e6:.3g} MB." in result.err
    result = ppclas("models", "suggest", "--latency-ms", "0.01", "--latency", "t4_fp16_bs1")
    assert "No model takes at most 0.01 ms; the fastest is " in result.err
    result = ppclas("models", "suggest", "--licence", "GPL")
    assert "keeps all of these limits. Leave one out" in result.err


def test_the_command_fits_the_task(ppclas):
    result = ppclas("models", "suggest", "--size-mb", "20", "--task", "multilabel")
    start = result.out.splitlines()[-1]
    assert start.startswith("  ppclas train labels.csv --model ")
    assert start.endswith(" -o data.task=multilabel")


def test_reading_the_catalogue_imports_nothing_heavy():
    import subprocess
    import sys

    program = (
        "import sys; from ppclas_cli.main import main\n"
        "for words in (['list'], ['suggest', '--size-mb', '20']):\n"
        "    assert main(['models', *words]) == 0\n"
        "heavy = {'paddle', 'numpy', 'cv2', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
