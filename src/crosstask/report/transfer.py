"""What tasks did to each other: a sentence, tables and pictures. No torch here."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from crosstask.csv_cells import frame_text
from crosstask.evaluation.comparison import Comparison
from crosstask.evaluation.transfer import Mean, Transfer
from crosstask.evaluation.verdict import BETTER, NO_VERDICT, WORSE
from crosstask.files import write_atomically
from crosstask.methods import label_of
from crosstask.report.markup import html_table
from crosstask.report.tables import markdown_notes, markdown_table, markdown_text
from crosstask.report.words import verdict_text, with_interval
from crosstask.transfer import AFFINITY, BELOW, COSINE, NORM, WEIGHT, WHOLE

NAMES = ("transfer.csv", "transfer.md", "transfer.txt")
TITLE = "Transfer between tasks"
_MOST = 3  # pairs that a sentence names
_MILLION = 1e6
_MUCH_LONGER = 2.0  # times, at the lower end of the interval: below it, sizes are no explanation
Table = tuple[list[str], list[list[str]]]


def transfer_sentences(transfer: Transfer, comparison: Comparison) -> list[str]:
    """Which tasks help or hurt which, where, and what changed it: a sentence for each method that is to be explained.

    Args:
        transfer: what was looked at.
        comparison: of the methods with single-task learning.
    """
    return [_sentence(transfer, comparison, reference) for reference in transfer.references]


def _sentence(transfer: Transfer, comparison: Comparison, reference: str) -> str:
    scored = _verdicts(comparison, reference)
    against = f"against {label_of(comparison.baseline_of(reference))}: {_of_tasks(scored)}" if scored else ""
    told = [seen(transfer, reference), against, _conclusion(transfer, reference, scored), _others(transfer, reference)]
    return f"{label_of(reference)}: {'; '.join(filter(None, told))}."


def seen(transfer: Transfer, method: str) -> str:
    """What gradients and steps say of a method, in words."""
    if max(one.seeds for one in transfer.of(method, NORM)) < 2:
        return "of one run nothing can be told"
    return f"{_gradients(transfer, method)}; {_steps(transfer, method)}"


def _gradients(transfer: Transfer, method: str) -> str:
    """Where the gradients of which tasks go against each other, and where they agree."""
    pairs: dict[tuple[str, str], list[Mean]] = {}
    for one in transfer.told(method, COSINE):
        if one.part != WHOLE:
            pairs.setdefault(one.pair, []).append(one)
    if not pairs:
        return "in no part can the cosine of the gradients of two tasks be told from 0"
    worst_first = sorted(pairs.items(), key=lambda item: min(one.value for one in item[1]))
    clauses = []
    for (task, other), own in worst_first:
        against, along = [one for one in own if one.value < 0], [one for one in own if one.value > 0]
        words = [f"{verb} in {_where(ones)}" for verb, ones in (("point apart", against), ("agree", along)) if ones]
        clauses.append(f"the gradients of {task} and {other} {' and '.join(words)}")
    return _cut(clauses, "pairs")


def _where(ones: Sequence[Mean]) -> str:
    most = max(ones, key=lambda one: abs(one.value))
    at = f" in {most.part}" if len(ones) > 1 else ""
    return f"{_listed([one.part for one in ones])} (cosine {_figure(most, '+.2f')}{at})"


def _steps(transfer: Transfer, method: str) -> str:
    """Which task's step lowers or raises the loss of which other."""
    told = sorted(transfer.told(method, AFFINITY), key=lambda one: -abs(one.value))
    if not told:
        return "no effect of a step for one task on the loss of another can be told from none"
    words = [f"a step for {one.task} {'lowers' if one.value > 0 else 'raises'} the loss of {one.other}" for one in told]
    return _cut(words, "directions")


def _cut(clauses: Sequence[str], what: str) -> str:
    more = len(clauses) - _MOST
    return ", ".join([*clauses[:_MOST], *([f"and so on for {more} more {what}"] if more > 0 else [])])


def _verdicts(comparison: Comparison, method: str) -> dict[str, str]:
    """``{task: verdict against single-task learning}``; empty where there is none to compare with."""
    rows = {row.method: row for row in comparison.rows}
    if method not in rows or comparison.baseline_of(method) not in rows:
        return {}
    return {task: verdict_text(cell) for task, cell in rows[method].cells.items() if cell.verdict}


def _of_tasks(verdicts: Mapping[str, str]) -> str:
    return ", ".join(f"{task} {verdict}" for task, verdict in verdicts.items())


def _conclusion(transfer: Transfer, method: str, verdicts: Mapping[str, str]) -> str:
    """What gradients and scores say together; no more than both say."""
    harm, help_ = ways(transfer, method, -1), ways(transfer, method, 1)
    found = [f"{one} hurts {other}{_in(parts)}" for (one, other), parts in harm.items() if verdicts.get(other) == WORSE]
    shown = bool(found)
    found += [
        f"{one} helps {other}{_in(parts)}" for (one, other), parts in help_.items() if verdicts.get(other) == BETTER
    ]
    clauses = [f"so {_listed(found)}"] if found else []
    harmed = {other for _, other in harm}
    if left := [task for task, verdict in verdicts.items() if verdict == WORSE and task not in harmed]:
        clauses.append(_no_conflict(transfer, method, left))
    if harm and not shown and set(verdicts.values()) - {NO_VERDICT}:
        clauses.append("the scores do not show what the gradients show of conflict")
    return ", and ".join(clauses)


def _no_conflict(transfer: Transfer, method: str, tasks: Sequence[str]) -> str:
    """Of tasks that are worse without a conflict of directions: whether another's gradient is much the longer one."""
    longer = {task: one for task, one in drowned(transfer, method).items() if task in tasks}
    clauses = [
        f"{task} is worse where no gradient goes against its own, but that of {length_of(one)}"
        for task, one in longer.items()
    ]
    if left := [task for task in tasks if task not in longer]:
        clauses.append(f"the gradients do not say why {_listed(left)} {'are' if len(left) > 1 else 'is'} worse")
    return ", and ".join(clauses)


def drowned(transfer: Transfer, method: str) -> dict[str, Mean]:
    """``{task: how many times as long as its gradient the longest other is}`` of tasks where that is surely much."""
    longer = sorted(transfer.longer(method), key=lambda one: one.value)
    return {one.task: one for one in longer if one.low >= _MUCH_LONGER}


def length_of(one: Mean) -> str:
    """Such a ratio in words, beginning with the task that has the longer gradient."""
    return f"{one.other} is {_figure(one, '.1f')} times as long on what they share (weights counted)"


def ways(transfer: Transfer, method: str, sign: int) -> dict[tuple[str, str], list[str]]:
    """Directions (from, to) of help (1) or harm (-1), and the parts where the gradients say so.

    The cosine must be told from 0 in some part. Where the steps can be told from none, they decide; where they cannot,
    no part may say the contrary.
    """
    steps = {one.pair: one.value for one in transfer.told(method, AFFINITY)}
    pairs: dict[tuple[str, str], list[Mean]] = {}
    for one in transfer.told(method, COSINE):
        pairs.setdefault(one.pair, []).append(one)
    found = {}
    for (task, other), own in pairs.items():
        same = [one.part for one in own if sign * one.value > 0]
        for way in ((task, other), (other, task)):
            step = sign * steps.get(way, 0.0)
            if same and (step > 0 or (step == 0 and len(same) == len(own))):
                found[way] = [part for part in same if part != WHOLE]
    return found


def _in(parts: Sequence[str]) -> str:
    return f" in {_listed(parts)}" if parts else ""


def _others(transfer: Transfer, reference: str) -> str:
    """What other methods changed, compared with the one that is explained."""
    against = transfer.against.get(reference)
    if against is None:
        return ""
    cells = [(row.method, task, cell) for row in against.rows for task, cell in row.cells.items() if cell.verdict]
    changed = [
        f"{_named(transfer, method)} is {cell.verdict} than it on {task} "
        f"({with_interval(cell.improvement, cell.low, cell.high)})"
        for method, task, cell in cells
        if cell.verdict in (BETTER, WORSE)
    ]
    if changed:
        return ", ".join(changed)
    if all(cell.verdict == NO_VERDICT for _, _, cell in cells):
        return ""
    rivals = dict.fromkeys(_named(transfer, method) for method, _, _ in cells)
    return f"{_listed(rivals)} cannot be told from it on any task"


def _named(transfer: Transfer, method: str) -> str:
    if method not in transfer.gates:
        return label_of(method)
    low, high = transfer.gates[method]
    return f"{label_of(method)} (gates {low:.2f} to {high:.2f})"


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _figure(one: Mean, form: str, factor: float = 1.0) -> str:
    value, low, high = (factor * figure for figure in (one.value, one.low, one.high))
    return f"{value:{form}}" + (f" [{low:{form}}, {high:{form}}]" if math.isfinite(low) else "")


def cosine_table(transfer: Transfer) -> Table:
    """Titles and rows: cosines by method, pair of tasks and part, and how often that of all was below 0."""
    parts = _names(transfer, COSINE, "part")
    rows = []
    for method in transfer.methods:
        cosines = {(one.pair, one.part): one for one in transfer.of(method, COSINE)}
        below = {(one.pair, one.part): f"{100 * one.value:.0f} %" for one in transfer.of(method, BELOW)}
        for pair in dict.fromkeys(pair for pair, _ in cosines):
            cells = [_figure(cosines[pair, part], "+.2f") if (pair, part) in cosines else "" for part in parts]
            runs, steps = (
                str(max(getattr(one, name) for (own, _), one in cosines.items() if own == pair))
                for name in ("seeds", "steps")
            )
            rows.append([label_of(method), ", ".join(pair), *cells, below.get((pair, WHOLE), ""), runs, steps])
    return ["Method", "Tasks", *parts, f"Below 0 ({WHOLE})", "Runs", "Steps"], rows


def affinity_table(transfer: Transfer) -> Table:
    """Titles and rows: what a step for a task does to each loss, in millionths of the loss."""
    tasks = _names(transfer, AFFINITY, "other")
    rows = []
    for method in transfer.methods:
        affinities = {one.pair: _figure(one, "+.0f", _MILLION) for one in transfer.of(method, AFFINITY)}
        for task in dict.fromkeys(task for task, _ in affinities):
            rows.append([label_of(method), task, *(affinities.get((task, other), "") for other in tasks)])
    return ["Method", "Step for", *(f"loss of {task}" for task in tasks)], rows


def norm_table(transfer: Transfer) -> Table:
    """Titles and rows: weight of each loss, and length of its gradient by part."""
    parts = _names(transfer, NORM, "part")
    rows = []
    for method in transfer.methods:
        norms = {(one.task, one.part): f"{one.value:.3g}" for one in transfer.of(method, NORM)}
        weights = {one.task: f"{one.value:.3g}" for one in transfer.of(method, WEIGHT)}
        for task in dict.fromkeys(task for task, _ in norms):
            cells = [norms.get((task, part), "") for part in parts]
            rows.append([label_of(method), task, weights.get(task, ""), *cells])
    return ["Method", "Task", "Weight", *parts], rows


def _names(transfer: Transfer, figure: str, column: str) -> list[str]:
    """What the rows of a figure have in a column, each once."""
    return list(dict.fromkeys(transfer.summary.loc[transfer.summary["figure"] == figure, column]))


def tables_of(transfer: Transfer) -> list[tuple[str, Table]]:
    """All tables, each with what it shows."""
    interval = f", [{100 * transfer.level:g} % over runs]" * bool(transfer.summary["low"].notna().any())
    return [
        (f"Cosine of the tasks' gradients, mean over the steps looked at{interval}", cosine_table(transfer)),
        (f"Affinity: millionths by which a small step for a task lowers each loss{interval}", affinity_table(transfer)),
        ("Weight of the losses, and length of their gradients", norm_table(transfer)),
    ]


def transfer_notes() -> list[str]:
    """What a reader must know."""
    return [
        "A cosine below 0 says that the tasks' gradients disagree at that step; it is no harm to the final network.",
        "Affinities of a method are of plain steps with one learning rate for all its tasks, those of a task on itself "
        "too. How all is measured: docs/transfer.md.",
    ]


def transfer_parts(transfer: Transfer, comparison: Comparison) -> list[str]:
    """Parts of the page, but for the pictures."""
    told = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in transfer_sentences(transfer, comparison))
    first, *others = tables_of(transfer)
    more = "".join(f"<p class=note>{html.escape(title)}</p>{html_table(*table)}" for title, table in others)
    return [
        f"<ul class=verdict>{told}</ul>",
        f"<p class=note>{html.escape(first[0])}</p>{html_table(*first[1])}{more}",
        f"<p class=note>{html.escape(' '.join(transfer_notes()))}</p>",
    ]


def write_transfer(transfer: Transfer | None, comparison: Comparison, output: Path) -> None:
    """Write ``transfer.csv`` (every epoch of every run), ``.md`` and ``.txt``; or remove those from before."""
    csv, markdown, text = (output / name for name in NAMES)
    if transfer is None:
        for path in (csv, markdown, text):
            path.unlink(missing_ok=True)
        return
    sentences, tables = transfer_sentences(transfer, comparison), tables_of(transfer)
    write_atomically(csv, frame_text(transfer.figures))
    parts = ["".join(f"- {markdown_text(sentence)}\n" for sentence in sentences)]
    parts += [f"{markdown_text(title)}\n\n{markdown_table(*table)}" for title, table in tables]
    write_atomically(markdown, f"## {TITLE}\n\n" + "\n".join([*parts, markdown_notes(transfer_notes())]))
    write_atomically(text, "".join(f"{TITLE}: {sentence}\n" for sentence in sentences))
