"""What happened over the epochs: validation skill, losses, loss weights; with the spread of the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

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

Histories = Mapping[str, Sequence[pd.DataFrame]]


def curve_figures(histories: Histories, tasks: Sequence[str], looks: Mapping[str, Entry]) -> list[Figure]:
    """Validation skill, training loss and, where a method moves them, loss weights; a panel a task.

    Args:
        histories: tables of epochs of the runs of each method.
        tasks: which.
        looks: of the methods.
    """
    skill = _figure(
        histories,
        tasks,
        looks,
        column="skill",
        name="skill",
        title="Learning curves",
        axis="validation skill",
        note="Skill on validation cases: 0 is the constant predictor, 1 perfect. Line: mean over seeds; band: lowest "
        "to highest.",
        zero=True,
    )
    loss = _figure(
        histories,
        tasks,
        looks,
        column="loss",
        name="loss",
        title="Training loss",
        axis="training loss",
        note="Line: mean over seeds; band: lowest to highest.",
    )
    moving = {key: runs for key, runs in histories.items() if _moves(runs, tasks)}
    weight = _figure(
        moving,
        tasks,
        looks,
        column="weight",
        name="weight",
        title="Loss weights",
        axis="loss weight",
        note="Only of methods that change them. Line: mean over seeds; band: lowest to highest.",
    )
    return [figure for figure in (skill, loss, weight) if figure is not None]


def _moves(runs: Sequence[pd.DataFrame], tasks: Sequence[str]) -> bool:
    columns = [f"weight/{task}" for task in tasks]
    return any(
        pd.api.types.is_numeric_dtype(run[column]) and run[column].nunique() > 1
        for run in runs
        for column in columns
        if column in run
    )


def _figure(
    histories: Histories,
    tasks: Sequence[str],
    looks: Mapping[str, Entry],
    *,
    column: str,
    name: str,
    title: str,
    axis: str,
    note: str,
    zero: bool = False,
) -> Figure | None:
    panels, words, used = [], [], {}
    for task in tasks:
        rows: list[dict[str, Any]] = []
        for key, runs in histories.items():
            own = _over_seeds(runs, f"{column}/{task}")
            if own.empty:
                continue
            used[key] = looks[key]
            rows += [
                {
                    "method": looks[key].label,
                    "epoch": int(str(epoch)) + 1,
                    "mean": rounded(line["mean"]),
                    "low": rounded(line["min"]),
                    "high": rounded(line["max"]),
                }
                for epoch, line in own.iterrows()
            ]
            last = own["mean"].dropna()
            if len(last):
                words.append(f"{task}, {looks[key].label}: {last.iloc[-1]:.3g} after epoch {last.index[-1] + 1}.")
        if rows:
            panels.append(Panel(task, _lines(rows, scales(looks), axis, zero=zero)))
    if not panels:
        return None
    return Figure(name, title, panels, f"{axis}. {listed(words, 16)}", note=note, key=list(used.values()))


def _over_seeds(runs: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    """Mean, lowest and highest of each epoch that every run has had."""
    own = [
        run.set_index("epoch")[column]
        for run in runs
        if column in run and pd.api.types.is_numeric_dtype(run[column]) and run["epoch"].is_unique
    ]
    if not own:
        return pd.DataFrame(columns=["mean", "min", "max"])
    table = pd.concat(own, axis=1, join="inner")
    return pd.DataFrame({"mean": table.mean(axis=1), "min": table.min(axis=1), "max": table.max(axis=1)})


def _lines(rows: list[dict[str, Any]], look: dict[str, Spec], axis: str, *, zero: bool) -> Spec:
    epochs = max(row["epoch"] for row in rows)
    x = quantity("epoch", "epoch", axis={"tickMinStep": 1, "format": "d"}, scale={"domain": [1, max(2, epochs)]})
    layers: list[Spec] = [
        {
            "mark": {"type": "area", "opacity": 0.16},
            "encoding": {"y": quantity("low", axis, scale={"zero": False}), "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "line", "strokeWidth": 1.8, "point": epochs <= 12 and {"size": 18}},
            "encoding": {
                "y": quantity("mean", axis, scale={"zero": False}),
                "strokeDash": category("method", scale=look["dash"]),
                "tooltip": tip("method", "epoch", ("mean", axis), ("low", "lowest seed"), ("high", "highest seed")),
            },
        },
    ]
    if zero:
        layers.append(
            {
                "data": {"values": [{"zero": 0}]},
                "mark": {"type": "rule", "strokeDash": [2, 3], "opacity": 0.5},
                "encoding": {"x": None, "color": None, "y": quantity("zero", axis)},
            }
        )
    return {
        "data": {"values": rows},
        "encoding": {"x": x, "color": category("method", scale=look["color"])},
        "layer": layers,
    }
