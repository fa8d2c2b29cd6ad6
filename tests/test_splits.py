"""Splits: by group, the same every time, and never empty without a word."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crosstask.datasets.base import SPLITS, Split
from crosstask.errors import InputError
from crosstask.experiment import DatasetSection
from crosstask.geometry import Geometry
from crosstask.splits import split_cases, splits_of, write_splits
from crosstask.store import Store, prepare


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


def test_validation_from_train_keeps_the_test_set_whatever_else_is_given():
    for counts in ((20, 0, 6), (15, 5, 6)):
        cases = exams(*counts)
        chosen = split_cases(cases, section(splits={"rule": "validation_from_train", "validation_fraction": 0.25}))
        assert chosen["test"] == [case.id for case in cases if case.split == "test"]
        assert len(chosen["validation"]) == 5
        assert sorted(case.id for case in cases) == sorted(one for ids in chosen.values() for one in ids)


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
    chosen_by = section(splits={"rule": "validation_as_test", "validation_fraction": fraction})
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
    chosen = split_cases(exams(12), section(splits={"rule": "validation_as_test", "validation_fraction": 0.25}))
    assert chosen["validation"] == ["train2-0", "train3-0", "train7-0"]


def test_the_choice_has_nothing_to_do_with_the_order_of_names():
    chosen = split_cases(exams(200), section(splits={"rule": "validation_as_test", "validation_fraction": 0.5}))
    numbers = [int(case.removeprefix("train").removesuffix("-0")) for case in chosen["validation"]]
    assert 80 < sum(numbers) / len(numbers) < 120


def test_limit_takes_the_first_of_each_split():
    cases = exams(20, 6)
    whole = split_cases(cases, section(splits="validation_as_test"))
    few = split_cases(cases, section(splits="validation_as_test", limit=2))
    assert few == {split: ids[:2] for split, ids in whole.items()}


def test_a_group_in_two_splits_is_refused():
    cases = [Exam("a1", "lesion a", "train"), Exam("b1", "lesion b", "test"), Exam("a2", "lesion a", "test")]
    with pytest.raises(InputError, match=r"^raw: group 'lesion a' is in train \(a1\) and test \(a2\); fix"):
        split_cases(cases, section(), needed=())
    cases = [Exam("a1", "lesion a", "train"), Exam("a2", "lesion a", "validation")]
    with pytest.raises(InputError, match="group 'lesion a'"):
        split_cases(cases, section(splits="validation_as_test"), needed=())


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ((3, 2, 0), {}, "raw: the test split of lesions is empty; .* set dataset.splits=validation_as_test"),
        ((3, 0, 1), {}, "raw: the validation split of lesions is empty; set dataset.splits=validation_from_train"),
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
    chosen = split_cases(exams(2, 1), section(splits={"rule": "validation_as_test", "validation_fraction": 0.9}))
    assert {split: len(ids) for split, ids in chosen.items()} == {"train": 1, "validation": 1, "test": 1}


# Drawn


def drawn(**options: object) -> DatasetSection:
    return section(splits={"rule": "drawn", **options})


def sets(chosen: Mapping[Split, Sequence[str]]) -> dict[Split, set[str]]:
    return {split: set(ids) for split, ids in chosen.items()}


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[list[Exam], dict[str, str]]:
    """Cases in groups of different sizes, and their strata; a group may have cases of several."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=30))
    cases = [Exam(f"{group}-{image}", f"g{group}", "") for group, size in enumerate(sizes) for image in range(size)]
    labels = draw(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=len(cases), max_size=len(cases)))
    return cases, {case.id: label for case, label in zip(cases, labels, strict=True) if label}


fractions = st.sampled_from([(0.7, 0.1, 0.2), (1 / 3, 1 / 3, 1 / 3), (0.98, 0.01, 0.01), (0.25, 0.5, 0.25)])


def stratum_of_groups(cases: Sequence[Exam], strata: Mapping[str, str]) -> dict[str, str]:
    counts: dict[str, Counter[str]] = {}
    for case in cases:
        counts.setdefault(case.group, Counter())[strata.get(case.id, "")] += 1
    return {group: min(count, key=lambda label: (-count[label], label)) for group, count in counts.items()}


def off(chosen: Mapping[Split, Sequence[str]], shares: Mapping[Split, float], ids: set[str]) -> float:
    """How many cases the split that is furthest from its share of some cases is away from it."""
    return max(abs(len(set(chosen[split]) & ids) - share * len(ids)) for split, share in shares.items())


@given(cohorts(), fractions, st.integers(0, 50))
def test_each_stratum_has_its_shares_within_one_group(cohort, fractions, seed):
    cases, strata = cohort
    chosen = split_cases(cases, drawn(fractions=fractions, seed=seed), needed=(), strata=strata)
    assert sorted(case for ids in chosen.values() for case in ids) == sorted(case.id for case in cases)
    groups = {case.id: case.group for case in cases}
    held = {split: {groups[case] for case in ids} for split, ids in chosen.items()}
    assert not any(held[first] & held[second] for first, second in combinations(SPLITS, 2))
    sizes, label = Counter(groups.values()), stratum_of_groups(cases, strata)
    for stratum in set(label.values()):
        ids = {case.id for case in cases if label[case.group] == stratum}
        largest = max(sizes[group] for group in label if label[group] == stratum)
        assert off(chosen, dict(zip(SPLITS, fractions, strict=True)), ids) < largest + 1e-6


@given(st.lists(st.integers(0, 60), min_size=1, max_size=90), fractions)
def test_many_small_strata_do_not_favour_one_split(labels, fractions):
    cases = [Exam(str(number), str(number), "") for number in range(len(labels))]
    strata = {str(number): f"label {label}" for number, label in enumerate(labels)}
    chosen = split_cases(cases, drawn(fractions=fractions), needed=(), strata=strata)
    assert off(chosen, dict(zip(SPLITS, fractions, strict=True)), set(strata)) <= 2


@given(cohorts(), st.sampled_from(["drawn", "folds"]), st.integers(0, 1000))
def test_what_is_drawn_does_not_depend_on_the_order(cohort, rule, seed):
    cases, strata = cohort
    by = section(splits={"rule": rule, "folds": 3, "fold": 1})
    digests = {case.id: str(int(case.group[1:]) % 7) for case in cases[::3]}
    chosen = split_cases(cases, by, needed=(), strata=strata, digests=digests)
    assert {split: list(ids) for split, ids in chosen.items()} == split_cases(
        cases, by, needed=(), strata=strata, digests=digests
    )
    shuffled = list(cases)
    random.Random(seed).shuffle(shuffled)
    assert sets(split_cases(shuffled, by, needed=(), strata=strata, digests=digests)) == sets(chosen)


@pytest.mark.parametrize("rule", ["drawn", "folds", "validation_as_test"])
def test_the_seed_changes_the_choice(rule: str):
    cases = exams(40, 6)
    found = [sets(split_cases(cases, section(splits={"rule": rule, "seed": seed}))) for seed in range(3)]
    assert found[0] != found[1] != found[2] != found[0]
    assert len({tuple(len(ids) for ids in splits.values()) for splits in found}) == 1


def test_one_more_case_moves_few_others():
    cases = [Exam(str(number), str(number), "") for number in range(200)]
    before = sets(split_cases(cases[:-1], drawn()))
    after = sets(split_cases(cases, drawn()))
    assert sum(len(before[split] - after[split]) for split in SPLITS) <= 4


def test_few_cases_leave_no_split_empty_for_want_of_rounding():
    cases = [Exam(str(number), str(number), "") for number in range(5)]
    assert {split: len(ids) for split, ids in split_cases(cases, drawn()).items()} == {
        "train": 3,
        "validation": 1,
        "test": 1,
    }


def test_drawing_thousands_of_cases():
    random = np.random.default_rng(0)
    groups = np.r_[np.arange(6000), random.integers(0, 6000, 2000)]
    cases = [Exam(f"ISIC_{number}", f"HAM_{group}", "") for number, group in enumerate(groups)]
    strata = {case.id: str(label) for case, label in zip(cases, random.choice(7, 8000), strict=True)}
    digests = {case.id: f"digest of {min(number, 7990)}" for number, case in enumerate(cases)}
    chosen = split_cases(cases, drawn(stratify="diagnosis"), strata=strata, digests=digests)
    assert [len(chosen[split]) for split in SPLITS] == pytest.approx([5600, 800, 1600], abs=12)


# Folds


@given(cohorts(), st.integers(2, 6), st.integers(0, 5))
def test_each_case_is_in_the_test_set_of_one_fold(cohort, folds, seed):
    cases, strata = cohort
    tested: list[str] = []
    groups = {case.id: case.group for case in cases}
    for fold in range(folds):
        by = section(splits={"rule": "folds", "folds": folds, "fold": fold, "seed": seed})
        chosen = split_cases(cases, by, needed=(), strata=strata)
        assert sum(map(len, chosen.values())) == len(cases)
        held = {split: {groups[case] for case in ids} for split, ids in chosen.items()}
        assert not any(held[first] & held[second] for first, second in combinations(SPLITS, 2))
        tested += chosen["test"]
        rest = set(chosen["train"]) | set(chosen["validation"])
        largest = max(Counter(groups.values()).values())
        assert off(chosen, {"train": 0.85, "validation": 0.15}, rest) < largest * (len(set(strata.values())) + 1)
    assert sorted(tested) == sorted(groups)


def test_folds_are_equal_in_size_and_in_labels_and_choose_by_different_cases():
    cases = [Exam(str(number), str(number), "") for number in range(100)]
    strata = {case.id: "rare" if number < 10 else "common" for number, case in enumerate(cases)}
    by = [section(splits={"rule": "folds", "fold": fold}) for fold in range(5)]
    chosen = [split_cases(cases, each, strata=strata) for each in by]
    assert [len(splits["test"]) for splits in chosen] == [20] * 5
    assert [sum(strata[case] == "rare" for case in splits["test"]) for splits in chosen] == [2] * 5
    assert [len(splits["validation"]) for splits in chosen] == [12] * 5
    held = [set(splits["validation"]) for splits in chosen]
    assert max(len(first & second) for first, second in combinations(held, 2)) < 7


# The same pixels


def test_groups_that_share_a_picture_are_drawn_as_one():
    cases = [Exam(f"{group}{image}", f"g{group}", "") for group in range(40) for image in range(2)]
    # 0 and 1, 1 and 2: so 0, 1 and 2; and 30 and 31
    digests = {"00": "x", "10": "x", "11": "y", "20": "y", "301": "z", "310": "z", "71": "only one"}
    for seed in range(10):
        for rule in ("drawn", "folds"):
            chosen = split_cases(cases, section(splits={"rule": rule, "seed": seed}), digests=digests)
            where = {case: split for split, ids in chosen.items() for case in ids}
            assert len({where[f"{group}{image}"] for group in (0, 1, 2) for image in (0, 1)}) == 1
            assert len({where[f"{group}{image}"] for group in (30, 31) for image in (0, 1)}) == 1


@pytest.mark.parametrize("seed", range(6))
def test_groups_that_share_a_picture_are_held_out_as_one(seed: int):
    cases = exams(6, 2)
    by = section(splits={"rule": "validation_as_test", "validation_fraction": 0.5, "seed": seed})
    chosen = split_cases(cases, by, digests={"train1-0": "x", "train4-0": "x"})
    assert ("train1-0" in chosen["validation"]) is ("train4-0" in chosen["validation"])


def test_the_same_pixels_in_two_splits_are_refused():
    cases = [Exam("a", "ga", "train"), Exam("b", "gb", "test"), Exam("c", "gc", "validation")]
    digests = {"a": "x", "b": "x", "c": "y"}
    message = r"^raw: the same pixels are in train \(a\) and test \(b\); remove one, or set dataset.splits.rule=drawn"
    with pytest.raises(InputError, match=message):
        split_cases(cases, section(), digests=digests)
    with pytest.raises(InputError, match=r"the same pixels are in train \(a\) and test \(c\)"):
        split_cases(cases, section(splits="validation_as_test"), needed=(), digests={"a": "x", "c": "x"})
    assert split_cases(cases, section(), digests={"a": "x", "b": "y"})["test"] == ["b"]
    twins = [*cases, Exam("d", "gd", "train")]
    assert split_cases(twins, section(), digests={"a": "x", "d": "x"})["train"] == ["a", "d"]


def test_groups_that_are_one_by_a_case_that_is_left_out_are_refused_in_two_splits():
    # the case that is in no split has the group of a, and the picture of c
    cases = [Exam("a", "ga", "train"), Exam("b", "gb", "train"), Exam("c", "gc", "validation"), Exam("d", "ga", "test")]
    message = r"^raw: groups 'ga' and 'gc' share pictures with cases that are left out, and are in .*\(a\) and test"
    with pytest.raises(InputError, match=message):
        split_cases(cases, section(splits="validation_as_test"), needed=(), digests={"c": "x", "d": "x"})


# From a file


def from_file(path: Path) -> DatasetSection:
    return section(splits={"rule": "file", "file": path})


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=5)


@given(ids=st.lists(names, min_size=1, max_size=12, unique=True), seed=st.integers(0, 9))
def test_written_splits_are_read_back(tmp_path_factory: pytest.TempPathFactory, ids: list[str], seed: int):
    path = tmp_path_factory.mktemp("splits") / "splits.csv"
    cases = [Exam(case, f"group, of {case}", "") for case in ids]
    chosen = split_cases(cases, drawn(seed=seed), needed=())
    write_splits(path, cases, chosen)
    assert split_cases(cases, from_file(path), needed=()) == chosen


def test_splits_of_ids_that_look_like_formulas_are_read_back(tmp_path: Path):
    cases = [Exam(case, case, "") for case in ("=1+2", "'=1+2", "''=1+2", "-a", "-5", "'", "@x", "plain")]
    chosen = split_cases(cases, drawn(), needed=())
    write_splits(tmp_path / "splits.csv", cases, chosen)
    lines = (tmp_path / "splits.csv").read_text().splitlines()
    assert not any(cell[:1] in ("=", "@") or cell == "-a" for line in lines for cell in line.split(","))
    assert split_cases(cases, from_file(tmp_path / "splits.csv"), needed=()) == chosen


def test_a_file_as_spreadsheets_write_it(tmp_path: Path):
    path = tmp_path / "splits.csv"
    path.write_bytes("\ufeffsplit,case,note\r\ntrain,a,\r\n\r\ntest,c,x\r\nvalidation,b,\r\ntrain,a,again\r\n".encode())
    cases = [Exam(case, case, "test") for case in "abcd"]
    assert split_cases(cases, from_file(path)) == {"train": ["a"], "validation": ["b"], "test": ["c"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "case,split\na,train\n\nb,holdout\n",
            "line 4: needs a case, and a split of train, validation, test; not",
        ),
        ("id,split\na,train\n", "line 2: needs a case"),
        ("case,split\na\n", "line 2: needs a case, and a split .*; not None"),
        ("case,split\na,train\nz,test\n", "line 3: there is no case 'z' among the prepared ones; take the line out"),
        ("case,split\na,train\na,test\n", "line 3: case 'a' is in train too; take one line out"),
        ("case,split\na,train\nb,validation\nc,test\n", r": group 'ab' is in train \(a\) and validation \(b\); fix"),
        ("case,split\na,train\n", ": the validation split of lesions is empty; add lines to .*splits.csv"),
        ("", ": the train split of lesions is empty; add lines to"),
        (b"case,split\n\xff,train\n", "cannot be read as a table of splits .* fix dataset.splits.file"),
        (None, r"splits\.csv: cannot be read as a table of splits \(.*; fix dataset.splits.file"),
    ],
)
def test_a_file_that_cannot_be(tmp_path: Path, text: str | bytes | None, message: str):
    path = tmp_path / "splits.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    cases = [Exam("a", "ab", ""), Exam("b", "ab", ""), Exam("c", "c", "")]
    with pytest.raises(InputError, match=message) as caught:
        split_cases(cases, from_file(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "drawn"}, "the validation split of lesions is empty; raise its share in dataset.splits.fractions"),
        (
            {"rule": "folds", "folds": 9, "fold": 8},
            "the validation split of lesions is empty; set fewer",
        ),
        ({"rule": "original"}, "gives case 0 no split; set dataset.splits.rule=drawn"),
        ({"rule": "validation_as_test"}, "gives case 0 no split; set dataset.splits.rule=drawn"),
    ],
)
def test_too_few_cases_to_draw_from(options: dict, message: str):
    cases = [Exam(str(number), str(number), "") for number in range(3)]
    with pytest.raises(InputError, match=message):
        split_cases(cases, section(splits=options), needed=("validation", "test"))


@pytest.mark.parametrize("options", [{"rule": "drawn"}, {"rule": "folds"}])
def test_limit_of_drawn_splits(options: dict):
    cases = exams(30, 6)
    whole = split_cases(cases, section(splits=options))
    assert split_cases(cases, section(splits=options, limit=3)) == {split: ids[:3] for split, ids in whole.items()}


# Of a store


@dataclass
class Picture:
    arrays: dict[str, np.ndarray]
    channels: dict[str, tuple[str, ...]]
    geometry: Geometry
    information: dict[str, object]


class Pictures:
    """Sixty small images of three diagnoses, of which one is rare; some have no label, and 4 and 5 are the same."""

    name = "pictures"

    def cases(self) -> list[StoredExam]:
        return [StoredExam(str(number), f"lesion {number}", "", ()) for number in range(60)]

    def read(self, case: StoredExam) -> Picture:
        number = int(case.id)
        pixels = np.full((1, 4, 4), 4 if number == 5 else number, dtype=np.uint8)
        arrays, channels = {"image": pixels}, {"image": ("grey",)}
        if number >= 10:
            label = 2 if number < 20 else number % 2
            arrays |= {"diagnosis": np.eye(3, dtype=np.float32)[label], "age": np.float32([number])}
            channels |= {"diagnosis": ("nv", "mel", "df"), "age": ("age",)}
            arrays["sick"] = np.float32([number < 30])
            channels["sick"] = ("sick",)
        return Picture(arrays, channels, Geometry((4, 4), (1.0, 1.0)), {})

    def read_settings(self) -> Mapping[str, object]:
        return {}


@dataclass(frozen=True)
class StoredExam(Exam):
    files: tuple[Path, ...]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("pictures") / "store"
    prepare(Pictures(), root, workers=1)
    return Store(root)


def test_labels_and_pixels_of_a_store(store: Store):
    for seed in range(5):
        by = drawn(stratify="diagnosis", fractions=(0.6, 0.2, 0.2), seed=seed)
        chosen = splits_of(store, by, "image")
        where = {case: split for split, ids in chosen.items() for case in ids}
        assert where["4"] == where["5"]
        for ids in (range(10, 20), range(20, 60, 2), range(21, 60, 2)):
            counts = Counter(where[str(number)] for number in ids)
            assert [counts[split] for split in SPLITS] == [len(ids) * 6 // 10, len(ids) // 5, len(ids) // 5]
        counts = Counter(where[str(number)] for number in range(10))
        assert [counts[split] for split in SPLITS] == pytest.approx([6, 2, 2], abs=1)


def test_cases_without_a_finding_are_not_cases_without_a_label(store: Store):
    chosen = splits_of(store, drawn(stratify="sick", fractions=(0.6, 0.2, 0.2)), "image")
    for ids in (range(10), range(10, 30), range(30, 60)):
        share = [sum(int(case) in ids for case in chosen[split]) / len(ids) for split in SPLITS]
        assert share == pytest.approx([0.6, 0.2, 0.2], abs=0.11 if ids == range(10) else 1e-9)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("colour", "dataset.splits.stratify: no case of lesions has labels 'colour'; name labels of whole"),
        ("age", "dataset.splits.stratify: 'age' of lesions is a quantity; name an image-level"),
        ("image", "'image' is an array of pixels"),
    ],
)
def test_what_cannot_stratify(store: Store, name: str, message: str):
    with pytest.raises(InputError, match=message):
        splits_of(store, drawn(stratify=name), "image")
