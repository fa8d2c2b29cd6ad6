"""Cases to look at: the slices of each, what is true and what every method makes of it, as images and outlines.

Everything is small enough for a page that many are to open: images are WebP, outlines are paths.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crosstask.evaluation.comparison import Comparison
from crosstask.evaluation.scores import per_case
from crosstask.report.drawing import STRUCTURES
from crosstask.report.examples import COLOURS, CONTOURS, TEXT, ExampleCase, Shown, inside_of, said_of
from crosstask.report.words import number

REFERENCE = "reference"
_MOST_PIXELS = 224
"""Of the longer side of an image."""
_ISOLEVELS = (0.2, 0.5, 0.8, 0.95)
"""Of the highest true value, where lines of equal value are drawn."""
_DIFFERENCE = 0.2
"""Of the highest true value: differences of that much have the full colour."""
_QUALITY = 80
_ROOM = 0.5
"""About what is shown, as a share of its size."""
Window = tuple[slice, slice]


def viewer_cases(
    cases: Sequence[ExampleCase], why: Mapping[str, str], scores: pd.DataFrame, comparison: Comparison, seed: int
) -> list[dict[str, Any]]:
    """What the page's viewer needs of each case, as plain values.

    Args:
        cases: the examples.
        why: what each is an example of.
        scores: the long table.
        comparison: the methods compared.
        seed: of the runs whose examples these are.
    """
    return [
        _case(case, why.get(case.case, ""), _captions(case, scores, comparison, seed), comparison) for case in cases
    ]


def _case(
    case: ExampleCase, why: str, captions: Mapping[str, list[tuple[str, bool]]], comparison: Comparison
) -> dict[str, Any]:
    window = (slice(None), slice(None)) if case.colour else _window(case)
    shown = case.image[..., window[0], window[1]]
    height, width = shown.shape[-2:]
    step = max(1, -(-max(height, width) // _MOST_PIXELS))
    tasks = case.tasks
    names: dict[tuple[str, int], str] = {}
    tiles = []
    for name in (REFERENCE, *case.methods):
        own = tasks if name == REFERENCE else case.methods[name]
        tiles.append(
            {
                "label": name if name == REFERENCE else comparison.label(name),
                "captions": captions[name],
                "outlines": _outlines(case, tasks, own, window, names, reference=name == REFERENCE),
                "washes": _washes(tasks, own, window, step, reference=name == REFERENCE),
            }
        )
    washes = [
        {
            "name": task,
            "unit": one.unit,
            "top": number(_top(one)),
            "most": number(_DIFFERENCE * _top(one)),
            "levels": _levels(one),
        }
        for task, one in tasks.items()
        if one.style == COLOURS and one.present.any()
    ]
    return {
        "id": case.case,
        "title": f"{why.capitalize()}: {case.case}" if why else case.case,
        "slices": list(case.slices),
        "start": case.fullest,
        "width": width,
        "height": height,
        "ratio": f"{width} / {height * case.aspect:.1f}",
        "images": _images(shown, step, colour=case.colour),
        "tiles": tiles,
        "washes": washes,
        "structures": [{"name": name, "colour": _colour(place)} for place, name in enumerate(names.values())],
    }


def _window(case: ExampleCase) -> Window:
    """The part of grey images to show: around the outlines, or else the quantities, or else what is not empty.

    Those are the true ones, or the predicted ones where nothing is known.
    """
    height, width = case.image.shape[-2:]
    drawn = [shown for own in case.methods.values() for shown in own.values() if shown.style != TEXT]
    outlined = [shown for shown in drawn if shown.style == CONTOURS]
    seen = np.zeros((height, width), dtype=bool)
    for shown in outlined or drawn:
        least = 0.5 if shown.style == CONTOURS else 0.05 * _top(shown)
        seen |= ((shown.target if shown.present.any() else shown.prediction) > least).any(axis=(0, 1))
    if not seen.any():
        return inside_of(case.image)
    parts = []
    for axis, size in enumerate((height, width)):
        hits = np.flatnonzero(seen.any(axis=1 - axis))
        room = max(4, round(_ROOM * (hits[-1] - hits[0] + 1)))
        parts.append(slice(max(0, int(hits[0]) - room), min(size, int(hits[-1]) + room + 1)))
    return parts[0], parts[1]


def _captions(
    case: ExampleCase, scores: pd.DataFrame, comparison: Comparison, seed: int
) -> dict[str, list[tuple[str, bool]]]:
    """Lines below each tile, and whether each is right: M of the case, and what is said of its labels."""
    rows = per_case(scores[(scores["case"] == case.case) & (scores["seed"] == seed)])
    found: dict[str, list[tuple[str, bool]]] = {}
    for name in (REFERENCE, *case.methods):
        reference = name == REFERENCE
        own = case.tasks if reference else case.methods[name]
        lines = []
        for measure in comparison.measures:
            if measure.of != "case" or reference:
                continue
            hit = rows[(rows["method"] == name) & (rows["task"] == measure.task) & (rows["metric"] == measure.metric)]
            if len(hit):
                value = f"{number(float(hit['value'].iloc[0]))} {measure.unit}".rstrip()
                lines.append((f"{measure.task}: {measure.metric} {value}", True))
        for task, shown in own.items():
            if shown.style == TEXT:
                text, right = said_of(shown, reference=reference)
                lines.append((f"{task}: {text}", right))
            elif reference and not shown.present.any():
                lines.append((f"{task}: not labelled", True))
        found[name] = lines
    return found


def _colour(place: int) -> str:
    return STRUCTURES[place % len(STRUCTURES)]


def _uri(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _images(shown: np.ndarray, step: int, *, colour: bool) -> list[str]:
    """Every slice as an image; grey ones as bright as they need, all slices alike."""
    from PIL import Image

    if colour:
        levels = np.clip((shown + 1) / 2, 0, 1).transpose(0, 2, 3, 1)
    else:
        top = max(float(np.percentile(shown, 99.5)), -0.5)
        levels = np.clip((shown + 1) / (top + 1), 0, 1)
    whole = (255 * levels).round().astype(np.uint8)
    size = (-(-whole.shape[2] // step), -(-whole.shape[1] // step))
    return [_uri(Image.fromarray(one).resize(size)) for one in whole]


def _outlines(
    case: ExampleCase,
    tasks: Mapping[str, Shown],
    own: Mapping[str, Shown],
    window: Window,
    names: dict[tuple[str, int], str],
    *,
    reference: bool,
) -> list[str]:
    """Outlines of each slice as SVG: those of the run in colour, and dashed below them what is true."""
    parts: list[list[str]] = [[] for _ in case.slices]
    for task, shown in own.items():
        if shown.style != CONTOURS:
            continue
        for index, name in enumerate(shown.classes):
            known = bool(shown.present[index])
            true, predicted = (
                shown.target[index, :, window[0], window[1]],
                shown.prediction[index, :, window[0], window[1]],
            )
            if (known and (true > 0.5).any()) or (predicted > 0.5).any():
                names.setdefault((task, index), name)
            place = list(names).index((task, index)) if (task, index) in names else 0
            for at in range(len(case.slices)):
                if known and not reference:
                    parts[at].append(_path(true[at], "class='true'"))
                mask = true[at] if reference else predicted[at]
                if known or not reference:
                    parts[at].append(_path(mask, f"stroke='{_colour(place)}'"))
    return ["".join(part) for part in parts]


def _path(mask: np.ndarray, look: str) -> str:
    """The outline of a mask at one half as a path in pixels; nothing where there is none."""
    from skimage.measure import find_contours

    if not (mask > 0.5).any():
        return ""
    lines = find_contours(np.pad(mask, 1), 0.5)
    drawn = "".join(
        "M" + "L".join(f"{x - 0.5:.1f} {y - 0.5:.1f}" for y, x in line) + "Z" for line in lines if len(line) > 3
    )
    return f"<path {look} d='{drawn}'/>" if drawn else ""


def _top(shown: Shown) -> float:
    """The highest true value, which colours go up to."""
    return float(shown.target.max()) or float(shown.prediction.max()) or 1.0


def _levels(shown: Shown) -> list[dict[str, str]]:
    """Lines of equal value, the highest first: their values and colours."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    top = _top(shown)
    return [{"value": number(level * top), "colour": to_hex(colormaps["plasma"](level))} for level in _ISOLEVELS[::-1]]


def _washes(
    tasks: Mapping[str, Shown], own: Mapping[str, Shown], window: Window, step: int, *, reference: bool
) -> dict[str, dict[str, list[str]]]:
    """Of each quantity its colours, lines of equal value and the difference to what is true, slice by slice."""
    found = {}
    for task, shown in own.items():
        if shown.style != COLOURS or (reference and not shown.present.any()):
            continue
        top = _top(tasks[task])
        true, predicted = (part[0, :, window[0], window[1]] for part in (shown.target, shown.prediction))
        values = true if reference else predicted
        found[task] = {
            "colours": [_coloured(one[::step, ::step] / top, "plasma", 0.03) for one in values],
            "lines": ["".join(_line(one, level * top, level) for level in _ISOLEVELS) for one in values],
            "difference": []
            if reference or not shown.present.any()
            else [
                _coloured(0.5 + one[::step, ::step] / (2 * _DIFFERENCE * top), "PuOr_r", None)
                for one in predicted - true
            ],
        }
    return found


def _coloured(share: np.ndarray, colours: str, least: float | None) -> str:
    """Shares 0 to 1 as colours; clear below ``least``, or of a difference the clearer the smaller it is."""
    from matplotlib import colormaps
    from PIL import Image

    share = np.clip(share, 0, 1)
    rgba = colormaps[colours](share)
    rgba[..., 3] = np.minimum(1, 3 * np.abs(share - 0.5)) if least is None else 0.62 * (share > least)
    return _uri(Image.fromarray((255 * rgba).round().astype(np.uint8)))


def _line(values: np.ndarray, level: float, share: float) -> str:
    """A line of equal value as a path."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return _path(0.5 * values / level, f"stroke='{to_hex(colormaps['plasma'](share))}'")
