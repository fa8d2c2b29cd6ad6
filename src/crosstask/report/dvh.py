"""Dose-volume histograms as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from crosstask.functional.dvh import Dvh
from crosstask.report.drawing import COLOURS, plain, png

Colour = tuple[float, float, float]

_MORE = ((0.93, 0.75, 0.0), (0.0, 0.75, 0.55), (0.95, 0.4, 0.6), (0.35, 0.55, 1.0), (0.5, 0.8, 0.2), (0.75, 0.5, 1.0))
"""For structures after the palette's ten; they must show on white and on a CT."""
_POINTS = 400
_ROWS = 14
"""Of a legend beside the panel, in a column."""


def colours_of(names: Iterable[str]) -> dict[str, Colour]:
    """A colour for each structure, by its place; after sixteen they begin again."""
    palette = [tuple(map(float, colour)) for colour in (*COLOURS, *_MORE)]
    return {name: palette[place % len(palette)] for place, name in enumerate(dict.fromkeys(names))}  # type: ignore[misc]


def dvh_plot(
    dvhs: Mapping[str, Dvh],
    references: Mapping[str, Dvh] | None = None,
    *,
    title: str = "",
    prescription: float | None = None,
) -> bytes:
    """Cumulative histograms, percent of the volume against Gy, one colour a structure.

    Args:
        dvhs: of each structure.
        references: those to compare with. They are drawn solid then, and ``dvhs``, the predicted ones, dashed.
        title: above the panel.
        prescription: prescribed dose in Gy, drawn as a thin line.

    Returns:
        a PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axis = figure.add_subplot()
    colours = colours_of([*(references or {}), *dvhs])
    draw_dvh(axis, dvhs, references, colours=colours, prescription=prescription)
    axis.set_title(title)
    handles = _handles(colours, both=bool(references), prescription=prescription)
    figure.legend(
        handles=handles, loc="outside right upper", frameon=False, ncols=-(-len(handles) // _ROWS), fontsize=9
    )
    return png(figure)


def draw_dvh(
    axis: Any,
    dvhs: Mapping[str, Dvh],
    references: Mapping[str, Dvh] | None,
    *,
    colours: Mapping[str, Colour],
    prescription: float | None = None,
) -> None:
    """Draw histograms into a panel, as :func:`dvh_plot` does, without a legend.

    Args:
        axis: a panel of matplotlib.
        dvhs: as of :func:`dvh_plot`.
        references: likewise.
        colours: of each structure.
        prescription: as of :func:`dvh_plot`.
    """
    drawn = [*dvhs.values(), *(references or {}).values()]
    end = 1.04 * max([dvh.maximum for dvh in drawn] + ([prescription] if prescription else []) + [1e-3])
    doses = np.linspace(0, end, _POINTS)
    for name, dvh in (references or {}).items():
        axis.plot(doses, dvh.curve(doses), color=colours[name], linewidth=1.5)
    for name, dvh in dvhs.items():
        axis.plot(doses, dvh.curve(doses), color=colours[name], linewidth=1.5, linestyle="--" if references else "-")
    if prescription:
        axis.axvline(prescription, color="0.35", linewidth=0.9, linestyle=":")
    axis.set(xlim=(0, end), ylim=(0, 102), xlabel="dose, Gy", ylabel="volume, %")
    axis.grid(color="0.92", linewidth=0.7)
    axis.set_axisbelow(True)
    plain(axis)


def _handles(colours: Mapping[str, Colour], *, both: bool, prescription: float | None) -> list[Any]:
    """Lines of a legend: the structures, and what kinds of line mean."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour, linewidth=2, label=shortened(name)) for name, colour in colours.items()]
    if both:
        lines += [
            Line2D([], [], color="0.3", label="reference"),
            Line2D([], [], color="0.3", linestyle="--", label="predicted"),
        ]
    if prescription:
        lines.append(
            Line2D([], [], color="0.35", linewidth=0.9, linestyle=":", label=f"prescribed {prescription:g} Gy")
        )
    return lines


def shortened(name: str, most: int = 24) -> str:
    """A name that fits its place: its middle is left out, as names often differ in their end. Never a formula."""
    kept = name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"
    return (" " if kept.startswith("_") else "") + kept  # a legend leaves out what begins with _
