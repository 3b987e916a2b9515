"""docs/en/cli.md says what the commands say, and every other page gives commands that are there."""

import ast
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from ppclas_cli.main import cli
from ppclas_cli.table import COMMANDS

PROSE = {"and", "is", "on", "has", "in", "VALUE", "does", "takes", "reads", "writes"}
"""Words behind the name of a group where a sentence goes on."""
OF_PLUGINS = {"petals"}
"""Commands that a plugin of the tutorial brings."""
TOP = Path(__file__).parents[3]
GENERATOR = TOP / "docs" / "generate_cli.py"
PAGES = sorted([*TOP.glob("*.md"), *TOP.glob("docs/*/*.md"), *TOP.glob("packages/*/README.md")])
in_repository = pytest.mark.skipif(
    not GENERATOR.exists(), reason="the docs are in the repository, not in the package"
)


@in_repository
@pytest.mark.parametrize(
    ("name", "language"),
    [*itertools.product(("cli", "contracts", "comparison"), ("en", "zh"))],
)
def test_a_generated_page_is_up_to_date(name, language):
    # In a process of its own: a command keeps the help option of the first context it meets.
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['render'](*sys.argv[2:]), end='')"
    generator = GENERATOR.with_name(f"generate_{name}.py")
    command = [sys.executable, "-X", "utf8", "-c", code, generator]
    command += [language] if language != "en" else []
    run = subprocess.run(command, capture_output=True)
    page = (GENERATOR.parent / language / f"{name}.md").read_bytes()
    assert run.stdout.decode() == page.decode(), f"run: python docs/generate_{name}.py"


@in_repository
def test_every_hook_has_its_contract_on_the_page():
    hooks = re.findall(
        r"^### `(register_\w+)", (TOP / "docs" / "en" / "hooks.md").read_text(), re.MULTILINE
    )
    listed = re.findall(
        r"^## `(register_\w+)", (TOP / "docs" / "en" / "contracts.md").read_text(), re.MULTILINE
    )
    # Recipes are mappings, commands are click's.
    assert set(hooks) - set(listed) == {"register_recipes", "register_commands"}


def documented_commands():
    """Page and line, and the words of each command in a block of code or between backticks."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        in_block = False
        for number, line in enumerate(text.splitlines(), 1):
            in_block ^= line.lstrip().startswith("```")
            # A sentence may start with the program's name as well.
            pattern = r"^\s*(?:\$ )?(ppclas .*)" if in_block else r"`(ppclas [^`]*)`"
            for command in re.findall(pattern, line):
                yield (
                    f"{page.relative_to(TOP)}:{number}",
                    shlex.split(command, comments=True),
                )


def unknown_word(words):
    """The first word that is no command or option, None where all are."""
    command, context = cli, click.Context(cli, **cli.context_settings)
    for word in words[1:]:
        if word in ("|", ">", "&&"):
            return None
        if isinstance(command, click.Group) and not word.startswith("-"):
            if word in OF_PLUGINS:
                return None
            command = command.get_command(context, word)
            if command is None:
                return word
        options = {name for parameter in command.get_params(context) for name in parameter.opts}
        if re.match("-[a-z-]", word) and word.partition("=")[0] not in {*options, "--debug"}:
            return word
    return None


@in_repository
def test_commands_and_options_in_the_docs_are_there():
    found = list(documented_commands())
    assert len(found) > 100
    wrong = [
        (where, " ".join(words))
        for where, words in found
        if "COMMAND" not in words and unknown_word(words)
    ]
    assert not wrong


def advised_commands():
    """Place and words of each command that a string of the source advises: an error, a last line, a
    page. What a formatted value stands for is a word of its own.
    """
    for file in sorted(TOP.glob("packages/*/src/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "VALUE" for p in node.values]
                text = "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            for command in re.findall(r"(?:^|[ '`(])(ppclas [a-z]+(?: [^\n'`;()]*)?)", text):
                if command.split()[1] in COMMANDS:
                    sentence = re.split(r"[.,:?…](?:\s|$)|  +|\"", command)[0]
                    yield f"{file.relative_to(TOP)}:{node.lineno}", sentence.split()


@in_repository
def test_commands_that_messages_advise_are_there():
    found = list(advised_commands())
    assert len(found) > 60
    prose = re.compile(r"[a-z]+|[A-Z]+")
    wrong = []
    for where, words in found:
        word = unknown_word(words)
        # "ppclas models and …" is a sentence; "ppclas models lst" would be one word in it.
        if word and not (prose.fullmatch(word) and word in PROSE):
            wrong.append((where, " ".join(words), word))
    assert not wrong
