"""Splits: by group, the same every time, and never empty without a word."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crosstask.datasets.base import SPLITS
from crosstask.errors import InputError
from crosstask.experiment import DatasetSection
from crosstask.splits import split_cases


@dataclass(frozen=True)
class Exam:
    id: str
    group: str
    split: str


def section(**options: object) -> DatasetSection:
    return DatasetSection(name="lesions", root="raw", tasks={"dose": {}}, **options)


def exams(train: int = 20, validation: int = 4, test: int = 0, images: int = 1) -> list[Exam]:
    counts = {"train": train, "validation": validation, "test": test}
    return [
        Exam(f"{split}{group}-{image}", f"{split}{group}", split)
        for split, count in counts.items()
        for group in range(count)
        for image in range(images)
    ]


def test_original_splits_are_kept_in_order():
    cases = exams(3, 2, 2)
    chosen = split_cases(cases, section())
    assert chosen == {split: [case.id for case in cases if case.split == split] for split in SPLITS}


def test_validation_as_test():
    cases = exams(20, 4, 3)
    chosen = split_cases(cases, section(splits="validation_as_test"))
    assert chosen["test"] == [case.id for case in cases if case.split == "validation"]
    assert len(chosen["validation"]) == round(0.15 * 20)
    assert sorted(chosen["train"] + chosen["validation"]) == sorted(c.id for c in cases if c.split == "train")
    assert not any(case.id in ids for case in cases if case.split == "test" for ids in chosen.values())


@given(
    groups=st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=25, unique=True),
    images=st.integers(1, 3),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 100),
)
def test_no_group_is_in_two_splits_whatever_the_order(groups, images, fraction, seed):
    cases = [Exam(f"{group}/{image}", group, "train") for group in groups for image in range(images)]
    cases += [Exam("v", "validation group\n", "validation")]
    chosen_by = section(splits="validation_as_test", validation_fraction=fraction)
    chosen = split_cases(cases, chosen_by, needed=("train", "test"))
    group_of = {case.id: case.group for case in cases}
    held = {split: {group_of[case] for case in ids} for split, ids in chosen.items()}
    assert not any(held[first] & held[second] for first, second in combinations(SPLITS, 2))
    assert sum(map(len, chosen.values())) == len(cases)
    if len(groups) > 1:
        assert held["train"] and held["validation"]
    shuffled = list(cases)
    random.Random(seed).shuffle(shuffled)
    again = split_cases(shuffled, chosen_by, needed=("train", "test"))
    assert {split: set(ids) for split, ids in again.items()} == {split: set(ids) for split, ids in chosen.items()}


@given(st.integers(2, 40), st.integers(1, 5))
def test_more_cases_move_at_most_the_cut_off(count, more):
    assume(count > more)
    before = split_cases(exams(count), section(splits="validation_as_test"))
    after = split_cases(exams(count + more), section(splits="validation_as_test"))
    new = {case.id for case in exams(count + more)} - {case.id for case in exams(count)}
    held, still = set(before["validation"]), set(after["validation"])
    # what leaves the held-out cases was pushed out by new ones; what enters them makes room for a larger cut-off
    assert len(held - still) <= len(still & new)
    assert len(still - held - new) <= max(0, len(still) - len(held))


def test_the_choice_is_the_same_in_every_process():
    chosen = split_cases(exams(12), section(splits="validation_as_test", validation_fraction=0.25))
    assert chosen["validation"] == ["train2-0", "train3-0", "train7-0"]


def test_the_choice_has_nothing_to_do_with_the_order_of_names():
    chosen = split_cases(exams(200), section(splits="validation_as_test", validation_fraction=0.5))
    numbers = [int(case.removeprefix("train").removesuffix("-0")) for case in chosen["validation"]]
    assert 80 < sum(numbers) / len(numbers) < 120


def test_limit_takes_the_first_of_each_split():
    cases = exams(20, 6)
    whole = split_cases(cases, section(splits="validation_as_test"))
    few = split_cases(cases, section(splits="validation_as_test", limit=2))
    assert few == {split: ids[:2] for split, ids in whole.items()}


def test_a_group_in_two_splits_is_refused():
    cases = [Exam("a1", "lesion a", "train"), Exam("b1", "lesion b", "test"), Exam("a2", "lesion a", "test")]
    with pytest.raises(InputError, match=r"^raw: group 'lesion a' is in train and test; mend the split$"):
        split_cases(cases, section(), needed=())
    cases = [Exam("a1", "lesion a", "train"), Exam("a2", "lesion a", "validation")]
    with pytest.raises(InputError, match="group 'lesion a'"):
        split_cases(cases, section(splits="validation_as_test"), needed=())


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ((3, 2, 0), {}, "raw: the test split of lesions is empty; .* set dataset.splits=validation_as_test"),
        ((3, 0, 1), {}, "raw: the validation split of lesions is empty; add cases to it"),
        ((0, 1, 1), {}, "raw: the train split of lesions is empty"),
        ((3, 0, 1), {"splits": "validation_as_test"}, "the test split of lesions is empty; add cases to it"),
        ((1, 1, 0), {"splits": "validation_as_test"}, "the validation split of lesions is empty; add cases to it"),
    ],
)
def test_an_empty_split_says_what_to_do(counts: tuple[int, int, int], options: dict, message: str):
    with pytest.raises(InputError, match=message):
        split_cases(exams(*counts), section(**options))


def test_only_the_splits_that_are_needed_must_have_cases():
    assert split_cases(exams(3, 2, 0), section(), needed=("train", "validation"))["test"] == []
    with pytest.raises(InputError):
        split_cases([], section(), needed=("train",))


def test_a_high_fraction_leaves_a_group_to_train_on():
    chosen = split_cases(exams(2, 1), section(splits="validation_as_test", validation_fraction=0.9))
    assert {split: len(ids) for split, ids in chosen.items()} == {"train": 1, "validation": 1, "test": 1}
