"""Dose-volume histograms of the test patients: predicted and reference, with bands over the patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crosstask.evaluation.histograms import Histograms
from crosstask.report.charts.figure import INK, Entry, Figure, Panel, category, listed, quantity, rounded, scales, tip

_MOST_STRUCTURES = 12
REFERENCE = "reference"


def dvh_figure(histograms: Mapping[str, Histograms], looks: Mapping[str, Entry]) -> Figure | None:
    """A panel a structure: the median over patients of the reference, with its middle half, and of every method.

    Args:
        histograms: of each method, over all its seeds.
        looks: of the methods.
    """
    if not histograms:
        return None
    key = {REFERENCE: Entry(REFERENCE, INK), **{method: looks[method] for method in histograms}}
    first = next(iter(histograms.values()))
    panels, words = [], []
    for name in first.structures[:_MOST_STRUCTURES]:
        rows: list[dict[str, Any]] = []
        known = first.of(name, reference=True)
        if not len(known):
            continue
        rows += _rows(REFERENCE, first.doses, known)
        distances = []
        for method, own in histograms.items():
            predicted = own.of(name, reference=False)
            rows += _rows(looks[method].label, own.doses, predicted)
            gap = np.abs(np.median(predicted, 0) - np.median(own.of(name, reference=True), 0)).mean()
            distances.append(f"{looks[method].label} {gap:.1f}")
        words.append(f"{name}: mean distance of the median curves, points of volume: {', '.join(distances)}.")
        look = scales(key)
        spec = {
            "data": {"values": rows},
            "encoding": {
                "x": quantity("dose", "dose, Gy", scale={"nice": False}),
                "color": category("of", scale=look["color"]),
            },
            "layer": [
                {
                    "transform": [{"filter": f"datum.of == '{REFERENCE}'"}],
                    "mark": {"type": "area", "opacity": 0.13},
                    "encoding": {"y": quantity("low", "volume, %"), "y2": {"field": "high"}},
                },
                {
                    "mark": {"type": "line", "strokeWidth": 1.7},
                    "encoding": {
                        "y": quantity("median", "volume, %", scale={"domain": [0, 100]}),
                        "strokeDash": category("of", scale=look["dash"]),
                        "tooltip": tip("of", ("dose", "dose, Gy"), ("median", "volume, %")),
                    },
                },
            ],
        }
        patients = len(first.cases_with(name))
        panels.append(Panel(f"{name} ({patients} patient{'s' * (patients != 1)})", spec, height=220, aspect=1.25))
    if not panels:
        return None
    return Figure(
        "dvh",
        "Dose-volume histograms",
        panels,
        listed(words),
        note="Median over the test patients; band: the middle half of the reference's. Over all seeds.",
        key=list(key.values()),
    )


def _rows(name: str, doses: np.ndarray, curves: np.ndarray) -> list[dict[str, Any]]:
    """A line's points: median, lower and upper quartile over patients."""
    low, median, high = np.percentile(curves, [25, 50, 75], axis=0)
    last = int(np.flatnonzero(high > 0.05)[-1]) + 2 if (high > 0.05).any() else 2
    return [
        {"of": name, "dose": rounded(dose), "median": rounded(m), "low": rounded(lo), "high": rounded(hi)}
        for dose, lo, m, hi in zip(doses[:last], low[:last], median[:last], high[:last], strict=True)
    ]
