"""Pictures of single cases: the reference and each method beside each other."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from crosstask.methods import label_of
from crosstask.report.drawing import COLOURS, WRONG, png

Examples = Mapping[str, Sequence[Mapping[str, np.ndarray]]]
"""``{method: arrays of its runs' examples}``, as :func:`crosstask.evaluation.examples.save_examples` writes them."""

_Said = tuple[list[str], bool]

REFERENCE = "reference"
_MOST_FINDINGS = 3
_LINE = 0.17  # inches of a line of text
_GAP = 0.06  # and between two tasks
_LETTERS = 34  # in a line


def example_picture(case: str, runs: Examples) -> bytes:
    """One case: the truth and each method; masks as contours, quantities as colours, labels of the case as text.

    Args:
        case: id of the case.
        runs: examples of the runs.
    """
    tasks = _tasks(case, runs)
    drawn = [task for task, style in tasks.items() if style != "text"]
    written = [task for task, style in tasks.items() if style == "text"]
    columns = [REFERENCE, *runs]
    picture = _picture(case, runs)
    said = {name: _said(case, runs, written, name) for name in columns}
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
        _draw_row(figure, axes[row], columns, case, runs, task, picture)
    if written:
        for axis, name in zip(axes[-1], columns, strict=False):
            _write(axis, said, name)
    return png(figure)


def _draw_row(
    figure: Any,
    axes: Sequence[Any],
    columns: Sequence[str],
    case: str,
    runs: Examples,
    task: str,
    picture: Mapping[str, Any],
) -> None:
    """One task: the image, and on it what the reference and each method draw; at the end the legend."""
    outlined: dict[int, str] = {}
    painted: tuple[Any, str] | None = None
    for axis, name in zip(axes, columns, strict=False):
        arrays = _with(runs, case, task, None if name == REFERENCE else name)
        if arrays is None:
            continue
        axis.imshow(picture["shown"], aspect=picture["aspect"], **picture["style"])
        present = arrays[f"{case}/{task}/present"] if name == REFERENCE else None
        if present is not None and not present.any():
            axis.text(0.5, 0.5, "not labelled", transform=axis.transAxes, ha="center", color="white", fontsize=9)
        elif str(arrays[f"{case}/{task}/picture"][0]) == "contours":
            outlined |= _outline(axis, arrays, f"{case}/{task}", picture["window"], present)
        else:
            painted = _paint(axis, arrays, f"{case}/{task}", picture, reference=name == REFERENCE)
    if outlined:
        handles = [plt.Line2D([], [], color=COLOURS[i % 10], label=outlined[i]) for i in sorted(outlined)]
        axes[-1].legend(handles=handles, loc="center left", frameon=False, fontsize=8)
    if painted is not None:
        bar = figure.colorbar(painted[0], ax=axes[-1], fraction=0.5, shrink=0.9, location="left")
        bar.set_label(f"{task}, {painted[1]}" if painted[1] else task)
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


def _said(case: str, runs: Examples, tasks: Sequence[str], name: str) -> list[_Said]:
    """What the reference or a method says of each task: the lines, and whether that is right."""
    found: list[_Said] = []
    for task in tasks:
        arrays = _with(runs, case, task, None if name == REFERENCE else name)
        if arrays is None:
            found.append(([], True))
            continue
        text, right = _verdict(arrays, f"{case}/{task}", reference=name == REFERENCE)
        found.append((textwrap.wrap(f"{task}: {text}", _LETTERS, subsequent_indent="  "), right))
    return found


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


def _verdict(arrays: Mapping[str, np.ndarray], key: str, *, reference: bool) -> tuple[str, bool]:
    """What the reference or a run says of the case, and whether the run decides as the reference does."""
    target, present, prediction, decision = (
        arrays[f"{key}/{part}"] for part in ("target", "present", "prediction", "decision")
    )
    kind, names = str(arrays[f"{key}/values"]), [str(name) for name in arrays[f"{key}/classes"]]
    if reference and not present.any():
        return "not known", True
    if kind == "quantity":
        unit = str(arrays[f"{key}/picture"][1])
        return f"{float((target if reference else prediction)[0]):.3g} {unit}".rstrip(), True
    shares = None if reference else prediction
    right = reference or bool(((decision > 0.5) == (target > 0.5))[present].all())
    if kind == "softmax":
        return _share(names, shares, int((target if reference else prediction).argmax())), right
    positive = (target > 0.5) & present if reference else decision > 0.5
    if len(names) == 1:
        yes, no = ("yes", "no") if names[0] == key.rpartition("/")[2] else (names[0], f"not {names[0]}")
        return (yes if positive[0] else no) + ("" if reference else f" ({prediction[0]:.0%})"), right
    found = [_share(names, shares, index) for index in np.flatnonzero(positive)]
    more = f" + {len(found) - _MOST_FINDINGS}" if len(found) > _MOST_FINDINGS else ""
    return (", ".join(found[:_MOST_FINDINGS]) or "none") + more, right


def _share(names: Sequence[str], shares: np.ndarray | None, index: int) -> str:
    """A class, and how sure a run is of it; the reference is, and says no share."""
    return names[index] if shares is None else f"{names[index]} {shares[index]:.0%}"


def _outline(
    axis: Any, arrays: Mapping[str, np.ndarray], key: str, window: tuple[slice, ...], present: np.ndarray | None
) -> dict[int, str]:
    """Masks as contours at one half, of the reference if ``present`` is given; the classes that are there."""
    part = (slice(None), *window)
    masks = arrays[f"{key}/{'prediction' if present is None else 'target'}"][part]
    found = {}
    for index, mask in enumerate(masks):
        if (present is None or present[index]) and (mask > 0.5).any():
            found[index] = str(arrays[f"{key}/classes"][index])
            if (mask <= 0.5).any():  # what fills the whole picture has no outline
                axis.contour(mask, [0.5], colors=[COLOURS[index % 10]], linewidths=1.2)
    return found


def _paint(
    axis: Any, arrays: Mapping[str, np.ndarray], key: str, picture: Mapping[str, Any], *, reference: bool
) -> tuple[Any, str]:
    """A quantity as colours up to its largest true value; what was painted, and its unit."""
    target, prediction = arrays[f"{key}/target"], arrays[f"{key}/prediction"]
    top = float(target.max()) or float(prediction.max()) or 1.0
    values = (target if reference else prediction)[0][picture["window"]]
    shown = np.ma.masked_less(values, 0.02 * top)
    painted = axis.imshow(shown, cmap="turbo", alpha=0.65, vmin=0, vmax=top, aspect=picture["aspect"])
    return painted, str(arrays[f"{key}/picture"][1])


def _tasks(case: str, runs: Examples) -> dict[str, str]:
    """How each task of a case is drawn."""
    found: dict[str, str] = {}
    start, end = f"{case}/", "/picture"
    for files in runs.values():
        for arrays in files:
            for key in arrays:
                if key.startswith(start) and key.endswith(end):
                    found[key[len(start) : -len(end)]] = str(arrays[key][0])
    return found


def _with(runs: Examples, case: str, task: str, method: str | None) -> Mapping[str, np.ndarray] | None:
    """Arrays of the first run (of one method, or of any) that predicts a task of a case."""
    for name, files in runs.items():
        if method in (None, name):
            for arrays in files:
                if f"{case}/{task}/target" in arrays:
                    return arrays
    return None


def _picture(case: str, runs: Examples) -> dict[str, Any]:
    """The image to show: in colour as it is, grey ones cut to what is not empty and as bright as they need."""
    arrays = next(arrays for files in runs.values() for arrays in files if f"{case}/image" in arrays)
    image = arrays[f"{case}/image"]
    height, width = arrays[f"{case}/spacing"]
    if image.ndim == 3:
        shown = np.clip((image.transpose(1, 2, 0) + 1) / 2, 0, 1)
        window: tuple[slice, ...] = (slice(None), slice(None))
        style: dict[str, Any] = {}
    else:
        window = _window(image)
        shown = image[window]
        style = {"cmap": "gray", "vmin": -1, "vmax": max(float(np.percentile(shown, 99.5)), -0.5)}
    aspect = float(height / width)
    return {
        "shown": shown,
        "window": window,
        "style": style,
        "aspect": aspect,
        "shape": (shown.shape[0] * aspect, shown.shape[1]),
    }


def _window(image: np.ndarray) -> tuple[slice, slice]:
    """The part of an image that is not empty, with a margin: air around a head is not worth looking at."""
    inside = image > image.min() + 0.05 * (image.max() - image.min())
    parts = []
    for axis in (0, 1):
        hits = np.flatnonzero(inside.any(axis=1 - axis))
        margin = max(2, inside.shape[axis] // 20)
        first, last = (hits[0], hits[-1]) if hits.size else (0, inside.shape[axis] - 1)
        parts.append(slice(max(0, first - margin), min(inside.shape[axis], last + margin + 1)))
    return parts[0], parts[1]
