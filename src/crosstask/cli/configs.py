"""``crosstask configs`` and ``crosstask config``: the experiment and cohort files that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from crosstask.cli.answering import answer
from crosstask.cli.options import Json
from crosstask.cli.terminal import note, out
from crosstask.errors import InputError
from crosstask.files import must_be_new
from crosstask.registry import did_you_mean
from crosstask.shipped import config_file, config_names, find_config, is_shipped, title_of

config_app = typer.Typer(help="The experiments and cohorts that come along.", no_args_is_help=True)


@config_app.callback()
def _config() -> None:
    """The experiments and cohorts that come along."""


def configs(
    name: Annotated[Optional[str], typer.Argument(help="Print this one, e.g. to change it: > my.yaml.")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """List the experiments that come along, or print one; other commands take their names as they take files."""
    if name is None:
        list_configs(as_json)
    else:
        _print(name, as_json)


@config_app.command("list")
def list_configs(as_json: Json = False) -> None:
    """List the experiments and cohorts that come along."""
    if as_json:
        answer({"configs": [{"name": name, "title": title_of(name)} for name in config_names()]})
        return
    table = Table("Name", "What", box=None)
    for known in config_names():
        table.add_row(known, title_of(known))
    out.print(table)


@config_app.command("get")
def get_config(
    name: Annotated[str, typer.Argument(help="One of crosstask config list.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Option("--output", "-o", help="A new file for it; default: it is printed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a file that comes along, or write it where it can be changed."""
    if output is None:
        _print(name, as_json)
        return
    text = _text(name)
    if output.is_dir():
        output = output / config_file(name).name
    must_be_new([output])
    output.write_text(text, encoding="utf-8")
    if as_json:
        answer({"name": name, "file": output})
    else:
        out.print(f"Wrote {output}", markup=False)


def _print(name: str, as_json: bool) -> None:
    text = _text(name)
    if as_json:
        answer({"name": name, "text": text})
    else:
        typer.echo(text, nl=False)


def _text(name: str) -> str:
    if name not in config_names():
        hint = did_you_mean(name, config_names()).strip() or "crosstask configs lists them"
        raise InputError(f"{name!r}: no such experiment or cohort comes along; {hint}")
    return config_file(name).read_text(encoding="utf-8")


def tell_config(path: Path) -> None:
    """Say which file is taken where a name was given."""
    if is_shipped(path):
        note(f"Experiment {path}: {find_config(path)}, which comes with crosstask")
