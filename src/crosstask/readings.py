"""Readings: small named figures of a trained network that say what it learned to do. No torch here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import Any


@dataclass(frozen=True)
class Reading:
    """A small table of figures of a trained network, such as the gates between its tasks.

    Attributes:
        title: what the figures are, a few words; readings of several runs go together by it.
        note: a sentence or two for whoever reads the table: what a figure means, and where it began.
        values: ``{row: {column: figure}}``; a figure that there is not is left out.
    """

    title: str
    note: str
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def check_readings(readings: Any) -> list[Reading]:
    """Readings that can be kept, their figures plain numbers.

    Raises:
        ValueError: they are no list of :class:`Reading`, two have one title, or a figure is no finite number.
    """
    if not isinstance(readings, Sequence) or not all(isinstance(one, Reading) for one in readings):
        raise ValueError(f"must give a list of crosstask.Reading, not {readings!r}")
    titles = [one.title for one in readings]
    if len(set(titles)) < len(titles) or not all(titles):
        raise ValueError(f"has readings titled {titles}; each needs a title of its own")
    return [Reading(one.title, one.note, _rows(one)) for one in readings]


def _rows(reading: Reading) -> dict[str, dict[str, float]]:
    return {
        str(row): {str(column): _number(value, f"{reading.title}, {row}, {column}") for column, value in cells.items()}
        for row, cells in reading.values.items()
    }


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"has {value!r} for {where}; give a finite number, of a tensor its item()")
    return float(value)


def readings_text(readings: Sequence[Reading]) -> str:
    """Readings as a file holds them."""
    return json.dumps([asdict(one) for one in readings], indent=1)


def readings_from(text: str) -> list[Reading]:
    """Readings out of the text of a file.

    Raises:
        ValueError: it is damaged.
    """
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("is damaged")
    try:
        return check_readings([Reading(**one) for one in found])
    except (TypeError, AttributeError):
        raise ValueError("is damaged") from None
