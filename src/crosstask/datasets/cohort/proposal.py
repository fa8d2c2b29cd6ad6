"""What ``crosstask cohort init`` found, and the text that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from crosstask.io.tables import Table


@dataclass
class Label:
    """A label that is proposed: its name, the lines of its section, and a comment."""

    name: str
    kind: str
    lines: list[str]
    comment: str
    columns: list[str]


@dataclass
class Proposal:
    """What was found, and the cohort file that follows from it.

    Attributes:
        table: the table.
        text: the proposed YAML, with comments.
        found: (what, what was found) for a short overview.
        notes: what could not be decided, or must be looked at.
        masks, labels: names of the proposed tasks, likeliest first; labels that can stratify a split first.
        stratify: a label to stratify by, or "".
        rule: how an experiment should split.
        dimensions: 2 or 3.
        window: range of the image values.
        edge: shortest edge of the first images, in pixels or voxels.
    """

    table: Table
    text: str = ""
    found: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    stratify: str = ""
    rule: str = "drawn"
    dimensions: int = 2
    window: tuple[float, float] = (0.0, 255.0)
    edge: int = 64
