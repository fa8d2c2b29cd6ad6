"""A benchmark's page and tables made anew from its folder alone, wherever that lies now."""

from __future__ import annotations

from pathlib import Path

from crosstask.errors import InputError
from crosstask.evaluation.run import is_done
from crosstask.pipeline.benchmark import assembled, compared
from crosstask.pipeline.benchmark_tables import LongTables, under_other_rules
from crosstask.pipeline.facts import read_facts
from crosstask.pipeline.listener import Listener
from crosstask.pipeline.results import Comparison
from crosstask.pipeline.subject import experiment_at
from crosstask.plugins import load
from crosstask.report.benchmark_page import write_report
from crosstask.runs import EXPERIMENT, RECORD, plugins_at, run_specs


def report_again(folder: Path, listener: Listener | None = None, *, write: bool = True) -> Comparison:
    """Compare the runs of a benchmark's folder again; no data and no store are needed.

    Args:
        folder: of a benchmark, which may have been moved.
        listener: told what happens.
        write: write its tables and page anew.

    Raises:
        InputError: the folder is none of a benchmark, or runs are missing or not done.
    """
    listener = listener or Listener()
    if not (folder / EXPERIMENT).is_file():
        raise InputError(f"{folder}: is no folder of a benchmark (no {EXPERIMENT} in it); give one that benchmark made")
    experiment = experiment_at(folder)
    first = next(iter(sorted((folder / "runs").glob(f"**/{RECORD}"))), None)
    load(plugins_at(first.parent, experiment.plugins) if first is not None else experiment.plugins)
    specs = run_specs(experiment)
    missing = [spec.name for spec in specs if not is_done(spec)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{folder}: {missing[0]}{more} of {len(specs)} runs are not done; run crosstask benchmark to its end"
        )
    facts = read_facts(folder, experiment, specs)
    with listener.progress("Reporting", at_once=False):
        tables = LongTables.kept(specs, folder)
        others = under_other_rules(experiment, specs)
        comparison, whole = assembled(facts, specs, tables, compared(facts, tables), others, {})
        if write:
            write_report(whole, folder)
    return comparison
