"""``--dry-run``: what would be done, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from crosstask.cli.answering import answer
from crosstask.cli.terminal import err, out
from crosstask.history import duration

if TYPE_CHECKING:
    from crosstask.pipeline.context import Context
    from crosstask.pipeline.planning import Plan


def show_plans(
    contexts: Sequence[Context], method: str | None, *, jobs: int = 1, scored: bool, as_json: bool = False
) -> None:
    """Show what the work on some experiments would be.

    Args:
        contexts: the experiments.
        method: only the runs of this method.
        jobs: runs at a time.
        scored: whether the runs are scored and compared, too.
        as_json: show it as a JSON document.
    """
    from crosstask.pipeline.planning import plan_of

    plans = [plan_of(context, method, jobs=jobs, scored=scored) for context in contexts]
    if as_json:
        documents = [{"dry_run": True, **plan.as_dict()} for plan in plans]
        answer(documents[0] if len(plans) == 1 else {"dry_run": True, "benchmarks": documents})
        return
    for plan in plans:
        _show(plan, scored)
    out.print("Nothing was written (--dry-run).", markup=False)


def _show(plan: Plan, scored: bool) -> None:
    from crosstask.pipeline.planning import DONE, is_known

    experiment, cases = plan.context.experiment, plan.cases
    changes = {
        "to prepare": cases.written,
        "to prepare again": cases.rebuilt,
        "to remove": cases.removed,
    }
    rest = "".join(f", {len(ids)} {what}" for what, ids in changes.items() if ids)
    out.print(f"Cases: {len(cases.kept)} prepared{rest}; store {experiment.store_folder}", markup=False)
    for seed, split in (plan.splits or {}).items():
        text = ", ".join(f"{count} {name}" for name, count in split.items())
        out.print(f"Splits{f' of seed {seed}' if experiment.dataset.splits.by_seed else ''}: {text}", markup=False)
        if not experiment.dataset.splits.by_seed:
            break
    if plan.splits is None:
        out.print("Splits: are known once the cases are prepared", markup=False)
    table = Table("Run", "", "Epochs", "Parameters", box=None)
    for run in plan.runs:
        epochs = f"{run.progress.epochs} of {run.progress.planned}"
        table.add_row(escape(run.spec.name), run.state, epochs, f"{run.parameters / 1e6:.2f} M")
    out.print(table)
    left = [run for run in plan.runs if run.state != DONE]
    out.print(f"Runs: {len(left)} of {len(plan.runs)} to do; {experiment.output_folder / 'runs'}", markup=False)
    if scored:
        then = [f"external cases {name}" for name in experiment.external]
        out.print(f"Then: {', '.join([*then, 'comparison, tables and page'])}", markup=False)
    if left:
        known = is_known(plan.seconds)
        time = f"about {duration(plan.seconds)}" if known else "unknown, as no epoch was timed in this output yet"
        out.print(f"Time: {time}", markup=False)
        out.print(f"Disk: at most {decimal(plan.bytes)} for weights; {decimal(plan.free)} are free", markup=False)
    if plan.bytes > plan.free:
        err.print(f"Warning: {experiment.output_folder}: the disk has too little room", markup=False)
