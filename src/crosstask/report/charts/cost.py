"""What each method costs: parameters, time of training, memory, as multiples of single-task learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crosstask.report.charts.figure import Entry, Figure, Panel, Spec, category, listed, quantity, rounded, scales, tip


def cost_figure(
    costs: Sequence[tuple[str, Mapping[str, tuple[float, str]]]], looks: Mapping[str, Entry]
) -> Figure | None:
    """Bars, a panel a kind of cost.

    Args:
        costs: ``[(title, {method: (value, words)})]``.
        looks: of the methods.
    """
    panels, words = [], []
    for title, values in costs:
        rows: list[dict[str, Any]] = [
            {"method": looks[method].label, "value": rounded(value), "said": said}
            for method, (value, said) in values.items()
        ]
        words += [f"{title}, {row['method']}: {row['said']}." for row in rows]
        panels.append(
            Panel(title, _bars(rows, scales(looks)), height=24 * len(rows) + 16, aspect=260 / (24 * len(rows) + 16))
        )
    if not panels:
        return None
    note = "Of all networks of a method together: single-task learning has one a task."
    return Figure("cost", "What it costs", panels, listed(words, 24), note=note)


def _bars(rows: list[dict[str, Any]], look: Mapping[str, Spec]) -> Spec:
    place = category("method", sort=[row["method"] for row in rows], axis={"ticks": False, "domain": False})
    top = max(row["value"] or 0 for row in rows)
    x = quantity("value", axis=None, scale={"domain": [0, rounded(1.35 * top or 1)], "nice": False})
    return {
        "data": {"values": rows},
        "encoding": {"y": place, "x": x, "tooltip": tip("method", ("said", "cost"))},
        "layer": [
            {
                "mark": {"type": "bar", "height": {"band": 0.7}},
                "encoding": {"color": category("method", scale=look["color"])},
            },
            {"mark": {"type": "text", "align": "left", "dx": 4}, "encoding": {"text": {"field": "said"}}},
        ],
    }
