"""Pictures of a benchmark: learning curves, cases and improvements. Reads tables, never a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd

from crosstask.evaluation.comparison import Comparison
from crosstask.evaluation.scores import per_case
from crosstask.methods import BASELINE, label_of
from crosstask.report.drawing import COLOURS, legend, panels, plain, png, styles
from crosstask.report.notes import covers

_MOST_LINES = 300


def learning_curves(histories: Mapping[str, Sequence[pd.DataFrame]], tasks: Sequence[str]) -> bytes:
    """Validation skill of each task over the epochs; one line a run."""
    figure, axes = panels(len(tasks), width=4.4, height=3.2, across=3)
    lines = styles(list(histories))
    for axis, task in zip(axes, tasks, strict=True):
        for method, runs in histories.items():
            column = f"skill/{task}"
            for number, run in enumerate(run for run in runs if column in run):
                name = label_of(method) if number == 0 else None
                axis.plot(run["epoch"] + 1, run[column], **lines[method], label=name, linewidth=1.5)
        axis.axhline(0, color="0.6", linewidth=0.8, linestyle=":")
        axis.set(title=task, xlabel="epoch", ylabel="validation skill")
        axis.xaxis.get_major_locator().set_params(integer=True)
        plain(axis)
    legend(axes[0], len(histories), loc="best")
    return png(figure)


def case_plot(scores: pd.DataFrame, comparison: Comparison) -> bytes | None:
    """M of every case under every method, one line a case; None where no M is a figure of single cases."""
    measures = [measure for measure in comparison.measures if measure.of == "case"]
    if not measures:
        return None
    methods = [row.method for row in comparison.rows]
    figure, axes = panels(len(measures), width=4.4, height=3.4, across=3)
    for axis, measure in zip(axes, measures, strict=True):
        part = per_case(scores[(scores["task"] == measure.task) & (scores["metric"] == measure.metric)])
        table = part.groupby(["case", "method"])["value"].mean().unstack()[methods]
        step = -(-len(table) // _MOST_LINES)
        axis.plot(range(len(methods)), table.iloc[::step].to_numpy().T, color="0.75", linewidth=0.7)
        axis.plot(range(len(methods)), table.mean().to_numpy(), "o-", color=COLOURS[3], linewidth=2, label="mean")
        turned = 30 if len(methods) > 4 else 0
        axis.set_xticks(
            range(len(methods)), map(comparison.label, methods), rotation=turned, ha="right" if turned else "center"
        )
        better = "higher" if measure.higher_is_better else "lower"
        title = measure.task if step == 1 else f"{measure.task} (a line for every {step} cases)"
        unit = f" ({measure.unit})" if measure.unit else ""
        axis.set(title=title, ylabel=f"{measure.metric}{unit}, {better} is better")
        plain(axis)
        axis.legend(frameon=False)
    return png(figure)


def improvement_plot(comparison: Comparison) -> bytes | None:
    """Improvement over STL (of its variant) per task with its interval; None without a baseline or another method."""
    rows = [row for row in comparison.rows if comparison.baseline_of(row.method) != row.method]
    if not rows or len(rows) == len(comparison.rows):
        return None
    ticks: list[tuple[float, str]] = []
    place = 0.0
    figure, axis = plt.subplots()
    for row in rows:
        drawn = False
        for index, measure in enumerate(comparison.measures):
            cell = row.cells[measure.task]
            if math.isnan(cell.improvement):
                continue
            drawn = True
            axis.plot([cell.low, cell.high], [place, place], color=COLOURS[index % 10], linewidth=2.5, alpha=0.6)
            axis.plot(cell.improvement, place, "o", color=COLOURS[index % 10], markersize=5)
            ticks.append((place, f"{comparison.label(row.method)}, {measure.task}"))
            place += 1
        place += 0.7 if drawn else 0  # a gap between methods
    if not ticks:
        plt.close(figure)
        return None
    figure.set_size_inches(6.4, 0.7 + 0.28 * place)
    axis.axvline(0, color="0.3", linewidth=0.8)
    axis.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axis.set_ylim(ticks[-1][0] + 0.6, -0.6)
    axis.set_xlabel(
        f"improvement over {comparison.label(comparison.baseline or BASELINE)}, % (95 % interval: {covers(comparison)})"
    )
    axis.spines[["top", "right", "left"]].set_visible(False)
    return png(figure)
