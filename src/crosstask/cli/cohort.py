"""``crosstask cohort``: describe one's own data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from crosstask.cli.answering import answer
from crosstask.cli.options import Json
from crosstask.cli.terminal import out
from crosstask.errors import InputError

cohort_app = typer.Typer(help="Describe your own data: one table, and files.", no_args_is_help=True)


@cohort_app.callback()
def _cohort() -> None:
    """Describe your own data: one table, and files."""


@cohort_app.command()
def init(
    table: Annotated[
        Path,
        typer.Argument(help="CSV, TSV, Excel or Parquet, one row a case; images lie near it.", metavar="TABLE"),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The cohort file to write.")] = Path("cohort.yaml"),
    experiment: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Option(help="Also write a small experiment file on the cohort, e.g. first.yaml."),
    ] = None,
    sheet: Annotated[Optional[str], typer.Option(help="Sheet of an Excel table; default: the first.")] = None,  # noqa: UP045
    show: Annotated[bool, typer.Option("--print", help="Print the files instead of writing them.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a table and the files near it, and propose a cohort file with comments."""
    from crosstask.datasets.cohort.init import propose_cohort
    from crosstask.datasets.cohort.init_experiment import starter_experiment

    files = [output] if experiment is None else [output, experiment]
    if len({file.absolute() for file in files}) < len(files):
        raise InputError(f"{output}: is named as cohort and as experiment file; give them two names")
    for file in files if not show else ():
        if file.exists():
            raise InputError(f"{file}: exists and is not overwritten; remove it or name another file")
        if not file.absolute().parent.is_dir():
            raise InputError(f"{file}: there is no folder {file.parent}; make it first")
    proposal = propose_cohort(table, output, sheet=sheet)
    texts = [proposal.text]
    if experiment is not None:
        texts.append(starter_experiment(proposal, experiment.stem, output))
    if show and not as_json:
        for text in texts:
            typer.echo(text)
        return
    for file, text in zip(files, texts, strict=True) if not show else ():
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    if as_json:
        answer(
            {
                "files": dict(zip(map(str, files), texts, strict=True)),
                "written": not show,
                "found": [{"what": what, "found": value} for what, value in proposal.found],
                "notes": list(proposal.notes),
            }
        )
        return
    found = Table("what", "found", title=None)
    for what, value in proposal.found:
        found.add_row(escape(what), escape(value))
    out.print(found)
    for note in proposal.notes:
        out.print(f"[yellow]look at[/] {escape(note)}")
    names = [shlex.quote(str(file)) for file in files]
    out.print(f"Wrote {escape(' and '.join(map(str, files)))}. Read {escape(str(output))}, then:")
    out.print(f"  crosstask check cohort {names[0]} --notes", markup=False)
    if experiment is not None:
        out.print(f"  crosstask benchmark {names[1]}", markup=False)
