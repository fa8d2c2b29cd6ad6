"""``crosstask compare``: methods compared by scores of any origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer

from crosstask.cli.options import Json
from crosstask.cli.terminal import out, progress_bar
from crosstask.errors import InputError
from crosstask.functional.improvement import LEVEL, MARGIN


def compare(
    tables: Annotated[
        list[str],
        typer.Argument(
            help="Tables of scores (CSV, TSV, Excel, Parquet), one row a method, seed, case, task and metric; "
            "nnU-Net's summary.json or folder of folds; or a benchmark's folder. Write METHOD:SEED=TABLE where a table "
            "does not say its method or seed.",
            metavar="[METHOD[:SEED]=]TABLE...",
        ),
    ],
    baseline: Annotated[str, typer.Option(help="The method that the others are compared with.")] = "stl",
    margin: Annotated[float, typer.Option(help="A difference below so many percent is equivalence.")] = MARGIN,
    level: Annotated[float, typer.Option(help="Of confidence of intervals and verdicts.")] = LEVEL,
    metric: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Option(
            help="By which a task is judged; default: its first in the tables. May be repeated.", metavar="TASK=METRIC"
        ),
    ] = None,
    better: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Which way is better, where there is no column higher_is_better; may be repeated.",
            metavar="METRIC=higher|lower",
        ),
    ] = None,
    column: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="What the tables call a column, e.g. seed=fold; may be repeated.", metavar="NAME=YOURS"),
    ] = None,
    task: Annotated[Optional[list[str]], typer.Option(help="Only this task; may be repeated.")] = None,  # noqa: UP045
    method: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Only this method and the baseline; may be repeated."),
    ] = None,
    least_positives: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1,
            help="Positive cases that a class must have to count in figures of all cases together, such as AUC; "
            "default: as the benchmark has it that they come from.",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Folder for the tables and a page: new, or of an earlier comparison."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare methods by scores of any origin: improvement over a baseline, its interval, and a verdict in words."""
    options = {
        "columns": _pairs("--column", column or (), "NAME=YOURS"),
        "metrics": _pairs("--metric", metric or (), "TASK=METRIC"),
        "better": _pairs("--better", better or (), "METRIC=higher"),
    }
    from crosstask.pipeline.comparing import compare_tables

    with progress_bar("Comparing") as progress:
        found = compare_tables(
            tables,
            baseline=baseline,
            margin=margin,
            level=level,
            tasks=task or (),
            methods=list(dict.fromkeys([baseline, *method])) if method else (),
            least_positives=least_positives,
            output=output,
            progress=progress,
            **options,
        )
    if as_json:
        typer.echo(found.to_json())
        return
    out.print(str(found), markup=False, end="")
    if found.page is not None:
        out.print(f"Page: {found.page.resolve()}", markup=False)


def _pairs(option: str, given: Sequence[str], form: str) -> dict[str, str]:
    """``{before: behind}`` the first equals sign of each."""
    pairs: dict[str, str] = {}
    for text in given:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not (name and sign and value):
            raise InputError(f"{option}: {text!r} cannot be understood; write {form}")
        if name in pairs:
            raise InputError(f"{option}: {name!r} is told twice, {pairs[name]!r} and {value!r}; take one of them")
        pairs[name] = value
    return pairs
