"""``crosstask report``: a benchmark's page and tables made anew, without its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosstask.cli.answering import answer
from crosstask.cli.documents import comparison_document
from crosstask.cli.options import Json


def report(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of a benchmark's results, wherever it lies now.", metavar="BENCHMARK_DIR"),
    ],
    as_json: Json = False,
) -> None:
    """Compare the runs of a benchmark again and write its tables, figures and page anew; no data are needed."""
    from crosstask.cli.listening import Terminal
    from crosstask.cli.showing import show_comparison
    from crosstask.pipeline.reporting import report_again

    comparison = report_again(folder, Terminal())
    show_comparison(comparison)
    if as_json:
        answer(comparison_document(comparison))
