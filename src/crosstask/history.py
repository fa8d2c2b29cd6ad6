"""The table of a run's epochs: what it says of each in one line, how it is read; and lengths of time in words."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EPOCH, SECONDS, SCORE, LOSS = "epoch", "seconds", "score", "loss/"


def read_history(path: Path) -> list[dict[str, float]]:
    """Rows of a history, one an epoch; those up to the first that is not whole, none where there is no file."""
    rows: list[dict[str, float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                rows.append({key: float(value) for key, value in row.items()})
                _ = rows[-1][EPOCH], rows[-1][SECONDS], rows[-1][SCORE]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError, csv.Error):
        return [row for row in rows if {EPOCH, SECONDS, SCORE} <= row.keys()]
    return rows


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """An epoch for a person: ``epoch 3 of 10: loss dose 0.021, organs 0.312; score 0.5512; 12.3 s``.

    Args:
        row: of the history.
        epochs: of the whole run.
    """
    losses = {key.removeprefix(LOSS): value for key, value in row.items() if key.startswith(LOSS)}
    shown = ", ".join(f"{task} {_number(value, '.3g')}" for task, value in losses.items())
    score = _number(row[SCORE], ".4f")
    return f"epoch {int(row[EPOCH]) + 1} of {epochs}: loss {shown}; score {score}; {row[SECONDS]:.1f} s"


def duration(seconds: float) -> str:
    """A length of time for a person, in two units at most: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours + (minutes >= 30), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "unknown"
