"""What a start of the command costs: what help and completion import, and that their short ways say the same."""

import os
import subprocess
import sys

import pytest
import typer
from cli_runner import environment

from crosstask.cli import overview
from crosstask.cli.app import app, app_for

# Runs the command and then tells on stderr which modules a bare Python has not.
_PROBE = """
import sys
sys.argv[0] = "crosstask"
before = set(sys.modules)
from crosstask.cli.main import main
try:
    main()
finally:
    print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""
LOOKS = {
    "--help": ["--help"],
    "-h": ["-h"],
    "--version": ["--version"],
}
SHELLS = {
    "bash": {"_CROSSTASK_COMPLETE": "complete_bash", "COMP_WORDS": "crosstask\npre", "COMP_CWORD": "1"},
    "zsh": {"_CROSSTASK_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "crosstask pre"},
}


def started(*arguments: str, **variables: str) -> tuple[str, set[str]]:
    """What the command prints, and the modules that it imports."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout, set(done.stderr.split())


@pytest.fixture(scope="module")
def group():
    """The whole application as typer builds it."""
    return typer.main.get_command(app)


@pytest.mark.parametrize("arguments", LOOKS.values(), ids=LOOKS)
def test_a_look_imports_a_handful_of_small_modules(arguments):
    _, modules = started(*arguments)
    own = {name for name in modules if name.split(".")[0] == "crosstask"}
    assert own <= {"crosstask", "crosstask.cli", "crosstask.cli.main", "crosstask.cli.overview"}
    assert not {name.split(".")[0] for name in modules - own} - {"__future__"}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_of_a_command_imports_no_parser(shell):
    text, modules = started(**SHELLS[shell])
    assert "prepare" in text and "predict" in text and "train" not in text.replace("trained", "")
    assert "typer" not in modules and "rich" not in modules


def test_completion_of_bash_says_what_typer_would(monkeypatch):
    """Asked in a way that the short way does not know (quotes), typer answers itself."""
    short, _ = started(**SHELLS["bash"])
    long, modules = started(**{**SHELLS["bash"], "COMP_WORDS": "crosstask 'pre'"})
    assert "typer" in modules
    assert sorted(short.split()) == sorted(long.split())


def test_completion_of_options_is_of_that_command_alone():
    text, modules = started(_CROSSTASK_COMPLETE="complete_bash", COMP_WORDS="crosstask train --me", COMP_CWORD="2")
    assert text.split() == ["--method"]
    assert not {"torch", "pandas", "numpy"} & modules


def test_completion_of_an_unknown_command_is_of_files():
    assert overview.completed("complete_zsh", "xyz") == "_files\n"
    assert overview.completed("complete_bash", "xyz") == "\n"
    assert overview.completed("complete_fish", "pre") is None


def test_the_table_of_commands_is_that_of_the_parser(group):
    told = {name: " ".join((one.help or "").split("\n\n")[0].split()) for name, one in group.commands.items()}
    assert told == overview.COMMANDS
    assert list(told) == list(overview.COMMANDS)


def test_the_table_of_options_is_that_of_the_parser(group):
    told = {", ".join(one.opts): one.help for one in group.params}
    context = group.make_context("crosstask", [], resilient_parsing=True)
    assert {
        ", ".join(sorted(context.help_option_names, key=len, reverse=True)): "Show this message and exit."
    } | told == (overview.OPTIONS)
    assert group.help == overview.ABOUT


@pytest.mark.parametrize("width", [50, 80, 133])
def test_help_is_as_wide_as_the_terminal_and_loses_no_word(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    text = overview.overview()
    boxed = [line for line in text.splitlines() if line[:1] in "╭│╰+|" and line]
    assert boxed and {len(line) for line in boxed} == {max(width, len(boxed[0]))}
    words = " ".join(line.strip("│| ") for line in text.splitlines()).split()
    for told in [overview.ABOUT, *overview.OPTIONS.values(), *overview.COMMANDS.values()]:
        wanted = told.split()
        assert any(words[at : at + len(wanted)] == wanted for at in range(len(words))), told


def test_help_has_colours_where_they_are_wanted_and_plain_corners_where_an_output_knows_no_others(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;36mtrain\x1b[0m" in overview.overview()
    text, _ = started("--help", PYTHONIOENCODING="ascii")
    assert "+- Commands -" in text and "?" not in text


def test_one_command_is_built_alone_and_a_word_that_is_none_gives_all():
    assert [info.callback.__name__ for info in app_for("train").registered_commands] == ["train"]
    assert app_for("train").registered_groups == []
    assert [info.name for info in app_for("config").registered_groups] == ["config"]
    assert app_for("") is app and app_for("trian") is app
    assert len(app.registered_commands) > 10, "the application itself stays whole"


def test_the_application_is_to_be_had_from_the_command():
    from crosstask.cli import main

    assert main.app is app
    with pytest.raises(AttributeError, match="nonsense"):
        _ = main.nonsense


def test_what_was_asked_for_is_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "crosstask.cli.main", "trian"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 2 and "trian" in done.stderr and "train" in done.stderr
