"""``crosstask benchmark``: one experiment after the other, and their common table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crosstask.cli.answering import answer
from crosstask.cli.documents import comparison_document
from crosstask.cli.showing import show_comparison
from crosstask.cli.terminal import out

if TYPE_CHECKING:
    from crosstask.pipeline.context import Context
    from crosstask.pipeline.seeds import Aim


def run_benchmarks(contexts: Sequence[Context], *, jobs: int, aim: Aim | None, table: Path, as_json: bool) -> None:
    """Run and show.

    Args:
        contexts: the experiments.
        jobs: runs at a time.
        aim: seeds are added until it is reached; None for the experiments' own.
        table: folder of the common table of several experiments.
        as_json: show them as a JSON document.
    """
    from crosstask.pipeline.benchmark import compare_together, run_benchmark

    comparisons = []
    for context in contexts:
        comparisons.append(run_benchmark(context, jobs=jobs, aim=aim))
        show_comparison(comparisons[-1])
    path = compare_together(comparisons, table) if len(contexts) > 1 else None
    if path is not None:
        out.print(path.read_text(encoding="utf-8"), markup=False)
        out.print(f"Table: {path.parent.resolve()}", markup=False)
    if as_json:
        documents = [comparison_document(comparison) for comparison in comparisons]
        answer(documents[0] if path is None else {"benchmarks": documents, "table": path.parent.resolve()})
