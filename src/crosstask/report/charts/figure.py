"""A figure: panels in Vega-Lite, its data within, and what it shows in words. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crosstask.methods import BASELINE, name_of, variant_of

Spec = dict[str, Any]

GREY = "#7a7a7a"
INK = "currentColor"
"""The text's own: black on paper, white on a dark page."""
PALETTE = ("#0077bb", "#ee7733", "#aa3377", "#33a5d6", "#bba400", "#ee3377", "#009988", "#8c564b")
"""After Paul Tol's vibrant scheme, told apart also by those who see no red or no green; grey is the baseline's."""
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [4, 4], [10, 3], [1, 3], [6, 2, 1, 2])
DIGITS = 6
"""Significant digits of figures in a chart's data."""


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: above it; empty where the figure's is enough.
        spec: a single or layered view of Vega-Lite, with its data, without width and title.
        height: in pixels.
        aspect: width over height in a file; on the page it is as wide as its place.
    """

    title: str
    spec: Spec
    height: int = 230
    aspect: float = 1.35

    @property
    def width(self) -> int:
        """In pixels, in a file."""
        return round(self.height * self.aspect)


@dataclass(frozen=True)
class Figure:
    """Charts that belong together.

    Attributes:
        name: of its files, unique on a page.
        title: above it.
        panels: its charts.
        words: what it shows, in words and figures, for those who do not see it.
        note: how to read it, below it; empty where that is plain.
        columns: panels side by side in a file.
        least: the smallest width of a panel on the page, in pixels; as many as fit stand side by side.
        key: what colours, shapes and dashes mean, where that is the same in all panels.
    """

    name: str
    title: str
    panels: Sequence[Panel]
    words: str
    note: str = ""
    columns: int = 3
    least: int = 270
    key: Sequence[Entry] = ()


@dataclass(frozen=True)
class Entry:
    """What a colour, shape or dash means."""

    label: str
    colour: str
    dash: Sequence[int] = (1, 0)
    shape: str = "circle"


def entries(labels: Mapping[str, str]) -> dict[str, Entry]:
    """Look of each method, the same in all figures: colour and shape by its name, dashes by name and variant.

    Args:
        labels: ``{key: label}`` of the methods, in order; single-task learning is grey.
    """
    names = list(dict.fromkeys(map(name_of, labels)))
    variants = list(dict.fromkeys(map(variant_of, labels)))
    places = {name: place for place, name in enumerate(name for name in names if name != BASELINE)}
    found: dict[str, Entry] = {}
    for key, label in labels.items():
        name, variant = name_of(key), variants.index(variant_of(key))
        if name == BASELINE:
            found[key] = Entry(label, GREY, _DASHES[variant % len(_DASHES)])
            continue
        place = places[name]
        look, dash = place % len(PALETTE), (place + place // len(PALETTE) + variant + 1) % len(_DASHES)
        found[key] = Entry(label, PALETTE[look], _DASHES[dash], _SHAPES[1 + look % (len(_SHAPES) - 1)])
    return found


def scales(looks: Mapping[str, Entry]) -> dict[str, Spec]:
    """Scales of Vega-Lite that give each label its look: ``color``, ``dash`` and ``shape``."""
    domain = [entry.label for entry in looks.values()]
    ranges = {
        "color": [entry.colour for entry in looks.values()],
        "dash": [list(entry.dash) for entry in looks.values()],
        "shape": [entry.shape for entry in looks.values()],
    }
    return {name: {"domain": domain, "range": values} for name, values in ranges.items()}


def rounded(value: float) -> float | None:
    """A figure with a few significant digits, and None for what is no number, as JSON has none."""
    value = float(value)
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def quantity(name: str, title: str | None = None, **more: Any) -> Spec:
    """A quantitative channel."""
    return {"field": name, "type": "quantitative", "title": title, **more}


def category(name: str, title: str | None = None, **more: Any) -> Spec:
    """A nominal channel."""
    return {"field": name, "type": "nominal", "title": title, **more}


def tip(*fields: str | tuple[str, str]) -> list[Spec]:
    """What stands in a tooltip: fields, with titles where these are others."""
    pairs = [(one, one) if isinstance(one, str) else one for one in fields]
    return [{"field": name, "title": title} for name, title in pairs]


def listed(words: Sequence[str], most: int = 12) -> str:
    """Sentences of a figure's words, cut where they are many."""
    more = f" And {len(words) - most} more." if len(words) > most else ""
    return " ".join(words[:most]) + more
