"""Data sets as others lay them out (nnU-Net, the Decathlon, COCO, bare folders), read as cohorts."""

from __future__ import annotations

import shutil
from pathlib import Path

import layout_fakes as fakes
import numpy as np
import pytest
import yaml

from crosstask.datasets import Cohort
from crosstask.datasets.cohort.init import propose_cohort
from crosstask.datasets.cohort.init_experiment import starter_experiment
from crosstask.datasets.cohort.plan import Machine
from crosstask.errors import InputError
from crosstask.experiment import load_experiment
from crosstask.io.coco import read_coco


def init(data: Path, where: Path, **options):
    """The proposal for a data set, written into a folder with a starter experiment, and its cohort."""
    where.mkdir(exist_ok=True)
    output = where / "cohort.yaml"
    proposal = propose_cohort(data, output, **options)
    for path, text in {output: proposal.text, **proposal.files}.items():
        path.write_text(text, encoding="utf-8")
    (where / "first.yaml").write_text(starter_experiment(proposal, "first", output, Machine()))
    assert load_experiment(where / "first.yaml").dataset.tasks
    return proposal, Cohort(output)


def read(cohort: Cohort, case: str):
    return cohort.read(next(one for one in cohort.cases() if one.id == case))


def errors(cohort: Cohort) -> list[str]:
    return [finding.message for finding in cohort.check() if finding.severity == "error"]


# --- nnU-Net and the Decathlon ---


def test_nnunet_s_channels_classes_and_folds(tmp_path):
    fakes.nnunet(tmp_path / "raw")
    proposal, cohort = init(tmp_path / "raw", tmp_path / "own")
    assert cohort.image_channels == 2
    data = read(cohort, "la_003")
    assert data.channels["segmentation"] == ("edema", "core")
    assert [mask.sum() for mask in data.arrays["segmentation"]] == [
        (fakes.labels(2) == value).sum() for value in (1, 2)
    ]
    assert np.array_equal(data.arrays["image"][1] - data.arrays["image"][0], np.full(fakes.GRID.shape, 10))
    assert {case.id for case in cohort.cases() if case.split == "validation"} == set(fakes.TRAINED[::5])
    assert proposal.rule == "validation_as_test"
    assert "fold_4" in (tmp_path / "own" / "cohort.csv").read_text()
    assert any("2 cases of imagesTs have no labels" in note for note in proposal.notes)
    experiment = load_experiment(tmp_path / "own" / "first.yaml")
    assert experiment.dataset.tasks == {"segmentation": {"exclusive": True}}
    assert experiment.methods == ["stl"], "one task alone learns nothing together"
    assert errors(cohort) == []


def test_labelled_test_cases_of_nnunet_are_the_test_set(tmp_path):
    fakes.nnunet(tmp_path, channels=1, tested=True)
    proposal, cohort = init(tmp_path / "dataset.json", tmp_path / "own")
    assert proposal.rule == "original"
    assert {case.id for case in cohort.cases() if case.split == "test"} == set(fakes.HELD_OUT)
    assert cohort.spec.image == ["images{part}/{case}_0000.nii.gz"]


def test_regions_overlap_and_what_is_to_be_ignored_is_unknown(tmp_path):
    fakes.nnunet(tmp_path, channels=1, folds=False, labels={"background": 0, "whole": [1, 2], "core": 2, "ignore": 3})
    values = fakes.labels(1)
    values[0, 0, 0] = 3
    fakes.save(tmp_path / "labelsTr" / "la_002.nii.gz", values)
    proposal, cohort = init(tmp_path, tmp_path / "own")
    assert not proposal.exclusive
    whole, core = read(cohort, "la_001").arrays["segmentation"]
    assert np.array_equal(whole, fakes.labels(0) > 0) and np.array_equal(core, fakes.labels(0) == 2)
    unknown = read(cohort, "la_002")
    assert unknown.channels["segmentation"] == ()
    assert "holds 3, which the cohort file calls unknown" in unknown.issues[0].message


def test_nnunet_s_list_of_files(tmp_path):
    fakes.nnunet(tmp_path, channels=1, folds=False)
    listing = {
        f"case{number}": {"images": [f"imagesTr/{case}_0000.nii.gz"], "label": f"labelsTr/{case}.nii.gz"}
        for number, case in enumerate(fakes.TRAINED[:4])
    }
    fakes.nnunet(tmp_path, channels=1, folds=False, dataset=listing)
    _, cohort = init(tmp_path, tmp_path / "own")
    assert [case.id for case in cohort.cases()] == ["case0", "case1", "case2", "case3"]
    assert read(cohort, "case3").arrays["segmentation"].any()


def test_the_decathlon_s_channels_along_a_fourth_axis(tmp_path):
    fakes.decathlon(tmp_path / "raw", channels=2)
    (tmp_path / "raw" / "labelsTr" / "._la_001.nii.gz").write_bytes(b"of a Mac")
    _, cohort = init(tmp_path / "raw" / "dataset.json", tmp_path / "own")
    assert (cohort.spec.channels, cohort.image_channels) == (2, 2)
    data = read(cohort, "la_001")
    assert data.arrays["image"].shape == (2, *fakes.GRID.shape)
    assert (data.arrays["image"][1] - data.arrays["image"][0] == 10).all()
    assert data.channels["segmentation"] == ("left atrium", "appendage")
    assert cohort.licence == "CC-BY-SA 4.0"
    (tmp_path / "own" / "cohort.yaml").write_text(
        (tmp_path / "own" / "cohort.yaml").read_text().replace("channels: 2", "channels: 3")
    )
    with pytest.raises(InputError, match="so not 3 volumes; fix channels, or the file"):
        read(Cohort(tmp_path / "own"), "la_001")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: shutil.rmtree(folder / "labelsTr"), "no label map"),
        (lambda folder: shutil.rmtree(folder / "imagesTr"), "no image of its cases is there"),
        (lambda folder: (folder / "dataset.json").write_text("{"), "cannot be read as JSON"),
    ],
)
def test_what_is_wrong_with_a_dataset_json_is_told(tmp_path, spoil, words):
    fakes.nnunet(tmp_path, channels=1, folds=False)
    spoil(tmp_path)
    with pytest.raises(InputError, match=words):
        propose_cohort(tmp_path / "dataset.json", tmp_path / "cohort.yaml")


# --- COCO ---


def test_coco_s_outlines_and_what_a_picture_shows(tmp_path):
    fakes.coco(tmp_path / "raw")
    proposal, cohort = init(tmp_path / "raw", tmp_path / "own")
    assert proposal.rule == "validation_as_test"
    assert len(cohort.cases()) == 40
    for number in (0, 1, 3, 8, 103):
        data = read(cohort, f"{number:012}")
        square, disc = np.zeros((fakes.SIDE, fakes.SIDE), bool), fakes.disc(number)
        square[6:16, 5 + number % 4 : 13 + number % 4] = True
        shown = number % 5 > 0
        polyp = (square if shown and number % 2 else False) | (disc if shown and number % 3 == 0 else False)
        assert data.channels["segmentation"] == ("polyp", "stool")
        assert np.array_equal(data.arrays["segmentation"][0], np.broadcast_to(polyp, disc.shape))
        assert np.array_equal(data.arrays["segmentation"][1], disc & (number % 5 > 2))
        assert data.arrays["polyp"].item() == float(np.any(polyp)), "the label says what the masks show"
    assert errors(cohort) == []


def test_one_file_of_coco_beside_its_pictures_and_a_picture_that_is_not_listed(tmp_path):
    (file,) = fakes.coco(tmp_path, splits=["train"], count=8)
    _, cohort = init(file, tmp_path / "own")
    assert len(cohort.cases()) == 8
    assert cohort.spec.split is None
    content = read_coco(file)
    assert content is not None
    unlisted = yaml.safe_load(file.read_text())
    unlisted["images"] = [image for image in unlisted["images"] if image["id"] != 1]
    unlisted["annotations"] = [one for one in unlisted["annotations"] if one["image_id"] != 1]
    fakes.write_json(file, unlisted)
    assert read(Cohort(tmp_path / "own"), f"{1:012}").channels["segmentation"] == (), "unknown, and not empty"


def test_coco_without_its_pictures_is_told(tmp_path):
    (file,) = fakes.coco(tmp_path, splits=["train"], count=4)
    shutil.rmtree(tmp_path / "train2017")
    with pytest.raises(InputError, match="none of its 4 pictures is below"):
        propose_cohort(file, tmp_path / "cohort.yaml")


# --- folders without a table ---


@pytest.mark.parametrize("split", [True, False])
def test_folders_of_classes(tmp_path, split):
    fakes.class_folders(tmp_path / "raw", split=split, count=6)
    proposal, cohort = init(tmp_path / "raw", tmp_path / "own")
    assert proposal.rule == ("original" if split else "drawn")
    assert len(cohort.cases()) == (36 if split else 12)
    data = read(cohort, "img007")
    assert data.channels["class"] == ("benign", "malignant")
    assert data.arrays["class"].tolist() == [0.0, 1.0]
    assert np.array_equal(data.arrays["image"], np.moveaxis(fakes.photo(7, colour=True), -1, 0))


def test_masks_among_the_pictures_of_a_class(tmp_path):
    """As a well-known data set of breast ultrasound has them: ``benign (1).png`` and ``benign (1)_mask.png``."""
    for name in ("benign", "malignant"):
        for number in range(1, 7):
            fakes.save(tmp_path / "raw" / name / f"{name} ({number}).png", fakes.photo(number))
            mask = 255 * fakes.disc(number).astype(np.uint8)
            fakes.save(tmp_path / "raw" / name / f"{name} ({number})_mask.png", mask)
    _, cohort = init(tmp_path / "raw", tmp_path / "own")
    assert len(cohort.cases()) == 12
    data = read(cohort, "malignant (2)")
    assert np.array_equal(data.arrays["segmentation"][0], fakes.disc(2))
    assert data.arrays["class"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("suffix", ["_mask", ""])
def test_a_folder_of_pictures_and_one_of_masks(tmp_path, suffix):
    fakes.two_folders(tmp_path / "raw", suffix=suffix)
    _, cohort = init(tmp_path / "raw", tmp_path / "own")
    assert cohort.spec.image == ["images/{case}.png"]
    assert len(cohort.cases()) == 12
    assert np.array_equal(read(cohort, "p03").arrays["segmentation"][0], fakes.disc(3))


def test_a_folder_a_case_is_no_class_and_its_masks_are_named_after_their_files(tmp_path):
    fakes.case_folders(tmp_path / "raw", count=4)
    _, cohort = init(tmp_path / "raw", tmp_path / "own")
    data = read(cohort, "case_02")
    assert data.channels["segmentation"] == ("Liver", "Spleen")
    assert np.array_equal(data.arrays["segmentation"][1], fakes.labels(2) == 2)


@pytest.mark.parametrize("ending", [".dcm", ""])
def test_series_of_dicom_beside_masks_in_nifti(tmp_path, ending):
    fakes.series_and_masks(tmp_path / "raw", count=3, ending=ending)
    _, cohort = init(tmp_path / "raw", tmp_path / "own")
    assert cohort.spec.image == ["{case}/CT"]
    assert errors(cohort) == []
    data = read(cohort, "pat1")
    assert np.array_equal(data.arrays["image"][0], fakes.scan(1))
    assert np.array_equal(data.arrays["segmentation"][0], fakes.labels(1) > 0)
    assert "displaced" not in data.information


def test_patients_with_several_pictures_are_groups(tmp_path):
    for patient in range(6):
        for shot in range(3):
            name = f"{patient * 7 + shot * 31:04x}.png"
            fakes.save(tmp_path / "raw" / ("sick", "well")[patient % 2] / f"patient{patient}" / name, fakes.photo(shot))
    _, cohort = init(tmp_path / "raw", tmp_path / "own")
    assert cohort.spec.group == "folder"
    assert len({case.group for case in cohort.cases()}) == 6
    assert cohort.spec.labels["class"].kind == "classes"


def test_pictures_that_nothing_is_said_of_are_refused(tmp_path):
    for number in range(4):
        fakes.save(tmp_path / f"{number}.png", fakes.photo(number))
    with pytest.raises(InputError, match="4 images, and no table, no masks and no folders of classes"):
        propose_cohort(tmp_path, tmp_path / "cohort.yaml")
    with pytest.raises(InputError, match=r"no table, no dataset.json, no COCO file and no image below it"):
        (tmp_path / "empty").mkdir()
        propose_cohort(tmp_path / "empty", tmp_path / "cohort.yaml")


# --- folders with a table ---


def test_a_folder_with_a_table_is_its_table(tmp_path):
    fakes.case_folders(tmp_path / "raw", count=8, table=True)
    proposal, cohort = init(tmp_path / "raw", tmp_path / "own")
    assert not proposal.files
    assert cohort.spec.labels["Age"].unit == "years"  # type: ignore[union-attr]
    assert list(cohort.spec.masks["segmentation"].classes) == ["Liver", "Spleen"]


def test_a_file_a_class_and_units_in_headers(tmp_path):
    fakes.a_file_a_class(tmp_path / "raw")
    _, cohort = init(tmp_path / "raw" / "t.csv", tmp_path / "own")
    assert cohort.spec.labels["Dose"].unit == "Gy"  # type: ignore[union-attr]
    assert read(cohort, "c4").channels["segmentation"] == ("Liver",), "no file is a missing label"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "value,name\n0,background\n1,Kidney\n2,Tumour\n"),
        ("labels.json", '{"Kidney": 1, "Tumour": 2}'),
        ("class_names.json", '{"1": "Kidney", "2": "Tumour"}'),
        ("labels.txt", '# ITK-SnAP\n0 0 0 0 0 0 0 "Clear"\n1 255 0 0 1 1 1 "Kidney"\n2 0 255 0 1 1 1 "Tumour"\n'),
    ],
)
def test_values_of_label_maps_are_called_as_a_file_near_them_says(tmp_path, name, text):
    fakes.label_maps(tmp_path, count=4)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / name).write_text(text)
    proposal, cohort = init(tmp_path, tmp_path / "own")
    assert {key: one.values for key, one in cohort.spec.masks["segmentation"].classes.items()} == {
        "Kidney": [1],
        "Tumour": [2],
    }
    assert any(f"are named as in {name}" in note for note in proposal.notes)
    assert proposal.exclusive


def test_sheets_below_each_other_and_joined(tmp_path):
    for number in range(8):
        fakes.save(tmp_path / "img" / f"s{number}.png", fakes.photo(number))
    header = ["scan", "patient", "grade"]
    rows = [[f"s{number}", f"P{number // 2}", ("low", "high")[number % 3 % 2]] for number in range(8)]
    sheets = {
        "Legend": [["this book holds", "two exports"], ["of two", "centres"]],
        "centre A": [header, *rows[:4]],
        "centre B": [header, *rows[4:]],
        "patients": [["patient", "Age (years)"], *([f"P{number}", 40 + number] for number in range(5))],
    }
    fakes.workbook(tmp_path / "t.xlsx", sheets)
    proposal, cohort = init(tmp_path / "t.xlsx", tmp_path / "own")
    assert cohort.spec.sheet == ["centre A", "centre B", "patients"]
    assert len(cohort.cases()) == 8
    assert read(cohort, "s5").arrays["Age"].item() == 42
    assert cohort.spec.group == "patient"
    notes = "\n".join(proposal.notes)
    assert "'centre B' has the same columns as 'centre A'" in notes and "not used: sheet Legend" in notes
    assert "1 of its rows belong to none and are left out: P4" in notes
    sheets["centre B"][1][0] = "s9"
    fakes.workbook(tmp_path / "t.xlsx", sheets)
    (message,) = errors(Cohort(tmp_path / "own"))
    assert "s9.png: no such image (row 2 of sheet 'centre B')" in message


def test_sheets_that_contradict_each_other_are_refused(tmp_path):
    for number in range(4):
        fakes.save(tmp_path / f"s{number}.png", fakes.photo(number))
    ages = [["scan", "age"], *([f"s{number}", 50 + number] for number in range(4))]
    other = [["scan", "age", "x"], *([f"s{number}", 50 + number % 3, number] for number in range(4))]
    fakes.workbook(tmp_path / "t.xlsx", {"a": ages, "b": other})
    with pytest.raises(InputError, match=r"say different things: row 5 and row 5 of sheet 'b' \(age\)"):
        propose_cohort(tmp_path / "t.xlsx", tmp_path / "cohort.yaml")
