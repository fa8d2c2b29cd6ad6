"""What all pictures share: colours, and the way to bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from crosstask.methods import name_of, variant_of

matplotlib.rcParams["text.parse_math"] = False  # a name may hold dollars

COLOURS = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
_DASHES = ("-", "--", ":", "-.")
MOST_INSIDE = 4
"""Lines whose legend has room inside a panel."""
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


def styles(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and kind of line of each method: a colour a method, and a kind of line a variant of it.

    Args:
        methods: keys, in order.
    """
    names, variants = dict.fromkeys(map(name_of, methods)), dict.fromkeys(map(variant_of, methods))
    colours = {name: COLOURS[index % 10] for index, name in enumerate(names)}
    dashes = {variant: _DASHES[index % len(_DASHES)] for index, variant in enumerate(variants)}
    return {method: {"color": colours[name_of(method)], "linestyle": dashes[variant_of(method)]} for method in methods}


def legend(axis: Any, count: int, *, loc: str, **options: Any) -> None:
    """A legend inside the panel, or with many lines below it, where it hides nothing."""
    if count > MOST_INSIDE:
        options |= {"bbox_to_anchor": (0.5, -0.2), "ncols": 2, "columnspacing": 1.0, "handlelength": 2.5}
        loc = "upper center"
    axis.legend(frameon=False, loc=loc, **options)
