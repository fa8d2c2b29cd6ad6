"""``crosstask benchmark``: one experiment after the other, and their common table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from crosstask.cli.answering import answer
from crosstask.cli.documents import comparison_document
from crosstask.cli.showing import show_comparison
from crosstask.cli.terminal import out

if TYPE_CHECKING:
    from crosstask.cli.elsewhere import Elsewhere
    from crosstask.pipeline.context import Context
    from crosstask.pipeline.seeds import Aim


def run_benchmarks(
    contexts: Sequence[Context],
    arguments: Sequence[str],
    *,
    jobs: int,
    aim: Aim | None,
    table: Path,
    elsewhere: Elsewhere,
    as_json: bool,
) -> None:
    """Run and show.

    Args:
        contexts: the experiments.
        arguments: of the command line, by which they were read.
        jobs: runs at a time.
        aim: seeds are added until it is reached; None for the experiments' own.
        table: folder of the common table of several experiments.
        elsewhere: where runs are done.
        as_json: show them as a JSON document.
    """
    from crosstask.pipeline.slurm import do_one

    if elsewhere.run is not None:
        spec = do_one(contexts, elsewhere.run)
        out.print(f"{spec.name}: done; {spec.folder}", markup=False)
        if as_json:
            answer({"run": spec.name, "folder": spec.folder})
        return
    from crosstask.pipeline.benchmark import Manner, compare_together, run_benchmark, train_together

    first = contexts[0].experiment
    several = len(contexts) > 1
    seeds = [] if aim is None else ["--until", f"{aim.half_width:.17g}", "--max-seeds", str(aim.max_seeds)]
    command = ["benchmark", *arguments, *(["--table", str(table)] if several else [])]
    comparisons = []
    scripts = (table if several else first.output_folder) / "slurm"
    with _submission_told(as_json), elsewhere.runner(scripts, first.name, command, seeds, jobs) as who:
        manner = Manner(jobs if who is None else 1, runner=who)
        if several and who is not None:
            train_together(contexts, manner, who, aim)
        for context in contexts:
            comparisons.append(run_benchmark(context, manner, aim=aim))
            show_comparison(comparisons[-1])
    path = compare_together(comparisons, table) if several else None
    if path is not None:
        out.print(path.read_text(encoding="utf-8"), markup=False)
        out.print(f"Table: {path.parent.resolve()}", markup=False)
    if as_json:
        documents = [comparison_document(comparison) for comparison in comparisons]
        answer(documents[0] if path is None else {"benchmarks": documents, "table": path.parent.resolve()})


@contextlib.contextmanager
def _submission_told(as_json: bool) -> Iterator[None]:
    """Say so where runs were given to SLURM, and end there: they are compared by a later job."""
    from crosstask.pipeline.slurm import Submitted, submission_of

    try:
        yield
    except Submitted as later:
        runs = f"{later.runs} run{'s' * (later.runs != 1)}"
        what = "submitted" if later.submitted else f"submit with: {submission_of(later.script)}"
        out.print(f"SLURM: {runs} to do; {what}", markup=False)
        if as_json:
            answer({"script": later.script, "runs": later.runs, "submitted": later.submitted})
        raise typer.Exit from None
