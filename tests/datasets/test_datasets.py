"""Every data set of the table, by the same tests, on the files of its own generator."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from cohort_fakes import make_pictures, make_volumes
from dataset_tester import DatasetTester
from ham10000_fakes import make_ham10000
from openkbp_fakes import write_patient as write_openkbp
from stoic_fakes import make_stoic

from crosstask.datasets import DATASETS, Phantom
from dicom_fakes import write_patient as write_dicom


class TestPictures(DatasetTester):
    name = "cohort"
    misspelt = ("covd", "covid")

    @classmethod
    def make(cls, folder: Path) -> Path:
        return make_pictures(folder)


class TestVolumes(DatasetTester):
    name = "cohort"
    misspelt = ("organ", "organs")

    @classmethod
    def make(cls, folder: Path) -> Path:
        return make_volumes(folder)


class TestDicomRT(DatasetTester):
    name = "dicom_rt"
    options: ClassVar = {"structures": {"rectum": ["Rectum"], "bladder": [], "spleen": []}}
    other: ClassVar = {"spacing": [5, 12, 16], "margin": None, "structures": {"rectum": ["Rectum"]}}
    misspelt = ("doses", "dose")

    @classmethod
    def make(cls, folder: Path) -> Path:
        for seed in range(2):
            write_dicom(folder / f"patient {seed}", seed=seed, shape=(12, 24, 24), spacing=(10.0, 12.0, 16.0))
        return folder


class TestHAM10000(DatasetTester):
    name = "ham10000"
    misspelt = ("diagnoses", "diagnosis")

    @classmethod
    def make(cls, folder: Path) -> Path:
        return make_ham10000(folder, lesions=10, size=(16, 20))


class TestOpenKBP(DatasetTester):
    name = "openkbp"
    misspelt = ("doses", "dose")

    @classmethod
    def make(cls, folder: Path) -> Path:
        for split, number in (("train", 2), ("validation", 201)):
            write_openkbp(folder, split, number)
        return folder


class TestPhantom(DatasetTester):
    name = "phantom"
    misspelt = ("segmentatoin", "segmentation")

    @classmethod
    def make(cls, folder: Path) -> Path:
        return Phantom.generate(folder, train=2, validation=1, test=0, size=24).root


class TestSTOIC(DatasetTester):
    name = "stoic"
    other: ClassVar = {"spacing": [10, 8, 8], "fill": -1024}
    misspelt = ("severe", "severity")

    @classmethod
    def make(cls, folder: Path) -> Path:
        return make_stoic(folder, patients=8, size=(6, 16, 16))


def test_every_data_set_of_the_table_is_tested() -> None:
    tested = {tester.name for tester in DatasetTester.__subclasses__()}
    assert {name for name in DATASETS if DATASETS.is_built_in(name)} <= tested
