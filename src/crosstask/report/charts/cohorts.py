"""Image-level predictions: ROC and precision-recall curves, confusion matrices, calibration, predicted against true."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crosstask.evaluation.predictions import cohort_of
from crosstask.functional.cohort import Cohort, cohort_metric, mean_over_classes
from crosstask.report.charts.cases import file_word
from crosstask.report.charts.figure import Entry, Figure, Panel, Spec, category, listed, quantity, rounded, scales, tip

_BINS = 10
_MOST_POINTS = 400
_MOST_CLASSES = 12
_GRID = np.linspace(0, 1, 51)
Curve = tuple[np.ndarray, np.ndarray]
Looks = Mapping[str, Entry]


def cohort_figures(predictions: pd.DataFrame, looks: Looks, units: Mapping[str, str]) -> list[Figure]:
    """Figures of every image-level task.

    Args:
        predictions: the table of predictions of all runs.
        looks: of the methods, in order.
        units: of each task's quantity.
    """
    figures: list[Figure] = []
    for task, part in predictions.groupby("task", sort=False):
        kind = part["values"].iloc[0]
        shown = [method for method in looks if (part["method"] == method).any()]
        if not shown:
            continue
        if kind == "quantity":
            figures.append(_against(str(task), part, shown, looks, units.get(str(task), "")))
            continue
        figures += [_curves(str(task), part, shown, looks, curve) for curve in (ROC, PRECISION_RECALL)]
        if kind == "softmax":
            figures.append(_confusion(str(task), part, shown, looks))
        figures.append(_calibration(str(task), part, shown, looks))
    return figures


def _runs(part: pd.DataFrame, method: str) -> list[Cohort]:
    """The cohort of each seed."""
    classes = list(dict.fromkeys(part["class"]))
    rows = part[part["method"] == method]
    return [cohort_of(run, classes=classes)[2] for _, run in rows.groupby("seed", sort=True)]


def roc(true: np.ndarray, probability: np.ndarray) -> Curve:
    """False and true positive rates at every threshold, from none to all; empty without cases of both kinds."""
    if true.all() or not true.any():
        return np.empty(0), np.empty(0)
    hits, false = _counts(true, probability)
    return np.r_[0, false / false[-1]], np.r_[0, hits / hits[-1]]


def precision_recall(true: np.ndarray, probability: np.ndarray) -> Curve:
    """Recall and precision at every threshold, from the highest down; empty without cases of both kinds."""
    if true.all() or not true.any():
        return np.empty(0), np.empty(0)
    hits, false = _counts(true, probability)
    precision = hits / (hits + false)
    return np.r_[0, hits / hits[-1]], np.r_[precision[0], precision]


def _counts(true: np.ndarray, probability: np.ndarray) -> Curve:
    """True and false positives at every threshold; cases of equal probability are decided together."""
    order = np.argsort(-probability, kind="stable")
    last = np.r_[np.diff(probability[order]) != 0, True]
    return np.cumsum(true[order])[last], np.cumsum(~true[order])[last]


def _at_grid(curve: Curve) -> np.ndarray:
    """Heights of a curve at equal steps; where it goes straight up, its upper end."""
    x, y = curve
    place = np.searchsorted(x, _GRID, side="right") - 1
    step = np.minimum(place + 1, len(x) - 1)
    run = x[step] - x[place]
    share = np.divide(_GRID - x[place], run, out=np.zeros_like(_GRID), where=run > 0)
    return y[place] + share * (y[step] - y[place])


class _Kind:
    """A kind of curve: its formula, axes, and the figure that belongs to it."""

    def __init__(
        self, name: str, title: str, of: Callable[[np.ndarray, np.ndarray], Curve], axes: tuple[str, str], area: str
    ) -> None:
        self.name, self.title, self.of, self.axes, self.area = name, title, of, axes, area


ROC = _Kind("roc", "ROC curves", roc, ("1 - specificity", "sensitivity"), "auc")
PRECISION_RECALL = _Kind(
    "precision-recall", "precision and recall", precision_recall, ("recall", "precision"), "average_precision"
)


def _area(kind: _Kind, curve: Curve, true: np.ndarray, probability: np.ndarray) -> float:
    """In percent: of ROC by the trapezium rule, which is the AUC; of precision and recall the average precision."""
    x, y = curve
    if kind is ROC:
        return 100 * float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
    return 100 * float(np.sum(np.diff(x) * y[1:]))


def _curves(task: str, part: pd.DataFrame, methods: Sequence[str], looks: Looks, kind: _Kind) -> Figure:
    """A panel a class, a line a method: mean over seeds, and between the lowest and the highest a band."""
    classes = list(dict.fromkeys(part["class"]))
    cohorts = {method: _runs(part, method) for method in methods}
    panels, words = [], []
    for place, name in enumerate(classes[:_MOST_CLASSES]):
        rows: list[dict[str, Any]] = []
        share = 0.0
        for method in methods:
            curves, areas = [], []
            for cohort in cohorts[method]:
                there = cohort.present[:, place]
                true, probability = cohort.target[there, place] > 0.5, cohort.prediction[there, place]
                curve = kind.of(true, probability)
                if curve[0].size:
                    curves.append(_at_grid(curve))
                    areas.append(_area(kind, curve, true, probability))
                    share = float(true.mean())
            if not curves:
                continue
            heights, area = np.stack(curves), float(np.mean(areas))
            label = looks[method].label
            words.append(f"{name}, {label}: area {area:.1f} %.")
            rows += [
                {
                    "method": label,
                    "x": rounded(x),
                    "y": rounded(column.mean()),
                    "low": rounded(column.min()),
                    "high": rounded(column.max()),
                    "area": rounded(round(area, 1)),
                }
                for x, column in zip(_GRID, heights.T, strict=True)
            ]
        if rows:
            shown = "" if classes == [task] else str(name)
            panels.append(Panel(shown, _curve_spec(rows, kind, share, scales(looks)), height=220, aspect=1.15))
    left = len(classes) - _MOST_CLASSES
    note = "Line: mean over seeds; band: lowest to highest seed. Dotted: chance."
    if len(classes) > 1:
        note += " A class against all others."
    note += f" {left} more classes are not drawn." * (left > 0)
    return Figure(
        f"{kind.name}-{file_word(task)}",
        f"{task}: {kind.title}",
        panels,
        listed(words, 16),
        note=note,
        key=[looks[method] for method in methods],
        least=240,
    )


def _curve_spec(rows: list[dict[str, Any]], kind: _Kind, share: float, look: dict[str, Spec]) -> Spec:
    bounds = {"domain": [0, 1], "nice": False}
    horizontal, vertical = kind.axes
    chance = [(0, 0), (1, 1)] if kind is ROC else [(0, share), (1, share)]
    x = quantity("x", horizontal, scale=bounds, axis={"tickCount": 5})
    axis = {"scale": bounds, "axis": {"tickCount": 5}}
    return {
        "data": {"values": rows},
        "encoding": {"x": x},
        "layer": [
            {
                "data": {"values": [{"x": x, "y": rounded(y)} for x, y in chance]},
                "mark": {"type": "line", "color": "#888888", "strokeDash": [2, 3], "strokeWidth": 1},
                "encoding": {"y": quantity("y", vertical, **axis)},
            },
            {
                "mark": {"type": "area", "opacity": 0.14},
                "encoding": {
                    "y": quantity("low", vertical, **axis),
                    "y2": {"field": "high"},
                    "color": category("method", scale=look["color"]),
                },
            },
            {
                "mark": {"type": "line", "strokeWidth": 1.8},
                "encoding": {
                    "y": quantity("y", vertical, **axis),
                    "color": category("method", scale=look["color"]),
                    "strokeDash": category("method", scale=look["dash"]),
                    "tooltip": tip("method", ("area", "area, %"), ("x", horizontal), ("y", vertical)),
                },
            },
        ],
    }


def _confusion(task: str, part: pd.DataFrame, methods: Sequence[str], looks: Looks) -> Figure:
    """Cases by true class (rows) and by decision (columns), all seeds added up; a panel a method."""
    classes = [str(name) for name in dict.fromkeys(part["class"])]
    panels, words = [], []
    for method in methods:
        matrix = np.zeros((len(classes), len(classes)))
        for cohort in _runs(part, method):
            labelled = cohort.present.all(1)
            matrix += cohort.target[labelled].T @ cohort.decision[labelled]
        share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        rows = [
            {
                "true": classes[row],
                "predicted": classes[column],
                "cases": int(number),
                "share": rounded(100 * share[row, column]),
            }
            for (row, column), number in np.ndenumerate(matrix)
        ]
        right = ", ".join(f"{name} {100 * share[at, at]:.0f} %" for at, name in enumerate(classes))
        words.append(f"{looks[method].label}: rightly decided {right}.")
        height = max(150, 30 * len(classes))
        panels.append(Panel(looks[method].label, _matrix_spec(rows, classes), height=height, aspect=1.05))
    seeds = "; all seeds added up" if part["seed"].nunique() > 1 else ""
    return Figure(
        f"confusion-{file_word(task)}",
        f"{task}: confusion matrices",
        panels,
        listed(words),
        note=f"Number of cases{seeds}. Shade: share of the true class.",
        columns=2,
        least=max(260, 44 * len(classes) + 70),
    )


def _matrix_spec(rows: list[dict[str, Any]], classes: Sequence[str]) -> Spec:
    turned = max(map(len, classes)) > 4
    colour = quantity("share", scale={"domain": [0, 100], "range": ["#eef4fa", "#9cc4e4", "#08519c"]}, legend=None)
    count = {"field": "cases", "type": "quantitative", "format": "d"}
    ink = {"condition": {"test": "datum.share > 60", "value": "white"}, "value": "#111111"}
    axis = {"grid": False, "ticks": False, "domain": False, "labelLimit": 110}
    return {
        "data": {"values": rows},
        "encoding": {
            "x": category("predicted", "predicted", sort=list(classes), axis={**axis, "labelAngle": -45 * turned}),
            "y": category("true", "true", sort=list(classes), axis=axis),
        },
        "layer": [
            {
                "mark": {"type": "rect"},
                "encoding": {"color": colour, "tooltip": tip("true", "predicted", "cases", ("share", "share, %"))},
            },
            {
                "transform": [{"filter": "datum.cases > 0"}],
                "mark": {"type": "text", "fontSize": 11},
                "encoding": {"text": count, "color": ink},
            },
        ],
    }


def _calibration(task: str, part: pd.DataFrame, methods: Sequence[str], looks: Looks) -> Figure:
    """How often a prediction of a certain probability is right, in ten bins; with the calibration error."""
    rows: list[dict[str, Any]] = []
    words = []
    for method in methods:
        cohorts = _runs(part, method)
        pairs = [_reliable(cohort) for cohort in cohorts]
        probability, true = (np.concatenate(column) for column in zip(*pairs, strict=True))
        bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
        errors = [mean_over_classes(cohort_metric("calibration_error", cohort))[0] for cohort in cohorts]
        label, error = looks[method].label, float(np.mean(errors))
        words.append(f"{label}: calibration error {error:.1f} %.")
        rows += [
            {
                "method": label,
                "x": rounded(probability[bins == one].mean()),
                "y": rounded(true[bins == one].mean()),
                "n": int((bins == one).sum()),
                "error": rounded(round(error, 1)),
            }
            for one in np.unique(bins)
        ]
    look = scales(looks)
    bounds = {"domain": [0, 1], "nice": False}
    x, y = quantity("x", "predicted probability", scale=bounds), quantity("y", "share that is true", scale=bounds)
    spec = {
        "data": {"values": rows},
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
                "mark": {"type": "line", "color": "#888888", "strokeDash": [2, 3], "strokeWidth": 1},
            },
            {
                "mark": {"type": "line", "strokeWidth": 1.8},
                "encoding": {
                    "color": category("method", scale=look["color"]),
                    "strokeDash": category("method", scale=look["dash"]),
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 40, "opacity": 1},
                "encoding": {
                    "color": category("method", scale=look["color"]),
                    "shape": category("method", scale=look["shape"]),
                    "tooltip": tip("method", "x", "y", ("n", "predictions"), ("error", "calibration error, %")),
                },
            },
        ],
    }
    whose = "the most probable class" if part["values"].iloc[0] == "softmax" else "all classes together"
    return Figure(
        f"calibration-{file_word(task)}",
        f"{task}: calibration",
        [Panel("", spec, height=280, aspect=1.3)],
        listed(words),
        note=f"Of {whose}, all seeds together, in ten bins; dotted: as often right as predicted.",
        key=[looks[method] for method in methods],
        least=320,
    )


def _reliable(cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and what came true, as in :func:`crosstask.functional.cohort.calibration_error`."""
    if cohort.exclusive:
        labelled = cohort.present.all(1)
        probability = cohort.prediction[labelled]
        true = cohort.target[labelled][np.arange(len(probability)), probability.argmax(1)]
        return probability.max(1), true > 0.5
    return cohort.prediction[cohort.present], cohort.target[cohort.present] > 0.5


def _against(task: str, part: pd.DataFrame, methods: Sequence[str], looks: Looks, unit: str) -> Figure:
    """A point a case, mean over seeds, a panel a method; on the line every point is right."""
    panels, words = [], []
    end = f", {unit}" if unit else ""
    bounds = [float(value) for name in ("target", "prediction") for value in part[name].dropna().quantile([0, 1])]
    corners = [rounded(min(bounds)), rounded(max(bounds))]
    scale: Spec = {"domain": corners, "zero": False}
    for method in methods:
        rows = part[part["method"] == method].dropna(subset=["target"])
        means = rows.groupby("case")[["target", "prediction"]].mean()
        step = -(-len(means) // _MOST_POINTS) or 1
        error = float((means["prediction"] - means["target"]).abs().mean())
        words.append(f"{looks[method].label}: mean error {error:.3g} {unit}".rstrip() + ".")
        values = [
            {"case": str(case), "x": rounded(row["target"]), "y": rounded(row["prediction"])}
            for case, row in means.iloc[::step].iterrows()
        ]
        ends = [{"x": value, "y": value} for value in corners]
        spec = {
            "encoding": {
                "x": quantity("x", f"true{end}", scale=scale),
                "y": quantity("y", f"predicted{end}", scale=scale),
            },
            "layer": [
                {
                    "data": {"values": ends},
                    "mark": {"type": "line", "color": "#888888", "strokeDash": [2, 3], "strokeWidth": 1},
                },
                {
                    "data": {"values": values},
                    "mark": {
                        "type": "point",
                        "filled": True,
                        "size": 24,
                        "opacity": 0.55,
                        "color": looks[method].colour,
                        "shape": looks[method].shape,
                    },
                    "encoding": {"tooltip": tip("case", ("x", "true"), ("y", "predicted"))},
                },
            ],
        }
        panels.append(Panel(looks[method].label, spec, aspect=1.1))
    return Figure(
        f"predicted-{file_word(task)}",
        f"{task}: predicted against true",
        panels,
        listed(words),
        note="A point a test case, mean over seeds; dotted: as it is.",
    )
