"""What makes a release: workflows, changelog fragments, files for people."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PACKAGES = sorted(folder for folder in (ROOT / "packages").iterdir() if folder.is_dir())


@pytest.fixture(scope="module")
def changelog():
    return runpy.run_path(str(ROOT / "release" / "changelog.py"))


def tool(name):
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or pytest.skip(f"needs {name}, of the development group")


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_every_action_is_pinned_by_its_hash(file):
    uses = re.findall(r"uses: (\S+)(.*)", file.read_text("utf-8"))
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action} has no version beside it"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_may_read_and_no_more_unless_a_job_says_so(file):
    workflow = yaml.safe_load(file.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        more = set(job.get("permissions", {})) - {"contents"}
        assert not more or name in ("attest", "publish"), f"{name}: {more}"


def test_zizmor_finds_nothing_in_the_workflows():
    command = [tool("zizmor"), "--offline", "--no-progress", str(ROOT / ".github")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_ci_covers_the_versions_that_the_packages_declare():
    jobs = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text("utf-8"))["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    core = (ROOT / "packages/ppclas-core/pyproject.toml").read_text("utf-8")
    declared = re.findall(r"Python :: (3\.\d+)", core)
    assert matrix["python"] == declared
    lowest = re.search(r'"paddlepaddle>=([\d.]+)', core)[1]
    assert any(cell["paddle"].startswith(lowest) for cell in matrix["include"])
    assert {"ubuntu-latest", "macos-latest", "windows-latest"} == set(matrix["os"])


def test_fragments_are_named_as_the_changelog_wants(changelog):
    for package in PACKAGES:
        changelog["fragments"](package)


def package_with(tmp_path, **fragments):
    package = tmp_path / "ppclas-thing"
    (package / "changelog.d").mkdir(parents=True)
    (package / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- By hand.\n", "utf-8")
    for name, text in fragments.items():
        (package / "changelog.d" / f"{name.replace('__', '.')}.md").write_text(text, "utf-8")
    return package


def test_a_release_gathers_fragments_and_what_was_written_by_hand(changelog, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(tool("towncrier")).parent), prepend=":")
    package = package_with(tmp_path, **{"7__fixed": "It works.\n", "8__added": "It is new.\n"})
    assert changelog["write"](package, "0.2.0", "2027-01-02")
    text = (package / "CHANGELOG.md").read_text("utf-8")
    assert re.sub(r"\n+", "\n", text) == (
        "# Changelog\n## 0.2.0 (2027-01-02)\n### Added\n- It is new. (#8)\n"
        "### Fixed\n- It works. (#7)\n### Further changes\n- By hand.\n"
    )
    assert not list((package / "changelog.d").glob("*.md"))


def test_a_fragment_of_another_kind_is_refused(changelog, tmp_path):
    package = package_with(tmp_path, **{"7__nice": "It works.\n"})
    with pytest.raises(ValueError, match=r"expected <issue>\.<added"):
        changelog["fragments"](package)


def test_versions_and_the_citation_agree():
    versions = {
        re.search(r'^version = "([^"]+)"', (package / "pyproject.toml").read_text("utf-8"), re.M)[1]
        for package in PACKAGES
    }
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert versions == {str(citation["version"])}
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= set(citation)


def test_issue_forms_have_what_github_asks_for():
    for form in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        content = yaml.safe_load(form.read_text("utf-8"))
        if form.name != "config.yml":
            assert {"name", "description", "body"} <= set(content), form.name
            for field in content["body"]:
                assert field["attributes"]["label"]


def test_governance_is_ten_lines():
    text = (ROOT / "GOVERNANCE.md").read_text("utf-8")
    assert len(re.findall(r"^\d+\. ", text, re.MULTILINE)) == 10


@pytest.mark.sweep
def test_a_release_builds_and_works(tmp_path):
    tool("uv"), tool("twine")
    command = [sys.executable, str(ROOT / "release" / "check.py"), "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if re.search("dns error|client error|tcp connect|Failed to fetch", done.stderr):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": works") == 2
    assert len(list(tmp_path.iterdir())) == 2 * len(PACKAGES)
