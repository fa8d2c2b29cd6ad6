"""The errors that a user sees: one line each, saying what, which file or key, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MOST = 10
"""So many messages of one kind, or faults of one file, are shown; of the others, how many there are."""
_OWN = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[/\\]\S*|\S*\d\S*")
"""What differs between messages of one kind: values in quotes, paths, numbers and names that hold one."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class CrosstaskError(Exception):
    """Anything that stops a command; the message is one line. Exit code 1."""

    exit_code = 1


class InputError(CrosstaskError):
    """Something the user gave cannot be used: a file, a folder, a key of an experiment. Exit code 2."""

    exit_code = 2


class InputErrors(InputError):  # noqa: N818 - of several
    """Several things of one file that cannot be used: the command shows a line for each, its message is the first.

    Args:
        lines: what each one is, and what to do. At least one.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(dict.fromkeys(lines))
        more = len(self.lines) - 1
        super().__init__(self.lines[0] + (f" (and {more} more)" if more else ""))

    def __reduce__(self) -> tuple[type[InputErrors], tuple[tuple[str, ...]]]:
        return type(self), (self.lines,)


def one_line(text: str) -> str:
    """With no line end or other character in it that moves the cursor or what follows: names of files may hold any."""
    return _CONTROL.sub(" ", text)


def listed(names: Iterable[str], most: int) -> str:
    """The first names for a message, and how many more there are; empty where there is none."""
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


class Repeated:
    """Messages that many cases may have alike: which are shown, and how many more there are of each kind.

    Args:
        most: shown of a kind; None for all.
    """

    def __init__(self, most: int | None = MOST) -> None:
        self.most = most
        self._counts: dict[tuple[str, str], int] = {}
        self._first: dict[tuple[str, str], str] = {}

    def shows(self, message: str, group: str = "") -> bool:
        """Count a message, and whether it is one of the first of its kind.

        Args:
            message: the message.
            group: kinds of different groups (severities) are different.
        """
        key = (group, _OWN.sub("", message))
        self._counts[key] = self._counts.get(key, 0) + 1
        self._first.setdefault(key, message)
        return self.most is None or self._counts[key] <= self.most

    def rest(self) -> list[tuple[str, int, str]]:
        """(group, how many were not shown, the first message of its kind) of each kind of which some were not."""
        if self.most is None:
            return []
        return [
            (key[0], count - self.most, self._first[key]) for key, count in self._counts.items() if count > self.most
        ]
