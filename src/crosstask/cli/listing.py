"""``crosstask list``: what there is to name in an experiment, the package's and that of plugins."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer
from rich.markup import escape
from rich.table import Table

from crosstask.cli.showing import one_of
from crosstask.cli.terminal import err, out
from crosstask.plugins import installed, load
from crosstask.registry import REGISTRIES, Registry


def list_entries(
    kind: Annotated[
        Optional[str],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Argument(help=f"Only these: {', '.join(REGISTRIES)}.", metavar="[KIND]"),
    ] = None,
    plugin: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Also load this module or Python file, as the key plugins of an experiment does."),
    ] = None,
) -> None:
    """List data sets, architectures, methods, weightings and the like by name, those of plugins too."""
    if kind is not None:
        one_of("KIND", kind, tuple(REGISTRIES))
    load(plugin or ())
    for name in REGISTRIES if kind is None else (kind,):
        out.print(_table(name, REGISTRIES[name]))
    for broken in (one for one in installed() if one.fault):
        err.print(f"Plugin {broken.name!r} could not be loaded: {broken.fault}", markup=False)


def _table(title: str, registry: Registry[Any]) -> Table:
    table = Table("Name", "From", "", title=title.capitalize(), title_justify="left", box=None)
    for name in registry:
        entry = registry[name]
        source = "" if registry.is_built_in(name) else getattr(entry, "__module__", "")
        table.add_row(escape(name), escape(source), escape(_summary(entry)))
    return table


def _summary(entry: Any) -> str:
    """What an entry is; of a method its label."""
    from crosstask.experiment.reference import summary_of
    from crosstask.methods import Method

    return entry.label if isinstance(entry, Method) else summary_of(entry)
