"""The look of the page, and tables as HTML that no screen and no paper cuts."""

from __future__ import annotations

import html
from collections.abc import Sequence

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 85rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 0.9rem; max-width: 100%; display: block; overflow-x: auto; }
table + table { margin-top: 1.5rem; } p, ul { max-width: 70rem; }
th, td { padding: 0.25rem 0.5rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
td:last-child { white-space: normal; }
.t { text-align: left; }
thead th { border-bottom: 2px solid #888; white-space: normal; }
summary { cursor: pointer; margin: 1rem 0; } img { max-width: 100%; } .note { color: #555; font-size: 0.9rem; }
.verdict { padding-left: 1.2rem; } .verdict li { margin: 0.3rem 0; }
.warning { border-left: 4px solid #b00; padding-left: 0.7rem; }
p, h1, h2 { overflow-wrap: break-word; }
@media screen and (max-width: 50rem) {
  body { margin: 1rem auto; }
  table, tbody, tr, td { display: block; } thead { display: none; }
  tr { border: 1px solid #bbb; border-radius: 4px; margin: 0 0 0.8rem; padding: 0.2rem 0.6rem; }
  td { display: flex; justify-content: space-between; gap: 1rem; padding: 0.2rem 0; white-space: normal; }
  td, .t { text-align: right; } td:empty { display: none; } tr td:last-child { border-bottom: 0; }
  td { overflow-wrap: anywhere; }
  td::before { content: attr(data-title); color: #555; text-align: left; flex: 0 0 45%; }
}
@page { size: A4 landscape; margin: 12mm; }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 10pt; }
  table { display: table; width: 100%; font-size: 7.5pt; overflow: visible; }
  th, td { white-space: normal; padding: 0.15rem 0.3rem; overflow-wrap: anywhere; }
  thead { display: table-header-group; } tr, img { break-inside: avoid; } h2 { break-after: avoid; }
  img { max-height: 170mm; } details::details-content { content-visibility: visible; }
}
"""
"""On a narrow screen every row is a card with the titles beside its figures; on paper tables take the page's width."""


def html_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with words to the left and figures to the right; each cell knows its column's title."""
    begin = [[row[i].removeprefix("± ")[:2] for row in rows] for i in range(len(titles))]
    words = [not any(character.isdigit() for cell in column for character in cell) for column in begin]
    marks = [" class=t" if word else "" for word in words]
    head = "".join(f"<th{mark}>{html.escape(title)}</th>" for mark, title in zip(marks, titles, strict=True))
    body = "".join(f"<tr>{_cells(titles, row, marks)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(titles: Sequence[str], row: Sequence[str], marks: Sequence[str]) -> str:
    return "".join(
        f"<td{mark} data-title='{html.escape(title)}'>{html.escape(cell)}</td>"
        for title, cell, mark in zip(titles, row, marks, strict=True)
    )
