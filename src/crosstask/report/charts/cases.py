"""Case by case: boxes of every class with the cases that stand out, and each method against single-task learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from crosstask.evaluation.comparison import Comparison, Measure
from crosstask.evaluation.scores import per_case
from crosstask.report.charts.figure import (
    Entry,
    Figure,
    Panel,
    Spec,
    category,
    listed,
    quantity,
    rounded,
    scales,
    tip,
)

_MOST_PANELS = 12
_MOST_OUTSIDE = 12
"""Cases beyond a whisker that are drawn, of each box: the farthest."""
_MOST_POINTS = 400
"""Of a scatter."""


def box_figures(scores: pd.DataFrame, comparison: Comparison, looks: Mapping[str, Entry]) -> list[Figure]:
    """M of every case as boxes, a panel a class, for every task whose M is one of single cases.

    Args:
        scores: the long table.
        comparison: the methods compared.
        looks: of the methods.
    """
    return [
        figure
        for measure in comparison.measures
        if measure.of == "case" and (figure := _boxes(scores, measure, comparison, looks)) is not None
    ]


def _boxes(scores: pd.DataFrame, measure: Measure, comparison: Comparison, looks: Mapping[str, Entry]) -> Figure | None:
    rows = scores[(scores["task"] == measure.task) & (scores["metric"] == measure.metric)]
    classes = list(dict.fromkeys(rows["class"]))
    methods = [row.method for row in comparison.rows]
    panels, words = [], []
    for name in classes[:_MOST_PANELS]:
        own = rows[rows["class"] == name].groupby(["method", "case"], sort=False, observed=True)["value"].mean()
        boxes: list[dict[str, Any]] = []
        outside: list[dict[str, Any]] = []
        for method in methods:
            if method not in own.index.get_level_values(0):
                continue
            values = own[method].dropna()
            if values.empty:
                continue
            box, far = _box(values)
            label = looks[method].label
            boxes.append({"method": label, **{key: rounded(value) for key, value in box.items()}, "n": len(values)})
            outside += [{"method": label, "value": rounded(value), "case": str(case)} for case, value in far.items()]
            words.append(f"{name or measure.task}, {label}: median {box['median']:.3g}.")
        if boxes:
            panels.append(Panel(name or "", _box_spec(boxes, outside, measure, looks), height=220, aspect=1.2))
    if not panels:
        return None
    left = len(classes) - _MOST_PANELS
    note = (
        "Box: the middle half of the test cases (each the mean over seeds), line: median, whiskers: up to 1.5 boxes "
        f"beyond; points are cases outside, at most {_MOST_OUTSIDE} a box."
    ) + (f" {left} more classes are in scores.csv." if left > 0 else "")
    title = f"{measure.task}: {measure.metric} of the test cases"
    return Figure(f"cases-{file_word(measure.task)}", title, panels, listed(words, 24), note=note, least=250)


def _box(values: pd.Series) -> tuple[dict[str, float], pd.Series]:
    """Quartiles and whiskers after Tukey, and the cases beyond these that are farthest."""
    low, median, high = np.percentile(values, [25, 50, 75])
    reach = 1.5 * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    box = {"low": low, "median": median, "high": high, "least": inside.min(), "most": inside.max()}
    far = values[(values < inside.min()) | (values > inside.max())]
    return box, far.loc[(far - median).abs().sort_values(ascending=False).index[:_MOST_OUTSIDE]]


def _box_spec(
    boxes: list[dict[str, Any]], outside: list[dict[str, Any]], measure: Measure, looks: Mapping[str, Entry]
) -> Spec:
    better = "higher" if measure.higher_is_better else "lower"
    title = f"{measure.metric}{f', {measure.unit}' if measure.unit else ''} ({better} is better)"
    look = scales(looks)
    labels = [box["method"] for box in boxes]
    x = category("method", sort=labels, axis={"labelAngle": -35 if len(labels) > 4 else 0, "labelLimit": 90})
    colour = category("method", scale=look["color"])
    told = tip("method", "median", ("low", "lower quartile"), ("high", "upper quartile"), ("n", "cases"))
    scale = {"zero": False, "nice": True}
    far: Spec = {
        "data": {"values": outside},
        "mark": {"type": "point", "filled": True, "size": 22, "opacity": 0.75},
        "encoding": {
            "x": x,
            "y": quantity("value", title, scale=scale),
            "color": colour,
            "tooltip": tip("case", "method", "value"),
        },
    }
    return {
        "data": {"values": boxes},
        "encoding": {"x": x},
        "layer": [
            {
                "mark": {"type": "rule"},
                "encoding": {"y": quantity("least", title, scale=scale), "y2": {"field": "most"}},
            },
            {
                "mark": {"type": "bar", "width": {"band": 0.55}, "opacity": 0.85},
                "encoding": {
                    "y": quantity("low", title, scale=scale),
                    "y2": {"field": "high"},
                    "color": colour,
                    "tooltip": told,
                },
            },
            {
                "mark": {"type": "tick", "color": "white", "thickness": 2, "width": {"band": 0.55}},
                "encoding": {"y": quantity("median", title, scale=scale), "tooltip": told},
            },
            *([far] if outside else []),
        ],
    }


def rival_figures(scores: pd.DataFrame, comparison: Comparison, looks: Mapping[str, Entry]) -> list[Figure]:
    """Who wins case by case: M of each case under a method against that under its baseline, a panel a method.

    Args:
        scores: the long table.
        comparison: the methods compared.
        looks: of the methods.
    """
    figures = []
    for measure in comparison.measures:
        if measure.of != "case":
            continue
        rows = per_case(scores[(scores["task"] == measure.task) & (scores["metric"] == measure.metric)])
        table = rows.groupby(["case", "method"], observed=True)["value"].mean().unstack()
        panels: list[Panel] = []
        words: list[str] = []
        for row in comparison.rows:
            baseline = comparison.baseline_of(row.method)
            if row.method == baseline or not {row.method, baseline} <= set(table):
                continue
            pair = table[[baseline, row.method]].dropna()
            if pair.empty or len(panels) == _MOST_PANELS:
                continue
            gain = (pair[row.method] - pair[baseline]) * (1 if measure.higher_is_better else -1)
            won = 100 * float((np.sign(gain).mean() + 1) / 2)
            label = looks[row.method].label
            words.append(f"{label} is better in {won:.0f} % of {len(pair)} cases.")
            title = f"{label}: better in {won:.0f} % of the cases"
            names = (comparison.label(baseline), label)
            panels.append(Panel(title, _rival_spec(pair, gain, measure, names, looks[row.method]), aspect=1.1))
        if panels:
            over = f" At most {_MOST_POINTS} cases are drawn, evenly chosen by their gain." * (
                len(table) > _MOST_POINTS
            )
            figures.append(
                Figure(
                    f"rivals-{file_word(measure.task)}",
                    f"{measure.task}: who wins case by case",
                    panels,
                    listed(words),
                    note=f"A point a test case, mean over seeds; on the line both are equal.{over}",
                )
            )
    return figures


def _rival_spec(pair: pd.DataFrame, gain: pd.Series, measure: Measure, names: tuple[str, str], look: Entry) -> Spec:
    order = gain.sort_values().index
    step = -(-len(order) // _MOST_POINTS)
    kept = sorted({*order[::step], order[0], order[-1]}, key=str)
    values = [
        {
            "case": str(case),
            "x": rounded(pair.loc[case].iloc[0]),
            "y": rounded(pair.loc[case].iloc[1]),
            "better": names[1] if gain[case] > 0 else names[0] if gain[case] < 0 else "equal",
        }
        for case in kept
    ]
    unit = f", {measure.unit}" if measure.unit else ""
    low, high = float(pair.min().min()), float(pair.max().max())
    room = 0.03 * ((high - low) or abs(high) or 1)
    scale = {"domain": [rounded(low - room), rounded(high + room)], "nice": False, "zero": False}
    colours = {"domain": [names[1], names[0], "equal"], "range": [look.colour, "#7a7a7a", "#aaaaaa"]}
    shapes = {"domain": [names[1], names[0], "equal"], "range": ["triangle-up", "triangle-down", "circle"]}
    return {
        "layer": [
            {
                "data": {"values": [{"x": low - room, "y": low - room}, {"x": high + room, "y": high + room}]},
                "mark": {"type": "line", "color": "#888888", "strokeDash": [3, 3], "strokeWidth": 1},
                "encoding": {
                    "x": quantity("x", f"{names[0]}: {measure.metric}{unit}", scale=scale),
                    "y": quantity("y", f"{names[1]}: {measure.metric}{unit}", scale=scale),
                },
            },
            {
                "data": {"values": values},
                "mark": {"type": "point", "filled": True, "size": 34, "opacity": 0.65},
                "encoding": {
                    "x": quantity("x", scale=scale, title=f"{names[0]}: {measure.metric}{unit}"),
                    "y": quantity("y", scale=scale, title=f"{names[1]}: {measure.metric}{unit}"),
                    "color": category("better", scale=colours, legend=None),
                    "shape": category("better", scale=shapes, legend=None),
                    "tooltip": tip("case", ("x", names[0]), ("y", names[1]), "better"),
                },
            },
        ]
    }


def file_word(name: str) -> str:
    """A name as a part of a file's name."""
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name)
