"""Pictures of image-level predictions: confusion matrices, ROC curves, reliability, and predicted against true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crosstask.evaluation.predictions import cohort_of
from crosstask.functional.cohort import Cohort, cohort_metric, mean_over_classes
from crosstask.methods import label_of
from crosstask.report.drawing import COLOURS, MOST_INSIDE, legend, panels, plain, png, styles

_BINS = 10
_MOST_POINTS = 3000
_MOST_CURVES = 12


def cohort_pictures(
    predictions: pd.DataFrame, methods: Sequence[str], units: dict[str, str]
) -> Iterator[tuple[str, bytes]]:
    """Titles and pictures of every image-level task.

    Args:
        predictions: the table of predictions of all runs.
        methods: which, in order.
        units: of each task's quantity.
    """
    for task, part in predictions.groupby("task", sort=False):
        kind = part["values"].iloc[0]
        shown = [method for method in methods if (part["method"] == method).any()]
        if not shown:
            continue
        seeds = ", all seeds added up" if part["seed"].nunique() > 1 else ""
        if kind == "quantity":
            yield f"{task}: predicted against true", scatter(part, shown, units.get(str(task), ""))
            continue
        if kind == "softmax":
            title = f"{task}: confusion matrix (number of cases{seeds}; shade: share of the true class)"
            yield title, confusion_matrices(part, shown)
        else:
            lines = "mean over seeds" if _too_many(part) else "a line a seed; AUC: mean over seeds"
            yield f"{task}: ROC curves ({lines})", roc_curves(part, shown)
        whose = "of the most probable class" if kind == "softmax" else "of all classes together"
        yield f"{task}: reliability {whose}", reliability(part, shown)


def _runs(part: pd.DataFrame, method: str) -> list[tuple[list[str], Cohort]]:
    """Classes and cohort of each seed."""
    classes = list(dict.fromkeys(part["class"]))
    rows = part[part["method"] == method]
    return [(classes, cohort_of(run, classes=classes)[2]) for _, run in rows.groupby("seed", sort=True)]


def _mean_of(metric: str, runs: Sequence[tuple[list[str], Cohort]], index: int | None = None) -> float:
    """A metric of one class, or its mean over classes; mean over seeds."""
    values = [cohort_metric(metric, cohort) for _, cohort in runs]
    return float(np.mean([mean_over_classes(value)[0] if index is None else value[0, index] for value in values]))


def confusion_matrices(part: pd.DataFrame, methods: Sequence[str]) -> bytes:
    """Cases by true class (rows) and by decision (columns), one matrix a method.

    Args:
        part: predictions of one softmax task.
        methods: which, in order.
    """
    classes = list(dict.fromkeys(part["class"]))
    count = len(classes)
    size = max(2.6, 0.4 * count)
    longest = 0.075 * max(map(len, classes))
    figure, axes = panels(
        len(methods), width=size + longest + 0.6, height=size + longest + 0.8, across=max(1, int(15 // (size + 1.5)))
    )
    for axis, method in zip(axes, methods, strict=True):
        matrix = np.zeros((count, count))
        for _, cohort in _runs(part, method):
            labelled = cohort.present.all(1)
            matrix += cohort.target[labelled].T @ cohort.decision[labelled]
        share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        widest = max(len(f"{number:.0f}") for number in matrix.flat)
        text = min(10.0, 72 * 0.8 * size / count / (0.62 * max(widest, 2)))
        for (row, column), number in np.ndenumerate(matrix):
            if number:
                colour = "white" if share[row, column] > 0.55 else "black"
                axis.text(column, row, f"{number:.0f}", ha="center", va="center", fontsize=text, color=colour)
        axis.set_xticks(range(count), classes, rotation=90 if max(map(len, classes)) > 3 else 0, fontsize=8)
        axis.set_yticks(range(count), classes, fontsize=8)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set(title=label_of(method), xlabel="predicted", ylabel="true")
    return png(figure)


def roc_curves(part: pd.DataFrame, methods: Sequence[str]) -> bytes:
    """Sensitivity against 1 - specificity of each class, a line a run; of many runs the mean over seeds.

    Args:
        part: predictions of one task with sigmoids.
        methods: which, in order.
    """
    classes = list(dict.fromkeys(part["class"]))
    # a legend of many lines stands below its panel
    height = 3.6 + 0.2 * len(methods) * (len(methods) > MOST_INSIDE)
    figure, axes = panels(len(classes), width=3.7, height=height, across=4)
    lines, averaged = styles(methods), _too_many(part)
    for place, (axis, name) in enumerate(zip(axes, classes, strict=True)):
        for method in methods:
            runs = _runs(part, method)
            area = _mean_of("auc", runs, place)
            value = f" {area:.1f} %" if np.isfinite(area) else ": undefined"
            curves = []
            for _, cohort in runs:
                there = cohort.present[:, place]
                curves.append(_roc(cohort.target[there, place] > 0.5, cohort.prediction[there, place]))
            for number, (x, y) in enumerate([_mean_curve(curves)] if averaged else curves):
                shown = None if number else f"{label_of(method)}{value}"
                axis.plot(x, y, **lines[method], linewidth=1.5, alpha=0.8, label=shown)
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle=":")
        axis.set(title=name, xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        plain(axis)
        legend(axis, len(methods), loc="lower right", fontsize=8, title="AUC", title_fontsize=8)
    return png(figure)


def _too_many(part: pd.DataFrame) -> bool:
    """Whether a curve for every run would hide the others."""
    return len(part[["method", "seed"]].drop_duplicates()) > _MOST_CURVES


def _mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean sensitivity of some ROC curves at equal specificity; empty ones are left out."""
    known = [curve for curve in curves if curve[0].size]
    if not known:
        return np.empty(0), np.empty(0)
    grid = np.linspace(0, 1, 201)
    # a curve begins at no case at all, also where its first step goes straight up
    return np.r_[0, grid], np.r_[0, np.mean([np.interp(grid, x, y) for x, y in known], axis=0)]


def _roc(true: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold, from none to all; empty without cases of both kinds."""
    if true.all() or not true.any():
        return np.empty(0), np.empty(0)
    order = np.argsort(-probability, kind="stable")
    last = np.r_[np.diff(probability[order]) != 0, True]  # cases of equal probability are decided together
    hits = np.cumsum(true[order])[last]
    false = np.cumsum(~true[order])[last]
    return np.r_[0, false / false[-1]], np.r_[0, hits / hits[-1]]


def reliability(part: pd.DataFrame, methods: Sequence[str]) -> bytes:
    """How often a prediction of a certain probability is right, in ten bins; with the calibration error.

    Args:
        part: predictions of one classification.
        methods: which, in order.
    """
    figure, (axis,) = panels(1, width=4.6, height=3.8, across=1)
    axis.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle=":")
    lines = styles(methods)
    for method in methods:
        runs = _runs(part, method)
        pairs = [_reliable(cohort) for _, cohort in runs]
        probability, true = (np.concatenate(column) for column in zip(*pairs, strict=True))
        bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
        used = np.unique(bins)
        x = [probability[bins == one].mean() for one in used]
        y = [true[bins == one].mean() for one in used]
        error = _mean_of("calibration_error", runs)
        said = f"{label_of(method)} {error:.1f} %"
        axis.plot(x, y, marker="o", **lines[method], linewidth=1.5, markersize=4, label=said)
    axis.set(xlabel="predicted probability", ylabel="share that is true", xlim=(0, 1), ylim=(-0.02, 1.02))
    plain(axis)
    legend(axis, len(methods), loc="upper left", fontsize=8, title="calibration error", title_fontsize=8)
    return png(figure)


def _reliable(cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and what came true, as in :func:`crosstask.functional.cohort.calibration_error`."""
    if cohort.exclusive:
        labelled = cohort.present.all(1)
        winner = cohort.prediction[labelled].argmax(1)
        rows = np.arange(len(winner))
        return cohort.prediction[labelled][rows, winner], cohort.target[labelled][rows, winner]
    return cohort.prediction[cohort.present], cohort.target[cohort.present]


def scatter(part: pd.DataFrame, methods: Sequence[str], unit: str) -> bytes:
    """Predicted against true values, one panel a method, with R^2 and MAE (mean over seeds).

    Args:
        part: predictions of one quantity.
        methods: which, in order.
        unit: its unit.
    """
    figure, axes = panels(len(methods), width=3.4, height=3.5, across=4)
    both = part[["target", "prediction"]].to_numpy()
    low, high = float(np.nanmin(both)), float(np.nanmax(both))
    margin = 0.04 * ((high - low) or 1.0)
    limits = (low - margin, high + margin)
    ending = f" ({unit})" if unit else ""
    for index, (axis, method) in enumerate(zip(axes, methods, strict=True)):
        runs = _runs(part, method)
        rows = part[part["method"] == method]
        points: Any = rows.iloc[:: -(-len(rows) // _MOST_POINTS)]
        axis.plot(limits, limits, color="0.7", linewidth=0.8, linestyle=":")
        axis.scatter(points["target"], points["prediction"], s=9, alpha=0.35, color=COLOURS[index % 10], linewidths=0)
        error = np.mean([np.abs(c.prediction - c.target)[c.present].mean() for _, c in runs])
        title = f"{label_of(method)}: R² {_mean_of('r2', runs):.2f}, MAE {error:.3g}{' ' * bool(unit)}{unit}"
        axis.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"true{ending}", ylabel=f"predicted{ending}")
        axis.set_title(title, fontsize=10)
        plain(axis)
    return png(figure)
