"""Pictures of a benchmark: learning curves, cases and improvements. Reads tables, never a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from crosstask.evaluation.comparison import MEAN, Comparison
from crosstask.evaluation.scores import per_case
from crosstask.evaluation.verdict import BETTER, EQUIVALENT, NO_VERDICT, UNDECIDED, WORSE
from crosstask.methods import label_of
from crosstask.report.drawing import COLOURS, legend, panels, plain, png, styles
from crosstask.report.words import covered

_MOST_LINES = 300
_MARKS: dict[str, dict[str, Any]] = {
    BETTER: {"marker": "^", "color": "#0072b2"},
    WORSE: {"marker": "v", "color": "#d55e00"},
    EQUIVALENT: {"marker": "s", "color": "#117a5b"},
    UNDECIDED: {"marker": "o", "color": "0.45", "markerfacecolor": "white", "markeredgewidth": 1.6},
    NO_VERDICT: {"marker": "x", "color": "0.45", "markeredgewidth": 2},
}
"""Form and colour of each verdict, told apart without the colour as well."""


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
    """Improvement over the baseline, the mean of the tasks and each of them, with intervals and verdicts.

    The band is the margin of equivalence. None without a baseline or another method.
    """
    rows = [row for row in comparison.rows if any(math.isfinite(cell.improvement) for cell in row.cells.values())]
    if not rows:
        return None
    ticks: list[tuple[float, str, bool]] = []
    found: set[str] = set()
    place = 0.0
    figure, axis = plt.subplots(layout="constrained")
    for row in rows:
        means = [(MEAN, row.mean)] if len(row.cells) > 1 else []
        for task, cell in [*means, *row.cells.items()]:
            if math.isnan(cell.improvement):
                continue
            style, mean = _MARKS[cell.verdict], task == MEAN
            found.add(cell.verdict)
            axis.plot([cell.low, cell.high], [place, place], color=style["color"], linewidth=3.5 if mean else 1.8)
            axis.plot(cell.improvement, place, linestyle="none", markersize=9 if mean else 6.5, **style)
            ticks.append((place, f"{comparison.label(row.method)}, {task}", mean))
            place += 1
        place += 0.7  # a gap between methods
    figure.set_size_inches(7.2, 1.5 + 0.3 * place)
    axis.axvspan(-comparison.margin, comparison.margin, color="0.9", linewidth=0, zorder=0)
    axis.axvline(0, color="0.3", linewidth=0.8, zorder=1)
    axis.set_yticks([at for at, _, _ in ticks], [name for _, name, _ in ticks])
    for text, (_, _, mean) in zip(axis.get_yticklabels(), ticks, strict=True):
        text.set_fontweight("bold" if mean else "normal")
    axis.set_ylim(ticks[-1][0] + 0.6, -0.6)
    against = comparison.label(comparison.baseline_of(rows[0].method)) if _one_baseline(comparison) else "STL"
    axis.set_xlabel(f"improvement over {against}, % [{covered([comparison])}]")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    shown = {verdict: style for verdict, style in _MARKS.items() if verdict in found}
    handles: list[Any] = [
        Line2D([], [], linestyle="none", markersize=8, label=verdict, **style) for verdict, style in shown.items()
    ]
    handles.append(Patch(color="0.9", label=f"margin of {comparison.margin:g} %"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)), frameon=False)
    return png(figure)


def _one_baseline(comparison: Comparison) -> bool:
    return len({comparison.baseline_of(row.method) for row in comparison.rows}) == 1
