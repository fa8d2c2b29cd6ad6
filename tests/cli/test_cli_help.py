"""Help, completion and what a bare command costs."""

import shutil
import subprocess
import sys

import pytest
from cli_runner import SCRIPT, environment, run

from crosstask import __version__

COMMANDS = (
    "demo",
    "check",
    "prepare",
    "train",
    "evaluate",
    "predict",
    "benchmark",
    "score",
    "fetch",
    "cohort",
    "compare",
    "affinity",
    "watch",
    "config",
    "experiment",
)
HEAVY = ("torch", "monai", "lightning", "pandas", "numpy", "scipy", "pyarrow", "matplotlib", "blosc2", "yaml")

# Runs the command with its arguments and then tells on stderr which heavy modules it has imported.
_PROBE = f"""
import sys
from crosstask.cli.main import main
try:
    main()
finally:
    print(" ".join(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("-h",), *((command, "--help") for command in COMMANDS)], ids=" ".join
)
def test_help_is_plain_and_imports_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr.strip() == ""
    assert "Usage:" in done.stdout and "--help" in done.stdout
    assert "\x1b" not in done.stdout


def test_help_names_every_command(tmp_path):
    shown = run(tmp_path, "--help")
    assert shown.code == 0
    assert all(f" {command} " in shown.out for command in COMMANDS)


def test_bare_command_shows_the_help(tmp_path):
    shown = run(tmp_path)
    assert shown.code in (0, 2)  # click changed its mind in 8.2
    assert "Usage:" in shown.out + shown.err


def test_version(tmp_path):
    assert run(tmp_path, "--version").out.strip() == f"crosstask {__version__}"


@pytest.mark.parametrize("arguments", [("prepar",), ("check", "phantom"), ("evaluate", "--slit", "test")])
def test_faults_of_usage_are_told_by_exit_code_2_and_no_traceback(tmp_path, arguments):
    shown = run(tmp_path, *arguments)
    assert shown.code == 2
    assert "Usage:" in shown.err and "Traceback" not in shown.err
    assert "\x1b" not in shown.err


@pytest.mark.skipif(shutil.which("bash") is None, reason="completion of bash")
def test_completion_of_bash():
    """typer finds the shell by the process above it, hence a bash around the command."""
    shown = subprocess.run(
        ["bash", "-c", f"'{SCRIPT}' --show-completion bash; exit $?"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "complete -o default -F _crosstask_completion crosstask" in shown.stdout
    completed = subprocess.run(
        [SCRIPT],
        env=environment(_CROSSTASK_COMPLETE="complete_bash", COMP_WORDS="crosstask pre", COMP_CWORD="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.stdout.split() == ["prepare", "predict"] or completed.stdout.split() == ["predict", "prepare"]
