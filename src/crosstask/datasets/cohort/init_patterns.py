"""The patterns of files that a proposal is made of: given by the layout, or found in the table's columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from crosstask.datasets.cohort.labels import MISSING
from crosstask.datasets.cohort.layouts import Layout
from crosstask.datasets.cohort.patterns import Pattern, find_pair_patterns, find_patterns
from crosstask.datasets.cohort.profile import Column
from crosstask.datasets.cohort.proposal import Proposal
from crosstask.datasets.cohort.spec import fill

_NUMBERED = re.compile(r"(?<=[A-Za-z_\- ])\d+(?=/)")
"""The number at the end of a folder's name."""


def patterns_of(
    layout: Layout, columns: dict[str, Column], files: Sequence[str], proposal: Proposal
) -> tuple[list[Pattern], bool]:
    """Patterns of files, as the layout gives them or as the columns do; and whether capital letters must be ignored.

    They are of one column; or of two, where none of one column gives every row an image of its own.
    """
    if layout.images:
        return [_counted(layout, text) for text in layout.images], False
    if layout.found:
        return list(layout.found), False
    patterns = find_patterns(columns, files)
    best = _most(patterns)
    if best < len(layout.table.rows):
        folded = _in_any_letters(columns, files, best, proposal)
        if folded:
            return folded, True
        starred = _over_several_folders(columns, files, best, proposal)
        if starred:
            return starred, False
    if any(pattern.files == pattern.found for pattern in patterns if not pattern.is_mask):
        return patterns, False
    pairs = find_pair_patterns(columns, files)
    return [*pairs, *(pattern for pattern in patterns if not pairs or pattern.files == pattern.found)], False


def _most(patterns: Sequence[Pattern]) -> int:
    """Rows that the best pattern of an image finds."""
    return max((pattern.found for pattern in patterns if not pattern.is_mask), default=0)


def _in_any_letters(columns: dict[str, Column], files: Sequence[str], best: int, proposal: Proposal) -> list[Pattern]:
    """Patterns of names whose capital letters make no difference, where they find more."""
    lowered = {name: replace(one, cells=tuple(map(str.lower, one.cells))) for name, one in columns.items()}
    folded = find_patterns(lowered, [file.lower() for file in files])
    more = _most(folded)
    if more <= best:
        return []
    proposal.notes.append(
        f"image: {more - best} rows have an image only if capital letters make no difference (A.PNG and a.png), so "
        "ignore_case is set; or rename the files"
    )
    proposal.lowered = {file.lower(): file for file in files}
    return [replace(one, text=_as_written(one, proposal.lowered)) for one in folded]


def _over_several_folders(
    columns: dict[str, Column], files: Sequence[str], best: int, proposal: Proposal
) -> list[Pattern]:
    """Patterns in which a star stands for the numbers of folders (``part_1``, ``part_2``), where they find more."""
    starred = {_NUMBERED.sub("*", file): file for file in files}
    if len(starred) < len(files) or all(name == file for name, file in starred.items()):
        return []
    patterns = find_patterns(columns, list(starred))
    images = [pattern for pattern in patterns if not pattern.is_mask]
    if max((pattern.found for pattern in images), default=0) <= best:
        return []
    proposal.lowered = {name.lower(): file for name, file in starred.items()}
    proposal.notes.append(f"image: the files lie in several folders, for which a star stands: {images[0].text}")
    return patterns


def _as_written(pattern: Pattern, lowered: dict[str, str]) -> str:
    """A pattern found in small letters, with the names of folders as they are."""
    parts = pattern.text.split("/")
    there = lowered.get(pattern.example, pattern.example).split("/")
    return "/".join(part if "{" in part else name for part, name in zip(parts, there, strict=True))


def _counted(layout: Layout, text: str) -> Pattern:
    """A given pattern, with how many rows have its file."""
    named = [fill(text, row.cells, MISSING) for row in layout.table.rows]
    there = [name for name in named if name is not None and (layout.folder / name).exists()]
    return Pattern(text, len(there), len(set(there)), there[0] if there else "")
