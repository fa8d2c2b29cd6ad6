"""The comparison as text, Markdown, CSV and LaTeX: the papers' Table 2. No torch here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from crosstask.csv_cells import csv_text
from crosstask.errors import one_line
from crosstask.evaluation.comparison import Cell, Comparison, Measure, Row, companions, constant_means
from crosstask.evaluation.scores import over_seeds, per_case
from crosstask.methods import label_of
from crosstask.report.notes import ONE_RUN, covers

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
    "mean_improvement_percent",
    "rank",
    "companion_metric",
    "companion_value",
    "remarks",
    "seeds",
    "interval_covers",
    "never_predicted",
)
_OVER = "[95 % over cases]"
_WIDEST = 2
"""Tasks side by side; more of them stand below each other."""


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
        titles = header(comparisons[0])
        if len(comparisons) > 1:
            tasks = range(1, len(comparisons[0].measures) + 1)
            middle = [title for task in tasks for title in (f"M task {task}", f"Δ task {task} {_OVER}")]
            titles = [*titles[:2], *middle, *titles[-2:]]
        return titles, [
            row for comparison, floor in zip(comparisons, floors, strict=True) for row in body(comparison, floor)
        ]
    return _by_task(comparisons, floors)


def header(comparison: Comparison) -> list[str]:
    """Column titles, of tasks side by side."""
    titles = ["Data set", "Method"]
    for measure in comparison.measures:
        titles += [f"M {measure.task}: {_measure(measure)}", f"Δ {measure.task} {_OVER}"]
    return [*titles, f"Δ mean {_OVER}", "Rank"]


def body(comparison: Comparison, floor: Mapping[str, Cell] | None = None) -> list[list[str]]:
    """Rows of the table with tasks side by side; ``floor`` is M of the constant predictor per task, put first."""
    rows = []
    if floor:
        cells = [text for measure in comparison.measures for text in (_value(floor[measure.task], measure), "")]
        rows.append([comparison.dataset, CONSTANT_LABEL, *cells, "", ""])
    for row in comparison.rows:
        cells = []
        for measure in comparison.measures:
            cell = row.cells[measure.task]
            gain = _gain(cell.improvement) or cell.undefined
            cells += [_value(cell, measure), " ".join(filter(None, [gain, _interval(cell)]))]
        mean = " ".join(filter(None, [_gain(row.mean.improvement), _interval(row.mean)]))
        rows.append([comparison.dataset, label_of(row.method), *cells, mean, _rank(comparison, row)])
    return rows


def _rank(comparison: Comparison, row: Row) -> str:
    """The rank, or why there is none: the words stand in every row that has an interval."""
    if comparison.seeds == 1 and any(math.isfinite(cell.improvement) for cell in (row.mean, *row.cells.values())):
        return ONE_RUN
    return str(row.rank or "")


def _by_task(
    comparisons: Sequence[Comparison], floors: Sequence[Mapping[str, Cell]]
) -> tuple[list[str], list[list[str]]]:
    """Titles and rows with a column a method, and of each task M, the improvement and its interval below each other."""
    constant = any(floors)
    titles = ["Data set", "Task", "Figure", *([CONSTANT_LABEL] if constant else [])]
    titles += [label_of(row.method) for row in comparisons[0].rows]
    rows = []
    for comparison, floor in zip(comparisons, floors, strict=True):
        lines: list[tuple[str, str, str, list[str]]] = []
        for measure in comparison.measures:
            cells = [row.cells[measure.task] for row in comparison.rows]
            first = _value(floor[measure.task], measure) if floor else ""
            values = [_value(cell, measure) for cell in cells]
            lines.append((measure.task, f"M: {_measure(measure)}", first, values))
            gains = [_gain(cell.improvement) or cell.undefined for cell in cells]
            lines.append((measure.task, "Δ", "", gains))
            lines.append((measure.task, f"Δ {_OVER}", "", [_interval(cell) for cell in cells]))
        lines.append(("mean", "Δ", "", [_gain(row.mean.improvement) for row in comparison.rows]))
        lines.append(("mean", f"Δ {_OVER}", "", [_interval(row.mean) for row in comparison.rows]))
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
    beside = f" ({_number(cell.companion)})" if math.isfinite(cell.companion) else ""
    spread = f" ± {cell.deviation:.2f}" if math.isfinite(cell.deviation) else ""
    return _number(cell.value) + spread + beside


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _gain(value: float) -> str:
    return f"{value:+.2f} %" if math.isfinite(value) else ""


def _interval(cell: Cell) -> str:
    return f"[{cell.low:+.2f}, {cell.high:+.2f}]" if math.isfinite(cell.low) else ""


def text_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, for a terminal or a log."""
    titles, *rows = [list(map(one_line, cells)) for cells in (titles, *rows)]
    widths = [max(len(row[index]) for row in [titles, *rows]) for index in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    return "\n".join([line(titles), line(["-" * width for width in widths]), *map(line, rows)]) + "\n"


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
            head = [measure.task, measure.metric, measure.unit, measure.higher_is_better]
            runs = [comparison.seeds, covers(comparison)]
            if floor:
                cell = floor[measure.task]
                shown = ["" if math.isnan(figure) else figure for figure in (cell.value, cell.companion)]
                line: list[object] = [*head, shown[0], *[""] * 6, measure.companion, shown[1], remarks]
                rows.append([comparison.dataset, CONSTANT_LABEL, *line, comparison.seeds, "", ""])
            for row in comparison.rows:
                cell = row.cells[measure.task]
                figures = [cell.value, cell.deviation, cell.improvement, cell.low, cell.high, row.mean.improvement]
                shown = ["" if math.isnan(figure) else figure for figure in figures]
                companion = "" if math.isnan(cell.companion) else cell.companion
                beside = [measure.companion, companion, remarks, *runs, _never(comparison, row, measure)]
                rows.append([comparison.dataset, row.method, *head, *shown, row.rank or "", *beside])
    return csv_text(rows)


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
    scores: pd.DataFrame, methods: Sequence[str], *, by_class: bool = True, tasks: Sequence[str] = ()
) -> tuple[list[str], list[list[str]]]:
    """Every metric of every method: mean over cases and seeds, by class where a task has several.

    What only all cases together have (an AUC) is a mean over seeds, and over the classes where it is defined. The
    OpenKBP DVH score is a mean over all cells of all patients at once, as the challenge defines it.

    Args:
        scores: the long table.
        methods: which, in order.
        by_class: also a row for each class.
        tasks: which come first, in order.
    """
    titles = ["Task", "Metric", "Class", "Unit", *map(label_of, methods)]
    rows = []
    order = {task: index for index, task in enumerate(dict.fromkeys([*tasks, *scores["task"]]))}
    groups = scores.groupby(["task", "metric"], sort=False)
    for (task, metric), part in sorted(groups, key=lambda group: order[group[0][0]]):
        if str(metric).startswith("dvh_error_"):
            continue
        unit = str(part["unit"].iloc[0])
        classes = [name for name in part["class"].drop_duplicates() if name and name != task]
        for name in classes if by_class and len(classes) > 1 else []:
            own = part[part["class"] == name]
            rows.append([task, metric, name, unit, *_means(own, own, methods)])
        rows.append([task, metric, "mean" if len(classes) > 1 else "", unit, *_means(per_case(part), part, methods)])
    cells = scores[scores["metric"].str.startswith("dvh_error_")]
    for task, part in cells.groupby("task", sort=False):
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
    known = cells[cells["value"].notna()].drop_duplicates(["method", "seed", "case", "class"])
    every = dict(Counter(known.drop_duplicates(["seed", "case", "class"])["seed"]))
    texts = []
    for method in methods:
        own = Counter(known[known["method"] == method]["seed"])
        wanted = sum(every[seed] for seed in own)
        few = f" ({len(own)} of {len(every)} seeds)" if len(own) < len(every) and method != CONSTANT_LABEL else ""
        if method not in means or not own:
            texts.append("")
        elif own.total() < wanted:
            texts.append(f"incomplete: {own.total()} of {wanted}")
        else:
            texts.append(_number(means[method]) + few)
    return texts
