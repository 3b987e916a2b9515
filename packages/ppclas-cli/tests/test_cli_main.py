"""The command itself: help, unknown commands, what becomes of an error, streams, start-up."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from ppclas_cli import lazy
from ppclas_cli import main as main_module
from ppclas_cli.commands import recipes
from ppclas_cli.main import cli
from ppclas_cli.table import COMMANDS
from ppclas_core.errors import DataError, PluginError
from ppclas_core.plugins import Registries, make_plugin_manager
from ppclas_core.registry import resolve

PPCLAS = [sys.executable, "-m", "ppclas_cli"]


def raising(error):
    def raise_it():
        raise error

    return raise_it


def test_help_shows_every_command_with_its_line(ppclas):
    result = ppclas("--help")
    assert (result.code, result.err) == (0, "")
    for name, command in COMMANDS.items():
        assert f"{name} " in result.out
        assert command.summary in result.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_explains_itself(name):
    command = resolve(COMMANDS[name].target)
    assert isinstance(command, click.Command)
    assert command.name == name
    leaves = [command] if not isinstance(command, click.Group) else list(command.commands.values())
    for leaf in leaves:
        assert leaf.help, f"{leaf.name} has no help"
        for option in (
            parameter for parameter in leaf.params if isinstance(parameter, click.Option)
        ):
            assert option.help, f"{name} {leaf.name} {option.opts} has no help"


def test_our_commands_are_registered_like_any_plugins():
    assert set(COMMANDS) <= set(make_plugin_manager().registries.commands)


def test_a_plugin_cannot_take_our_names():
    class Thief:
        __name__ = "thief"

        @staticmethod
        def register_commands(registry):
            registry.register("train", "thief:train")

    from ppclas_core import hookimpl

    Thief.register_commands = staticmethod(hookimpl(Thief.register_commands))
    with pytest.raises(
        PluginError, match="command 'train' is registered twice: by ppclas-cli and by thief"
    ):
        make_plugin_manager().add(Thief(), "thief")


@pytest.fixture
def plugin_command(monkeypatch):
    @click.command()
    def hello():
        """Say hello."""
        click.echo("hello")

    registries = Registries()
    registries.commands.register("hello", lambda: hello, summary="Say hello.")
    registries.commands.register("hello-now", hello, summary="Say hello now.")
    monkeypatch.setattr("ppclas_core.plugins.get_registries", lambda: registries)


def test_commands_of_plugins(ppclas, plugin_command):
    assert "From plugins:\n" in ppclas("--help").out
    assert "hello-now  Say hello now." in ppclas("--help").out
    assert ppclas("hello-now") == (0, "hello\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["trian"],
            "error: There is no command 'trian'. Did you mean 'train'? See 'ppclas --help'.\n",
        ),
        (["xyzzy"], "error: There is no command 'xyzzy'. See 'ppclas --help'.\n"),
        (
            ["models", "lits"],
            "error: No such command 'lits'. Did you mean 'list'? See 'ppclas models --help'.\n",
        ),
        (["models", "info"], "error: Missing argument 'NAME'. See 'ppclas models info --help'.\n"),
        (
            ["doctor", "--jsn"],
            "error: No such option '--jsn'. Did you mean '--json'? See 'ppclas doctor --help'.\n",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(ppclas, arguments, message):
    assert ppclas(*arguments) == (2, "", message)


def test_a_users_mistake_is_one_line_and_exit_code_1(ppclas, monkeypatch):
    monkeypatch.setattr(
        recipes, "get_registries", raising(DataError("train.txt:3: expected a label, got nothing."))
    )
    assert ppclas("recipes", "list") == (
        1,
        "",
        "error: train.txt:3: expected a label, got nothing.\n",
    )
    result = ppclas("recipes", "list", "--debug")
    assert result.code == 1
    assert result.err.startswith("Traceback")
    assert result.err.endswith("\nerror: train.txt:3: expected a label, got nothing.\n")


@pytest.mark.parametrize("switch", ["first", "last", "environment"])
def test_a_bug_is_named_and_debug_shows_it(ppclas, monkeypatch, switch):
    monkeypatch.setattr(recipes, "get_registries", raising(RuntimeError("first\nsecond")))
    assert ppclas("recipes", "list") == (
        1,
        "",
        "error: RuntimeError: first second\nThis is a bug in ppclas; run it again with --debug "
        "for the traceback.\n",
    )
    if switch == "environment":
        monkeypatch.setenv("PPCLAS_DEBUG", "1")
    arguments = {"first": ["--debug", "recipes", "list"], "last": ["recipes", "list", "--debug"]}
    result = ppclas(*arguments.get(switch, ["recipes", "list"]))
    assert result.code == 1
    assert result.err.startswith("Traceback")


def test_debug_behind_two_dashes_is_an_argument(ppclas):
    assert "'--debug'" in ppclas("models", "info", "--", "--debug").err


def test_interrupted(ppclas, monkeypatch):
    monkeypatch.setattr(recipes, "get_registries", raising(KeyboardInterrupt()))
    result = ppclas("recipes", "list")
    assert (result.code, result.out, result.err.strip()) == (130, "", "interrupted")


def test_a_fault_of_the_machine_is_no_bug_of_ours(ppclas, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(recipes, "get_registries", raising(full))
    said = "error: No space left on device; --debug shows where that happened.\n"
    assert ppclas("recipes", "list") == (1, "", said)
    monkeypatch.setattr(
        recipes,
        "get_registries",
        raising(PermissionError(errno.EACCES, "Permission denied", "a/b")),
    )
    said = "error: a/b: Permission denied; --debug shows where that happened.\n"
    assert ppclas("recipes", "list") == (1, "", said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [*PPCLAS, "config", "schema"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert run.stderr == "error: No space left on device; --debug shows where that happened.\n"
    assert run.returncode == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes the streams")
@pytest.mark.parametrize("closed", ["<&- >&-", "<&- 2>&-"])
def test_closed_streams_swallow_what_is_written(closed):
    run = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *PPCLAS, "data", "stats"],
        capture_output=True,
        text=True,
    )
    assert "AttributeError" not in run.stderr
    assert run.returncode == 0


def test_names_in_errors_do_not_reach_the_terminal_as_they_are(ppclas, monkeypatch):
    monkeypatch.setattr(
        recipes, "get_registries", raising(DataError("\x1b[31mred/a.txt: no\nsecond line"))
    )
    assert ppclas("recipes", "list").err == "error: \\x1b[31mred/a.txt: no\nsecond line\n"


def test_a_reader_that_goes_away_is_no_error():
    run = subprocess.Popen(
        [*PPCLAS, "config", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    run.stdout.close()
    assert run.stderr.read() == b""
    run.stderr.close()
    assert run.wait() == 1


@pytest.mark.skipif(sys.platform == "win32", reason="locales are set otherwise on Windows")
def test_chinese_is_printed_whatever_the_locale(tmp_path):
    file = tmp_path / "叶子.yaml"
    file.write_text("model: {name: 叶}", encoding="utf-8")
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "cp1252",
    }
    run = subprocess.run(
        [*PPCLAS, "config", "validate", "叶子.yaml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
    )
    assert run.stderr.decode("utf-8").startswith(
        "error: 叶子.yaml:1:15: model.name: Unknown model '叶'."
    )
    assert run.returncode == 1


def test_version_names_every_package(ppclas):
    out = ppclas("--version").out
    for package in main_module.PACKAGES:
        assert f"{package} " in out
    assert f"Python {sys.version.split()[0]}" in out


HEAVY = ("paddle", "numpy", "pydantic", "cv2", "yaml", "rich", "PIL", "matplotlib")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["models", "list"],
        ["models", "list", "*50*", "--json"],
        ["models", "info", "ResNet50"],
        ["recipes", "list"],
        ["plugins", "--json"],
        ["doctor"],
        ["train", "--help"],
        ["eval", "--help"],
        ["predict", "--help"],
        ["export", "--help"],
        ["config", "--help"],
        ["data", "check", "--help"],
    ],
    ids=" ".join,
)
def test_help_and_listings_import_nothing_heavy(arguments):
    pytest.importorskip("ppclas_models", reason="models are listed from ppclas-models")
    code = (
        "import sys; from ppclas_cli.main import main; main(sys.argv[1:]); "
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert run.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["config", "show"], ["data", "check"], ["config", "validate", "demo"]],
    ids=" ".join,
)
def test_checking_does_not_import_paddle(arguments):
    code = (
        "import sys; from ppclas_cli.main import main; main(sys.argv[1:]); sys.exit('paddle' in "
        "sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True)


def test_no_command_module_is_imported_for_help():
    code = (
        "import sys; from ppclas_cli.main import main; main(['--help']); "
        "print([m for m in sys.modules if m.startswith('ppclas_cli.commands')], file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == "[]\n"


def test_unknown_commands_do_not_suggest_far_ones():
    assert lazy._unknown("xyzzy", COMMANDS) == "There is no command 'xyzzy'."
    assert isinstance(cli, lazy.LazyGroup)
