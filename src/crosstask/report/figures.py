"""Pictures of a benchmark: learning curves, cases, and examples. Reads files, never a network."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from crosstask.benchmark.comparison import Comparison
from crosstask.benchmark.scores import per_case
from crosstask.methods import BASELINE
from crosstask.report.tables import label

_COLOURS = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()


def learning_curves(histories: Mapping[str, Sequence[pd.DataFrame]], tasks: Sequence[str]) -> bytes:
    """Validation skill of each task over the epochs; one line a run."""
    figure, axes = plt.subplots(1, len(tasks), figsize=(4.6 * len(tasks), 3.2), squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=True):
        for index, (method, runs) in enumerate(histories.items()):
            column = f"skill/{task}"
            for number, run in enumerate(run for run in runs if column in run):
                name = label(method) if number == 0 else None
                axis.plot(run["epoch"] + 1, run[column], color=_COLOURS[index % 10], label=name, linewidth=1.5)
        axis.axhline(0, color="0.6", linewidth=0.8, linestyle=":")
        axis.set(title=task, xlabel="epoch", ylabel="validation skill")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    return _png(figure)


def case_plot(scores: pd.DataFrame, comparison: Comparison) -> bytes:
    """M of every case under every method, one line a case: how the methods differ where it matters."""
    methods = [row.method for row in comparison.rows]
    figure, axes = plt.subplots(
        1, len(comparison.measures), figsize=(4.6 * len(comparison.measures), 3.4), squeeze=False
    )
    for axis, measure in zip(axes[0], comparison.measures, strict=True):
        part = per_case(scores[(scores["task"] == measure.task) & (scores["metric"] == measure.metric)])
        table = part.groupby(["case", "method"])["value"].mean().unstack()[methods]
        axis.plot(range(len(methods)), table.to_numpy().T, color="0.75", linewidth=0.7)
        axis.plot(range(len(methods)), table.mean().to_numpy(), "o-", color=_COLOURS[3], linewidth=2, label="mean")
        axis.set_xticks(range(len(methods)), [label(method) for method in methods])
        better = "higher" if measure.higher_is_better else "lower"
        axis.set(title=measure.task, ylabel=f"{measure.metric} ({measure.unit}), {better} is better")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.tight_layout()
    return _png(figure)


def improvement_plot(comparison: Comparison) -> bytes | None:
    """Improvement over STL per task with its interval; None without a baseline or another method."""
    rows = [row for row in comparison.rows if row.method != BASELINE]
    if not rows or len(rows) == len(comparison.rows):
        return None
    figure, axis = plt.subplots(figsize=(6.4, 0.5 + 0.42 * len(rows) * len(comparison.measures)))
    ticks: list[str] = []
    for row in rows:
        for index, measure in enumerate(comparison.measures):
            cell = row.cells[measure.task]
            if math.isnan(cell.improvement):
                continue
            at = len(ticks)
            axis.plot([cell.low, cell.high], [at, at], color=_COLOURS[index], linewidth=2.5, alpha=0.6)
            axis.plot(cell.improvement, at, "o", color=_COLOURS[index])
            ticks.append(f"{label(row.method)}, {measure.task}")
    if not ticks:
        plt.close(figure)
        return None
    axis.axvline(0, color="0.3", linewidth=0.8)
    axis.set_yticks(range(len(ticks)), ticks)
    axis.invert_yaxis()
    axis.set_xlabel("improvement over STL, % (95 % interval over cases)")
    axis.spines[["top", "right", "left"]].set_visible(False)
    return _png(figure)


def example_picture(case: str, runs: Mapping[str, Sequence[Mapping[str, np.ndarray]]]) -> bytes:
    """One slice of a case: the truth and each method, masks as contours and quantities as colours on the image.

    Args:
        case: id of the case.
        runs: ``{method: arrays of its runs' examples}``.
    """
    tasks: dict[str, tuple[str, str]] = {}
    for files in runs.values():
        for arrays in files:
            for key in arrays:
                if key.startswith(f"{case}/") and key.endswith("/picture"):
                    style, unit = (str(value) for value in arrays[key])
                    tasks[key.split("/")[1]] = (style, unit)
    columns = ["reference", *runs]
    figure, axes = plt.subplots(
        len(tasks),
        len(columns) + 1,  # the last column holds each row's legend
        figsize=(2.5 * len(columns) + 1.3, 2.6 * len(tasks)),
        squeeze=False,
        width_ratios=[1.0] * len(columns) + [0.45],
        layout="constrained",
    )
    window = _window(runs, case)
    for row, (task, (style, unit)) in enumerate(tasks.items()):
        key = axes[row][-1]
        key.set_axis_off()
        for column, name in enumerate(columns):
            axis = axes[row][column]
            axis.set_axis_off()
            if row == 0:
                axis.set_title("reference" if name == "reference" else label(name), fontsize=10)
            found = _with(runs, case, task, None if name == "reference" else name)
            if found is None:
                continue
            arrays = found
            height, width = arrays[f"{case}/spacing"]
            axis.imshow(arrays[f"{case}/image"][window], cmap="gray", aspect=height / width, vmin=-1, vmax=0.4)
            which = "target" if name == "reference" else "prediction"
            values = arrays[f"{case}/{task}/{which}"][:, window[0], window[1]]
            if style == "contours":
                present = arrays[f"{case}/{task}/present"] if name == "reference" else np.ones(len(values), dtype=bool)
                for index in range(len(values)):
                    if present[index] and (values[index] > 0.5).any():
                        axis.contour(values[index], [0.5], colors=[_COLOURS[index % 10]], linewidths=1.2)
            else:
                top = float(arrays[f"{case}/{task}/target"].max()) or 1.0
                shown = np.ma.masked_less(values[0], 0.02 * top)
                painted = axis.imshow(shown, cmap="turbo", alpha=0.65, vmin=0, vmax=top, aspect=height / width)
                if name == "reference":
                    bar = figure.colorbar(painted, ax=key, fraction=0.5, shrink=0.9, location="left")
                    bar.set_label(f"{task}, {unit}")
                    bar.ax.yaxis.set_ticks_position("right")
                    bar.ax.yaxis.set_label_position("right")
            if style == "contours" and name == "reference":
                handles = [
                    plt.Line2D([], [], color=_COLOURS[index % 10], label=str(structure))
                    for index, structure in enumerate(arrays[f"{case}/{task}/classes"])
                ]
                key.legend(handles=handles, loc="center left", frameon=False, fontsize=8)
    return _png(figure)


def _with(
    runs: Mapping[str, Sequence[Mapping[str, np.ndarray]]], case: str, task: str, method: str | None
) -> Mapping[str, np.ndarray] | None:
    """Arrays of the first run (of one method, or of any) that predicts a task of a case."""
    for name, files in runs.items():
        if method in (None, name):
            for arrays in files:
                if f"{case}/{task}/target" in arrays:
                    return arrays
    return None


def _window(runs: Mapping[str, Sequence[Mapping[str, np.ndarray]]], case: str) -> tuple[slice, slice]:
    """The part of the slice that is not empty, with a margin: air around a head is not worth looking at."""
    image = next(arrays[f"{case}/image"] for files in runs.values() for arrays in files)
    inside = image > image.min() + 0.05 * (image.max() - image.min())
    parts = []
    for axis in (0, 1):
        hits = np.flatnonzero(inside.any(axis=1 - axis))
        margin = max(2, inside.shape[axis] // 20)
        first, last = (hits[0], hits[-1]) if hits.size else (0, inside.shape[axis] - 1)
        parts.append(slice(max(0, first - margin), min(inside.shape[axis], last + margin + 1)))
    return parts[0], parts[1]
