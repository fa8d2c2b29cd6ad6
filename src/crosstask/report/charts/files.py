"""Figures as SVG, PNG and PDF, and what a page needs to draw them itself. No torch here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from crosstask.errors import CrosstaskError
from crosstask.files import cache_folder, write_atomically
from crosstask.report.charts.figure import INK, Entry, Figure, Panel, Spec

_VERSION = "6.4"
"""Of Vega-Lite."""
_SCHEMA = f"https://vega.github.io/schema/vega-lite/v{_VERSION.split('.')[0]}.json"
_INK = "#222222"
_SCALE = 2.0
"""Pixels of a PNG for each of a figure's."""
FORMATS = ("svg", "png", "pdf")


def _config(ink: str) -> Spec:
    """The look of charts, in one colour of ink; on the page that is the text's, light or dark."""
    return {
        "background": None,
        "font": "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif",
        "view": {"stroke": None},
        "title": {"color": ink, "fontSize": 12, "fontWeight": 600, "anchor": "start", "limit": 320},
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "domainColor": ink,
            "tickColor": ink,
            "gridColor": ink,
            "gridOpacity": 0.1,
            "domainOpacity": 0.4,
            "tickOpacity": 0.4,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "labelLimit": 220,
        },
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "labelLimit": 400,
            "orient": "bottom",
            "columns": 4,
        },
        "text": {"color": ink},
        "rule": {"color": ink},
    }


def page_spec(panel: Panel) -> Spec:
    """A panel for the page: as wide as its place, in the text's colour, without a legend of its own."""
    config = _config(INK)
    config["legend"] = {**config["legend"], "disable": True}
    size = {"width": "container", "height": panel.height, "autosize": {"type": "fit-x", "contains": "padding"}}
    return {"$schema": _SCHEMA, **size, **panel.spec, "config": config}


def file_spec(figure: Figure) -> Spec:
    """A whole figure as one chart, its key below."""
    views = [
        {"title": panel.title, "width": panel.width, "height": panel.height, **panel.spec} for panel in figure.panels
    ]
    whole: Spec = {
        "$schema": _SCHEMA,
        "title": {"text": figure.title, "fontSize": 14, "offset": 12},
        "config": {**_config(_INK), "background": "white"},
        "concat": views,
        "columns": min(figure.columns, len(views)),
    }
    if figure.key:
        for view in views:
            _without_legends(view)
        below = {"vconcat": [{"concat": views, "columns": whole["columns"]}, _key(figure.key)]}
        del whole["concat"], whole["columns"]
        whole.update(below)
    return whole


def _without_legends(view: Any) -> None:
    """No legend in any layer: the figure's key says it for all panels."""
    if isinstance(view, dict):
        encoding = view.get("encoding", {})
        for channel in ("color", "strokeDash", "shape", "fill", "stroke"):
            if isinstance(encoding.get(channel), dict) and "field" in encoding[channel]:
                encoding[channel] = {**encoding[channel], "legend": None}
        view["encoding"] = encoding
        for layer in view.get("layer", ()):
            _without_legends(layer)


def _key(key: Iterable[Entry]) -> Spec:
    """What colours mean, as a row of marks with words; long ones break into several rows."""
    found = list(key)
    step = max(90, 26 + 7 * max(len(entry.label) for entry in found))
    across = max(1, min(len(found), 760 // step))
    rows = [{"at": index % across, "row": index // across, "label": entry.label} for index, entry in enumerate(found)]
    layers = []
    for entry, row in zip(found, rows, strict=True):
        place = {
            "x": {"field": "at", "type": "quantitative", "axis": None, "scale": {"domain": [0, across]}},
            "y": {"field": "row", "type": "ordinal", "axis": None},
        }
        mark: Spec = {"type": "point", "filled": True, "size": 70, "shape": entry.shape, "color": entry.colour}
        layers.append({"data": {"values": [row]}, "mark": {**mark, "opacity": 1}, "encoding": place})
        text = {"type": "text", "align": "left", "dx": 9, "fontSize": 11}
        layers.append({"data": {"values": [row]}, "mark": text, "encoding": {**place, "text": {"field": "label"}}})
    return {"width": step * across, "height": {"step": 18}, "layer": layers, "view": {"stroke": None}}


def as_svg(figure: Figure) -> str:
    """The figure as SVG."""
    import vl_convert

    spec = json.dumps(file_spec(figure)).replace(json.dumps(INK), json.dumps(_INK))
    return str(vl_convert.vegalite_to_svg(spec, vl_version=_VERSION))


def as_png(figure: Figure) -> bytes:
    """The figure as PNG."""
    import vl_convert

    return bytes(vl_convert.svg_to_png(as_svg(figure), scale=_SCALE))


def write_figures(figures: Iterable[Figure], folder: Path) -> None:
    """Write every figure as SVG, PNG and PDF; what lies there of others is left alone.

    Args:
        figures: of a page.
        folder: where to.
    """
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        svg = as_svg(figure)
        write_atomically(folder / f"{figure.name}.svg", svg)
        write_atomically(folder / f"{figure.name}.png", bytes(vl_convert.svg_to_png(svg, scale=_SCALE)))
        write_atomically(folder / f"{figure.name}.pdf", bytes(vl_convert.svg_to_pdf(svg)))


@lru_cache(maxsize=1)
def script() -> str:
    """JavaScript that draws Vega-Lite in a page, as ``vegaEmbed``: one bundle, nothing is loaded.

    To bundle takes seconds, so it is kept in the user's cache; without one it is made anew.
    """
    from importlib.metadata import version

    import vl_convert

    path = cache_folder() / f"vega-{_VERSION}-{version('vl-convert-python')}.js"
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8")
    bundle = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_VERSION))
    with contextlib.suppress(OSError, CrosstaskError):  # a cache that cannot be written costs time alone
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, bundle)
    return bundle
