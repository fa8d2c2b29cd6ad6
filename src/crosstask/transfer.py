"""The table of what a run's tasks did to each other, epoch by epoch: its columns, and its reader. No torch here.

A column is a figure and what it is of, with dots between: ``cosine.stage 1.organs.dose``. Names of tasks have no dots.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

EPOCH, STEPS = "epoch", "steps"
WHOLE = "all"
"""Stands for the part in figures of all that tasks share."""
COSINE, BELOW, NORM, WEIGHT, AFFINITY, TOGETHER = "cosine", "below", "norm", "weight", "affinity", "together"
"""Mean cosine of two gradients, share of steps at which it was below 0, length of a gradient, weight of a loss, what a
step for one task does to the loss of another, and the number of steps at which both had a label."""


@dataclass(frozen=True)
class Figure:
    """One figure of one epoch.

    Attributes:
        epoch: from 0.
        kind: ``cosine``, ``below``, ``norm``, ``weight`` or ``affinity``.
        part: of the network; empty where the figure is of none.
        task: the task, or the first of two; of an affinity the one that the step is for.
        other: the other of two, or empty; of an affinity the one whose loss is looked at.
        value: the figure.
        steps: behind it.
    """

    epoch: int
    kind: str
    part: str
    task: str
    other: str
    value: float
    steps: int


def columns(parts: Sequence[str], tasks: Sequence[str]) -> list[str]:
    """Names of all columns.

    Args:
        parts: of the network, without :data:`WHOLE`.
        tasks: in their order.
    """
    pairs = [f"{one}.{other}" for one, other in combinations(tasks, 2)]
    named = [WHOLE, *parts]
    return [
        EPOCH,
        STEPS,
        *(f"{TOGETHER}.{one}.{other}" for one, other in product(tasks, tasks)),
        *(f"{WEIGHT}.{task}" for task in tasks),
        *(f"{kind}.{part}.{pair}" for kind in (COSINE, BELOW) for part in named for pair in pairs),
        *(f"{NORM}.{part}.{task}" for part in named for task in tasks),
        *(f"{AFFINITY}.{one}.{other}" for one, other in product(tasks, tasks)),
    ]


def read_transfer(path: Path) -> list[Figure]:
    """All figures of a run's table that there are.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [figure for row in csv.DictReader(file) for figure in _figures(row)]
    except (KeyError, TypeError, AttributeError, csv.Error):
        raise ValueError("is damaged") from None


def _figures(row: dict[str, str]) -> Iterator[Figure]:
    epoch = int(row[EPOCH])
    for name, text in row.items():
        kind, _, rest = name.partition(".")
        if not text or kind in (EPOCH, STEPS, TOGETHER):
            continue
        paired = kind in (COSINE, BELOW, AFFINITY)
        *part, task = rest.rsplit(".", 2 if paired else 1)
        other = task if paired else ""
        task = part.pop() if paired else task
        value, steps = float(text), int(row[f"{TOGETHER}.{task}.{other or task}"])
        if not math.isfinite(value) or steps < 1:
            raise ValueError("is damaged")
        yield Figure(epoch, kind, ".".join(part), task, other, value, steps)
