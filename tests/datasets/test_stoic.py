"""STOIC2021 in its real layout, on generated files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from stoic_fakes import make_stoic, read_reference, write_reference

from crosstask.datasets import STOIC, open_dataset
from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.volumes import read_volume, write_volume
from crosstask.store import prepare

LABELS = ("covid", "severe", "severe_among_positives", "sex", "age")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stoic(tmp_path_factory.mktemp("stoic") / "data", patients=8)


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "data"))


def scan(root: Path, patient: str) -> Path:
    return root / "data" / "mha" / f"{patient}.mha"


def change(root: Path, index: int, **values: str) -> str:
    rows = read_reference(root)
    rows[index].update(values)
    write_reference(root, rows)
    return rows[index]["PatientID"]


def findings(root: Path) -> list[tuple[str, str, str]]:
    found = [(finding.severity, finding.case, finding.message) for finding in STOIC(root).check()]
    assert all("\n" not in message for _, _, message in found)
    return [finding for finding in found if "not in the header" not in finding[2]]


class TestCases:
    def test_sorted_by_number(self, original):
        cases = STOIC(original).cases()
        assert [case.id for case in cases] == [str(7 + 13 * index) for index in range(8)]
        assert all((case.group, case.split) == (case.id, "") for case in cases)
        assert [case.id for case in STOIC(original.parent).cases()] == [case.id for case in cases]
        assert [file.name for file in cases[0].files] == ["7.mha", "reference.csv"]

    def test_faults(self, root, tmp_path):
        with pytest.raises(InputError, match="no such folder"):
            STOIC(tmp_path / "nowhere").cases()
        with pytest.raises(InputError, match=r"no metadata/reference.csv"):
            STOIC(root / "data").cases()
        shutil.rmtree(root / "data" / "mha")
        with pytest.raises(InputError, match="no scan"):
            STOIC(root).cases()
        write_reference(root, [], columns=("PatientID", "probCOVID"))
        with pytest.raises(InputError, match="no column 'probSevere'"):
            STOIC(root).cases()


class TestRead:
    def test_labels(self, original):
        dataset = STOIC(original)
        for index, case in enumerate(dataset.cases()):
            data = dataset.read(case)
            covid, severe = float(index % 2), float(index % 4 == 3)
            labels = {name: dict(zip(data.channels[name], data.arrays[name].tolist(), strict=True)) for name in LABELS}
            male = {"male": float(index // 3 % 2 == 0)}
            assert labels == {
                "covid": {"covid": covid},
                "severe": {"severe": severe},
                "severe_among_positives": {"severe": severe} if covid else {},
                "sex": {} if index % 7 == 6 else male,
                "age": {} if index % 5 == 4 else {"age": 35.0 + 10 * (index % 6)},
            }
            assert all(data.arrays[name].dtype == np.float32 for name in LABELS)
            assert data.information["age"] == (None if index % 5 == 4 else 35.0 + 10 * (index % 6))

    @pytest.mark.parametrize(
        ("covid", "severe", "expected"),
        [("", "1", ()), ("0", "1", ()), ("1", "", ()), ("1", "0", (0.0,)), ("1.0", "1.0", (1.0,))],
    )
    def test_severity_among_positives_only(self, root, covid, severe, expected):
        change(root, 0, probCOVID=covid, probSevere=severe)
        data = STOIC(root).read(STOIC(root).cases()[0])
        assert tuple(data.arrays["severe_among_positives"]) == expected
        assert data.channels["severe_among_positives"] == ("severe",) * len(expected)
        assert data.channels["covid"] == (("covid",) if covid else ())
        assert data.channels["severe"] == (("severe",) if severe else ())

    def test_the_scan_as_it_is(self, original):
        dataset = STOIC(original, spacing=None)
        case = dataset.cases()[1]
        data = dataset.read(case)
        image = sitk.ReadImage(str(case.files[0]))
        np.testing.assert_array_equal(data.arrays["ct"][0], sitk.GetArrayFromImage(image))
        assert data.arrays["ct"].dtype == np.int16
        assert data.geometry == Geometry((12, 32, 32), image.GetSpacing()[::-1], image.GetOrigin()[::-1])

    def test_resampled(self, original):
        whole, coarse = STOIC(original, spacing=None), STOIC(original, spacing=[10, 8, 8])
        case = whole.cases()[1]
        before, after = whole.read(case), coarse.read(case)
        assert (after.shape("ct"), after.geometry.spacing) == ((1, 6, 16, 16), (10.0, 8.0, 8.0))
        means = before.arrays["ct"][0].reshape(6, 2, 16, 2, 16, 2).mean(axis=(1, 3, 5))
        np.testing.assert_allclose(after.arrays["ct"][0], means, atol=0.5001)
        assert after.arrays["ct"].dtype == np.int16
        assert after.information["spacing"] == [5.0, 4.0, 4.0]
        assert STOIC(original).read(case).geometry.spacing == (5.0, 2.0, 2.0)

    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_other_types_are_rounded_and_kept_in_range(self, root, dtype):
        values = np.full((4, 16, 16), 40.0)
        values[0], values[1] = 1e6, -1000.4
        write_volume(scan(root, "7"), values.astype(dtype), Geometry(values.shape, (5.0, 4.0, 4.0)))
        dataset = STOIC(root, spacing=None)
        ct = dataset.read(dataset.cases()[0]).arrays["ct"][0]
        assert (ct[0, 0, 0], ct[1, 0, 0], ct[2, 0, 0]) == (32767, -1000, 40)

    def test_voxels_that_are_no_numbers_are_an_error_or_filled(self, root, tmp_path):
        path = scan(root, "7")
        values, grid, header = read_volume(path)
        values = values.astype(np.float32)
        values[0] = np.nan
        write_volume(path, values, grid, {key: header[key] for key in header if key.startswith("Patient")})
        message = "are no numbers (NaN or infinite); give the data set's option fill, HU in their place"
        wrong = [finding for finding in STOIC(root).check() if finding.severity == "error"]
        assert [finding.case for finding in wrong] == ["7"]
        assert message in wrong[0].message
        whole = STOIC(root, spacing=None, fill=-1024)
        assert not [finding for finding in whole.check() if finding.severity == "error"]
        case = next(case for case in whole.cases() if case.id == "7")
        ct = whole.read(case).arrays["ct"]
        assert (ct[0, 0] == -1024).all() and ct.dtype == np.int16
        assert whole.read_settings() == {"spacing": None, "fill": -1024.0}
        assert STOIC(root).read_settings() == {"spacing": [5.0, 2.0, 2.0]}  # stores of before stay good
        with pytest.raises(InputError, match=r"dataset\.options\.fill: 'air' is no value in HU"):
            STOIC(root, fill="air")

    def test_a_new_spacing_makes_prepared_cases_stale(self, original, tmp_path):
        def prepared(**options):
            return prepare(open_dataset("stoic", original, **options), tmp_path / "store", workers=1)

        assert len(prepared(spacing=[10, 8, 8]).written) == 8
        assert len(prepared(spacing=[10.0, 8.0, 8.0]).kept) == 8
        assert len(prepared(spacing=[10, 8, 16]).rebuilt) == 8

    @pytest.mark.parametrize("spacing", [5, [5, 2], [5, 2, 0], [5, 2, float("nan")], ["a", 2, 2], "522x"])
    def test_no_spacing(self, tmp_path, spacing):
        with pytest.raises(InputError, match=r"dataset\.options\.spacing"):
            open_dataset("stoic", tmp_path, spacing=spacing)


class TestCheck:
    def test_a_clean_one(self, original):
        (found,) = STOIC(original).check()
        assert found.severity == "note"
        assert "age of 1, sex of 1 of 8 patients" in found.message

    @pytest.mark.parametrize(
        ("values", "severity", "words"),
        [
            ({"probCOVID": "2"}, "error", "'2' is neither 0 nor 1"),
            ({"probCOVID": "0.5"}, "error", "'0.5' is neither 0 nor 1"),
            ({"probSevere": "yes"}, "error", "'yes' is neither 0 nor 1"),
            ({"probSevere": ""}, "note", "severe empty"),
            ({"probCOVID": "", "probSevere": ""}, "note", "covid and severe empty"),
            ({"probSevere": "1"}, "warning", "severe without COVID"),
        ],
    )
    def test_lines(self, root, values, severity, words):
        patient = change(root, 2, **values)
        ((found, case, message),) = findings(root)
        assert (found, case) == (severity, patient)
        assert words in message
        assert "line 4" in message
        assert (patient in {case.id for case in STOIC(root).cases()}) == (severity != "error")

    def test_duplicate_lines(self, root):
        rows = read_reference(root)
        write_reference(root, [*rows, rows[0], {**rows[1], "probCOVID": "0"}, {**rows[2], "PatientID": "../x"}])
        assert [(severity, case) for severity, case, _ in findings(root)] == [
            ("warning", rows[0]["PatientID"]),
            ("error", rows[1]["PatientID"]),
            ("error", "reference.csv"),
        ]
        assert len(STOIC(root).cases()) == 7

    def test_scans(self, root):
        rows = read_reference(root)
        ids = [row["PatientID"] for row in rows]
        write_reference(root, rows[1:])
        scan(root, ids[1]).unlink()
        scan(root, ids[2]).write_bytes(scan(root, ids[2]).read_bytes()[:900])
        write_volume(scan(root, ids[3]), np.full((4, 16, 16), 7, np.int16), Geometry((4, 16, 16), (5.0, 4.0, 4.0)))
        shifted = np.random.default_rng(0).integers(0, 4000, (4, 16, 16)).astype(np.int16)
        write_volume(scan(root, ids[4]), shifted, Geometry((4, 16, 16), (5.0, 4.0, 4.0)))
        shutil.copy(scan(root, ids[5]), scan(root, ids[6]))
        broken = np.full((4, 16, 16), np.nan, np.float32)
        write_volume(scan(root, ids[7]), broken, Geometry((4, 16, 16), (5.0, 4.0, 4.0)))
        found = findings(root)
        assert [(severity, case) for severity, case, _ in found] == [
            ("warning", "reference.csv"),
            ("error", ids[1]),
            ("error", ids[2]),
            ("error", ids[3]),
            ("warning", ids[4]),
            ("warning", ids[6]),
            ("error", ids[7]),
        ]
        words = (
            "no line",
            "no such file",
            "truncated",
            "every voxel is 7",
            "not in HU",
            f"as {ids[5]}",
            "no numbers",
        )
        for (_, _, message), part in zip(found, words, strict=True):
            assert part in message


class TestTasks:
    def test_severity(self, tmp_path):
        dataset = STOIC(tmp_path)
        positives = "severe_among_positives"
        for options, source in (
            ({}, positives),
            ({"mask_negatives": True}, positives),
            ({"mask_negatives": False}, "severe"),
        ):
            task = dataset.task("severity", **options)
            assert (task.array, task.scored_array) == (source, positives)
            assert (task.name, task.classes, task.values, task.level) == ("severity", ("severe",), "sigmoid", "image")
            assert task.metrics()[0].name == "auc"
        with pytest.raises(InputError, match="give true or false"):
            dataset.task("severity", mask_negatives="no")

    def test_the_others(self, original):
        dataset = STOIC(original)
        data = dataset.read(dataset.cases()[0])
        assert dataset.tasks == ("covid", "severity", "sex", "age")
        for name in ("covid", "sex", "age"):
            task = dataset.task(name)
            assert task.name == name
            assert task.classes == data.channels[task.array]
        assert dataset.task("covid", measure="accuracy").metrics()[0].name == "accuracy"
        assert (dataset.task("age").kind, dataset.task("age").unit) == ("scalar", "years")
        with pytest.raises(InputError, match="no option 'mask_negatives'"):
            dataset.task("covid", mask_negatives=True)
