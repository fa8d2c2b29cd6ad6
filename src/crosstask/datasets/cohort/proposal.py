"""What ``crosstask cohort init`` found, and the text that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crosstask.datasets.cohort.survey import Survey
from crosstask.io.tables import Table

Ask = Callable[[str, Sequence[str], str], str]
"""Asks a person: question, answers (none: any text), and the one that is proposed."""


def assume(question: str, answers: Sequence[str], proposed: str) -> str:
    """Answers what is proposed, where nobody can be asked."""
    return proposed


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
        cases: rows whose image exists.
        trained: of these, about how many train.
        survey: what the images' headers say.
        exclusive: the classes of the masks never overlap.
        files: what is to be written beside the cohort file, by path.
        ask: asked where something cannot be decided.
        lowered: where capital letters must be ignored: ``{path in small letters: path}`` of the images.
    """

    table: Table
    ask: Ask = assume
    text: str = ""
    found: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    stratify: str = ""
    rule: str = "drawn"
    dimensions: int = 2
    window: tuple[float, float] = (0.0, 255.0)
    cases: int = 0
    trained: int = 0
    survey: Survey = field(default_factory=Survey)
    exclusive: bool = False
    files: dict[Path, str] = field(default_factory=dict)
    lowered: dict[str, str] = field(default_factory=dict)

    def decide(self, question: str, answers: Sequence[str], proposed: str, note: str) -> str:
        """What a person answers; where nobody can be asked, what is proposed, with a note that says so.

        Args:
            question: for a person.
            answers: what is accepted; none for any text.
            proposed: the likeliest.
            note: what is assumed, for the cohort file.
        """
        answer = self.ask(question, answers, proposed)
        if self.ask is assume:
            self.notes.append(note)
        return answer
