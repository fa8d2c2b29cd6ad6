"""Options that are numbers."""

from __future__ import annotations

import math

from crosstask.errors import InputError


def number_of(name: str, value: object, *, least: float, below: float = math.inf, above: bool = False) -> float:
    """An option's number.

    Args:
        name: of the option, for the message.
        value: what was given.
        least: smallest number that is accepted.
        below: what it must not reach.
        above: refuse the smallest, too.

    Raises:
        InputError: it is none, or out of range.
    """
    number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if (number > least or (number == least and not above)) and number < below:
        return number
    words = f"above {least:g}" if above else f"of at least {least:g}"
    words += f" and below {below:g}" if below < math.inf else ""
    raise InputError(f"{name}: {value!r} is not accepted; give a number {words}")


def positive_numbers(value: object, count: int) -> tuple[float, ...] | None:
    """An option's list of positive numbers; None if it is no such list, or has not as many as ``count``."""
    if not isinstance(value, (list, tuple)) or len(value) != count:
        return None
    try:
        return tuple(number_of("", one, least=0, above=True) for one in value)
    except InputError:
        return None
