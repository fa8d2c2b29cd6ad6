"""One HTML file that needs nothing else: sections of tables, figures and cases in a template. No torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from crosstask import __version__
from crosstask.files import write_atomically
from crosstask.report.charts.figure import Figure
from crosstask.report.charts.files import page_spec, script, write_figures
from crosstask.report.summary import Card

FIGURES = "figures"
"""Folder of the figures as files, beside the page."""
_MARKS = {
    "circle": "M14 2.5a3.5 3.5 0 1 0 .01 0Z",
    "square": "M10.8 2.8h6.4v6.4h-6.4Z",
    "triangle-up": "M14 1.8 18 9.4H10Z",
    "triangle-down": "M14 10.2 18 2.6H10Z",
    "diamond": "M14 1.2 18 6 14 10.8 10 6Z",
    "cross": "M12.7 2h2.6v2.7H18v2.6h-2.7V10h-2.6V7.3H10V4.7h2.7Z",
    "triangle-right": "M10.4 2 18 6 10.4 10Z",
    "triangle-left": "M17.6 2 10 6 17.6 10Z",
}


@dataclass(frozen=True)
class Section:
    """A part of the page with a title.

    Attributes:
        id: for links.
        title: above it.
        parts: HTML, figures, or the viewer's cases, in order.
        short: its title in the navigation, by default the same.
    """

    id: str
    title: str
    parts: Sequence[str | Figure | list[dict[str, Any]]]
    short: str = ""


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes:
        name: of the experiment.
        headline: the verdict in a sentence.
        facts: on what it rests, in a line.
        sections: in order; empty ones are left out.
        warnings: what must not be missed.
        cards: a method each.
        generator: the command that wrote it.
    """

    name: str
    headline: str
    facts: str
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    cards: Sequence[Card] = ()
    generator: str = "crosstask"
    figures: list[Figure] = field(init=False)

    def __post_init__(self) -> None:
        found = [part for section in self.sections for part in section.parts if isinstance(part, Figure)]
        object.__setattr__(self, "figures", found)


def write_page(page: Page, path: Path, *, files: bool = True) -> None:
    """Write the page, and beside it every figure as SVG, PNG and PDF.

    Args:
        page: what it shows.
        path: the HTML file.
        files: whether to write the figures as files, too.
    """
    if files:
        write_figures(page.figures, path.parent / FIGURES)
    write_atomically(path, html_of(page, links=files))


def html_of(page: Page, *, links: bool = False) -> str:
    """The page as text.

    Args:
        page: what it shows.
        links: whether the figures lie beside it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("crosstask.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [section for section in page.sections if section.parts]
    cases = [case for section in sections for part in section.parts if isinstance(part, list) for case in part]
    charts = {
        f"{figure.name}/{place}": page_spec(panel)
        for figure in page.figures
        for place, panel in enumerate(figure.panels)
    }
    return environment.get_template("page.html").render(
        name=page.name,
        headline=page.headline,
        facts=page.facts,
        sections=sections,
        warnings=page.warnings,
        cards=page.cards,
        generator=page.generator,
        version=__version__,
        links=links,
        marks=_MARKS,
        charts=_json(charts),
        cases=_json([{key: value for key, value in case.items() if key in _OF_CASES} for case in cases]),
        style=_text("style.css"),
        script=script() if charts else "",
        behaviour=_text("page.js"),
    )


_OF_CASES = ("slices", "start", "images", "tiles")
"""What the page's script needs of a case."""


def _text(name: str) -> str:
    return (resources.files("crosstask.report") / "templates" / name).read_text(encoding="utf-8")


def _json(value: object) -> str:
    """JSON that may stand in a script of HTML: nothing in it ends the script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
