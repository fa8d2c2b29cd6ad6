"""Improvements over single-task learning with intervals (Fig. 4 of the poster), and what the intervals are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from crosstask.evaluation.comparison import MEAN, Cell, Comparison, Row
from crosstask.evaluation.verdict import BETTER, EQUIVALENT, NO_VERDICT, UNDECIDED, WORSE
from crosstask.report.charts.figure import GREY, Entry, Figure, Panel, Spec, category, listed, quantity, rounded, tip
from crosstask.report.words import covered, p_text, percent, with_interval

VERDICTS = {
    BETTER: Entry(BETTER, "#0077bb", shape="triangle-up"),
    WORSE: Entry(WORSE, "#d1580a", shape="triangle-down"),
    EQUIVALENT: Entry(EQUIVALENT, "#009988", shape="square"),
    UNDECIDED: Entry(UNDECIDED, GREY, shape="circle"),
    NO_VERDICT: Entry(NO_VERDICT, GREY, shape="cross"),
}
"""Form and colour of each verdict, told apart without the colour as well."""
_SOURCES = {"seeds": "#ee7733", "both": "#bba400", "cases": "#33a5d6"}
"""Of variance, with their colours."""
_ROW = 22


def _cells(row: Row) -> Iterator[tuple[str, Cell]]:
    """The mean where there are several tasks, then each task."""
    if len(row.cells) > 1:
        yield MEAN, row.mean
    yield from row.cells.items()


def improvement_figure(comparison: Comparison) -> Figure | None:
    """Improvement of each method, the mean of the tasks and each of them; the band is the margin of equivalence.

    None without a baseline or another method.
    """
    values = [
        _line(f"{comparison.label(row.method)}, {task}", task == MEAN, cell)
        for row in comparison.rows
        for task, cell in _cells(row)
        if not math.isnan(cell.improvement)
    ]
    if not values:
        return None
    found = [entry for verdict, entry in VERDICTS.items() if any(one["verdict"] == verdict for one in values)]
    baselines = {comparison.baseline_of(row.method) for row in comparison.rows}
    against = comparison.label(baselines.pop()) if len(baselines) == 1 else "STL"
    height = max(120, _ROW * len(values) + 10)
    words = [f"{one['at']}: {one['said']}, {one['verdict']}." for one in values]
    return Figure(
        "improvement",
        f"Improvement over {against}",
        [Panel("", _whiskers(values, found, comparison.margin), height=height, aspect=520 / height)],
        listed(words, 24),
        note=f"Band: margin of {comparison.margin:g} %. Bars: {covered([comparison])}. Thick: the mean of the tasks.",
        columns=1,
        least=320,
        key=found,
    )


def _line(name: str, mean: bool, cell: Cell) -> dict[str, Any]:
    return {
        "at": name,
        "mean": mean,
        "improvement": rounded(cell.improvement),
        "low": rounded(cell.low),
        "high": rounded(cell.high),
        "verdict": cell.verdict,
        "said": with_interval(cell.improvement, cell.low, cell.high),
        "p": p_text(cell.gain.p_adjusted),
    }


def _whiskers(values: list[dict[str, Any]], found: list[Entry], margin: float) -> Spec:
    """A row for each value: a bar from end to end, and a mark by its verdict."""
    axis = "improvement, %"
    bounds = [one[key] for one in values for key in ("low", "high", "improvement") if one[key] is not None]
    scale = {"domain": [min([-1.4 * margin, *bounds]), max([1.4 * margin, *bounds])], "nice": True}
    verdicts = [entry.label for entry in found]
    colour = category("verdict", scale={"domain": verdicts, "range": [entry.colour for entry in found]})
    shape = category("verdict", scale={"domain": verdicts, "range": [entry.shape for entry in found]})
    told = tip(("at", "method, task"), ("said", "improvement"), "verdict", ("p", "p, adjusted"))
    order = [one["at"] for one in values]
    place = category("at", sort=order, axis={"labelLimit": 260, "ticks": False, "domain": False, "grid": False})
    return {
        "data": {"values": values},
        "encoding": {"y": place},
        "layer": [
            {
                "data": {"values": [{"from": -margin, "to": margin}]},
                "mark": {"type": "rect", "color": "#888888", "opacity": 0.16},
                "encoding": {"y": None, "x": quantity("from", axis, scale=scale), "x2": {"field": "to"}},
            },
            {
                "data": {"values": [{"zero": 0}]},
                "mark": {"type": "rule", "strokeWidth": 1, "opacity": 0.7},
                "encoding": {"y": None, "x": quantity("zero", axis)},
            },
            {
                "mark": {"type": "rule"},
                "encoding": {
                    "x": quantity("low", axis),
                    "x2": {"field": "high"},
                    "size": {"condition": {"test": "datum.mean", "value": 5}, "value": 2.5},
                    "color": colour,
                    "tooltip": told,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1},
                "encoding": {
                    "x": quantity("improvement", axis),
                    "size": {"condition": {"test": "datum.mean", "value": 150}, "value": 75},
                    "color": colour,
                    "shape": shape,
                    "tooltip": told,
                },
            },
        ],
    }


def spread_figure(comparison: Comparison) -> Figure | None:
    """How much of the uncertainty of each mean improvement is that of the runs, and how much that of the cases.

    None where no method was trained several times.
    """
    values: list[dict[str, Any]] = []
    words = []
    for row in comparison.rows:
        spread = row.mean.gain.spread
        share, both = spread.share_of_runs, spread.share_of_both
        if not math.isfinite(share) or math.isnan(row.mean.improvement):
            continue
        half = (row.mean.high - row.mean.low) / 2
        name = comparison.label(row.method)
        parts = dict(zip(_SOURCES, (share - both, both, 1 - share), strict=True))
        for order, (source, part) in enumerate(parts.items()):
            values.append(
                {"method": name, "of": source, "part": rounded(100 * part), "order": order, "half": rounded(half)}
            )
        shares = ", ".join(f"{percent(part)} from {source}" for source, part in parts.items())
        words.append(f"{name}: of the variance {shares}.")
    if not values:
        return None
    look = {"domain": list(_SOURCES), "range": list(_SOURCES.values())}
    spec = {
        "data": {"values": values},
        "mark": {"type": "bar", "height": {"band": 0.7}},
        "encoding": {
            "y": category("method", sort=list(dict.fromkeys(one["method"] for one in values)), axis={"ticks": False}),
            "x": quantity("part", "share of the variance of the mean improvement, %", scale={"domain": [0, 100]}),
            "color": category("of", scale=look),
            "order": {"field": "order"},
            "tooltip": tip("method", ("of", "chance of"), ("part", "share, %"), ("half", "half of the interval, %")),
        },
    }
    height = max(70, 26 * (len(values) // len(_SOURCES)) + 10)
    key = [Entry(name, colour, shape="square") for name, colour in zip(look["domain"], look["range"], strict=True)]
    return Figure(
        "spread",
        "What the intervals are made of",
        [Panel("", spec, height=height, aspect=520 / height)],
        listed(words),
        note="More seeds make the first two parts smaller, more test cases the last two. Both: a run that is lucky "
        "with these very cases.",
        columns=1,
        least=320,
        key=key,
    )
