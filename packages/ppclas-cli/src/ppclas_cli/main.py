"""The ``ppclas`` command: what exists, and what becomes of an error.

A user's mistake is one line on stderr and exit code 1 (2 for wrong usage). A traceback is for our
own bugs, and only with ``--debug``.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Sequence

import click
from click.exceptions import NoArgsIsHelpError
from ppclas_core.errors import MissingDependencyError, PpclasError

from ppclas_cli import output
from ppclas_cli.lazy import LazyGroup
from ppclas_cli.table import COMMANDS

PACKAGES = (
    "ppclas-cli",
    "ppclas-core",
    "ppclas-data",
    "ppclas-components",
    "ppclas-engine",
    "ppclas-models",
    "ppclas-augment",
    "ppclas-distill",
    "ppclas-deploy",
    "ppclas-search",
    "ppclas-paddleclas",
    "ppclas-serve",
)


_ANY_TEXT = "ppclas.any_text"


def _version(package: str) -> str | None:
    from importlib import metadata  # deferred, as traceback is: every command would pay for it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _print_versions(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        _echo_versions()
        ctx.exit()


def _echo_versions() -> None:
    for name in PACKAGES:
        click.echo(f"{name} {_version(name) or 'is not installed'}")
    for name in filter(_version, ("paddlepaddle", "paddlepaddle-gpu")):
        click.echo(f"{name} {_version(name)}")
    click.echo(f"Python {sys.version.split()[0]} ({sys.executable})")


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Without arguments, 'ppclas train' trains on the photos that come with it. Try that "
    "first.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Print the versions of all ppclas packages.",
)
@click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    help="Show tracebacks; works anywhere in the line (or PPCLAS_DEBUG=1).",
)
@click.option(
    "--offline",
    is_flag=True,
    expose_value=False,
    help="Never use the network; works anywhere in the line (or PPCLAS_OFFLINE=1).",
)
def cli() -> None:
    """Image classification on PaddlePaddle: train, evaluate, predict, export.

    \b
    Example:
      ppclas train photos/            a folder with one folder a class
      ppclas predict new/ -m runs/MobileNetV2-1
      ppclas predict cat.jpg          without training: ImageNet's 1,000 classes
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``ppclas`` with ``arguments`` (default: the process's) and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = os.environ.get("PPCLAS_DEBUG", "0") not in ("", "0")
    options_end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" in arguments[:options_end]:
        debug = True
        arguments.remove("--debug")
        options_end -= 1
    if "--offline" in arguments[:options_end]:
        os.environ["PPCLAS_OFFLINE"] = "1"  # for the processes of this command as well
        arguments.remove("--offline")
    _make_streams_safe()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as error:
        where = (
            error.ctx.command_path
            if isinstance(error, click.UsageError) and error.ctx
            else "ppclas"
        )
        message = " ".join(error.format_message().split())  # click breaks lines of choices
        if isinstance(error, click.NoSuchOption):
            from ppclas_cli.meanings import meant  # deferred: for a mistake alone

            said = meant(error)
            message = f"No such option {error.option_name}. {said}" if said else message
        stop = "" if message.endswith((".", "?", "?)")) else "."
        output.error(f"{message}{stop} See '{where} --help'.")
        return error.exit_code
    except BrokenPipeError:
        # The reader of stdout has gone ("| head"). Python would complain again when it flushes at
        # exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except PpclasError as error:
        return _report(error, arguments, debug)
    except OSError as error:  # the machine's: a full disk behind stdout, a folder that is closed
        if debug:
            _print_traceback()
        where = f"{error.filename}: " if error.filename else ""
        output.error(f"{where}{error.strerror or error}; --debug shows where that happened.")
        return 1
    except Exception as error:
        # A bug, ours or a plugin's: the one place that may see any exception.
        if debug:
            _print_traceback()
            return 1
        output.error(" ".join(f"{type(error).__name__}: {error}".split()))
        where = _plugin_frame(error)
        said = (
            f"This is a bug in the plugin package {where}" if where else "This is a bug in ppclas"
        )
        click.echo(f"{said}; run it again with --debug for the traceback.", err=True)
        return 1


def _run(arguments: list[str]) -> int:
    try:
        result = cli.main(arguments, prog_name="ppclas", standalone_mode=False)
    except NoArgsIsHelpError as error:  # a group without a command: its help is no mistake
        click.echo(error.format_message())
        return 0
    except click.NoSuchOption as error:
        # Behind a command too, unless the command has an option of that name.
        if error.option_name != "--version":
            raise
        _echo_versions()
        return 0
    return result if isinstance(result, int) else 0


def _plugin_frame(error: BaseException) -> str:
    """The plugin whose code raised ``error``, with its method and line; empty where ours did."""
    import traceback

    from ppclas_core.plugins import get_plugin_manager

    plugins = {
        info.module.partition(".")[0]: info.distribution
        for info in get_plugin_manager().plugins
        if info.distribution not in PACKAGES
    }
    ours = {name.replace("-", "_") for name in (*PACKAGES, "ppclas")}
    # The innermost frame that is a plugin's or ours: what it calls of other packages is its doing.
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        root = str(frame.f_globals.get("__name__")).partition(".")[0]
        if root in ours:
            return ""
        if root in plugins:
            code = frame.f_code
            name = getattr(code, "co_qualname", code.co_name)  # from Python 3.11
            return f"{plugins[root]} ({name}, {code.co_filename}:{line})"
    return ""


def _report(error: PpclasError, arguments: Sequence[str], debug: bool) -> int:
    if debug:
        _print_traceback()
    output.error(str(error))
    if isinstance(error, MissingDependencyError):
        from ppclas_core.paddle_runtime import has_paddle

        from ppclas_cli.paddle_install import offer_setup, terminal

        if not has_paddle():
            offer_setup(arguments, terminal())
    return 1


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _make_streams_safe() -> None:
    """Let any file name be printed: UTF-8 in pipes and files, escapes where a terminal lacks a
    character.

    What was closed ("2>&-", a service without a console) swallows what is written.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as above
    codecs.register_error(_ANY_TEXT, _any_text)
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):  # replaced by a test or a notebook
            continue
        stream.reconfigure(
            encoding=stream.encoding if stream.isatty() else "utf-8", errors=_ANY_TEXT
        )


def _any_text(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of a file name that is not text come out as they were; what cannot be written is
    escaped.
    """
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
