"""What all pictures share: colours, and the way to bytes."""

from __future__ import annotations

import io
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

matplotlib.rcParams["text.parse_math"] = False  # a name may hold dollars

COLOURS = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
STRUCTURES = (
    "#33bbee",
    "#ee7733",
    "#ee3377",
    "#ddcc44",
    "#aa77dd",
    "#00b39a",
    "#f4a6c0",
    "#c9e265",
    "#7f9cf5",
    "#d1a377",
)
"""Of outlines on grey and coloured images, told apart also by those who see no red or no green."""
WRONG = "#b2182b"
"""Of decisions that differ from the reference."""


def png(figure: Any) -> bytes:
    """A figure as PNG; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()


def plain(axis: Any) -> None:
    """Without the frame's upper and right side."""
    axis.spines[["top", "right"]].set_visible(False)
