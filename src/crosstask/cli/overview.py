"""The help of ``crosstask`` itself, and its commands by name, without the parser: each took ten times as long with it.

The tables say what the parser would; ``tests/cli/test_cli_start.py`` holds them against it. Nothing is imported here
that a bare Python does not import itself.
"""

from __future__ import annotations

import os
import sys

ABOUT = "Multi-task learning for medical imaging: prepare, train, predict, compare."
OPTIONS = {
    "--version": "Show the version.",
    "--quiet, -q": "Errors and warnings only.",
    "--verbose, -v": "Also what is read and decided, where results go, and times; -vv: every file that is written.",
    "--install-completion": "Install completion for the current shell.",
    "--show-completion": "Show completion for the current shell, to copy it or customize the installation.",
    "--help, -h": "Show this message and exit.",
}
"""The options of the command itself, and what they do."""
COMMANDS = {
    "watch": "Watch a benchmark that another process runs: epochs, losses, scores, time left; ends with it, "
    "or by Ctrl-C.",
    "affinity": "Look, before a benchmark, at which tasks to learn together: a few epochs, gradients and "
    "affinities measured.",
    "compare": "Compare methods by scores of any origin: improvement over a baseline, its interval, and a "
    "verdict in words.",
    "report": "Compare the runs of a benchmark again and write its tables, figures and page anew; no data are needed.",
    "dvh": "Dose-volume histograms of structures: volumes, doses, and the figures that are asked for.",
    "configs": "List the experiments that come along, or print one; other commands take their names as they "
    "take files.",
    "pack": "Make one folder of a trained model, with its cards: no data, no ids, no paths of this machine, no pickle.",
    "list": "List data sets, architectures, methods, weightings and the like by name, those of plugins too.",
    "explain": "Explain the keys of an experiment or cohort file: type, default, range, meaning; options of "
    "every method too.",
    "demo": "Run a whole benchmark on generated phantoms: a few minutes on two CPU cores.",
    "fetch": "Download a public data set; of a private one, say where to apply.",
    "check": "Read a raw data set and say what is wrong with it, case by case.",
    "prepare": "Write the cases of a data set into the experiment's store, once.",
    "train": "Train the experiment's methods one after the other, without scoring; interrupted runs go on.",
    "evaluate": "Score a run on whole cases: one row per case, class and metric, and a summary. With --on: on "
    "external cases.",
    "predict": "Predict images with a trained run, all seeds of a method, or a packed model; goes on where it "
    "was stopped.",
    "export": "Write a run's network as ONNX and check it against PyTorch.",
    "benchmark": "Train methods x seeds, score them on test, and compare: the papers' Table 2. Resumes where it "
    "stopped.",
    "score": "Score predicted dose by the challenge's own rules.",
    "cohort": "Describe your own data: one table, and files.",
    "config": "The experiments and cohorts that come along.",
    "experiment": "Look at an experiment file.",
}
"""The commands, in the order of the help, and what they do."""
_BOLD, _DIM, _NAME, _SHORT, _USAGE, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[1;36m", "\x1b[1;32m", "\x1b[33m", "\x1b[0m"
_BOX, _ASCII = tuple("╭─╮│╰╯"), tuple("+-+|++")
_LEAST, _USUAL = 40, 80


def overview() -> str:
    """What ``crosstask --help`` prints: as wide as the terminal, in colour where it is one."""
    coloured, corners = _is_coloured(), _box()

    def style(text: str, code: str) -> str:
        return f"{code}{text}{_PLAIN}" if coloured and text else text

    usage = f" {style('Usage: ', _USAGE)}{style('crosstask [OPTIONS] COMMAND [ARGS]...', _BOLD)}"
    lines = ["", usage, "", f" {ABOUT}", ""]
    tables = {"Options": OPTIONS, "Commands": COMMANDS}
    lefts = {title: _columns(table) for title, table in tables.items()}
    width = max(_width(), max(map(sum, lefts.values())) + _LEAST)
    top, across, corner, side, low, last = corners
    for title, table in tables.items():
        first, second = lefts[title]
        room = width - first - second - 4
        lines.append(style(f"{top}{across} {title} {across * (width - len(title) - 5)}{corner}", _DIM))
        for name, told in table.items():
            long, _, short = name.partition(", ")
            names = style(long, _NAME) + " " * (first - len(long)) + style(short, _SHORT) + " " * (second - len(short))
            for part in _wrapped(told, room):
                lines.append(f"{style(side, _DIM)} {names}{part.ljust(room)} {style(side, _DIM)}")
                names = " " * (first + second)
        lines.append(style(f"{low}{across * (width - 2)}{last}", _DIM))
    return "\n".join([*lines, "", ""])


def _columns(table: dict[str, str]) -> tuple[int, int]:
    """How wide the long and the short names are, with the room behind them."""
    long = max(len(name.partition(", ")[0]) for name in table)
    short = max(len(name.partition(", ")[2]) for name in table)
    return long + 2, short + 2 if short else 0


def completed(shell: str, begun: str) -> str | None:
    """The commands that begin so, as typer tells a shell; None of a shell that asks otherwise.

    Args:
        shell: what the shell asks for: ``complete_bash`` or ``complete_zsh``.
        begun: what there is of the word.
    """
    found = {name: told for name, told in COMMANDS.items() if name.startswith(begun)}
    if shell == "complete_bash":
        return "\n".join(found) + "\n"
    if shell != "complete_zsh":
        return None
    if not found:
        return "_files\n"
    told = "\n".join(f'"{name}":"{_quoted(words)}"' for name, words in found.items())
    return f"_arguments '*: :(({told}))'\n"


def _quoted(text: str) -> str:
    """A text within double quotes within single ones, as zsh reads it."""
    for letter, other in (('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", "\\\\:")):
        text = text.replace(letter, other)
    return text


def _is_coloured() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and sys.platform != "win32"


def _box() -> tuple[str, ...]:
    """Corners and edges that the output knows."""
    try:
        "".join(_BOX).encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _ASCII
    return _BOX


def _width() -> int:
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL
    except (OSError, ValueError, AttributeError):
        return _USUAL


def _wrapped(text: str, width: int) -> list[str]:
    """A text in lines, as many words in each as it holds."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
