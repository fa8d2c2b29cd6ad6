"""Tables of the page on narrow screens and on paper: every figure keeps its title, and nothing is cut."""

from __future__ import annotations

from html.parser import HTMLParser

from crosstask.report.markup import html_table
from crosstask.report.page import _text

STYLE = _text("style.css")


class Cells(HTMLParser):
    """What stands in a table: titles, and cells with the titles that they carry."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("th", "td"):
            self.found.append([tag, dict(attrs).get("data-title") or "", ""])

    def handle_data(self, data: str) -> None:
        self.found[-1][2] += data


def test_every_cell_carries_the_title_of_its_column():
    titles = ["Method", "Δ 'a' <b> [95 %]", "Rank"]
    rows = [["STL", "", "2"], ["HPS & co", "+1.0 % [+0.5, +1.5]", "1"]]
    cells = Cells(html_table(titles, rows)).found
    assert [text for tag, _, text in cells if tag == "th"] == titles
    assert [[title, text] for tag, title, text in cells if tag == "td"] == [
        [title, cell] for row in rows for title, cell in zip(titles, row, strict=True)
    ]


def rules(medium: str) -> str:
    """The rules within a medium's braces."""
    start = STYLE.index("{", STYLE.index(medium)) + 1
    depth, end = 1, start
    while depth:
        depth += {"{": 1, "}": -1}.get(STYLE[end], 0)
        end += 1
    return STYLE[start:end]


def test_on_a_narrow_screen_rows_are_cards_that_show_the_titles():
    narrow = rules("@media screen and (max-width")
    assert "attr(data-title)" in narrow and "thead { display: none" in narrow
    assert "white-space: normal" in narrow and "nowrap" not in narrow


def test_on_paper_no_table_scrolls_and_long_words_break():
    paper = rules("@media print")
    assert "table { width: 100%" in paper and "overflow: visible" in paper
    assert "white-space: normal" in paper and "overflow-wrap: anywhere" in paper
    assert "landscape" in rules("@page")
