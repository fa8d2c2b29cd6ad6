"""Cells of a table that are probably one value, written differently: proposed as synonyms."""

from __future__ import annotations

from dataclasses import replace

from crosstask.datasets.cohort.init_columns import GROUP_WORDS
from crosstask.datasets.cohort.labels import NEGATIVE, POSITIVE, as_number
from crosstask.datasets.cohort.profile import Column
from crosstask.datasets.cohort.proposal import Proposal
from crosstask.datasets.cohort.spelling import variants
from crosstask.datasets.cohort.text import item_of, text_of

_MOST_VALUES = 60


def settle_synonyms(columns: dict[str, Column], taken: set[str], proposal: Proposal) -> dict[str, dict[str, list[str]]]:
    """Join what is probably one value, ask where somebody is there, and note it.

    Args:
        columns: by name; those in which something is joined are replaced.
        taken: columns that name cases, groups and files, which are left as they are.
        proposal: asks, and takes the notes.

    Returns:
        ``{column: {usual: [others]}}``.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name, column in list(columns.items()):
        counts = {value: count for value, count in column.counts.items() if as_number(value) is None}
        plain = all(value.casefold() in (*POSITIVE, *NEGATIVE) for value in counts)
        if (
            name in taken
            or column.words & set(GROUP_WORDS)
            or plain
            or not 1 < len(counts) <= _MOST_VALUES
            or len(counts) > len(column.known) / 2
        ):
            continue
        joined, doubtful = variants(counts)
        joined |= _asked(name, counts, doubtful, joined, proposal)
        kept = {usual: others for usual, others in joined.items() if _agreed(name, usual, others, counts, proposal)}
        if kept:
            found[name] = kept
            meant = {other: usual for usual, others in kept.items() for other in others}
            columns[name] = replace(column, cells=tuple(meant.get(cell, cell) for cell in column.cells))
    return found


def _agreed(name: str, usual: str, others: list[str], counts: dict[str, int], proposal: Proposal) -> bool:
    shown = ", ".join(f"{other!r} ({counts[other]})" for other in others)
    answer = proposal.decide(
        f"Column {name!r}: is {shown} the same as {usual!r} ({counts[usual]})?",
        ("yes", "no"),
        "yes",
        f"synonyms: in {name!r} {shown} is taken as {usual!r} ({counts[usual]}); if it is something else, take it out "
        "of synonyms",
    )
    return answer == "yes"


def _asked(
    name: str,
    counts: dict[str, int],
    doubtful: list[tuple[str, str]],
    joined: dict[str, list[str]],
    proposal: Proposal,
) -> dict[str, list[str]]:
    """Pairs that differ by one letter and are both frequent: two values, unless somebody says otherwise."""
    more: dict[str, list[str]] = {}
    for usual, other in doubtful:
        answer = proposal.decide(
            f"Column {name!r}: are {usual!r} ({counts[usual]}) and {other!r} ({counts[other]}) two values, or one?",
            ("two", "one"),
            "two",
            f"{name!r} holds {usual!r} ({counts[usual]}) and {other!r} ({counts[other]}), which differ by one letter; "
            f"if they are one, write synonyms: {{{name}: {{{usual}: [{other}]}}}}",
        )
        if answer == "one":
            more[usual] = [*joined.get(usual, []), other]
    return more


def synonym_lines(synonyms: dict[str, dict[str, list[str]]]) -> list[str]:
    """The section of a cohort file."""
    if not synonyms:
        return []
    lines = ["synonyms:    # what cells mean that are written otherwise"]
    for column, own in synonyms.items():
        parts = [f"{item_of(usual)}: [{', '.join(map(item_of, others))}]" for usual, others in own.items()]
        lines.append(f"  {text_of(column)}: {{{', '.join(parts)}}}")
    return lines
