"""Tables as HTML that no screen and no paper cuts: on a narrow screen every row is a card with its titles."""

from __future__ import annotations

import html
from collections.abc import Sequence


def html_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with words to the left and figures to the right; each cell knows its column's title."""
    begin = [[row[i].removeprefix("± ")[:2] for row in rows] for i in range(len(titles))]
    words = [not any(character.isdigit() for cell in column for character in cell) for column in begin]
    marks = [" class=t" if word else "" for word in words]
    head = "".join(f"<th scope=col{mark}>{html.escape(title)}</th>" for mark, title in zip(marks, titles, strict=True))
    body = "".join(f"<tr>{_cells(titles, row, marks)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return (
        f"<div class=wide tabindex=0 role=region aria-label='Table: {html.escape(', '.join(titles[:3]))}'>{table}</div>"
    )


def _cells(titles: Sequence[str], row: Sequence[str], marks: Sequence[str]) -> str:
    return "".join(
        f"<td{mark} data-title='{html.escape(title)}'>{html.escape(cell)}</td>"
        for title, cell, mark in zip(titles, row, marks, strict=True)
    )
