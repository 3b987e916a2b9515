"""The command itself: help, unknown commands, what becomes of an error, streams, start-up."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from ppclas_cli import lazy, meanings
from ppclas_cli import main as main_module
from ppclas_cli.main import cli
from ppclas_cli.table import COMMANDS
from ppclas_core.errors import DataError, PluginError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.plugins import make_plugin_manager
from ppclas_core.registry import resolve
from ppclas_core.testing import use_plugin
from ppclas_core.wording import near_names

PPCLAS = [sys.executable, "-m", "ppclas_cli"]


class Commands:
    """A plugin with commands, under their names."""

    def __init__(self, *commands):
        self.commands = commands

    @hookimpl
    def register_commands(self, registry):
        for command in self.commands:
            registry.register(command.name, command, summary=command.get_short_help_str())


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
    thief = Commands(click.Command("train"))
    with pytest.raises(
        PluginError, match="command 'train' is registered twice: by ppclas-cli and by thief"
    ):
        make_plugin_manager().add(thief, "thief")


@click.command("hello-now")
def hello():
    """Say hello now."""
    click.echo("hello")


@click.group("greet")
def greet():
    """Greet people."""


greet.add_command(hello)


@pytest.fixture
def plugin_commands():
    with use_plugin(Commands(hello, greet)):
        yield


def test_commands_of_plugins(ppclas, plugin_commands):
    assert "From plugins:\n" in ppclas("--help").out
    assert re.search(r"hello-now +Say hello now\.", ppclas("--help").out)
    assert ppclas("hello-now") == (0, "hello\n", "")


GROUPS = [
    name
    for name in COMMANDS
    if isinstance(group := resolve(COMMANDS[name].target), click.Group)
    and not group.invoke_without_command  # plugins: it lists them
]


def test_these_are_the_groups():
    assert GROUPS == ["distill", "models", "runs", "recipes", "data", "hub", "config", "bundle"]


@pytest.mark.parametrize("words", [[], *([name] for name in GROUPS), ["greet"]], ids=" ".join)
def test_who_only_asks_gets_the_help_and_no_error(ppclas, plugin_commands, words):
    result = ppclas(*words)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"Usage: {' '.join(['ppclas', *words])} [OPTIONS] COMMAND")
    assert "Commands:\n" in result.out or "Train and use:\n" in result.out
    assert ppclas(*words, "--help") == result


def test_help_and_versions_are_never_an_error_in_a_pipe_either():
    for words in ([], ["models"], ["models", "--version"]):
        run = subprocess.run([*PPCLAS, *words], capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith("ppclas-cli " if words[1:] else "Usage: ")


LEAVES = [
    [name, *([inner] if inner else [])]
    for name in COMMANDS
    for inner in getattr(resolve(COMMANDS[name].target), "commands", [None])
]


@pytest.mark.parametrize(
    "words", [[], *LEAVES, ["hello-now"], ["greet", "hello-now"]], ids=" ".join
)
def test_h_and_version_work_everywhere(ppclas, plugin_commands, words):
    short = ppclas(*words, "-h")
    assert (short.code, short.err) == (0, "")
    assert short.out.startswith(f"Usage: {' '.join(['ppclas', *words])} ")
    assert short == ppclas(*words, "--help")
    versions = ppclas(*words, "--version")
    assert (versions.code, versions.err) == (0, "")
    assert versions.out.startswith("ppclas-cli ")
    assert f"Python {sys.version.split()[0]}" in versions.out


def test_a_version_option_of_a_command_stays_its_own(ppclas):
    @click.command("publish")
    @click.option("--version")
    def publish(version):
        click.echo(f"as {version}")

    with use_plugin(Commands(publish)):
        assert ppclas("publish", "--version", "2") == (0, "as 2\n", "")


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
            "error: There is no command 'lits'. Did you mean 'list'? See 'ppclas models --help'.\n",
        ),
        (
            ["models", "show", "ResNet50"],
            "error: There is no command 'show'. Did you mean 'info'? See 'ppclas models --help'.\n",
        ),
        (
            ["completion"],
            "error: Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish. "
            "See 'ppclas completion --help'.\n",
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


def failing(ppclas, error, *, before=(), after=(), **given):
    """Run a plugin's command that raises ``error``."""

    @click.command("fail")
    def fail():
        raise error

    with use_plugin(Commands(fail)):
        return ppclas(*before, "fail", *after, **given)


def test_a_users_mistake_is_one_line_and_exit_code_1(ppclas):
    mistake = DataError("train.txt:3: expected a label, got nothing.")
    assert failing(ppclas, mistake) == (
        1,
        "",
        "error: train.txt:3: expected a label, got nothing.\n",
    )
    result = failing(ppclas, mistake, after=["--debug"])
    assert result.code == 1
    assert result.err.startswith("Traceback")
    assert result.err.endswith("\nerror: train.txt:3: expected a label, got nothing.\n")


@pytest.mark.parametrize(
    "asked", [{"before": ["--debug"]}, {"env": {"PPCLAS_DEBUG": "1"}}, {"after": ["--debug"]}]
)
def test_a_bug_is_named_and_debug_shows_it(ppclas, asked):
    bug = RuntimeError("first\nsecond")
    said = failing(ppclas, bug, env={"PPCLAS_DEBUG": None})
    assert (said.code, said.out) == (1, "")
    # The command that raises it is a plugin's, of this very module.
    assert re.fullmatch(
        r"error: RuntimeError: first second\nThis is a bug in the plugin package test-plugin "
        r"\(.*fail, .*test_cli_main.py:\d+\); run it again with --debug for the traceback.\n",
        said.err,
    )
    result = failing(ppclas, bug, **asked)
    assert result.code == 1
    assert result.err.startswith("Traceback")


class Slip:
    """A plugin whose command makes a function of ppclas fail."""

    @hookimpl
    def register_commands(self, registry):
        registry.register("slip", click.Command("slip", callback=lambda: near_names(None, [1])))


def test_a_bug_in_our_own_code_is_ours(ppclas):
    with use_plugin(Slip()):
        assert "This is a bug in ppclas; run it again" in ppclas("slip").err


def test_debug_behind_two_dashes_is_an_argument(ppclas):
    assert "'--debug'" in ppclas("models", "info", "--", "--debug").err


def test_interrupted(ppclas):
    result = failing(ppclas, KeyboardInterrupt())
    assert (result.code, result.out, result.err.strip()) == (130, "", "interrupted")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a/b"),
            "a/b: Permission denied",
        ),
    ],
)
def test_a_fault_of_the_machine_is_no_bug_of_ours(ppclas, fault, words):
    said = f"error: {words}; --debug shows where that happened.\n"
    assert failing(ppclas, fault) == (1, "", said)


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


def test_names_in_errors_do_not_reach_the_terminal_as_they_are(ppclas):
    result = failing(ppclas, DataError("\x1b[31mred/a.txt: no\nsecond line"))
    assert result.err == "error: \\x1b[31mred/a.txt: no\nsecond line\n"


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
    ctx = click.Context(cli, info_name="ppclas")
    assert lazy._unknown("xyzzy", ctx, COMMANDS) == "There is no command 'xyzzy'."
    assert isinstance(cli, lazy.LazyGroup)


@pytest.mark.parametrize(
    ("group", "here"),
    [(group, here) for group, rows in meanings._COMMANDS.items() for here, _ in rows],
)
def test_what_a_command_of_another_program_is_called_here_exists(ppclas, group, here):
    named = here if here.startswith("ppclas ") else f"{group} {here}"
    result = ppclas(*named.removesuffix("--help").split()[1:], "--help")
    assert (result.code, result.err) == (0, "")


def test_words_of_other_programs_are_no_commands_here():
    for group, rows in meanings._COMMANDS.items():
        ctx = click.Context(cli, info_name="ppclas")
        place = cli
        for name in group.split()[1:]:
            place = place.get_command(ctx, name)
        known = place.list_commands(ctx)
        assert not {word for _, words in rows for word in words.split()} & set(known)


@pytest.mark.parametrize("arguments", [["serve", "run"], ["serve", "--help"], ["serve"]])
def test_a_command_of_a_package_that_is_missing_says_what_to_install(arguments):
    code = (
        "import sys; sys.modules['ppclas_serve'] = None; from ppclas_cli.main import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines()[-1] == (
        "error: ppclas serve needs a package that is not installed here. Run: pip install "
        '"ppclas-cli[serve]"'
    )
