"""Names: their natural order, and what to say of one that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crosstask.errors import InputError
from crosstask.registry import did_you_mean


def natural(name: str) -> list[tuple[int, int, str]]:
    """Key by which ``b2`` comes before ``b10``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def unknown_name(what: str, name: object, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the closest one that does."""
    names = list(known)
    return InputError(f"no {what} {name!r}: {did_you_mean(name, names)}There is {', '.join(names)}")


def refuse_options(what: str, options: Iterable[str], accepted: Iterable[str]) -> None:
    """Refuse an option that something does not take.

    Raises:
        InputError: the message names it and lists what there is.
    """
    known = list(accepted)
    for option in options:
        if option not in known:
            raise InputError(f"{what} has no option {option!r}; options: {', '.join(known) or 'none'}")
