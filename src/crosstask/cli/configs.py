"""``crosstask configs``: the experiment and cohort files that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from crosstask.cli.terminal import err, out
from crosstask.errors import InputError
from crosstask.registry import did_you_mean
from crosstask.shipped import config_file, config_names, find_config, is_shipped, title_of


def configs(
    name: Annotated[Optional[str], typer.Argument(help="Print this one, e.g. to change it: > my.yaml.")] = None,  # noqa: UP045
) -> None:
    """List the experiments that come along, or print one; other commands take their names as they take files."""
    if name is None:
        table = Table("Name", "What", box=None)
        for known in config_names():
            table.add_row(known, title_of(known))
        out.print(table)
        return
    if name not in config_names():
        hint = did_you_mean(name, config_names()).strip() or "crosstask configs lists them"
        raise InputError(f"{name!r}: no such experiment or cohort comes along; {hint}")
    typer.echo(config_file(name).read_text(encoding="utf-8"), nl=False)


def tell_config(path: Path) -> None:
    """Say which file is taken where a name was given."""
    if is_shipped(path):
        err.print(f"Experiment {path}: {find_config(path)}, which comes with crosstask", markup=False)
