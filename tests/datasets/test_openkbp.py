"""The OpenKBP data set: folders, arrays, every quirk and fault of its files, tasks and scores."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from openkbp_fakes import BOX, volume, write_patient

from crosstask.datasets import OpenKBP
from crosstask.errors import InputError
from crosstask.functional.openkbp_score import STRUCTURES
from crosstask.io.openkbp_csv import SHAPE


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patients")
    for split, number in (("train", 2), ("train", 10), ("validation", 201)):
        write_patient(folder, split, number)
    return folder


@pytest.fixture
def root(patients: Path, tmp_path: Path) -> Path:
    """A copy of three patients, to be changed."""
    return Path(shutil.copytree(patients, tmp_path, dirs_exist_ok=True))


def read(root: Path, patient: str = "pt_2"):
    dataset = OpenKBP(root)
    return dataset.read(next(case for case in dataset.cases() if case.id == patient))


def findings(root: Path) -> dict[str, list[tuple[str, str]]]:
    result: dict[str, list[tuple[str, str]]] = {}
    for finding in OpenKBP(root).check():
        assert "\n" not in finding.message
        result.setdefault(finding.case, []).append((finding.severity, finding.message))
    return result


class TestCases:
    def test_original_splits_in_natural_order(self, root):
        cases = OpenKBP(root).cases()
        assert [(case.id, case.group, case.split) for case in cases] == [
            ("pt_2", "pt_2", "train"),
            ("pt_10", "pt_10", "train"),
            ("pt_201", "pt_201", "validation"),
        ]
        assert {file.name for file in cases[0].files} == {
            "ct.csv", "dose.csv", "possible_dose_mask.csv", "voxel_dimensions.csv", "PTV70.csv", "Brainstem.csv"
        }  # fmt: skip

    def test_root_above_provided_data(self, root, tmp_path_factory):
        above = tmp_path_factory.mktemp("above")
        root.rename(above / "provided-data")
        assert len(OpenKBP(above).cases()) == 3

    def test_no_file_is_opened(self, root):
        for file in root.rglob("*.csv"):
            file.write_bytes(b"\xff\x00 no csv at all")
        assert len(OpenKBP(root).cases()) == 3

    @pytest.mark.parametrize("name", ["ct.csv", "possible_dose_mask.csv", "voxel_dimensions.csv"])
    def test_incomplete_patient_is_left_out_and_reported(self, root, name):
        (root / "train-pats" / "pt_2" / name).unlink()
        assert [case.id for case in OpenKBP(root).cases()] == ["pt_10", "pt_201"]
        [(severity, message)] = findings(root)["pt_2"]
        assert severity == "error"
        assert name in message

    def test_other_things_in_the_folders_are_passed_over(self, root):
        (root / "train-pats" / "pt_3").write_text("a file")
        (root / "train-pats" / ".pt_4.99.partial").mkdir()
        (root / "train-pats" / "patient5").mkdir()
        assert len(OpenKBP(root).cases()) == 3

    def test_nothing_to_read(self, tmp_path):
        with pytest.raises(InputError, match="no such folder"):
            OpenKBP(tmp_path / "absent").cases()
        with pytest.raises(InputError, match="none of train-pats"):
            OpenKBP(tmp_path).cases()
        (tmp_path / "train-pats").mkdir()
        with pytest.raises(InputError, match="no complete patient"):
            OpenKBP(tmp_path).cases()
        assert [finding.severity for finding in OpenKBP(tmp_path / "absent").check()] == ["error"]

    @pytest.mark.parametrize("name", ["train-pats", "handed over", "."])
    def test_a_folder_of_patients_or_one_patient_is_read_too(self, root, name, monkeypatch):
        """What somebody hands to ``predict``: a folder of the challenge, another of patients, or a patient alone."""
        monkeypatch.chdir(root / "train-pats")
        folder = Path("." if name == "." else f"../{name}")
        if name == "handed over":
            (root / "train-pats").rename(root / name)
        split = "" if name == "handed over" else "train"
        found = OpenKBP(folder).cases()
        assert [(case.id, case.split) for case in found] == [("pt_2", split), ("pt_10", split)]
        assert {severity for rows in findings(folder).values() for severity, _ in rows} == {"note"}
        assert OpenKBP(folder).unusable(["pt_2"]) == {}
        one = OpenKBP(folder / "pt_2")
        [case] = one.cases()
        assert (case.id, case.group, case.split) == ("pt_2", "pt_2", split)
        assert one.read(case).arrays["ct"].shape == (1, *SHAPE)
        monkeypatch.chdir(folder / "pt_2")
        assert [(case.id, case.split) for case in OpenKBP(Path()).cases()] == [("pt_2", split)]

    def test_patients_beside_the_folders_of_splits_are_not_lost(self, root):
        """They have no split: a rule that needs one says so, and so does the check."""
        (root / "train-pats" / "pt_10").rename(root / "pt_10")
        assert [(case.id, case.split) for case in OpenKBP(root).cases()] == [
            ("pt_2", "train"),
            ("pt_10", ""),
            ("pt_201", "validation"),
        ]
        assert ("warning", f"{root / 'pt_10'}: beside the folders of splits, so the patient has no split; move it into "
                "one of them") in findings(root)["pt_10"]  # fmt: skip
        write_patient(root, "validation", 10)
        with pytest.raises(InputError, match=rf"pt_10: the patient is in {root} too"):
            OpenKBP(root).cases()

    def test_patient_in_two_splits(self, root):
        write_patient(root, "validation", 2)
        with pytest.raises(InputError, match=r"pt_2: the patient is in .*train-pats too; remove one"):
            OpenKBP(root).cases()
        assert "error" in [severity for severity, _ in findings(root)["pt_2"]]


class TestRead:
    def test_arrays(self, root):
        case = read(root)
        assert {name: (array.dtype.name, array.shape) for name, array in case.arrays.items()} == {
            "ct": ("int16", (1, *SHAPE)),
            "structures": ("uint8", (2, *SHAPE)),
            "dose": ("float32", (1, *SHAPE)),
            "region": ("uint8", (1, *SHAPE)),
        }
        assert case.channels["structures"] == ("Brainstem", "PTV70")
        assert case.channels["dose"] == ("dose",)
        assert case.geometry.shape == SHAPE
        assert case.geometry.spacing == (2.5, 3.9, 4.1)
        np.testing.assert_array_equal(case.arrays["ct"][0], volume(1040))
        np.testing.assert_array_equal(case.arrays["dose"][0], volume(30) + volume(0.25, (slice(40, 43), *BOX[1:])))
        np.testing.assert_array_equal(case.arrays["structures"][1], volume(1, (slice(44, 46), *BOX[1:])))
        np.testing.assert_array_equal(case.arrays["region"][0], volume(1))
        assert case.information["clipped_ct"] == 0
        assert "Larynx" in case.information["not_contoured"]

    def test_every_structure_in_the_canonical_order(self, tmp_path):
        write_patient(tmp_path, "train", 1, structures=STRUCTURES[::-1])
        assert read(tmp_path, "pt_1").channels["structures"] == STRUCTURES

    def test_patient_without_structures_or_dose(self, tmp_path):
        folder = write_patient(tmp_path, "test", 241, structures=())
        (folder / "dose.csv").unlink()
        case = read(tmp_path, "pt_241")
        assert case.arrays["structures"].shape == (0, *SHAPE)
        assert case.arrays["dose"].shape == (0, *SHAPE)
        assert case.channels["dose"] == case.channels["structures"] == ()
        notes = findings(tmp_path)["pt_241"]
        assert {severity for severity, _ in notes} == {"note"}
        assert any("dose.csv" in message for _, message in notes)

    def test_ct_spikes_are_clipped_counted_and_reported(self, root):
        path = root / "train-pats" / "pt_2" / "ct.csv"
        path.write_text(",data\n7,32743.0\n8,4096\n9,4095\n10,-3.0\n")
        case = read(root)
        assert sorted(case.arrays["ct"][case.arrays["ct"] != 0].tolist()) == [4095, 4095, 4095]
        assert case.information["clipped_ct"] == 3
        assert ("warning", f"{path}: 3 CT voxels out of 0..4095 clipped") in findings(root)["pt_2"]

    def test_structure_file_without_a_row_is_not_contoured(self, root):
        path = root / "train-pats" / "pt_2" / "Larynx.csv"
        path.write_text(",data\n")
        assert "Larynx" not in read(root).channels["structures"]
        reported = findings(root)["pt_2"]
        assert any(severity == "warning" and str(path) in message for severity, message in reported)
        assert not any("not contoured: " in message and "Larynx" in message for _, message in reported)

    def test_explicit_zeros_and_integers(self, root):
        path = root / "train-pats" / "pt_2" / "dose.csv"
        path.write_text(",data\n7,0.0\n8,12\n9,0\n")
        dose = read(root).arrays["dose"]
        assert dose.sum() == 12
        assert np.moveaxis(dose[0], 0, -1).ravel()[8] == 12

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("dose.csv", ",data\n1,20.0\n2,21"),
            ("dose.csv", "1,20.0\n"),
            ("dose.csv", ",data\n"),
            ("dose.csv", f",data\n{math.prod(SHAPE)},1.0\n"),
            ("dose.csv", ",data\n-1,1.0\n"),
            ("dose.csv", ",data\n1,1.0\n1,1.0\n"),
            ("dose.csv", ",data\n1.5,1.0\n"),
            ("dose.csv", ",data\n1,nan\n"),
            ("dose.csv", ",data\n1,inf\n"),
            ("dose.csv", ",data\n1,-2\n"),
            ("dose.csv", ",data\n1,201\n"),
            ("ct.csv", ",data\n1,\n"),
            ("ct.csv", ""),
            ("possible_dose_mask.csv", ",data\n"),
            ("PTV70.csv", ",data\n1,\n1,\n"),
            ("voxel_dimensions.csv", "3.9\n3.9\n"),
            ("voxel_dimensions.csv", "3.9\n3.9\n-2\n"),
            ("voxel_dimensions.csv", "3.9\n3.9\n200\n"),
        ],
    )
    def test_fault_names_the_file_and_spares_the_others(self, root, name, content):
        path = root / "train-pats" / "pt_2" / name
        path.write_text(content)
        with pytest.raises(InputError) as caught:
            read(root)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
        reported = findings(root)
        assert reported["pt_2"] == [("error", str(caught.value))]
        assert {severity for severity, _ in reported["pt_10"]} == {"note"}
        read(root, "pt_10")

    def test_file_that_vanished_since(self, root):
        dataset = OpenKBP(root)
        case = dataset.cases()[0]
        (root / "train-pats" / "pt_2" / "ct.csv").unlink()
        with pytest.raises(InputError, match=r"ct\.csv: no such file"):
            dataset.read(case)


class TestCheck:
    def test_sound_patients_have_notes_only(self, root):
        reported = findings(root)
        assert set(reported) == {"test-pats", "pt_2", "pt_10", "pt_201"}
        assert {severity for rows in reported.values() for severity, _ in rows} == {"note"}
        [(_, message)] = reported["pt_2"]
        assert message.endswith(
            "not contoured: SpinalCord, RightParotid, LeftParotid, Esophagus, Larynx, Mandible, PTV56, PTV63"
        )

    def test_misspelt_structure_file(self, root):
        folder = root / "train-pats" / "pt_2"
        (folder / "Brainstem.csv").rename(folder / "BrainStem.csv")
        warnings = [message for severity, message in findings(root)["pt_2"] if severity == "warning"]
        assert warnings == [f"{folder / 'BrainStem.csv'}: not a file of this data set, ignored; "
                            "rename it if Brainstem.csv is meant"]  # fmt: skip

    def test_dose_outside_the_mask(self, root):
        path = root / "train-pats" / "pt_2" / "possible_dose_mask.csv"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:-5]))
        assert any("5 voxels with dose outside" in message for _, message in findings(root)["pt_2"])

    def test_empty_split(self, root):
        (root / "test-pats").mkdir()
        assert findings(root)["test-pats"][0][0] == "warning"


class TestTask:
    def test_segmentation(self, tmp_path):
        task = OpenKBP(tmp_path).task("segmentation")
        assert (task.name, task.kind, task.array) == ("segmentation", "segmentation", "structures")
        assert task.classes == ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid")

    @pytest.mark.parametrize(
        ("classes", "expected"),
        [
            (["PTV70", "Larynx"], ("PTV70", "Larynx")),
            ("Mandible", ("Mandible",)),
            ("all", STRUCTURES),
            (["all"], STRUCTURES),
        ],
    )
    def test_classes(self, tmp_path, classes, expected):
        assert OpenKBP(tmp_path).task("segmentation", classes=classes).classes == expected

    def test_dose(self, tmp_path):
        task = OpenKBP(tmp_path).task("dose")
        assert (task.name, task.kind, task.array, task.classes) == ("dose", "regression", "dose", ("dose",))
        assert task.unit == "Gy"

    @pytest.mark.parametrize(
        ("name", "options", "words"),
        [
            ("segmentation", {"classes": ["brainstem"]}, "did you mean 'Brainstem'"),
            ("segmentation", {"classes": ["Spleen"]}, "Brainstem, SpinalCord, RightParotid"),
            ("segmentation", {"classes": []}, "empty"),
            ("segmentation", {"classes": ["PTV70", "PTV70"]}, "twice"),
            ("segmentation", {"clases": ["PTV70"]}, "no option 'clases'; options: classes"),
            ("dose", {"classes": ["PTV70"]}, "options: moments, dvh, structures"),
        ],
    )
    def test_faults(self, tmp_path, name, options, words):
        with pytest.raises(InputError, match=words):
            OpenKBP(tmp_path).task(name, **options)


class TestScores:
    def test_rows(self, root):
        dataset, case = OpenKBP(root), read(root)
        predicted = case.arrays["dose"] + 2.0  # also outside the region, where it is not looked at
        rows = dataset.scores(case, {"dose": predicted}, {"dose": ("dose",)})
        names = [(task, structure, metric) for task, structure, metric, _ in rows]
        assert names == [
            ("dose", "", "dose_score"),
            ("dose", "Brainstem", "dvh_error_D_0.1cc"),
            ("dose", "Brainstem", "dvh_error_mean"),
            ("dose", "PTV70", "dvh_error_D_99"),
            ("dose", "PTV70", "dvh_error_D_95"),
            ("dose", "PTV70", "dvh_error_D_1"),
        ]
        assert [value for *_, value in rows] == pytest.approx([2.0] * 6)

    def test_without_dose_there_is_nothing_to_score(self, root):
        (root / "train-pats" / "pt_2" / "dose.csv").unlink()
        dataset, case = OpenKBP(root), read(root)
        assert dataset.scores(case, {"dose": np.zeros((1, *SHAPE))}, {"dose": ("dose",)}) == []
        assert dataset.scores(case, {"segmentation": np.zeros((1, *SHAPE))}, {"segmentation": ("PTV70",)}) == []


def test_says_where_the_data_come_from():
    assert "MIT" in OpenKBP.licence
    assert OpenKBP.source.startswith("https://")
    assert "Medical Physics" in OpenKBP.citation
