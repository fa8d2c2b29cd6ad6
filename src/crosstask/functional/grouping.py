"""Into which groups tasks are divided, each of which is learned by a network of its own. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

MOST = 12
"""Tasks at most: their partitions number 4.2 millions."""
Affinities = Mapping[tuple[str, str], float]
"""``{(task that a step is for, task whose loss is looked at): affinity}``."""


def group_affinity(group: Sequence[str], affinities: Affinities) -> float:
    r"""What the tasks of a group do to each other (Fifty et al., NeurIPS 2021): 0 for a task that is alone.

    .. math:: \sum_{j \in G} \frac{1}{|G| - 1} \sum_{i \in G, i \ne j} Z_{i \to j}

    Args:
        group: its tasks.
        affinities: of all pairs in both directions; one that is not known counts 0.
    """
    if len(group) < 2:
        return 0.0
    onto = [affinities.get((one, other), 0.0) for other in group for one in group if one != other]
    return math.fsum(onto) / (len(group) - 1)


def partitions(tasks: Sequence[str], most: int) -> Iterator[list[list[str]]]:
    """All ways to divide tasks into at most so many groups, each once."""
    if not tasks:
        yield []
        return
    *rest, last = tasks
    for smaller in partitions(rest, most):
        for index in range(len(smaller)):
            yield [*smaller[:index], [*smaller[index], last], *smaller[index + 1 :]]
        if len(smaller) < most:
            yield [*smaller, [last]]


def best_groups(tasks: Sequence[str], affinities: Affinities, most: int | None = None) -> tuple[list[list[str]], float]:
    """The division of tasks into at most so many groups with the highest total affinity; of equals the fewest groups.

    All partitions are tried.

    Args:
        tasks: at most :data:`MOST`.
        affinities: see :data:`Affinities`.
        most: groups at most; None for any number.

    Returns:
        The groups, tasks in their order, and the total.

    Raises:
        ValueError: there are too many tasks, or no group is allowed.
    """
    most = len(tasks) if most is None else most
    if not 0 < len(tasks) <= MOST or most < 1:
        raise ValueError(f"{len(tasks)} tasks in {most} groups: give 1 to {MOST} tasks and at least one group")
    values: dict[tuple[str, ...], float] = {}
    best: tuple[float, list[list[str]]] | None = None
    for groups in partitions(tasks, most):
        total = 0.0
        for group in groups:
            key = tuple(group)
            if key not in values:
                values[key] = group_affinity(group, affinities)
            total += values[key]
        if best is None or (total, -len(groups)) > (best[0], -len(best[1])):
            best = (total, groups)
    assert best is not None
    return best[1], best[0]
