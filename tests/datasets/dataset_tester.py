"""What every data set must do. A new one inherits :class:`DatasetTester` and gives its name and files to read."""

from __future__ import annotations

import inspect
import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from crosstask.assembly import Assembly
from crosstask.datasets import DATASETS, SPLITS, Case, CaseData, Dataset, HiddenLabels, open_dataset
from crosstask.datasets.names import natural
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import DatasetSection
from crosstask.splits import split_cases
from crosstask.store import Store, prepare


class DatasetTester:
    """Properties of all data sets, on files of two or more patients that lack some labels and nothing else.

    Attributes:
        name: name in the table.
        options: that the files need.
        other: options that read the same files in another way; none where a data set knows no other.
        misspelt: a task's name with a slip in it, and the name that is meant.
    """

    name: str
    options: ClassVar[dict[str, Any]] = {}
    other: ClassVar[dict[str, Any]] = {}
    misspelt: tuple[str, str]

    @classmethod
    def make(cls, folder: Path) -> Path:
        """Write the files below a new folder, and return the data set's root."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return cls.make(tmp_path_factory.mktemp(cls.name) / "raw")

    @pytest.fixture(scope="class")
    @classmethod
    def read(cls, root: Path) -> list[tuple[Case, CaseData]]:
        dataset = cls.dataset(root)
        return [(case, dataset.read(case)) for case in dataset.cases()]

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, root: Path) -> Store:
        prepare(cls.dataset(root), root.parent / "store", workers=1)
        return Store(root.parent / "store")

    @classmethod
    def dataset(cls, root: Path, **options: Any) -> Dataset:
        return open_dataset(cls.name, root, **{**cls.options, **options})

    # --- the entry ---

    def test_the_table_has_it(self, tmp_path: Path) -> None:
        entry = DATASETS[self.name]
        assert issubclass(entry, Dataset) and entry.name == self.name
        assert all(entry.__dict__.get(key) or getattr(entry, key) for key in ("licence", "source", "citation"))

    def test_it_opens_without_a_look_at_its_files(self, root: Path) -> None:
        dataset = self.dataset(root)
        assert type(dataset) is DATASETS[self.name]
        assert dataset.spatial_dims in (2, 3) and dataset.image_channels >= 1
        assert len(set(dataset.tasks)) == len(dataset.tasks) > 0

    def test_an_option_that_there_is_not_is_named_with_those_that_there_are(self, root: Path) -> None:
        known = [name for name in inspect.signature(DATASETS[self.name]).parameters if name != "root"]
        with pytest.raises(InputError, match="no option 'nothing'") as error:
            self.dataset(root, nothing=1)
        assert one_line(error.value).endswith(f"options: {', '.join(known) or 'none'}")

    # --- cases ---

    def test_cases_are_whole_and_in_natural_order(self, root: Path) -> None:
        cases = self.dataset(root).cases()
        assert len(cases) > 1 and len({case.group for case in cases}) > 1
        ids = [case.id for case in cases]
        assert ids == sorted(set(ids), key=natural)
        for case in cases:
            assert case.group and case.split in (*SPLITS, "")
            assert case.files and all(file.is_file() for file in case.files)
            assert all(isinstance(value, str) for value in case.facts.values())

    def test_cases_are_the_same_every_time(self, root: Path) -> None:
        dataset = self.dataset(root)
        assert dataset.cases() == dataset.cases() == self.dataset(root).cases()
        assert dataset.unusable([case.id for case in dataset.cases()]) == {}

    def test_no_split_divides_a_group(self, root: Path) -> None:
        cases = self.dataset(root).cases()
        given = {(case.group, case.split) for case in cases}
        assert len(given) == len({group for group, _ in given})
        section = DatasetSection(name=self.name, root=root, splits={"rule": "drawn"}, tasks={"any": {}})  # type: ignore[arg-type]
        drawn = split_cases(cases, section, needed=())
        assert sorted(case for ids in drawn.values() for case in ids) == sorted(case.id for case in cases)
        group = {case.id: case.group for case in cases}
        sides = [{group[case] for case in ids} for ids in drawn.values()]
        assert sum(map(len, sides)) == len(set().union(*sides))

    # --- reading ---

    def test_a_case_has_its_image_on_its_grid(self, root: Path, read: list[tuple[Case, CaseData]]) -> None:
        dataset = self.dataset(root)
        for _, data in read:
            assert len(data.geometry.shape) == dataset.spatial_dims == len(data.geometry.spacing)
            assert all(step > 0 for step in data.geometry.spacing)
            assert data.shape(dataset.image_array) == (dataset.image_channels, *data.geometry.shape)
            assert data.arrays.keys() == data.channels.keys()
            for name, array in data.arrays.items():
                assert array.ndim == 1 or array.shape[1:] == tuple(data.geometry.shape), name
                assert array.dtype.kind in "uif" and np.isfinite(array).all(), name
                assert len(set(data.channels[name])) == len(data.channels[name]) == len(array), name
            json.dumps(data.information, allow_nan=False)

    def test_further_inputs_and_the_region_are_arrays(self, root: Path, read: list[tuple[Case, CaseData]]) -> None:
        dataset = self.dataset(root)
        for _, data in read:
            if dataset.region_array is not None:
                assert data.shape(dataset.region_array) == (1, *data.geometry.shape)
            if dataset.structure_array is not None:
                assert set(data.channels[dataset.structure_array]) <= set(dataset.structures)

    def test_a_worker_reads_the_same(self, root: Path, read: list[tuple[Case, CaseData]]) -> None:
        """Pickled before and after a look at the cases, and never asked for them itself."""
        case, data = read[-1]
        looked = self.dataset(root)
        looked.cases()
        for dataset in (looked, self.dataset(root)):
            self.assert_same(pickle.loads(pickle.dumps(dataset)).read(pickle.loads(pickle.dumps(case))), data)

    def test_the_store_keeps_what_was_read(self, root: Path, read: list[tuple[Case, CaseData]], store: Store) -> None:
        ids = [case.id for case, _ in read]
        assert store.dataset == self.name and [case.id for case in store.cases] == ids
        assert sorted(prepare(self.dataset(root), store.root, workers=1).kept) == sorted(ids)
        for case, data in read:
            prepared = store.open(case.id)
            assert dict(prepared.channels) == data.channels and prepared.geometry == data.geometry
            for name, array in data.arrays.items():
                np.testing.assert_array_equal(prepared.read(name), array)

    def test_read_settings_tell_one_way_of_reading_from_another(self, root: Path) -> None:
        settings = self.dataset(root).read_settings()
        assert json.loads(json.dumps(settings)) == settings == self.dataset(root).read_settings()
        for option, value in self.other.items():
            assert self.dataset(root, **{option: value}).read_settings() != settings, option

    # --- tasks and labels ---

    def test_every_task_finds_its_labels(self, root: Path, read: list[tuple[Case, CaseData]]) -> None:
        dataset = self.dataset(root)
        for name in dataset.tasks:
            task = dataset.task(name)
            assert task.name == name and task.head().channels == len(task.classes)
            for source in {task.array, task.scored_array}:
                assert all(source in data.arrays for _, data in read)
                ndim = 1 if task.level == "image" else 1 + dataset.spatial_dims
                assert {data.arrays[source].ndim for _, data in read} == {ndim}
                assert any(set(task.classes) & set(data.channels[source]) for _, data in read)
            if task.values == "softmax":
                assert all(data.arrays[task.array].sum() in (0, 1) for _, data in read if task.level == "image")

    def test_a_label_that_is_missing_is_no_empty_one(
        self, root: Path, read: list[tuple[Case, CaseData]], store: Store
    ) -> None:
        dataset = self.dataset(root)
        tasks = [dataset.task(name) for name in dataset.tasks]
        assembly = Assembly(tuple(tasks), dataset.image_array, dataset.region_array, ((0.0, 1.0),))
        seen = set()
        for case, data in read:
            for task in tasks:
                target, present = assembly.target(task, store.open(case.id))
                assert present.tolist() == [name in data.channels[task.array] for name in task.classes]
                assert not target[~present].any()
                seen |= set(present.tolist())
        assert seen == {True, False}, "the files of this test lack labels"

    def test_hidden_labels_are_missing_and_nothing_else_is(self, root: Path, read: list[tuple[Case, CaseData]]) -> None:
        dataset = self.dataset(root)
        tasks = [dataset.task(name) for name in dataset.tasks]
        sources = {source for task in tasks for source in (task.array, task.scored_array)}
        hidden = HiddenLabels(dataset, 1.0)
        assert hidden.read_settings() != dataset.read_settings()
        assert (hidden.name, hidden.tasks, hidden.cases()) == (dataset.name, dataset.tasks, dataset.cases())
        case, data = read[0]
        without = hidden.read(case)
        assert {name for name, channels in without.channels.items() if channels != data.channels[name]} <= sources
        assert all(without.channels[source] == () for source in sources)
        np.testing.assert_array_equal(without.read(dataset.image_array), data.read(dataset.image_array))

    def test_a_task_that_there_is_not_is_named_with_the_closest(self, root: Path) -> None:
        wrong, right = self.misspelt
        with pytest.raises(InputError, match=f"did you mean '{right}'") as error:
            self.dataset(root).task(wrong)
        assert repr(wrong) in one_line(error.value)

    def test_an_option_of_a_task_that_there_is_not_is_named(self, root: Path) -> None:
        dataset = self.dataset(root)
        for name in dataset.tasks:
            with pytest.raises(InputError, match="no option 'nothing'") as error:
                dataset.task(name, nothing=1)
            assert name in one_line(error.value)

    # --- what is wrong ---

    def test_sound_files_have_no_error(self, root: Path) -> None:
        for finding in self.dataset(root).check():
            assert finding.severity in ("note", "warning"), finding
            assert finding.case and finding.message and "\n" not in finding.message

    def test_files_that_are_not_there_are_an_error_in_one_line(self, tmp_path: Path) -> None:
        found = []
        with pytest.raises(InputError) as error:
            found = self.dataset(tmp_path / "nowhere").cases()
        assert not found and "nowhere" in one_line(error.value)
        severities = [finding.severity for finding in self.dataset(tmp_path / "nowhere").check()]
        assert severities == ["error"]

    @staticmethod
    def assert_same(one: CaseData, other: CaseData) -> None:
        assert (one.channels, one.geometry, one.information) == (other.channels, other.geometry, other.information)
        assert one.arrays.keys() == other.arrays.keys()
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name])
            assert array.dtype == other.arrays[name].dtype


def one_line(error: CrosstaskError) -> str:
    text = str(error)
    assert text and "\n" not in text
    return text
