"""Write the pages that are made from the code: keys, commands, and what comes along (``make reference``)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import typer
import yaml

from crosstask.cli.app import app
from crosstask.cli.explaining import cohort_page, page
from crosstask.experiment.cohort_keys import cohort_keys
from crosstask.experiment.reference import all_keys
from crosstask.shipped import config_file, config_names

HERE = Path(__file__).parent

COMMANDS = """# Every command and option

Made by `make reference` from the commands themselves; `crosstask COMMAND --help` says the same on a terminal.
`crosstask --install-completion` sets up completion by the tab key.

The exit code is 0 where all went well, 2 where the input has to be changed (the last line says what to do), 3 where
`predict` wrote some cases and could not write others, 130 after Ctrl-C, and 1 for anything else.
"""
CONFIGS = """# What comes along

Made by `make reference` from the files. A name stands wherever a command or a function takes an experiment or a cohort
file: `crosstask benchmark openkbp-small`. `crosstask configs` lists them, and `crosstask configs NAME > my.yaml` makes
a file of your own of one; [its keys](experiment.md) can also be changed on the command line.
"""


def commands_page() -> str:
    """All commands with their arguments and options, in Markdown."""
    top = typer.main.get_command(app)
    own = [parameter for parameter in top.params if not parameter.name.endswith("_completion")]  # typer's
    parts = [COMMANDS, "\nBefore the command:\n", _rows(own, top)]
    for name, command in sorted(_commands(top, "crosstask")):
        parts.append(f"\n## {name}\n\n{_text(command.help)}\n\n```sh\n{_usage(name, command)}\n```\n")
        parts.append(_rows(command.params, command))
    return "".join(parts)


def _rows(parameters: list[Any], command: Any) -> str:
    """The table of arguments and options; nothing where there are none."""
    rows = [_row(parameter, command) for parameter in parameters]
    return "\n| | default | |\n|---|---|---|\n" + "".join(rows) if rows else ""


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """``(name, command)`` of all that can be called, also below others."""
    for key, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {key}")
        else:
            yield f"{name} {key}", command


def _usage(name: str, command: Any) -> str:
    options = [one for one in command.params if one.required and not _is_argument(one)]
    needed = [f"{one.opts[0]} {_value(one, command)}" for one in options]
    arguments = [_argument(one) for one in command.params if _is_argument(one)]
    return " ".join([name, "[OPTIONS]", *needed, *arguments])


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _argument(argument: Any) -> str:
    """How an argument stands in the usage: in brackets where it may be left out."""
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _value(option: Any, command: Any) -> str:
    """What stands for the value of an option."""
    hint = str(get_type_hints(command.callback)[option.name])
    kind = "PATH" if "Path" in hint else "NUMBER" if "int" in hint or "float" in hint else "TEXT"
    return str(option.metavar or kind)


def _row(parameter: Any, command: Any) -> str:
    if _is_argument(parameter):
        name = f"`{_argument(parameter)}`"
    else:
        name = ", ".join(f"`{one}`" for one in parameter.opts)
        name += "" if parameter.is_flag else f" `{_value(parameter, command)}`"
    default = parameter.default
    given = "" if default is None or default is False or callable(default) else f"`{default}`"
    return f"| {_cell(name)} | {'needed' if parameter.required else given} | {_cell(_text(parameter.help))} |\n"


def _text(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def configs_page() -> str:
    """The experiments and cohorts that come along, each with what its file says at its head, in Markdown."""
    names = [name for name in config_names() if "/" not in name]
    parts = [CONFIGS, "\n| experiment | data | tasks | encoder | methods |\n|---|---|---|---|---|\n"]
    parts += [_config_row(name) for name in names]
    for title, those in (("Experiments", names), ("Cohorts", [name for name in config_names() if "/" in name])):
        parts.append(f"\n## {title}\n")
        parts += [f"\n### {name}\n\n```yaml\n{_head(name)}\n```\n" for name in those]
    return "".join(parts)


def _config_row(name: str) -> str:
    values = yaml.safe_load(config_file(name).read_text(encoding="utf-8"))
    data = values["dataset"]
    where = data["root"] if str(data["root"]).startswith("cohorts/") else data["name"]
    cells = [f"[{name}](#{name})", f"`{where}`", ", ".join(data["tasks"]), values["encoder"]["name"]]
    return f"| {' | '.join([*cells, ', '.join(values['methods'])])} |\n"


def _head(name: str) -> str:
    """The comment at the head of a file."""
    lines = config_file(name).read_text(encoding="utf-8").splitlines()
    end = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


PAGES = {
    "experiment.md": lambda: page(all_keys()),
    "cohort-file.md": lambda: cohort_page(cohort_keys()),
    "commands.md": commands_page,
    "configs.md": configs_page,
}
"""Page of this folder -> what makes it."""


if __name__ == "__main__":
    for name, make in PAGES.items():
        (HERE / name).write_text(make(), encoding="utf-8")
