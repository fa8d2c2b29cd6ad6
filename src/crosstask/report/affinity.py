"""What a look at the affinity of tasks found: words, tables and pictures. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from crosstask.evaluation.transfer import Transfer
from crosstask.methods import label_of
from crosstask.report.charts.figure import Figure
from crosstask.report.charts.transfer import affinity_figure, cosine_lines, cosine_map
from crosstask.report.tables import markdown_notes, markdown_table, markdown_text, text_table
from crosstask.report.transfer import drowned, length_of, seen, tables_of, transfer_notes, ways
from crosstask.transfer import AFFINITY, COSINE

Groups = Sequence[Sequence[str]]


def sentence(transfer: Transfer, method: str, groups: Groups) -> str:
    """Which tasks help or hurt which, and how to divide them: one sentence.

    Args:
        transfer: what was measured.
        method: key of what was trained.
        groups: into which tasks are divided; empty where they are not.
    """
    told = [
        seen(transfer, method),
        _advice(transfer, method),
        _loudness(transfer, method),
        _division(transfer, method, groups),
    ]
    return f"{label_of(method)}, first epochs: {'; '.join(filter(None, told))}."


def _advice(transfer: Transfer, method: str) -> str:
    """What that speaks for, for two tasks; of more the division says it."""
    pairs = {one.pair for one in transfer.of(method, COSINE)}
    if len(pairs) != 1:
        return ""
    ((one, other),) = pairs
    harm, help_ = ways(transfer, method, -1), ways(transfer, method, 1)
    if harm and not help_:
        return f"that speaks against learning {one} and {other} together, or for a method that parts them"
    if help_ and not harm:
        return f"that speaks for learning {one} and {other} together"
    return f"that speaks neither for nor against learning {one} and {other} together"


def _loudness(transfer: Transfer, method: str) -> str:
    """Whether a task may be drowned by another, whatever their directions."""
    clauses = [
        f"the gradient of {length_of(one)} as that of {task}, which may drown it: compare a weighting that evens them"
        for task, one in drowned(transfer, method).items()
    ]
    return ", ".join(clauses)


def _division(transfer: Transfer, method: str, groups: Groups) -> str:
    if not groups:
        return ""
    shown = " | ".join(", ".join(group) for group in groups)
    networks = f"{len(groups)} network{'s' * (len(groups) > 1)}"
    words = f"the highest total affinity has the division into {networks}: {shown}"
    if not transfer.told(method, AFFINITY):
        words += ", which is no better than chance, as no affinity between two tasks can be told from 0"
    return words


def as_text(transfer: Transfer, method: str, groups: Groups) -> str:
    """For a terminal."""
    parts = [f"{title}:\n{text_table(*table)}" for title, table in tables_of(transfer)[:2]]
    return "\n".join([*parts, sentence(transfer, method, groups)]) + "\n"


def as_markdown(transfer: Transfer, method: str, groups: Groups) -> str:
    """The same as Markdown, with weights and lengths of gradients."""
    parts = [f"{markdown_text(title)}\n\n{markdown_table(*table)}" for title, table in tables_of(transfer)]
    return "\n".join(
        [f"{markdown_text(sentence(transfer, method, groups))}\n", *parts, markdown_notes(transfer_notes())]
    )


def figures_of(transfer: Transfer, method: str) -> list[Figure]:
    """Affinities, and cosines as a heat map and over the epochs."""
    summary, figures, name = transfer.summary, transfer.figures, label_of(method)
    affinities = summary[(summary["method"] == method) & (summary["figure"] == AFFINITY)]
    cosines = summary[(summary["method"] == method) & (summary["figure"] == COSINE)]
    return [
        affinity_figure(affinities, f"{name}: affinity, millionths", transfer.level),
        cosine_map(cosines, f"{name}: cosine of gradients"),
        cosine_lines(figures[figures["figure"] == COSINE]),
    ]
