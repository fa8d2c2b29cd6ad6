"""Pictures of single cases for papers: the reference and each method beside each other, in the fullest slice."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from crosstask.methods import label_of
from crosstask.report.drawing import STRUCTURES, WRONG, png
from crosstask.report.examples import CONTOURS, TEXT, ExampleCase, Shown, inside_of, said_of

_Said = tuple[list[str], bool]

REFERENCE = "reference"
_LINE = 0.17  # inches of a line of text
_GAP = 0.06  # and between two tasks
_LETTERS = 34  # in a line


def example_picture(case: ExampleCase) -> bytes:
    """One case: the truth and each method; masks as contours, quantities as colours, labels of the case as text."""
    tasks = case.tasks
    drawn = [task for task, shown in tasks.items() if shown.style != TEXT]
    written = [task for task, shown in tasks.items() if shown.style == TEXT]
    columns = [REFERENCE, *case.methods]
    picture = _picture(case)
    said = {name: [_said(case, task, name) for task in written] for name in columns}
    if not drawn:
        return _text_beside(said, picture)
    height, width = picture["shape"]
    panel = 2.5 * min(max(height / width, 0.5), 1.6)
    heights = [panel + 0.1] * len(drawn) + ([_height(said) + 0.1] if written else [])
    figure, axes = plt.subplots(
        len(heights),
        len(columns) + 1,  # the last column holds each row's legend
        figsize=(2.5 * len(columns) + 1.3, sum(heights) + 0.3),
        squeeze=False,
        width_ratios=[1.0] * len(columns) + [0.45],
        height_ratios=heights,
        layout="constrained",
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, name in zip(axes[0], columns, strict=False):
        axis.set_title(name if name == REFERENCE else label_of(name), fontsize=10)
    for row, task in enumerate(drawn):
        _draw_row(figure, axes[row], case, task, picture)
    if written:
        for axis, name in zip(axes[-1], columns, strict=False):
            _write(axis, said, name)
    return png(figure)


def _draw_row(figure: Any, axes: Sequence[Any], case: ExampleCase, task: str, picture: Mapping[str, Any]) -> None:
    """One task: the image, and on it what the reference and each method draw; at the end the legend."""
    outlined: dict[int, str] = {}
    painted: Any = None
    for axis, name in zip(axes, [REFERENCE, *case.methods], strict=False):
        reference = name == REFERENCE
        shown = case.tasks[task] if reference else case.methods[name].get(task)
        if shown is None:
            continue
        axis.imshow(picture["shown"], aspect=picture["aspect"], **picture["style"])
        window = (slice(None), case.fullest, *picture["window"])
        if reference and not shown.present.any():
            axis.text(0.5, 0.5, "not labelled", transform=axis.transAxes, ha="center", color="white", fontsize=9)
        elif shown.style == CONTOURS:
            outlined |= _outline(axis, shown, window, reference=reference)
        else:
            painted = _paint(axis, shown, window, picture["aspect"], reference=reference)
    if outlined:
        handles = [plt.Line2D([], [], color=_colour(index), label=outlined[index]) for index in sorted(outlined)]
        axes[-1].legend(handles=handles, loc="center left", frameon=False, fontsize=8)
    if painted is not None:
        unit = case.tasks[task].unit
        bar = figure.colorbar(painted, ax=axes[-1], fraction=0.5, shrink=0.9, location="left")
        bar.set_label(f"{task}, {unit}" if unit else task)
        bar.ax.yaxis.set_ticks_position("right")
        bar.ax.yaxis.set_label_position("right")


def _text_beside(said: Mapping[str, Sequence[_Said]], picture: Mapping[str, Any]) -> bytes:
    """The image once, and beside it what is said of it."""
    height, width = picture["shape"]
    panel = 2.6 * min(max(height / width, 0.5), 1.6)
    figure, axes = plt.subplots(
        1,
        len(said) + 1,
        figsize=(2.6 + 2.5 * len(said), max(panel, _height(said)) + 0.3),
        squeeze=False,
        width_ratios=[2.6, *[2.5] * len(said)],
        layout="constrained",
    )
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0][0].imshow(picture["shown"], aspect=picture["aspect"], **picture["style"])
    axes[0][0].set_anchor("N")
    for axis, name in zip(axes[0][1:], said, strict=True):
        axis.set_title(name if name == REFERENCE else label_of(name), fontsize=10, loc="left")
        _write(axis, said, name)
    return png(figure)


def _said(case: ExampleCase, task: str, name: str) -> _Said:
    """What the reference or a method says of a task, in lines, and whether that is right."""
    reference = name == REFERENCE
    shown = case.tasks[task] if reference else case.methods[name].get(task)
    if shown is None:
        return [], True
    text, right = said_of(shown, reference=reference)
    return textwrap.wrap(f"{task}: {text}", _LETTERS, subsequent_indent="  "), right


def _heights(said: Mapping[str, Sequence[_Said]]) -> list[float]:
    """Inches that each task needs, the same in every column."""
    return [_LINE * max(len(lines) for lines, _ in row) + _GAP for row in zip(*said.values(), strict=True)]


def _height(said: Mapping[str, Sequence[_Said]]) -> float:
    return sum(_heights(said))


def _write(axis: Any, said: Mapping[str, Sequence[_Said]], name: str) -> None:
    """Task below task, from the top; red where the decision differs from the reference."""
    down = 0.0
    for (lines, right), height in zip(said[name], _heights(said), strict=True):
        for row, line in enumerate(lines):
            axis.annotate(
                line,
                (0, 1),
                (2, -72 * (down + _LINE * (row + 0.5))),
                xycoords="axes fraction",
                textcoords="offset points",
                va="center",
                fontsize=8,
                color="black" if right else WRONG,
                in_layout=False,
            )
        down += height


def _colour(index: int) -> str:
    return STRUCTURES[index % len(STRUCTURES)]


def _outline(axis: Any, shown: Shown, window: tuple[Any, ...], *, reference: bool) -> dict[int, str]:
    """Masks as contours at one half; the classes that are there."""
    masks = (shown.target if reference else shown.prediction)[window]
    found = {}
    for index, mask in enumerate(masks):
        if (not reference or shown.present[index]) and (mask > 0.5).any():
            found[index] = shown.classes[index]
            if (mask <= 0.5).any():  # what fills the whole picture has no outline
                axis.contour(mask, [0.5], colors=[_colour(index)], linewidths=1.2)
    return found


def _paint(axis: Any, shown: Shown, window: tuple[Any, ...], aspect: float, *, reference: bool) -> Any:
    """A quantity as colours up to its largest true value."""
    top = float(shown.target.max()) or float(shown.prediction.max()) or 1.0
    values = (shown.target if reference else shown.prediction)[window][0]
    seen = np.ma.masked_less(values, 0.02 * top)
    return axis.imshow(seen, cmap="plasma", alpha=0.65, vmin=0, vmax=top, aspect=aspect)


def _picture(case: ExampleCase) -> dict[str, Any]:
    """The image to show: in colour as it is, grey ones cut to what is not empty and as bright as they need."""
    image = case.image[case.fullest]
    if case.colour:
        shown = np.clip((image.transpose(1, 2, 0) + 1) / 2, 0, 1)
        window: tuple[slice, ...] = (slice(None), slice(None))
        style: dict[str, Any] = {}
    else:
        window = inside_of(image[None])
        shown = image[window]
        style = {"cmap": "gray", "vmin": -1, "vmax": max(float(np.percentile(shown, 99.5)), -0.5)}
    return {
        "shown": shown,
        "window": window,
        "style": style,
        "aspect": case.aspect,
        "shape": (shown.shape[0] * case.aspect, shown.shape[1]),
    }
