"""Tasks divided into groups: against a brute force of another kind, and by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from crosstask.functional.grouping import MOST, best_groups, group_affinity, partitions


def test_what_the_tasks_of_a_group_do_to_each_other_by_hand() -> None:
    z = {("a", "b"): 0.4, ("b", "a"): -0.1, ("a", "c"): 0.2, ("c", "a"): 0.3, ("b", "c"): -0.5, ("a", "a"): 9.0}
    assert group_affinity(["a"], z) == 0
    assert group_affinity(["a", "b"], z) == pytest.approx(0.3)
    # onto a: (-0.1 + 0.3) / 2, onto b: (0.4 + nothing known) / 2, onto c: (0.2 - 0.5) / 2
    assert group_affinity(["a", "b", "c"], z) == pytest.approx(0.1 + 0.2 - 0.15)


@pytest.mark.parametrize(("number", "bell"), [(1, 1), (2, 2), (3, 5), (4, 15), (5, 52), (6, 203)])
def test_partitions_are_all_of_them_and_each_once(number: int, bell: int) -> None:
    tasks = [f"t{index}" for index in range(number)]
    found = {frozenset(map(frozenset, groups)) for groups in partitions(tasks, number)}
    assert len(found) == len(list(partitions(tasks, number))) == bell
    assert all(sorted(task for group in groups for task in group) == tasks for groups in found)
    assert max(len(groups) for groups in partitions(tasks, 2)) == min(2, number)


@pytest.mark.parametrize("most", [1, 2, 3, None])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_is_that_of_all_labellings(seed: int, most: int | None) -> None:
    tasks = ["a", "b", "c", "d", "e"]
    random = np.random.default_rng(seed)
    z = {pair: float(random.normal()) for pair in product(tasks, tasks)}
    totals = []
    for labels in product(range(len(tasks)), repeat=len(tasks)):
        if len(set(labels)) <= (most or len(tasks)):
            total = 0.0
            for own in set(labels):
                group = [task for task, label in zip(tasks, labels, strict=True) if label == own]
                for other in group if len(group) > 1 else ():
                    total += np.mean([z[one, other] for one in group if one != other])
            totals.append(total)
    groups, total = best_groups(tasks, z, most)
    assert total == pytest.approx(max(totals))
    assert math.fsum(group_affinity(group, z) for group in groups) == pytest.approx(total)
    assert sorted(task for group in groups for task in group) == tasks and len(groups) <= (most or 5)


def test_friends_go_together_and_enemies_apart() -> None:
    friends = [("a", "c"), ("b", "d")]
    z = {
        (one, other): 1.0 if tuple(sorted((one, other))) in friends else -1.0 for one, other in product("abcd", "abcd")
    }
    assert best_groups(list("abcd"), z) == ([["a", "c"], ["b", "d"]], 4.0)
    assert best_groups(list("abcd"), z, 1)[0] == [["a", "b", "c", "d"]]
    nothing = dict.fromkeys(product("abc", "abc"), 0.0)
    assert best_groups(list("abc"), nothing)[0] == [["a", "b", "c"]]  # of equals the fewest networks


@pytest.mark.parametrize(("number", "most"), [(0, 1), (MOST + 1, 2), (3, 0)])
def test_what_cannot_be_divided_is_refused(number: int, most: int) -> None:
    with pytest.raises(ValueError, match="give 1 to 12 tasks"):
        best_groups([f"t{index}" for index in range(number)], {}, most)
