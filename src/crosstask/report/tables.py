"""The comparison as text, Markdown, CSV and LaTeX: the papers' Table 2. No torch here."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from crosstask.csv_cells import csv_text
from crosstask.errors import one_line
from crosstask.evaluation.cells import Grid
from crosstask.evaluation.compact import distinct
from crosstask.evaluation.comparison import Cell, Comparison, Measure, Row, companions, constant_means
from crosstask.evaluation.scores import over_seeds, per_case
from crosstask.methods import label_of
from crosstask.report.words import (
    ONE_RUN,
    covered,
    covers_of,
    difference_text,
    gain_text,
    has_interval,
    interval_text,
    number,
    rank_text,
    short_of_runs,
    trained_once,
    verdict_text,
)

CONSTANT_LABEL = "constant"

_CSV_COLUMNS = (
    "dataset",
    "method",
    "task",
    "metric",
    "unit",
    "higher_is_better",
    "value",
    "seed_deviation",
    "improvement_percent",
    "improvement_low",
    "improvement_high",
    "verdict",
    "p_adjusted",
    "p_equivalent_adjusted",
    "difference",
    "difference_low",
    "difference_high",
    "mean_improvement_percent",
    "mean_improvement_low",
    "mean_improvement_high",
    "mean_verdict",
    "rank_low",
    "rank_high",
    "companion_metric",
    "companion_value",
    "remarks",
    "seeds",
    "level",
    "margin",
    "interval_covers",
    "never_predicted",
)
_WIDEST = 2
"""Tasks side by side; more of them stand below each other."""
_LINE = 120
_NARROWEST = 12
"""Titles of a text table that is wider than a line are broken, down to so many characters."""


_MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{character: f"\\{character}" for character in "\\|`"}}
)
_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "%_&#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "Δ": r"$\Delta$",
        "<": r"\textless{}",
    }
)


def comparison_table(
    comparisons: Sequence[Comparison], floors: Sequence[Mapping[str, Cell]]
) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the comparison of one or several data sets: as in the papers, or with many tasks one by one.

    Args:
        comparisons: of the data sets, with the same methods.
        floors: M of the constant predictor of each, empty where there is none.
    """
    if all(len(comparison.measures) <= _WIDEST for comparison in comparisons):
        brackets = covered(comparisons)
        titles = header(comparisons[0])
        if len(comparisons) > 1:
            tasks = range(1, len(comparisons[0].measures) + 1)
            middle = [title for task in tasks for title in (f"M task {task}", f"Δ task {task} [{brackets}]")]
            titles = [*titles[:2], *middle, *titles[-3:]]
        return titles, [
            row
            for comparison, floor in zip(comparisons, floors, strict=True)
            for row in body(comparison, floor, brackets)
        ]
    return _by_task(comparisons, floors)


def header(comparison: Comparison) -> list[str]:
    """Column titles, of tasks side by side."""
    titles, brackets = ["Data set", "Method"], covered([comparison])
    for measure in comparison.measures:
        titles += [f"M {measure.task}: {_measure(measure)}", f"Δ {measure.task} [{brackets}]"]
    return [*titles, f"Δ mean [{brackets}]", "Verdict", "Rank"]


def body(comparison: Comparison, floor: Mapping[str, Cell] | None = None, titled: str = "") -> list[list[str]]:
    """Rows of the table with tasks side by side.

    Args:
        comparison: of one data set.
        floor: M of the constant predictor per task, put first.
        titled: what the titles say that intervals cover, if it is not as in :func:`header`.
    """
    rows, titled = [], titled or covered([comparison])
    if floor:
        cells = [text for measure in comparison.measures for text in (_value(floor[measure.task], measure), "")]
        rows.append([comparison.dataset, CONSTANT_LABEL, *cells, "", "", ""])
    for row in comparison.rows:
        cells = []
        for measure in comparison.measures:
            cell = row.cells[measure.task]
            texts = [_gain(cell), _interval(cell, measure), short_of_runs(row, cell, comparison, titled)]
            cells += [_value(cell, measure), " ".join(filter(None, texts))]
        texts = [gain_text(row.mean.improvement), _interval(row.mean), short_of_runs(row, row.mean, comparison, titled)]
        mean = " ".join(filter(None, texts))
        rows.append(
            [
                comparison.dataset,
                comparison.label(row.method),
                *cells,
                mean,
                verdict_text(row.mean),
                _rank(comparison, row),
            ]
        )
    return rows


def _rank(comparison: Comparison, row: Row) -> str:
    """The rank, or why there is none: the words stand in every row that has an interval of single runs."""
    if trained_once(comparison) and any(map(has_interval, (row.mean, *row.cells.values()))):
        return ONE_RUN
    return rank_text(row.rank)


def _by_task(
    comparisons: Sequence[Comparison], floors: Sequence[Mapping[str, Cell]]
) -> tuple[list[str], list[list[str]]]:
    """Titles and rows with a column a method, and of each task M, improvement, interval and verdict one by one."""
    constant, brackets = any(floors), covered(comparisons)
    titles = ["Data set", "Task", "Figure", *([CONSTANT_LABEL] if constant else [])]
    titles += [comparisons[0].label(row.method) for row in comparisons[0].rows]
    rows = []
    for comparison, floor in zip(comparisons, floors, strict=True):
        lines: list[tuple[str, str, str, list[str]]] = []

        def told(task: str, cells: Sequence[Cell], measure: Measure | None, of: Comparison = comparison) -> list[Any]:
            intervals = [
                " ".join(filter(None, [_interval(cell, measure), short_of_runs(row, cell, of, brackets)]))
                for row, cell in zip(of.rows, cells, strict=True)
            ]
            return [
                (task, "Δ", "", [_gain(cell) for cell in cells]),
                (task, f"Δ [{brackets}]", "", intervals),
                (task, "Verdict", "", [verdict_text(cell) for cell in cells]),
            ]

        for measure in comparison.measures:
            cells = [row.cells[measure.task] for row in comparison.rows]
            first = _value(floor[measure.task], measure) if floor else ""
            values = [_value(cell, measure) for cell in cells]
            lines.append((measure.task, f"M: {_measure(measure)}", first, values))
            lines += told(measure.task, cells, measure)
        lines += told("mean", [row.mean for row in comparison.rows], None)
        lines.append(("", "Rank", "", [_rank(comparison, row) for row in comparison.rows]))
        for task, figure, first, texts in lines:
            if any(texts) or first:
                rows.append([comparison.dataset, task, figure, *([first] if constant else []), *texts])
    return titles, rows


def _measure(measure: Measure) -> str:
    """Name, unit and direction of M, and what stands in parentheses behind it."""
    arrow = "up" if measure.higher_is_better else "down"
    unit = f" {measure.unit}" if measure.unit else ""
    beside = f" ({measure.companion})" if measure.companion else ""
    return f"{measure.metric}{beside}{unit} ({arrow})"


def _value(cell: Cell, measure: Measure) -> str:
    """M, what it is not shown without, and its deviation over seeds; an average over data sets has none."""
    if not math.isfinite(cell.value):
        return "undefined" if measure.metric else ""
    beside = f" ({number(cell.companion)})" if math.isfinite(cell.companion) else ""
    spread = f" ± {cell.deviation:.2f}" if math.isfinite(cell.deviation) else ""
    return number(cell.value) + spread + beside


def _gain(cell: Cell) -> str:
    """The improvement; where it is not defined the words for that."""
    return gain_text(cell.improvement) or (verdict_text(cell) if cell.undefined else "")


def _interval(cell: Cell, measure: Measure | None = None) -> str:
    """The interval of the improvement; where there is no ratio the difference in the metric's unit with its own."""
    if cell.undefined and measure is not None:
        return difference_text(cell.gain.difference, measure.unit)
    return interval_text(cell.low, cell.high)


def text_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, for a terminal or a log; titles are broken where the lines would be long."""
    titles, *rows = [list(map(one_line, cells)) for cells in (titles, *rows)]
    heads = [titles]
    if sum(max(map(len, column)) + 2 for column in zip(titles, *rows, strict=True)) > _LINE:
        columns = [_broken(title, [row[index] for row in rows]) for index, title in enumerate(titles)]
        heads = [list(line) for line in zip_longest(*columns, fillvalue="")]
    widths = [max(len(row[index]) for row in [*heads, *rows]) for index in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    return "\n".join([*map(line, heads), line(["-" * width for width in widths]), *map(line, rows)]) + "\n"


def _broken(title: str, cells: Sequence[str]) -> list[str]:
    """A title in lines about as long as its column's cells."""
    width = max(_NARROWEST, *map(len, cells)) if cells else len(title)
    return textwrap.wrap(title, max(width, 1), break_long_words=False, break_on_hyphens=False) or [title]


def markdown_text(text: str) -> str:
    """A text on one line of Markdown, with nothing in it taken for HTML, a link, a picture or the end of a cell."""
    return one_line(text).translate(_MARKDOWN).replace("](", r"]\(")


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(map(markdown_text, titles)), ["---"] * len(titles), *(list(map(markdown_text, row)) for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def latex_table(titles: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A LaTeX tabular (needs the package booktabs), with notes in small print below the rule."""

    def escape(text: str) -> str:
        escaped = one_line(text).translate(_LATEX)
        # at the beginning of a row they would be taken for arguments of the end of the last
        return "{}" + escaped if escaped.startswith(("[", "*")) else escaped

    lines = [
        r"\begin{tabular}{ll" + "r" * (len(titles) - 2) + "}",
        r"\toprule",
        " & ".join(map(escape, titles)) + r" \\",
        r"\midrule",
        *(" & ".join(map(escape, row)) + r" \\" for row in rows),
        r"\bottomrule",
        *(rf"\multicolumn{{{len(titles)}}}{{p{{0.9\linewidth}}}}{{\footnotesize {escape(note)}}} \\" for note in notes),
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def remark_lines(remarks: Sequence[str]) -> str:
    """What must be said beside a table, a line each below it."""
    return "".join(f"{one_line(remark)}\n" for remark in remarks)


def markdown_notes(remarks: Sequence[str]) -> str:
    """The same as paragraphs of Markdown."""
    return "".join(f"{markdown_text(remark)}\n\n" for remark in remarks)


def csv_table(comparisons: Sequence[Comparison], floors: Sequence[Mapping[str, Cell]]) -> str:
    """Every figure unrounded, one row per data set, method and task."""
    rows: list[Sequence[object]] = [_CSV_COLUMNS]
    for comparison, floor in zip(comparisons, floors, strict=True):
        remarks = " ".join(comparison.remarks)
        for measure in comparison.measures:
            head: dict[str, object] = {
                "dataset": comparison.dataset,
                "task": measure.task,
                "metric": measure.metric,
                "unit": measure.unit,
                "higher_is_better": measure.higher_is_better,
                "companion_metric": measure.companion,
                "remarks": remarks,
                "level": comparison.level,
                "margin": comparison.margin,
            }
            if floor:
                cell = floor[measure.task]
                own = {"method": CONSTANT_LABEL, "value": cell.value, "companion_value": cell.companion}
                rows.append(_csv_row(head | own | {"seeds": comparison.seeds}))
            rows += [_csv_row(head | _csv_figures(comparison, row, measure)) for row in comparison.rows]
    return csv_text(rows)


def _csv_figures(comparison: Comparison, row: Row, measure: Measure) -> dict[str, object]:
    cell, mean = row.cells[measure.task], row.mean
    gain = cell.gain
    ranks = dict(zip(("rank_low", "rank_high"), row.rank, strict=True)) if row.rank else {}
    return {
        "method": row.method,
        "value": cell.value,
        "seed_deviation": cell.deviation,
        "improvement_percent": cell.improvement,
        "improvement_low": cell.low,
        "improvement_high": cell.high,
        "verdict": cell.verdict,
        "p_adjusted": gain.p_adjusted,
        "p_equivalent_adjusted": gain.p_equivalent_adjusted,
        "difference": gain.difference.value,
        "difference_low": gain.difference.low,
        "difference_high": gain.difference.high,
        "mean_improvement_percent": mean.improvement,
        "mean_improvement_low": mean.low,
        "mean_improvement_high": mean.high,
        "mean_verdict": mean.verdict,
        **ranks,
        "companion_value": cell.companion,
        "seeds": cell.runs,
        "interval_covers": covers_of(row, cell, comparison),
        "never_predicted": _never(comparison, row, measure),
    }


def _csv_row(figures: Mapping[str, object]) -> list[object]:
    """The figures in the order of the columns; what is missing or no number stays empty."""
    values = [figures.get(column, "") for column in _CSV_COLUMNS]
    return ["" if isinstance(value, float) and math.isnan(value) else value for value in values]


def _never(comparison: Comparison, row: Row, measure: Measure) -> str:
    """Classes of a task that runs of a method never predict."""
    found = [one for one in comparison.unpredicted if (one.method, one.task) == (row.method, measure.task)]
    return "; ".join(f"seed {one.seed}: {one.name or one.task}" for one in found)


def floor_of(constant: pd.DataFrame, comparison: Comparison) -> dict[str, Cell]:
    """M of the constant predictor per task, NaN where it is not defined."""
    means = constant_means(constant, comparison.measures, comparison.empty)
    floor = {}
    for measure in comparison.measures:
        beside = companions(constant, measure, [CONSTANT_LABEL])[CONSTANT_LABEL]
        floor[measure.task] = Cell(means[measure.task], math.nan, companion=beside)
    return floor


def all_metrics(
    scores: pd.DataFrame,
    methods: Sequence[str],
    *,
    by_class: bool = True,
    tasks: Sequence[str] = (),
    label: Callable[[str], str] = label_of,
) -> tuple[list[str], list[list[str]]]:
    """Every metric of every method: mean over cases and seeds, by class where a task has several.

    What only all cases together have (an AUC) is a mean over seeds, and over the classes where it is defined. The
    OpenKBP DVH score is a mean over all cells of all patients at once, as the challenge defines it.

    Args:
        scores: the long table.
        methods: which, in order.
        by_class: also a row for each class.
        tasks: which come first, in order.
        label: how a method is written; see :meth:`Comparison.label`.
    """
    titles = ["Task", "Metric", "Class", "Unit", *map(label, methods)]
    rows = []
    order = {task: index for index, task in enumerate(dict.fromkeys([*tasks, *scores["task"].unique()]))}
    pairs = distinct(scores, ["task", "metric"]).itertuples(index=False, name=None)
    for task, metric in sorted(pairs, key=lambda pair: order[pair[0]]):
        if str(metric).startswith("dvh_error_"):
            continue
        part = scores[(scores["task"] == task) & (scores["metric"] == metric)]
        unit = str(part["unit"].iloc[0])
        classes = [name for name in part["class"].drop_duplicates() if name and name != task]
        for name in classes if by_class and len(classes) > 1 else []:
            own = part[part["class"] == name]
            rows.append([task, metric, name, unit, *_means(own, own, methods)])
        rows.append([task, metric, "mean" if len(classes) > 1 else "", unit, *_means(per_case(part), part, methods)])
    cells = scores[scores["metric"].str.startswith("dvh_error_")]
    for task, part in cells.groupby("task", sort=False, observed=True):
        rows.append([task, "dvh_score", "", str(part["unit"].iloc[0]), *_means(part, part, methods)])
    return titles, [[str(cell) for cell in row] for row in rows]


def _means(values: pd.DataFrame, cells: pd.DataFrame, methods: Sequence[str]) -> list[str]:
    """A mean per method; words where a method lacks cells (case and class) that another has with the same seed.

    Args:
        values: what is averaged.
        cells: the rows behind it.
        methods: which, in order.
    """
    means = over_seeds(values)
    grid = Grid(cells.loc[cells["value"].notna(), ["method", "seed", "case", "class"]])
    known = np.zeros(grid.shape, dtype=bool)
    known.ravel()[grid.place] = True
    places = {seed: [at for at, (_, other) in enumerate(grid.runs) if other == seed] for _, seed in grid.runs}
    every = {seed: int(known[:, at].any(1).sum()) for seed, at in places.items()}
    texts = []
    for method in methods:
        own = Counter({seed: int(known[:, at].sum()) for at, (name, seed) in enumerate(grid.runs) if name == method})
        wanted = sum(every[seed] for seed in own)
        few = f" ({len(own)} of {len(every)} seeds)" if len(own) < len(every) and method != CONSTANT_LABEL else ""
        if method not in means or not own:
            texts.append("")
        elif own.total() < wanted:
            texts.append(f"incomplete: {own.total()} of {wanted}")
        else:
            texts.append(number(means[method]) + few)
    return texts
