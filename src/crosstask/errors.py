"""The errors that a user sees: one line each, saying what, which file or key, and what to do."""

import re
from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class CrosstaskError(Exception):
    """Anything that stops a command; the message is one line. Exit code 1."""

    exit_code = 1


class InputError(CrosstaskError):
    """Something the user gave cannot be used: a file, a folder, a key of an experiment. Exit code 2."""

    exit_code = 2


def one_line(text: str) -> str:
    """With no line end or other character in it that moves the cursor or what follows: names of files may hold any."""
    return _CONTROL.sub(" ", text)


def listed(names: Iterable[str], most: int) -> str:
    """The first names for a message, and how many more there are; empty where there is none."""
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")
