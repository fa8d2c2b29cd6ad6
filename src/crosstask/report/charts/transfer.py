"""What tasks did to each other: cosines over the epochs, and heat maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from crosstask.evaluation.transfer import Transfer
from crosstask.methods import label_of
from crosstask.report.charts.figure import INK, Entry, Figure, Panel, Spec, category, listed, quantity, rounded, tip
from crosstask.transfer import COSINE, WHOLE

_MOST_PAIRS = 3
"""Of tasks whose cosines are drawn as lines; of more there is a heat map a method."""
_LEAST_RANGE = 0.2
"""Largest cosine of an axis at least: of nothing but noise no mountains are made."""
HARM_TO_HELP = ["#b35806", "#f7f7f7", "#2166ac"]
"""From harm, orange, over white to help, blue."""
_PARTS = ("#35b779", "#31688e", "#90d743", "#443983", "#21918c", "#c8c020", "#6a4c93", "#8c8c8c")


def transfer_figures(transfer: Transfer) -> list[Figure]:
    """Cosines part by part: over the epochs where pairs of tasks are few, else as a heat map a method."""
    cosines = transfer.figures[transfer.figures["figure"] == COSINE]
    if cosines.empty:
        return []
    if len(cosines[["task", "other"]].drop_duplicates()) <= _MOST_PAIRS:
        return [cosine_lines(cosines)]
    cells = transfer.summary[transfer.summary["figure"] == COSINE]
    return [_maps([cells[cells["method"] == method] for method in transfer.methods], list(transfer.methods))]


def cosine_lines(cosines: pd.DataFrame) -> Figure:
    """A panel a method and pair of tasks, a line a part, mean over runs; the thick one is what all tasks share."""
    parts = [part for part in dict.fromkeys(cosines["part"]) if part != WHOLE]
    entries = [
        *(Entry(part, _PARTS[place % len(_PARTS)]) for place, part in enumerate(parts)),
        Entry(WHOLE, INK),
    ]
    found = [entry for entry in entries if (cosines["part"] == entry.label).any()]
    colours = {"domain": [entry.label for entry in found], "range": [entry.colour for entry in found]}
    means = cosines.groupby(["method", "task", "other", "part", "epoch"], sort=False)["value"].mean().reset_index()
    most = rounded(1.05 * max(_LEAST_RANGE, float(means["value"].abs().max())))
    panels, words = [], []
    for (method, task, other), own in means.groupby(["method", "task", "other"], sort=False):
        rows = [
            {"part": str(part), "epoch": int(epoch) + 1, "cosine": rounded(value), "whole": part == WHOLE}
            for part, epoch, value in own[["part", "epoch", "value"]].itertuples(index=False)
        ]
        title = f"{label_of(str(method))}: {task}, {other}"
        whole = own[own["part"] == WHOLE]["value"]
        words.append(f"{title}: mean cosine {(whole if len(whole) else own['value']).mean():+.2f}.")
        panels.append(Panel(title, _line_spec(rows, most, colours), aspect=1.4))
    return Figure(
        "cosines-over-epochs",
        "Cosine of the tasks' gradients over the epochs",
        panels,
        listed(words),
        note="Above 0 the tasks pull the shared weights the same way, below 0 apart. Mean over seeds.",
        key=found,
    )


def _line_spec(rows: list[dict[str, Any]], most: float | None, colours: Spec) -> Spec:
    epochs = max(row["epoch"] for row in rows)
    x = quantity("epoch", "epoch", axis={"tickMinStep": 1, "format": "d"}, scale={"domain": [1, max(2, epochs)]})
    return {
        "data": {"values": rows},
        "layer": [
            {
                "data": {"values": [{"zero": 0}]},
                "mark": {"type": "rule", "strokeDash": [2, 3], "opacity": 0.6},
                "encoding": {"y": quantity("zero", "cosine")},
            },
            {
                "mark": {"type": "line", "point": epochs <= 20 and {"size": 16}},
                "encoding": {
                    "x": x,
                    "y": quantity("cosine", "cosine", scale={"domain": [-(most or 1), most or 1], "nice": False}),
                    "color": category("part", scale=colours),
                    "size": {"condition": {"test": "datum.whole", "value": 2.6}, "value": 1.4},
                    "tooltip": tip("part", "epoch", "cosine"),
                },
            },
        ],
    }


def cosine_map(summary: pd.DataFrame, title: str) -> Figure:
    """A heat map of one method: pairs of tasks by parts.

    Args:
        summary: rows of :func:`crosstask.evaluation.transfer.summarise`, of cosines.
        title: of the map.
    """
    return dataclasses.replace(_maps([summary], list(summary["method"].iloc[:1])), title=title)


def _maps(summaries: Sequence[pd.DataFrame], methods: Sequence[str]) -> Figure:
    """A heat map a method: pairs of tasks by parts."""
    panels, words = [], []
    for summary, method in zip(summaries, methods, strict=True):
        pairs = summary["task"] + ", " + summary["other"]
        table = summary.assign(pair=pairs).pivot(index="pair", columns="part", values="value")
        table = table.loc[list(dict.fromkeys(pairs)), list(dict.fromkeys(summary["part"]))]
        values = table.to_numpy(dtype=float)
        panels.append(_heat(label_of(method), table, values, size=1.0, form="+.2f"))
        row, column = map(int, np.unravel_index(np.nanargmin(values), values.shape))
        words.append(
            f"{label_of(method)}: lowest {values[row, column]:+.2f}, {table.index[row]} in {table.columns[column]}."
        )
    note = "Mean over epochs and seeds. Blue: the tasks pull the shared weights the same way; orange: apart."
    return Figure("cosines", "Cosine of the tasks' gradients", panels, listed(words), note=note, columns=2, least=420)


def affinity_figure(summary: pd.DataFrame, title: str, level: float) -> Figure:
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
    values = table.to_numpy(dtype=float)
    size = float(np.abs(values[told]).max()) if told.any() else 0.0
    shown = np.where(told, values, 0.0)
    panel = _heat("", table, shown, size=size or 1.0, form="+.0f", axes=("loss of", "step for"))
    words = [
        f"A step for {one} changes the loss of {other} by {-value:+.0f} millionths."
        for (row, column), value in np.ndenumerate(values)
        if told[row, column]
        for one, other in [(table.index[row], table.columns[column])]
    ]
    note = "Millionths by which a step lowers a loss. Blue: lower; orange: higher; without colour: not told from 0."
    return Figure("affinity", title, [panel], listed(words) or "Nothing can be told from 0.", note=note, columns=1)


def _heat(
    title: str,
    table: pd.DataFrame,
    coloured: np.ndarray,
    *,
    size: float,
    form: str,
    axes: tuple[str | None, str | None] = (None, None),
) -> Panel:
    """Figures of a table as a heat map, coloured by others of the same shape."""
    values = table.to_numpy(dtype=float)
    rows = [
        {
            "row": str(table.index[row]),
            "column": str(table.columns[column]),
            "value": rounded(value),
            "shade": rounded(coloured[row, column]),
        }
        for (row, column), value in np.ndenumerate(values)
        if np.isfinite(value)
    ]
    scale = {"domain": [-size, 0, size], "range": HARM_TO_HELP, "clamp": True}
    axis = {"grid": False, "ticks": False, "domain": False}
    ink = {"condition": {"test": f"abs(datum.shade) > {0.65 * size:g}", "value": "white"}, "value": "#111111"}
    columns, names = list(map(str, table.columns)), list(map(str, table.index))
    spec: Spec = {
        "data": {"values": rows},
        "encoding": {
            "x": category("column", axes[0], sort=columns, axis={**axis, "labelAngle": -35}),
            "y": category("row", axes[1], sort=names, axis=axis),
        },
        "layer": [
            {"mark": {"type": "rect"}, "encoding": {"color": quantity("shade", scale=scale, legend=None)}},
            {
                "mark": {"type": "text", "fontSize": 11},
                "encoding": {"text": {"field": "value", "type": "quantitative", "format": form}, "color": ink},
            },
        ],
    }
    height = max(80, 28 * len(names))
    return Panel(title, spec, height=height, aspect=max(1.0, 58 * len(columns) / height))
