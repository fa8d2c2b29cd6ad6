"""Which weights were judged, and the improvements under other rules for the epoch. No torch here."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

from crosstask.csv_cells import csv_text
from crosstask.evaluation.epoch_rules import EpochRules
from crosstask.files import write_atomically
from crosstask.methods import label_of
from crosstask.report.markup import html_table
from crosstask.report.tables import markdown_notes, markdown_table, remark_lines, text_table
from crosstask.runs import JOINT, PER_TASK, RunSpec

_RULES = {
    "final": "last epoch",
    "best": "best epoch",
    "average": "averaged weights",
    JOINT: "one epoch for all tasks",
    PER_TASK: "each task's own epoch",
}
_COLUMNS = ("dataset", "rule", "method", "task", "improvement_percent")
NOTE = (
    "Improvements without an interval. One epoch for all tasks: of single-task learning, too, that of the highest mean "
    "validation skill; each task's own epoch: of multi-task methods, too. Both are chosen on validation cases, among "
    "an even grid of at most 10 epochs."
)


def weights_note(specs: Sequence[RunSpec]) -> str:
    """Which weights of the runs were judged, a sentence of each kind."""
    return " ".join(dict.fromkeys(_judged(spec) for spec in specs))


def _judged(spec: RunSpec) -> str:
    training = spec.experiment.training
    weights = spec.experiment.judged_weights
    if weights == "final":
        return "Judged: the weights of the last epoch."
    if weights == "average":
        constant = f"{training.average:g} epoch{'s' * (training.average != 1)}"
        return f"Judged: the moving average of the weights (time constant: {constant}) at the last epoch."
    epochs = training.smoothing
    smoothing = f": the highest score of the {epochs} in a row with the highest mean" if epochs > 1 else ""
    return f"Judged: the weights of the best epoch, chosen on validation cases{smoothing}."


def epochs_table(rules: EpochRules) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: of each method and task the improvement under each rule, that of the judged weights first."""
    first, *others = rules.rules
    titles = ["Method", "Task", f"Δ {_RULES[first]} (judged)", *(f"Δ {_RULES[rule]}" for rule in others)]
    known = {(gain.rule, gain.method, gain.task): gain.improvement for gain in rules.gains}
    lines = dict.fromkeys((gain.method, gain.task) for gain in rules.gains)
    rows = []
    for method, task in lines:
        gains = [known.get((rule, method, task), math.nan) for rule in rules.rules]
        rows.append([label_of(method), task, *("" if math.isnan(gain) else f"{gain:+.1f} %" for gain in gains)])
    return titles, rows


def epochs_csv(rules: EpochRules) -> str:
    """The same unrounded, a row for each rule, method and task."""
    rows: list[Sequence[object]] = [_COLUMNS]
    for gain in rules.gains:
        figure = "" if math.isnan(gain.improvement) else gain.improvement
        rows.append([rules.dataset, gain.rule, gain.method, gain.task, figure])
    return csv_text(rows)


def epochs_markdown(rules: EpochRules) -> str:
    """The table as Markdown, and how its figures came about."""
    return f"{markdown_table(*epochs_table(rules))}\n{markdown_notes([NOTE])}"


def epochs_parts(rules: EpochRules) -> list[str]:
    """The same as parts of the page; its remarks stand beside the comparison."""
    return [
        html_table(*epochs_table(rules)),
        f"<p class=note>{html.escape(NOTE)}</p>",
    ]


def write_epochs(rules: EpochRules | None, output: Path) -> None:
    """Write ``epochs.txt`` and ``epochs.csv``, or remove those from before; the remarks stand beside the comparison."""
    if rules is None:
        for name in ("epochs.txt", "epochs.csv"):
            (output / name).unlink(missing_ok=True)
        return
    write_atomically(output / "epochs.txt", text_table(*epochs_table(rules)) + remark_lines([NOTE]))
    write_atomically(output / "epochs.csv", epochs_csv(rules))
