"""The order in which an epoch sees the samples: even, balanced, aimed, with every task, and repeatable."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstask.training.sampler import EpochSampler, NumberedSampler


@settings(max_examples=60)
@given(count=st.integers(1, 30), per_epoch=st.one_of(st.none(), st.integers(1, 70)), seed=st.integers(0, 9))
def test_every_sample_is_seen_equally_often_at_any_time(count, per_epoch, seed):
    sampler = EpochSampler(count, per_epoch, seed)
    length = per_epoch or count
    seen: Counter[int] = Counter(dict.fromkeys(range(count), 0))
    for epoch in range(5):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert len(order) == len(sampler) == length
        assert all(type(index) is int and 0 <= index < count for index in order)
        seen.update(order)
        assert max(seen.values()) - min(seen.values()) <= 1
    assert set(seen) == set(range(count))


@settings(max_examples=30)
@given(count=st.integers(2, 30), per_epoch=st.integers(1, 70), seed=st.integers(0, 9), epoch=st.integers(0, 20))
def test_an_epoch_depends_on_seed_and_number_alone(count, per_epoch, seed, epoch):
    unbroken = EpochSampler(count, per_epoch, seed)
    for earlier in range(epoch + 1):
        unbroken.set_epoch(earlier)
        order = list(unbroken)
    resumed = EpochSampler(count, per_epoch, seed)
    resumed.set_epoch(epoch)
    assert list(resumed) == order == list(resumed)


def test_orders_are_shuffled_and_differ():
    def order(epoch: int, seed: int) -> list[int]:
        sampler = EpochSampler(50, None, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    orders = [tuple(order(epoch, seed)) for epoch in range(3) for seed in range(3)]
    assert len({*orders, tuple(range(50))}) == 10
    assert all(sorted(values) == list(range(50)) for values in orders)


@pytest.mark.parametrize("per_epoch", [None, 700])
def test_a_share_of_foreground_comes_from_each_pool_alike(per_epoch: int | None):
    pools = [[1, 2, 3], [], [400], list(range(200, 300))]
    plain, sampler = (EpochSampler(500, per_epoch, 3, foreground=share, pools=pools) for share in (0.0, 0.6))
    taken: list[int] = []
    changed = total = 0
    for epoch in range(8):
        plain.set_epoch(epoch)
        sampler.set_epoch(epoch)
        before, after = list(plain), list(sampler)
        assert len(after) == len(sampler) == len(before)
        assert after == list(sampler)  # by seed and epoch alone
        different = [new for old, new in zip(before, after, strict=True) if old != new]
        taken += different
        changed, total = changed + len(different), total + len(after)
    assert changed / total == pytest.approx(0.6, abs=0.05)
    for pool in filter(None, pools):
        assert sum(index in pool for index in taken) / changed == pytest.approx(1 / 3, abs=0.05)


def test_foreground_without_any_changes_nothing():
    for pools in ([], [[], []]):
        assert list(EpochSampler(20, 30, 1, foreground=0.9, pools=pools)) == list(EpochSampler(20, 30, 1))


def epochs(sampler: EpochSampler, count: int) -> list[list[int]]:
    orders = []
    for epoch in range(count):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    return orders


# Balance


@pytest.mark.parametrize("per_epoch", [None, 61, 250])
def test_strata_are_drawn_equally_often_and_the_rest_in_proportion(per_epoch: int | None):
    strata = [range(70), range(70, 76), [], range(76, 79)]  # 79 of 100 have a label
    drawn = epochs(EpochSampler(100, per_epoch, 4, strata=strata), 12)
    plain = epochs(EpochSampler(100, per_epoch, 4), 12)
    for with_strata, without in zip(drawn, plain, strict=True):
        assert len(with_strata) == len(without)
        unlabelled = [(place, index) for place, index in enumerate(without) if index >= 79]
        assert unlabelled == [(place, index) for place, index in enumerate(with_strata) if index >= 79]
        counts = [sum(index in stratum for index in with_strata) for stratum in strata if len(stratum)]
        assert sum(counts) == len(without) - len(unlabelled)
        assert max(counts) - min(counts) <= 1
    seen = Counter(index for order in drawn for index in order)
    assert set(seen) == set(range(100))
    for stratum in strata[1:]:  # within a stratum each sample as often, but for what an epoch leaves over
        times = [seen[index] for index in stratum]
        assert not times or max(times) <= 1.5 * min(times)


def test_strata_that_overlap_share_their_samples():
    positive, negative, other = range(5), range(5, 60), range(3, 9)
    drawn = epochs(EpochSampler(60, 90, 2, strata=[positive, negative, other]), 20)
    counts = Counter(index for order in drawn for index in order)
    third = 20 * 90 / 3
    assert sum(counts[index] for index in range(3)) == pytest.approx(third * 3 / 5, rel=0.1)
    assert sum(counts[index] for index in range(9, 60)) == pytest.approx(third * 51 / 55, rel=0.1)


@given(seed=st.integers(0, 99), share=st.floats(0.1, 1))
@settings(max_examples=20)
def test_foreground_keeps_strata_equally_frequent(seed: int, share: float):
    strata = [list(range(50)), list(range(50, 60))]
    pools = [list(range(5)), list(range(48, 52))]
    (order,) = epochs(EpochSampler(60, 80, seed, foreground=share, pools=pools, strata=strata), 1)
    assert sum(index < 50 for index in order) == 40


def test_foreground_within_strata():
    strata = [list(range(50)), list(range(50, 60)), [60, 61]]
    pools = [list(range(5)), list(range(48, 52))]
    drawn = epochs(EpochSampler(62, 90, 3, foreground=1.0, pools=pools, strata=strata), 5)
    for order in drawn:
        in_first = [index for index in order if index < 50]
        assert len(in_first) == 30 and all(index < 5 or index >= 48 for index in in_first)
        assert {index for index in order if 50 <= index < 60} <= {50, 51}
        assert sum(index >= 60 for index in order) == 30  # no foreground there: as it was


# Every task in every epoch

patterns = st.integers(1, 40).flatmap(
    lambda count: st.lists(st.lists(st.booleans(), min_size=count, max_size=count), min_size=1, max_size=5)
)


@settings(max_examples=150)
@given(
    pattern=patterns, extra=st.integers(0, 30), seed=st.integers(0, 9), balance=st.booleans(), epoch=st.integers(0, 5)
)
def test_every_task_is_in_every_epoch(pattern, extra, seed, balance, epoch):
    labelled = [[index for index, carries in enumerate(task) if carries] for task in pattern]
    count, there = len(pattern[0]), [task for task in labelled if task]
    strata = [labelled[0][::2], labelled[0][1::2]] if balance else []
    sampler = EpochSampler(count, len(pattern) + extra, seed, labelled=labelled, strata=strata)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert len(order) == len(sampler)
    assert all(type(index) is int and 0 <= index < count for index in order)
    for task in there:
        assert set(task) & set(order)
    assert order == list(sampler)


def test_a_rare_label_is_in_every_epoch_and_the_common_ones_stay():
    labelled = [list(range(1000)), list(range(500)), [999]]
    plain = epochs(EpochSampler(1000, 10, 1), 30)
    drawn = epochs(EpochSampler(1000, 10, 1, labelled=labelled), 30)
    for before, after in zip(plain, drawn, strict=True):
        assert 999 in after
        assert sum(index < 500 for index in after) >= 5  # its share
        kept = sum(old == new for old, new in zip(before, after, strict=True))
        assert kept >= 9 - max(0, 5 - sum(index < 500 for index in before)) - 1


def test_labels_change_nothing_where_all_have_their_share():
    labelled = [list(range(60)), list(range(10)), list(range(30, 60))]
    assert epochs(EpochSampler(60, None, 1, labelled=labelled), 3) == epochs(EpochSampler(60, None, 1), 3)


def test_a_share_is_topped_up_within_strata():
    strata = [list(range(20)), list(range(20, 100))]
    labelled = [list(range(100)), [3, 4, *range(90, 100)]]
    for order in epochs(EpochSampler(100, 40, 1, strata=strata, labelled=labelled), 10):
        assert sum(index < 20 for index in order) == 20
        assert sum(index in labelled[1] for index in order) >= 5  # 12 of 100, of 40


def test_all_together_depend_on_seed_and_epoch_alone():
    options = {"foreground": 0.4, "pools": [range(9), range(30, 40)], "strata": [range(20), range(20, 35)]}
    unbroken = epochs(EpochSampler(50, 33, 7, labelled=[range(4, 50), [1]], **options), 4)
    resumed = EpochSampler(50, 33, 7, labelled=[range(4, 50), [1]], **options)
    resumed.set_epoch(3)
    assert list(resumed) == unbroken[3] != unbroken[2]
    assert epochs(EpochSampler(50, 33, 8, labelled=[range(4, 50), [1]], **options), 4) != unbroken


def test_draws_are_numbered_through_all_epochs():
    order, numbered = EpochSampler(20, 7, 1), NumberedSampler(EpochSampler(20, 7, 1))
    numbers: list[int] = []
    for epoch in range(3):
        order.set_epoch(epoch)
        numbered.set_epoch(epoch)
        assert [index for index, _ in numbered] == list(order)
        numbers += [number for _, number in numbered]
    assert len(numbered) == 7 and numbers == list(range(21))
