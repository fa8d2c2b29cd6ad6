"""``crosstask list``: what there is to name in an experiment, the package's and that of plugins."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer
from rich.markup import escape
from rich.table import Table

from crosstask.cli.answering import answer
from crosstask.cli.options import Json
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
    as_json: Json = False,
) -> None:
    """List data sets, architectures, methods, weightings and the like by name, those of plugins too."""
    if kind is not None:
        one_of("KIND", kind, tuple(REGISTRIES))
    load(plugin or ())
    kinds = tuple(REGISTRIES) if kind is None else (kind,)
    if as_json:
        answer({name: _entries(REGISTRIES[name]) for name in kinds})
    for name in kinds if not as_json else ():
        out.print(_table(name, REGISTRIES[name]))
    for broken in (one for one in installed() if one.fault):
        err.print(f"Plugin {broken.name!r} could not be loaded: {broken.fault}", markup=False)


def _entries(registry: Registry[Any]) -> list[dict[str, str]]:
    return [{"name": name, "from": _source(registry, name), "summary": _summary(registry[name])} for name in registry]


def _source(registry: Registry[Any], name: str) -> str:
    """The module of a plugin's entry; empty for what comes along."""
    return "" if registry.is_built_in(name) else str(getattr(registry[name], "__module__", ""))


def _table(title: str, registry: Registry[Any]) -> Table:
    entries = _entries(registry)
    columns = {"name": "Name", "from": "From", "summary": "What"}
    if not any(one["from"] for one in entries):
        del columns["from"]  # of plugins there is none
    table = Table(*columns.values(), title=title.capitalize(), title_justify="left", box=None)
    for one in entries:
        table.add_row(*(escape(one[key]) for key in columns))
    return table


def _summary(entry: Any) -> str:
    """What an entry is; of a method its label."""
    from crosstask.experiment.reference import summary_of
    from crosstask.methods import Method

    return entry.label if isinstance(entry, Method) else summary_of(entry)
