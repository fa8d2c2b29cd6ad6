"""``crosstask affinity``: a look before a benchmark at which tasks to learn together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from crosstask.cli.configs import tell_config
from crosstask.cli.options import ExperimentFile, Json, Overrides
from crosstask.cli.terminal import out

if TYPE_CHECKING:
    from crosstask.pipeline.affinity import TaskAffinity


def affinity(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    method: Annotated[str, typer.Option(help="What is trained; a weighting of its own behind a plus.")] = "hps+equal",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each run.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Runs; with one alone nothing can be told from chance.")] = 3,
    every: Annotated[int, typer.Option(min=1, help="Batches, of which one is looked at.")] = 5,
    groups: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Networks at most into which three and more tasks are divided; default: any number."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look, before a benchmark, at which tasks to learn together: a few epochs, gradients and affinities measured."""
    from crosstask.cli.listening import Terminal
    from crosstask.experiment import load_experiment
    from crosstask.pipeline.affinity import look

    tell_config(experiment)
    found = look(
        load_experiment(experiment, overrides or ()),
        Terminal(),
        method=method,
        epochs=epochs,
        seeds=seeds,
        every=every,
        groups=groups,
    )
    if as_json:
        typer.echo(found.to_json())
        return
    _show(found)


def _show(found: TaskAffinity) -> None:
    from crosstask.report.transfer import tables_of

    for title, (titles, rows) in tables_of(found.transfer)[:2]:
        view = Table(*map(escape, titles[1:]), title=escape(title), title_justify="left")
        for row in rows:
            view.add_row(*map(escape, row[1:]))
        out.print(view)
    out.print(found.sentence, markup=False)
    out.print(f"Tables and pictures: {found.folder.resolve()}", markup=False)
