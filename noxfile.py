"""One command a check, the same on a laptop and in CI: ``nox -s lint``, ``nox -s tests`` …; ``nox
-l`` lists them.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "imports", "tests"]
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
PACKAGES = (
    "core",
    "data",
    "components",
    "engine",
    "models",
    "augment",
    "distill",
    "deploy",
    "search",
    "paddleclas",
    "serve",
    "cli",
)


def install(session: nox.Session, *more: str) -> None:
    """All packages, editable, with the development tools of the root ``pyproject.toml``."""
    extras = {"core": "[cpu]", "deploy": "[onnx]"}
    editable = [
        part
        for name in PACKAGES
        for part in ("-e", f"packages/ppclas-{name}{extras.get(name, '')}")
    ]
    tools = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "dev")
    session.install(*editable, *tools, *more)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install("ruff>=0.6")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict types over all packages."""
    install(session)
    session.run("mypy", *(f"packages/ppclas-{name}/src" for name in PACKAGES))


@nox.session
def imports(session: nox.Session) -> None:
    """Imports point one way, up the floors; no two files import each other in a circle."""
    install(session)
    session.run("lint-imports")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The quick tests; add ``-- packages/ppclas-core`` for one package, ``-- -m slow`` for the long
    ones.
    """
    install(session)
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The quick tests with branch coverage."""
    install(session)
    session.run(
        "pytest", "-n", "auto", "--cov", "--cov-report=term-missing:skip-covered", *session.posargs
    )


@nox.session
def docs(session: nox.Session) -> None:
    """The site in both languages, a warning is an error; open ``build/site/index.html``."""
    install(session)
    session.run("python", "docs/build_site.py")


@nox.session(name="docs-links")
def docs_links(session: nox.Session) -> None:
    """The web addresses of all pages, asked one by one; not in CI, as it needs the network."""
    session.run("python", "docs/check_links.py")


@nox.session
def wheels(session: nox.Session) -> None:
    """Build the wheels, install them into an empty environment and train with them."""
    install(session)
    session.run("pytest", "-m", "not gpu", "tests/test_wheels.py", *session.posargs)


@nox.session(name="release-check")
def release_check(session: nox.Session) -> None:
    """Both files of every package, looked at, installed together (newest, lowest) and tried."""
    session.install("uv>=0.5", "twine>=6.1")
    session.run("python", "release/check.py", *session.posargs)


@nox.session
def changelog(session: nox.Session) -> None:
    """The changelogs of a release, from its fragments: ``-- 0.2.0``."""
    session.install("towncrier>=24.8")
    session.run("python", "release/changelog.py", *session.posargs)


@nox.session
def e2e(session: nox.Session) -> None:
    """Real photos, real weights, the real command line."""
    install(session)
    session.run("pytest", "-m", "not gpu", "tests", *session.posargs)


@nox.session
def zoo(session: nox.Session) -> None:
    """Every architecture against its reference keys, shapes and outputs."""
    install(session)
    session.run("pytest", "-n", "auto", "-m", "not gpu", "packages/ppclas-models", *session.posargs)


@nox.session
def sweep(session: nox.Session) -> None:
    """What is too long for CI: every kill, every family, every target."""
    install(session)
    session.run("pytest", "-n", "auto", "-m", "sweep", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Side-by-side measurements; each script in ``benchmarks/`` prints one table."""
    install(session)
    for script in session.posargs or ["benchmarks/startup.py"]:
        session.run("python", script)


@nox.session
def gpu(session: nox.Session) -> None:
    """The tests that need a GPU, in an environment that has a GPU build of Paddle already; the
    report is in ``gpu-report.txt``.
    """
    session.run("python", "-m", "pytest", "-m", "gpu", *session.posargs, external=True)
