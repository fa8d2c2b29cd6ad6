"""What all pictures share: colours, and the way to bytes."""

from __future__ import annotations

import io
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

COLOURS = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
WRONG = "#b2182b"
"""Of decisions that differ from the reference."""


def png(figure: Any) -> bytes:
    """A figure as PNG; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()


def panels(count: int, *, width: float, height: float, across: int) -> tuple[Any, list[Any]]:
    """A figure of so many panels, at most ``across`` in a row; sizes of one panel in inches."""
    rows = -(-count // across)
    columns = -(-count // rows)  # as even as can be
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    flat = list(axes.flat)
    for axis in flat[count:]:
        axis.set_axis_off()
    return figure, flat[:count]


def plain(axis: Any) -> None:
    """Without the frame's upper and right side."""
    axis.spines[["top", "right"]].set_visible(False)
