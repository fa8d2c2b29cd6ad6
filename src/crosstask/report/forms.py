"""The comparison in every form, each with the verdict, its level, and what the intervals cover. No torch here.

First the verdict in words, then M with improvements and ranks, the verdicts by task, and what a reader must know.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crosstask.csv_cells import frame_text
from crosstask.evaluation.comparison import Cell, Comparison
from crosstask.files import write_atomically
from crosstask.report.markup import html_table
from crosstask.report.notes import table_notes
from crosstask.report.tables import (
    comparison_table,
    csv_table,
    latex_table,
    markdown_notes,
    markdown_table,
    markdown_text,
    remark_lines,
    text_table,
)
from crosstask.report.verdicts import prospects, verdict_frame, verdict_sentences, verdict_table

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
Floors = Sequence[Mapping[str, Cell]]
"""M of the constant predictor of each data set, empty where there is none."""


def sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """The verdict on every method of every data set, in words."""
    several = len(comparisons) > 1
    return [f"{one.dataset}: " * several + words for one in comparisons for words in verdict_sentences(one)]


def remarks(comparisons: Sequence[Comparison], key: str = "") -> list[str]:
    """Whatever must be said beside figures: the verdicts, then the notes; ``key`` comes between."""
    return [*sentences(comparisons), *filter(None, [key]), *table_notes(comparisons)]


def as_text(comparisons: Sequence[Comparison], floors: Floors, key: str = "") -> str:
    """For a terminal or a log.

    Args:
        comparisons: of the data sets.
        floors: M of the constant predictor of each.
        key: a sentence before the notes.
    """
    parts = [
        remark_lines(sentences(comparisons)),
        text_table(*comparison_table(comparisons, floors)),
        _verdicts(comparisons, text_table),
        remark_lines([*filter(None, [key]), *table_notes(comparisons)]),
    ]
    return "\n".join(filter(None, parts))


def as_markdown(comparisons: Sequence[Comparison], floors: Floors, key: str = "") -> str:
    """The same as Markdown."""
    parts = [
        "".join(f"- {markdown_text(sentence)}\n" for sentence in sentences(comparisons)),
        markdown_table(*comparison_table(comparisons, floors)),
        _verdicts(comparisons, markdown_table),
        *(_prospects(one, markdown_table) for one in comparisons if len(comparisons) == 1),
        markdown_notes([*filter(None, [key]), *table_notes(comparisons)]),
    ]
    return "\n".join(filter(None, parts))


def as_latex(comparisons: Sequence[Comparison], floors: Floors, key: str = "") -> str:
    """The same as two LaTeX tabulars, the words below the first."""
    tables = [latex_table(*comparison_table(comparisons, floors), remarks(comparisons, key))]
    return "\n\\bigskip\n\n".join(filter(None, [*tables, _verdicts(comparisons, latex_table)]))


def as_html(comparison: Comparison, floor: Mapping[str, Cell]) -> str:
    """The same as a part of a page, without titles of its own."""
    notes = (f"<p class={_class(note)}>{html.escape(note)}</p>" for note in table_notes([comparison]))
    return "".join([verdict_parts(comparison, floor), interval_parts(comparison), *notes])


def verdict_parts(comparison: Comparison, floor: Mapping[str, Cell]) -> str:
    """The verdicts in words, and M with improvements and ranks; its data set is that of the page."""
    told = "".join(f"<li>{_marked(sentence)}</li>" for sentence in verdict_sentences(comparison))
    words = f"<ul class=verdict>{told}</ul>" if told else ""
    titles, rows = comparison_table([comparison], [floor])
    return words + html_table(titles[1:], [row[1:] for row in rows])


def interval_parts(comparison: Comparison) -> str:
    """The verdicts by task, and what more runs or cases would bring."""
    return _verdicts([comparison], html_table) + _prospects(comparison, html_table)


def write_forms(
    comparisons: Sequence[Comparison], floors: Floors, folder: Path, *, key: str = "", more: str = ""
) -> Path:
    """Write ``table.txt``, ``table.md``, ``table.csv``, ``table.tex`` and ``verdict.csv``; return the first.

    Args:
        comparisons: of the data sets.
        floors: M of the constant predictor of each.
        folder: where to write.
        key: a sentence before the notes.
        more: what follows in ``table.md``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "table.txt", as_text(comparisons, floors, key))
    write_atomically(folder / "table.md", "\n".join(filter(None, [as_markdown(comparisons, floors, key), more])))
    write_atomically(folder / "table.csv", csv_table(comparisons, floors))
    write_atomically(folder / "table.tex", as_latex(comparisons, floors, key))
    write_atomically(folder / "verdict.csv", frame_text(verdict_frame(comparisons)))
    return folder / "table.txt"


def _verdicts(comparisons: Sequence[Comparison], table: Table) -> str:
    """The table of verdicts; nothing where nothing is compared."""
    titles, rows = verdict_table(comparisons)
    return table(titles, rows) if rows else ""


def _prospects(comparison: Comparison, table: Table) -> str:
    """What more runs or cases would bring; nothing where that is not known."""
    titles, rows = prospects(comparison)
    return table(titles, rows) if rows else ""


def _marked(sentence: str) -> str:
    """A sentence with the method's name in bold."""
    name, colon, words = sentence.partition(": ")
    return f"<strong>{html.escape(name)}</strong>{colon}{html.escape(words)}"


def _class(note: str) -> str:
    return "warning" if note.startswith("Warning") else "note"
