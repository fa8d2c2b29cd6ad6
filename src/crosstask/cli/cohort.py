"""``crosstask cohort``: describe one's own data."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape
from rich.prompt import Prompt
from rich.table import Table

from crosstask.cli.answering import answer
from crosstask.cli.options import Json
from crosstask.cli.terminal import manner, out
from crosstask.errors import InputError
from crosstask.files import must_be_new

if TYPE_CHECKING:
    from crosstask.datasets.cohort.proposal import Proposal

cohort_app = typer.Typer(help="Describe your own data: one table, and files.", no_args_is_help=True)


@cohort_app.callback()
def _cohort() -> None:
    """Describe your own data: one table, and files."""


@cohort_app.command()
def init(
    data: Annotated[
        Path,
        typer.Argument(
            help="A table (CSV, TSV, Excel, Parquet; one row a case, images near it), a dataset.json of nnU-Net or the "
            "Decathlon, a COCO file, or a folder.",
            metavar="TABLE",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The cohort file to write.")] = Path("cohort.yaml"),
    experiment: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Option(help="Also write a small experiment file on the cohort, e.g. first.yaml."),
    ] = None,
    sheet: Annotated[Optional[str], typer.Option(help="Sheet of an Excel table; default: those that fit.")] = None,  # noqa: UP045
    show: Annotated[bool, typer.Option("--print", help="Print the files instead of writing them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take what is proposed; do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a table or folder and the files near it, and propose a cohort file with comments."""
    from crosstask.cli import capacity
    from crosstask.datasets.cohort.init import propose_cohort
    from crosstask.datasets.cohort.init_experiment import plan_of, starter_experiment
    from crosstask.datasets.cohort.proposal import assume

    files = [output] if experiment is None else [output, experiment]
    if len({file.absolute() for file in files}) < len(files):
        raise InputError(f"{output}: is named as cohort and as experiment file; give them two names")
    must_be_new(files if not show else [])
    asks = _on_terminal() and not (yes or show or as_json or manner.quiet)
    proposal = propose_cohort(data, output, sheet=sheet, ask=_ask if asks else assume)
    texts = {output: proposal.text, **proposal.files}
    jobs = 1
    if experiment is not None:
        own = capacity.this_machine()
        texts[experiment] = starter_experiment(proposal, experiment.stem, output, own)
        jobs = plan_of(proposal, own).jobs
    if show and not as_json:
        for text in texts.values():
            typer.echo(text)
        return
    must_be_new(list(texts) if not show else [])
    for file, text in texts.items() if not show else ():
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    if as_json:
        answer(
            {
                "files": {str(file): text for file, text in texts.items()},
                "written": not show,
                "found": [{"what": what, "found": value} for what, value in proposal.found],
                "notes": list(proposal.notes),
            }
        )
        return
    _show(proposal, texts, output, experiment, jobs)


def _show(proposal: Proposal, texts: Mapping[Path, str], output: Path, experiment: Path | None, jobs: int) -> None:
    """What was found and written, and what comes next."""
    found = Table("what", "found", title=None)
    for what, value in proposal.found:
        found.add_row(escape(what), escape(value))
    out.print(found)
    for note in proposal.notes:
        out.print(f"[yellow]look at[/] {escape(note)}")
    out.print(f"Wrote {escape(' and '.join(map(str, texts)))}. Read {escape(str(output))}, then:")
    out.print(f"  crosstask check cohort {shlex.quote(str(output))} --notes", markup=False)
    if experiment is not None:
        more = f" --jobs {jobs}" if jobs > 1 else ""
        out.print(f"  crosstask benchmark {shlex.quote(str(experiment))}{more}", markup=False)


def _on_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask(question: str, answers: Sequence[str], proposed: str) -> str:
    """Ask a person at the terminal."""
    return Prompt.ask(escape(question), console=out, choices=list(answers) or None, default=proposed)
