"""A data set of one's own, from a table, files and a YAML."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from cohort_fakes import COLUMNS, ROWS, SPEC, make_pictures, make_volumes, picture, write_spec, write_table
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crosstask.datasets import Cohort, open_dataset
from crosstask.datasets.cohort.init import propose_cohort
from crosstask.datasets.cohort.init_experiment import starter_experiment
from crosstask.datasets.cohort.labels import as_number, plain
from crosstask.datasets.cohort.spec import fill, load_cohort, parse_cohort, stem
from crosstask.errors import InputError
from crosstask.experiment import load_experiment
from crosstask.store import Store, prepare

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def cohort(tmp_path):
    return Cohort(make_pictures(tmp_path))


def read(dataset, case_id):
    return dataset.read(next(case for case in dataset.cases() if case.id == case_id))


def found(dataset, severity="error"):
    return {(finding.case, finding.message) for finding in dataset.check() if finding.severity == severity}


def labels(data, name):
    return dict(zip(data.channels[name], data.arrays[name].tolist(), strict=True))


def changed(**cells):
    """The rows with some cells of the case 008 changed."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    rows[1].update(cells)
    return [list(row.values()) for row in rows]


# --- reading ---


def test_cases_are_sorted_naturally_and_keep_their_text(cohort):
    cases = cohort.cases()
    assert [case.id for case in cases] == ["007", "008", "010", "b2", "b10"]
    assert [case.group for case in cases] == ["p1", "p1", "p2", "p3", "p4"]
    assert [case.split for case in cases] == ["train", "train", "validation", "test", "test"]
    assert cohort.spatial_dims == 2
    assert cohort.image_channels == 1


def test_a_case_holds_image_masks_and_labels(cohort):
    data = read(cohort, "007")
    np.testing.assert_array_equal(data.arrays["image"], picture(0)[None])
    assert data.channels["organs"] == ("Lesion", "Core", "Lung")
    assert data.arrays["organs"].sum((1, 2)).tolist() == [36, 4, 480]
    assert labels(data, "covid") == {"covid": 1}
    assert labels(data, "grade") == {"none": 0, "mild": 1, "severe": 0}
    assert labels(data, "findings") == {"edema": 1, "nodule": 0}
    assert labels(data, "old") == {"old": 1}
    assert labels(data, "age") == {"age": 63}
    assert all(data.arrays[name].dtype == np.float32 for name in ("covid", "grade", "findings", "age"))


def test_what_is_missing_has_no_channel(cohort):
    data = read(cohort, "b2")
    assert data.channels["organs"] == ()
    assert data.arrays["organs"].shape == (0, 20, 24)
    for name in ("covid", "grade", "old", "age"):
        assert data.channels[name] == ()
    assert read(cohort, "010").channels["organs"] == ("Lesion", "Core")
    assert labels(read(cohort, "010"), "findings") == {"nodule": 1}
    assert labels(read(cohort, "008"), "findings") == {"edema": 0}
    assert labels(read(cohort, "008"), "grade") == {"none": 1, "mild": 0, "severe": 0}


def test_tasks_fit_the_arrays(cohort):
    assert cohort.tasks == ("organs", "covid", "grade", "findings", "old", "age")
    data = read(cohort, "007")
    kinds = {name: cohort.task(name) for name in cohort.tasks}
    for name, task in kinds.items():
        assert (task.name, task.array, task.classes) == (name, name, data.channels[name])
    assert [task.level for task in kinds.values()] == ["pixel", *["image"] * 5]
    assert [task.head().channels for task in kinds.values()] == [3, 1, 3, 2, 1, 1]
    assert [kinds[name].values for name in ("covid", "grade", "findings", "age")] == [
        "sigmoid",
        "softmax",
        "sigmoid",
        "quantity",
    ]
    assert kinds["age"].unit == "years"
    assert cohort.task("organs", classes=["Lung"]).classes == ("Lung",)
    assert cohort.task("findings", classes=["nodule"], class_weights="balanced").classes == ("nodule",)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("covd", {}, "did you mean 'covid'"),
        ("covid", {"classes": ["covid"]}, "no option 'classes'; options: class_weights, focal, measure"),
        ("age", {"unit": "a"}, "no option 'unit'; options: none"),
        ("organs", {"classes": ["Long"]}, "did you mean 'Lung'"),
        ("organs", {"classes": []}, "classes is empty"),
        ("organs", {"classes": ["Lung", "Lung"]}, "is listed 2 times"),
    ],
)
def test_tasks_that_there_are_not(cohort, name, options, words):
    with pytest.raises(InputError, match=words):
        cohort.task(name, **options)


def test_tasks_need_no_data(tmp_path):
    path = make_pictures(tmp_path / "data", dimensions=2)
    shutil.copy(path, tmp_path / "alone.yaml")
    alone = Cohort(tmp_path / "alone.yaml")
    assert (alone.spatial_dims, alone.image_channels, len(alone.tasks)) == (2, 1, 6)
    assert alone.licence == "none needed"


def test_folder_says_where_paths_begin(tmp_path):
    make_pictures(tmp_path / "data")
    path = write_spec(tmp_path, folder="data")
    assert len(Cohort(path).cases()) == 5
    assert len(Cohort(tmp_path).cases()) == 5, "a folder that holds cohort.yaml"
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"data.table\.csv: no such table"):
        Cohort(path).cases()
    assert len(open_dataset("cohort", path, folder=str(tmp_path / "moved")).cases()) == 5


def test_colour_and_grey_are_converted_and_noted(tmp_path):
    path = make_pictures(tmp_path)
    colour = np.stack([picture(1), picture(2), picture(3)], -1)
    Image.fromarray(colour).save(tmp_path / "images" / "008.png")
    grey = read(Cohort(path), "008").arrays["image"]
    # Pillow's own conversion is an independent reference; both round
    expected = np.asarray(Image.fromarray(colour).convert("L"), int)
    assert np.abs(grey[0].astype(int) - expected).max() <= 1
    assert ("008", f"{tmp_path / 'images/008.png'}: converted, colour to grey") in found(Cohort(path), "note")
    in_colour = Cohort(write_spec(tmp_path, channels="colour"))
    assert in_colour.image_channels == 3
    np.testing.assert_array_equal(read(in_colour, "008").arrays["image"], np.moveaxis(colour, -1, 0))
    np.testing.assert_array_equal(read(in_colour, "007").arrays["image"], np.repeat(picture(0)[None], 3, 0))


def test_several_files_are_channels(tmp_path):
    dataset = Cohort(make_pictures(tmp_path, image=["images/{id}.png", "lung/{id}.png"]))
    assert [case.id for case in dataset.cases()] == ["007", "008", "b10"], "the others lack one"
    data = read(dataset, "007")
    assert dataset.image_channels == len(data.arrays["image"]) == 2
    assert data.arrays["image"][1].min() == 255
    Image.fromarray(picture(0, (10, 24))).save(tmp_path / "lung" / "007.png")
    with pytest.raises(InputError, match="channels need one size"):
        read(Cohort(tmp_path), "007")


def test_volumes_and_their_spacing(tmp_path):
    dataset = Cohort(make_volumes(tmp_path))
    assert dataset.spatial_dims == 3
    data = read(dataset, "a")
    assert data.geometry.spacing == (3.0, 2.0, 1.0)
    assert data.arrays["organs"].sum() == 3 * 4 * 6
    resampled = Cohort(write_spec_of_volumes(tmp_path, spacing=[1.5, 2, 2]))
    for case_id in ("a", "b"):
        data = read(resampled, case_id)
        assert data.geometry.spacing == (1.5, 2.0, 2.0)
        assert data.arrays["image"].shape == (1, 12, 8, 5)
        assert data.arrays["organs"].shape == (int(case_id == "a"), 12, 8, 5)
    assert set(np.unique(read(resampled, "a").arrays["organs"])) == {0, 1}


def write_spec_of_volumes(folder, **changes):
    spec = yaml.safe_load((folder / "cohort.yaml").read_text())
    (folder / "cohort.yaml").write_text(yaml.safe_dump({**spec, **changes}, sort_keys=False))
    return folder / "cohort.yaml"


def test_pictures_and_volumes_do_not_mix(tmp_path):
    make_pictures(tmp_path)
    make_volumes(tmp_path / "more")
    shutil.copy(tmp_path / "more/images/a.nii.gz", tmp_path / "images/b2.nii.gz")
    write_table(tmp_path, [[row[0] + (".nii.gz" if row[0] == "b2" else ".png"), *row[1:]] for row in ROWS])
    dataset = Cohort(write_spec(tmp_path, image="images/{id}", masks=None))
    with pytest.raises(InputError, match=r"b2\.nii\.gz: is a volume, this cohort is of pictures"):
        read(dataset, "b2.nii.gz")


def test_a_mask_of_another_size_names_both_files(tmp_path):
    path = make_pictures(tmp_path)
    Image.fromarray(np.zeros((24, 20), np.uint8)).save(tmp_path / "lung" / "007.png")
    with pytest.raises(InputError) as fault:
        read(Cohort(path), "007")
    assert f"{tmp_path / 'lung/007.png'}: the mask is 24 x 20" in str(fault.value)
    assert f"{tmp_path / 'images/007.png'} is 20 x 24" in str(fault.value)
    assert any(case == "007" for case, _ in found(Cohort(path)))


def test_patterns():
    cells = {"id": "a/b.c.nii.gz", "n": "7"}
    assert fill("x/{id}_{n}.png", cells, ()) == "x/a/b.c.nii.gz_7.png"
    assert fill("x/{id|stem}.png", cells, ()) == "x/b.c.png"
    assert fill("{n}", cells, ("7",)) is None
    assert [stem(name) for name in ("a.png", "1.2.3", ".png", "a\\b.TIFF")] == ["a", "1.2.3", ".png", "b"]


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_numbers_compare_however_they_are_written(number):
    assert plain(str(number)) == plain(f"{number}.0") == plain(f"{number:+05d}") == str(number)


def test_texts_that_are_no_numbers():
    assert [as_number(text) for text in ("1_000", "nan", "inf", "", "0x10", "1,5")] == [None] * 6
    assert as_number("1e3") == 1000


# --- what makes prepared cases stale ---


def test_changes_make_prepared_cases_stale(tmp_path):
    path = make_pictures(tmp_path / "data")
    store = tmp_path / "store"

    def again(**options):
        report = prepare(Cohort(path), store, workers=1)
        return len(report.written), len(report.rebuilt), len(report.kept), len(report.failed)

    assert again() == (5, 0, 0, 0)
    assert again() == (0, 0, 5, 0)
    assert Store(store).open("b2").channels["covid"] == ()
    write_table(tmp_path / "data", changed(covid="1"))
    assert again() == (0, 1, 4, 0), "one row has changed"
    assert Store(store).open("008").read("covid").tolist() == [1]
    write_spec(tmp_path / "data", labels={"old": {"kind": "binary", "column": "age", "at_least": 70}})
    assert again()[1] == 5
    write_spec(
        tmp_path / "data",
        labels={"old": {"kind": "binary", "column": "age", "at_least": 70}},
        licence="other",
        citation="me",
    )
    assert again() == (0, 0, 5, 0)
    Image.fromarray(picture(77)).save(tmp_path / "data/images/007.png")
    assert again() == (0, 1, 4, 0)
    (tmp_path / "data/masks/b10.png").unlink()
    assert again() == (0, 1, 4, 0)
    write_table(tmp_path / "data", changed(age="old"))
    assert again() == (0, 0, 4, 1), "a cell that no label accepts leaves its case out"


# --- the cohort file ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tabel: t.csv", "line 1: tabel: no such key; did you mean 'table'?"),
        ("table: t.csv\ncase: id", "image: is missing; give a pattern"),
        ("table: t.csv\ncase: id\nimage: {id}.png", "not valid YAML"),
        ("table: t.csv\ncase: id\nimage: {id}", "needs quotes"),
        ("table: t.csv\ncase: id\nimage: 'a/{id.png'", "line 3: image: 'a/{id.png' is not accepted"),
        ("table: t.csv\ncase: id\nimage: a\nchannels: gray", "line 4: channels: 'gray' is not accepted"),
        ("table: t.csv\ncase: id\nimage: a\nspacing: [1, 0, 1]", "line 4: spacing.1: '0' is not accepted"),
        ("table: t.csv\ncase: id\nimage: a\ncase: b", "line 4: not valid YAML: duplicate key 'case'"),
        (
            "table: t.csv\ncase: id\nimage: a\nlabels:\n  x:\n    kind: binary\n    colum: y",
            "line 7: labels.x.colum: no such key; did you mean 'column'?",
        ),
        ("table: t.csv\ncase: id\nimage: a\nlabels:\n  x: {kind: binery}", "did you mean 'binary'"),
        ("table: t.csv\ncase: id\nimage: a\nlabels:\n  x: {column: y}", "labels.x: needs a kind"),
        ("table: t.csv\ncase: id\nimage: a\nlabels:\n  x: {kind: classes, column: y}", "labels.x.classes: is missing"),
        ("table: t.csv\ncase: id\nimage: a\nlabels:\n  image: {kind: number, column: y}", "cannot be the name"),
        (
            "table: t.csv\ncase: id\nimage: a\nlabels:\n  x: {kind: binary, column: y, at_least: 3, positive: [1]}",
            "not both",
        ),
        (
            "table: t.csv\ncase: id\nimage: a\nlabels:\n  x: {kind: binary, column: y, positive: [1], negative: [1.0]}",
            "both positive and negative",
        ),
        ("table: t.csv\ncase: id\nimage: a\nmasks: {m: {classes: {A: {paht: a}}}}", "did you mean 'path'"),
        ("table: t.csv\ncase: id\nimage: a\nmasks: {m: {classes: {A: {path: a, values: x}}}}", "whole numbers"),
        ("table: t.csv\ncase: id\nimage: [a, b]\nchannels: colour", "one image pattern, or grey"),
        ("- a", "a cohort is a mapping"),
    ],
)
def test_faults_of_the_file_name_line_and_key(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError) as fault:
        load_cohort(tmp_path / "c.yaml")
    assert words in str(fault.value)
    assert str(fault.value).startswith(str(tmp_path / "c.yaml"))
    assert "\n" not in str(fault.value)


def test_a_column_that_there_is_not_is_named_with_the_closest(tmp_path):
    path = make_pictures(tmp_path, group="pateint")
    line = path.read_text().splitlines().index("group: pateint") + 1
    with pytest.raises(
        InputError, match=rf"line {line}: group: no column in table.csv 'pateint': did you mean 'patient'"
    ):
        Cohort(path).cases()
    path = make_pictures(tmp_path, labels={"f": {"kind": "findings", "columns": ["edema", "nodul"]}})
    line = path.read_text().splitlines().index("    - nodul") + 1
    with pytest.raises(InputError, match=rf"line {line}: labels.f.columns.1: .*did you mean 'nodule'"):
        Cohort(path).cases()


def test_plain_yaml_values_stay_text(tmp_path):
    text = "table: t.csv\ncase: id\nimage: a\nlabels: {x: {kind: binary, column: c, positive: [yes, 007, 1.50]}}"
    assert parse_cohort(text, tmp_path).spec.labels["x"].positive == ["yes", "007", "1.50"]


def test_a_cohort_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no such cohort file; `crosstask cohort init TABLE`"):
        Cohort(tmp_path / "none.yaml").cases()
    with pytest.raises(InputError, match=r"image: no image exists \(row 2 names .*else.007\.png\)"):
        Cohort(make_pictures(tmp_path, image="else/{id}.png", dimensions=2)).cases()


# --- labels ---


@pytest.mark.parametrize(
    ("label", "cells", "words"),
    [
        ({"kind": "binary", "column": "covid"}, {"covid": "2"}, "column 'covid' holds '2'"),
        ({"kind": "binary", "column": "covid", "positive": ["1"], "negative": ["0"]}, {"covid": "x"}, "neither among"),
        ({"kind": "binary", "column": "covid", "positive": ["Pos"]}, {"covid": "pos"}, "only in upper and lower case"),
        ({"kind": "binary", "column": "age", "at_most": 3}, {"age": "young"}, "not a number"),
        ({"kind": "number", "column": "age"}, {"age": "41,5"}, "write a decimal point"),
        ({"kind": "number", "column": "age", "minimum": 50}, {"age": "7"}, "below the minimum 50"),
        ({"kind": "number", "column": "age", "maximum": 90}, {"age": "700"}, "above the maximum 90"),
        (
            {"kind": "classes", "column": "grade", "classes": ["none", "mild", "severe"]},
            {"grade": "wild"},
            "none of none",
        ),
        ({"kind": "findings", "columns": ["edema"]}, {"edema": "maybe"}, "column 'edema' holds 'maybe'"),
    ],
)
def test_cells_that_a_label_does_not_accept(tmp_path, label, cells, words):
    make_pictures(tmp_path, labels={"x": label})
    write_table(tmp_path, changed(**{"age": "60", **cells}))
    dataset = Cohort(tmp_path)
    with pytest.raises(InputError, match="row 3") as fault:
        read(dataset, "008")
    assert words in str(fault.value)
    assert ("008", str(fault.value)) in found(dataset)
    assert read(dataset, "007").channels["image"], "the others are read"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ({"kind": "binary", "column": "grade", "positive": ["mild", "severe"]}, [1, 0, 1, None, 1]),
        ({"kind": "binary", "column": "covid", "positive": ["1.0"]}, [1, 0, 0, None, 1]),
        ({"kind": "binary", "column": "covid", "missing": ["0"], "positive": ["1"]}, [1, None, None, 0, 1]),
        ({"kind": "binary", "column": "age", "at_most": 63}, [1, 1, 1, None, 0]),
    ],
)
def test_binary_rules(tmp_path, label, expected):
    dataset = Cohort(make_pictures(tmp_path, labels={"x": label}))
    assert [labels(dataset.read(case), "x").get("x") for case in dataset.cases()] == expected


def test_classes_can_be_renamed_and_joined(tmp_path):
    label = {"kind": "classes", "column": "grade", "classes": {"healthy": "none", "ill": ["mild", "severe"]}}
    dataset = Cohort(make_pictures(tmp_path, labels={"x": label}))
    assert labels(read(dataset, "010"), "x") == {"healthy": 0, "ill": 1}
    assert dataset.task("x").classes == ("healthy", "ill")


# --- check ---


def test_a_sound_cohort_has_no_fault_and_says_how_labels_are_distributed(cohort):
    assert found(cohort) == found(cohort, "warning") == set()
    notes = found(cohort, "note")
    assert ("labels.covid", "4 of 5 cases labelled; 2 positive, 2 negative") in notes
    assert ("labels.grade", "4 of 5 cases labelled; 1 none, 2 mild, 1 severe") in notes
    assert ("labels.findings", "5 of 5 cases labelled; 2 of 4 edema, 3 of 4 nodule") in notes
    assert ("labels.age", "4 of 5 cases labelled; 41.5 to 70, median 63 years") in notes
    assert ("masks.organs", "Lung: 3 of 5 cases have a mask") in notes
    assert ("010", "missing labels: mask Lung, edema") in notes
    assert ("split", "of 5 cases: 2 train, 1 validation, 2 test") in notes


def test_one_id_in_two_rows(tmp_path):
    make_pictures(tmp_path)
    write_table(tmp_path, changed(id="007"))
    with pytest.raises(InputError, match="rows 2 and 3 have the same id '007'"):
        Cohort(tmp_path).cases()
    assert any(case == "007" and "rows 2 and 3" in message for case, message in found(Cohort(tmp_path)))
    together = Cohort(write_spec(tmp_path, case="{patient}_{age}_{covid}"))
    assert "p1_63_0" in [case.id for case in together.cases()]


def test_a_row_without_id_or_image(tmp_path):
    make_pictures(tmp_path)
    write_table(tmp_path, changed(id=""))
    (tmp_path / "images/b2.png").unlink()
    dataset = Cohort(tmp_path)
    assert [case.id for case in dataset.cases()] == ["007", "010", "b10"]
    errors = dict(found(dataset))
    assert "row 3: no id" in errors["row 3"]
    assert f"{tmp_path / 'images/b2.png'}: no such image (row 5)" in errors["b2"]


def test_a_group_in_two_splits_and_a_split_that_is_none(tmp_path):
    make_pictures(tmp_path)
    write_table(tmp_path, changed(part="test"))
    assert ("p1", "the group is in train (007) and test (008); fix the column, or leave split out and draw splits by "
            "group") in found(Cohort(tmp_path))  # fmt: skip
    write_table(tmp_path, changed(part="holdout"))
    assert "holds 'holdout', which is no split" in dict(found(Cohort(tmp_path)))["008"]
    split = {"column": "part", "train": ["train", "holdout"]}
    dataset = Cohort(write_spec(tmp_path, split=split))
    assert found(dataset) == set()
    assert [case.split for case in dataset.cases()][:3] == ["train", "train", "validation"]


def test_the_same_pixels_under_two_ids(tmp_path):
    path = make_pictures(tmp_path)
    shutil.copy(tmp_path / "images/007.png", tmp_path / "images/008.png")
    assert "the same pixels as 008" in dict(found(Cohort(path), "warning"))["007"]
    shutil.copy(tmp_path / "images/007.png", tmp_path / "images/b2.png")
    assert "the same pixels as 008, b2, in another split (test, train)" in dict(found(Cohort(path)))["007"]


def test_files_that_cannot_be_read_and_masks_that_are_nowhere(tmp_path):
    path = make_pictures(tmp_path)
    (tmp_path / "images/007.png").write_bytes(b"no picture")
    shutil.rmtree(tmp_path / "lung")
    errors = dict(found(Cohort(path)))
    assert "images/007.png" in errors["007"].replace("\\", "/")
    assert "Lung: no case has a mask; row 2 would have" in errors["masks.organs"]


def test_labels_with_nothing_to_learn(tmp_path):
    make_pictures(tmp_path)
    write_table(tmp_path, [[*row[:3], "0", "", *row[5:]] for row in ROWS])
    warnings = dict(found(Cohort(tmp_path), "warning"))
    assert "every labelled case is negative" in warnings["labels.covid"]
    assert "every case lacks it" in warnings["labels.grade"]


# --- the files of configs ---


@pytest.mark.parametrize("path", sorted((CONFIGS / "cohorts").glob("*.yaml")), ids=lambda path: path.stem)
def test_cohort_files_that_come_with_the_project(path):
    dataset = Cohort(path)
    assert dataset.spatial_dims in (2, 3)
    assert all(dataset.task(name).classes for name in dataset.tasks)
    assert "not stated" not in (dataset.licence, dataset.source, dataset.citation)


# --- cohort init ---


def propose(folder, columns, rows, names=(), shape=(16, 16)):
    """A proposal from a table and pictures of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(index, shape)).save(folder / name)
    write_table(folder, rows, columns)
    proposal = propose_cohort(folder / "table.csv", folder / "cohort.yaml")
    return proposal, parse_cohort(proposal.text, folder / "cohort.yaml").spec


def test_the_fakes_are_understood(tmp_path):
    make_pictures(tmp_path)
    (tmp_path / "cohort.yaml").unlink()
    rows = [[f"{number:03}", f"p{number // 2}", ("train", "val", "test")[number // 2 % 3], str(number % 2), "a", "1"]
            for number in range(24)]  # fmt: skip
    rows = [[*row, str(20 + number)] for number, row in enumerate(rows)]
    shutil.rmtree(tmp_path / "images")
    names = [f"images/{row[0]}.png" for row in rows] + [f"lung_masks/{row[0]}_seg.png" for row in rows[:20]]
    proposal, spec = propose(tmp_path, ["id", "patient", "part", "covid", "site", "edema", "age"], rows, names)
    assert (spec.case, spec.group, spec.image) == ("id", "patient", ["images/{id}.png"])
    assert spec.split is not None and spec.split.of("val") == "validation"
    assert list(spec.labels) == ["covid", "age"]
    assert {mask.path for mask in spec.masks["segmentation"].classes.values()} == {"lung_masks/{id}_seg.png"}
    assert next(iter(spec.masks["segmentation"].classes)).startswith("Lung")
    assert any("'site' holds only 'a'" in note for note in proposal.notes)
    (tmp_path / "cohort.yaml").write_text(proposal.text)
    assert len(Cohort(tmp_path).cases()) == 24
    assert found(Cohort(tmp_path)) == set()
    text = starter_experiment(proposal, "my first", tmp_path / "cohort.yaml")
    (tmp_path / "first.yaml").write_text(text)
    experiment = load_experiment(tmp_path / "first.yaml")
    assert experiment.name == "my_first"
    assert experiment.dataset.splits.rule == "original"
    assert set(experiment.dataset.tasks) == {"segmentation", "covid", "age"}


def test_a_split_that_divides_groups_is_not_proposed(tmp_path):
    rows = [[str(n), f"s{n // 2}", "train" if n % 2 else "test", str(int(n % 3 > 0))] for n in range(20)]
    proposal, spec = propose(tmp_path, ["id", "subject", "set", "x"], rows, [f"{row[0]}.png" for row in rows])
    assert spec.split is None
    assert proposal.rule == "drawn"
    assert any("10 of its groups are in two splits" in note for note in proposal.notes)


def test_values_with_folder_and_ending(tmp_path):
    rows = [[f"scans/{n:02}.png", str(n % 2)] for n in range(12)]
    names = [row[0] for row in rows] + [f"mask/{n:02}.png" for n in range(12)]
    proposal, spec = propose(tmp_path, ["file", "x"], rows, names)
    assert (spec.case, spec.image) == ("file", ["{file}"])
    assert [mask.path for mask in spec.masks["segmentation"].classes.values()] == ["mask/{file|stem}.png"]
    (tmp_path / "cohort.yaml").write_text(proposal.text)
    assert len(read(Cohort(tmp_path), "scans/03.png").channels["segmentation"]) >= 1


def test_a_folder_a_case_and_ids_of_two_columns(tmp_path):
    rows = [[f"P{n // 2}", f"v{n % 2}", f"P{n // 2}/v{n % 2}/ct.png", str(n)] for n in range(12)]
    _, spec = propose(tmp_path, ["PatientID", "visit", "path", "score"], rows, [row[2] for row in rows])
    assert (spec.case, spec.group, spec.image) == ("path", "PatientID", ["{path}"])
    many = [[*row[:2], f"P{n // 2}", row[3]] for n, row in enumerate(rows)]
    names = [f"pictures/P{n}.png" for n in range(6)]
    _, spec = propose(
        tmp_path / "two", ["PatientID", "visit", "a_copy_of_it", "score"], [[*r[:3], "4"] for r in many], names
    )
    assert spec.case == "{PatientID}_{visit}"
    assert spec.image == ["pictures/{PatientID}.png"]


def test_findings_that_are_part_of_a_diagnosis(tmp_path):
    generator = np.random.default_rng(0)
    rows = []
    for n in range(60):
        ill = n % 2
        rows.append([f"i{n}", str(ill), *(str(int(ill and generator.random() < 0.5)) for _ in range(3))])
    proposal, spec = propose(tmp_path, ["name", "ill", "a", "b", "c"], rows, [f"{row[0]}.png" for row in rows])
    assert {name: label.kind for name, label in spec.labels.items()} == {"ill": "binary", "findings": "findings"}
    assert list(spec.labels["findings"].columns) == ["a", "b", "c"]
    assert any("'ill' is positive wherever a finding is" in note for note in proposal.notes)


def test_copies_reports_sentinels_and_other_words_for_missing(tmp_path):
    rows = []
    for n in range(60):
        kind = ("benign", "malignant")[n % 7 < 3]
        age = str(40 + n % 30) if n % 10 else "-1"
        rows.append(
            [f"i{n}", kind, kind[:3].upper(), f"text of case {n}", age, "n/a" if n % 9 == 0 else str(n * 1.5), str(n)]
        )
    columns = ["name", "dx", "dx_short", "report", "age", "dose", "dose_copy"]
    proposal, spec = propose(tmp_path, columns, rows, [f"{row[0]}.png" for row in rows])
    notes = "\n".join(proposal.notes)
    assert "'dx' nearly always tells 'dx_short'" in notes
    assert "'report' is nearly unique text" in notes
    assert "'age' holds -1" in notes
    assert "'dose' and 'dose_copy' are nearly copies" in notes
    assert "n/a" in spec.missing
    assert spec.labels["dose"].kind == "number"
    assert "report" not in spec.labels


def test_a_label_map_becomes_a_class_a_value(tmp_path):
    rows = [[f"i{n}", str(n % 2)] for n in range(8)]
    names = [f"img/{row[0]}.png" for row in rows]
    (tmp_path / "labels").mkdir(parents=True)
    for row in rows:
        mask = np.zeros((16, 16), np.uint8)
        mask[:4], mask[4:8] = 1, 3
        Image.fromarray(mask).save(tmp_path / "labels" / f"{row[0]}.png")
    _, spec = propose(tmp_path, ["key", "x"], rows, names)
    classes = spec.masks["segmentation"].classes
    assert {name: mask.values for name, mask in classes.items()} == {"Structure 1": [1], "Structure 3": [3]}


def test_volumes_are_proposed_with_window_and_spacing(tmp_path):
    make_volumes(tmp_path)
    (tmp_path / "cohort.yaml").unlink()
    proposal = propose_cohort(tmp_path / "table.csv", tmp_path / "cohort.yaml")
    spec = parse_cohort(proposal.text, tmp_path).spec
    assert (spec.dimensions, spec.image) == (3, ["images/{id}.nii.gz"])
    assert "# spacing: [3, 2, 1]" in proposal.text
    low, high = proposal.window
    assert -1200 < low < -500 and 500 < high < 1200
    (tmp_path / "e.yaml").write_text(starter_experiment(proposal, "e", "cohort.yaml"))
    assert load_experiment(tmp_path / "e.yaml").sample.kind == "volume"


@pytest.mark.parametrize("column", ["yes", "007", "a: b", "image", "x y", "#x", "é", "{", "- a", "null", "'q'"])
def test_any_column_name_gives_a_valid_file(tmp_path, column):
    rows = [[f"i{n}", str(n % 2)] for n in range(8)]
    names = [f"{row[0]}.png" for row in rows]
    if column == "{":
        with pytest.raises(InputError, match="rename the column"):
            propose(tmp_path, ["key", column], rows, names)
        return
    proposal, spec = propose(tmp_path, ["key", column], rows, names)
    (label,) = spec.labels.values()
    assert label.column == column
    (tmp_path / "e.yaml").write_text(starter_experiment(proposal, "e", "c.yaml"))
    assert list(load_experiment(tmp_path / "e.yaml").dataset.tasks) == list(spec.labels)


def test_a_table_that_names_no_image(tmp_path):
    with pytest.raises(InputError, match=r"no image below it; put the images near table\.csv"):
        propose(tmp_path, ["id", "x"], [["1", "2"], ["3", "4"]])
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"1 images, and no column of table\.csv names one .* first image is a\.png"):
        propose(tmp_path, ["id", "x"], [["1", "2"], ["3", "4"]])


def test_the_spec_of_the_fakes_is_complete():
    assert set(SPEC) >= {"table", "case", "group", "split", "image", "masks", "labels"}
