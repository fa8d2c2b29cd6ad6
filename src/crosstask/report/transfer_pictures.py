"""Pictures of what tasks did to each other: cosines over the epochs, and heat maps. Reads tables, never a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from crosstask.evaluation.transfer import Transfer
from crosstask.methods import label_of
from crosstask.report.drawing import panels, plain, png
from crosstask.transfer import COSINE, WHOLE

_MOST_PAIRS = 3
"""Of tasks whose cosines are drawn as lines; of more there is a heat map a method."""
_LEAST_RANGE = 0.2
"""Largest cosine of an axis at least: of nothing but noise no mountains are made."""
_COLOURS = "RdBu"
"""From harm, red, over white to help, blue."""


def transfer_pictures(transfer: Transfer) -> list[tuple[str, bytes]]:
    """Cosines part by part: over the epochs where pairs of tasks are few, else as a heat map a method."""
    cosines = transfer.figures[transfer.figures["figure"] == COSINE]
    if cosines.empty:
        return []
    if len(cosines[["task", "other"]].drop_duplicates()) <= _MOST_PAIRS:
        return [("Cosine of the tasks' gradients over the epochs", cosine_lines(cosines))]
    cells = transfer.summary[transfer.summary["figure"] == COSINE]
    maps = [cells[cells["method"] == method] for method in transfer.methods]
    titles = [label_of(method) for method in transfer.methods]
    return [("Cosine of the tasks' gradients", cosine_maps(maps, titles))]


def cosine_lines(cosines: pd.DataFrame) -> bytes:
    """A panel a method and pair of tasks, a line a part, mean over runs; black is what all tasks share together.

    Args:
        cosines: rows of :func:`crosstask.evaluation.transfer.collect_transfer`.
    """
    groups = list(cosines.groupby(["method", "task", "other"], sort=False))
    parts = [part for part in dict.fromkeys(cosines["part"]) if part != WHOLE]
    colours = dict(zip(parts, plt.get_cmap("viridis")(np.linspace(0, 0.95, len(parts))), strict=True))
    figure, axes = panels(len(groups), width=4.4, height=3.0, across=3)
    means = cosines.groupby(["method", "task", "other", "part", "epoch"])["value"].mean()
    most = 1.05 * max(_LEAST_RANGE, float(means.abs().max()))
    for axis, ((method, task, other), own) in zip(axes, groups, strict=True):
        for part, rows in own.groupby("part", sort=False):
            mean = rows.groupby("epoch")["value"].mean()
            style: dict[str, Any] = (
                {"color": "black", "linewidth": 2.2} if part == WHOLE else {"color": colours[part], "linewidth": 1.3}
            )
            axis.plot(mean.index + 1, mean.to_numpy(), marker="." if len(mean) < 20 else "", label=part, **style)
        axis.axhline(0, color="0.6", linewidth=0.8, linestyle=":")
        axis.set(title=f"{label_of(str(method))}: {task}, {other}", xlabel="epoch", ylabel="cosine", ylim=(-most, most))
        axis.xaxis.get_major_locator().set_params(integer=True)
        plain(axis)
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(6, len(handles)), frameon=False)
    return png(figure)


def cosine_maps(summaries: Sequence[pd.DataFrame], titles: Sequence[str]) -> bytes:
    """A heat map for each summary: pairs of tasks by parts.

    Args:
        summaries: rows of :func:`crosstask.evaluation.transfer.summarise`, of cosines.
        titles: of the maps.
    """
    tables = []
    for summary in summaries:
        pairs = summary["task"] + ", " + summary["other"]
        table = summary.assign(pair=pairs).pivot(index="pair", columns="part", values="value")
        tables.append(table.loc[list(dict.fromkeys(pairs)), list(dict.fromkeys(summary["part"]))])
    rows, columns = max(map(len, tables)), max(len(table.columns) for table in tables)
    figure, axes = panels(len(tables), width=2.2 + 0.62 * columns, height=1.2 + 0.36 * rows, across=2)
    for axis, table, title in zip(axes, tables, titles, strict=True):
        _draw(axis, table, title, 1.0, "{:+.2f}")
    return png(figure)


def affinity_map(summary: pd.DataFrame, title: str, level: float) -> bytes:
    """A heat map of affinities: a row a task that a step is for, a column a loss, in millionths.

    Only what can be told from 0 has a colour. What a step does for its own task has none: it would outshine the others.

    Args:
        summary: rows of :func:`crosstask.evaluation.transfer.summarise`, of affinities.
        title: of the map.
        level: of confidence.
    """
    tasks = list(dict.fromkeys(summary["task"]))
    table, p = (summary.pivot(index="task", columns="other", values=name).loc[tasks, tasks] for name in ("value", "p"))
    table, told = 1e6 * table, p.to_numpy(dtype=float) <= 1 - level
    size = float(np.abs(table.to_numpy(dtype=float)[told]).max()) if told.any() else 0.0
    figure, (axis,) = panels(1, width=2.4 + 0.9 * len(tasks), height=1.6 + 0.5 * len(tasks), across=1)
    _draw(axis, table, title, size or 1.0, "{:+.0f}", blank=~told)
    axis.set(xlabel="loss of", ylabel="step for")
    return png(figure)


def _draw(axis: Any, table: pd.DataFrame, title: str, size: float, form: str, blank: np.ndarray | None = None) -> None:
    values = table.to_numpy(dtype=float)
    coloured = values if blank is None else np.where(blank, 0.0, values)
    axis.imshow(coloured, cmap=_COLOURS, vmin=-size, vmax=size, aspect="auto")
    axis.set_xticks(range(len(table.columns)), list(table.columns), rotation=40, ha="right")
    axis.set_yticks(range(len(table)), list(table.index))
    axis.set_title(title)
    axis.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if abs(coloured[row, column]) > 0.65 * size else "black"
            axis.text(column, row, form.format(value), ha="center", va="center", fontsize=8, color=colour)
