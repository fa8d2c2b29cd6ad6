"""``cohort init`` on layouts, tables and masks as people have them: proposed, said, and prepared to the end."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import ph2_fakes
import pytest
from PIL import Image

from crosstask.datasets import Cohort
from crosstask.datasets.cohort.init import propose_cohort
from crosstask.datasets.cohort.init_experiment import starter_experiment
from crosstask.datasets.cohort.labels import NumberLabel, OneHotLabel
from crosstask.experiment import load_experiment
from crosstask.store import Store, prepare

SIZE = 24


@pytest.fixture(scope="module")
def ph2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ph2")
    ph2_fakes.make_pictures(folder)
    ph2_fakes.write_excel(folder / "PH2_dataset.xlsx")
    ph2_fakes.write_text(folder / "PH2_dataset.txt")
    ph2_fakes.write_csv(folder / "ph2.csv")
    return folder


def init(folder: Path, table: str):
    """The proposal, and the cohort that it gives."""
    proposal = propose_cohort(folder / table, folder / "cohort.yaml")
    (folder / "cohort.yaml").write_text(proposal.text, encoding="utf-8")
    return proposal, Cohort(folder)


def make(
    folder: Path, columns: list[str], rows: list[list[str]], name: str = "table.csv", separator: str = ","
) -> None:
    """A table, and a picture for each value of its first column."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([columns, *rows])
    for index, (case, *_) in enumerate(rows):
        if case:
            values = np.random.default_rng(index).integers(0, 255, (SIZE, SIZE)).astype(np.uint8)
            Image.fromarray(values).save(folder / "images" / f"{case}.png")


def errors(cohort: Cohort) -> list[str]:
    return [finding.message for finding in cohort.check() if finding.severity == "error"]


# --- nested folders, the id several times in a pattern, the three tables of PH2 ---


@pytest.mark.parametrize("table", ["PH2_dataset.xlsx", "PH2_dataset.txt", "ph2.csv"])
def test_each_table_of_ph2_is_taken_from_init_to_a_prepared_store(ph2, tmp_path, table):
    proposal, cohort = init(ph2, table)
    spec = cohort.spec
    case = f"{{{spec.case}}}"
    assert spec.image == [f"PH2 Dataset images/{case}/{case}_Dermoscopic_Image/{case}.bmp"]
    ((name, lesion),) = spec.masks["segmentation"].classes.items()
    assert (name, lesion.path) == ("Lesion", f"PH2 Dataset images/{case}/{case}_lesion/{case}_lesion.bmp")
    assert any("4 of 52 image files are named by no row" in note for note in proposal.notes)
    assert errors(cohort) == []
    prepare(cohort, tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    assert len(store.cases) == ph2_fakes.COUNT
    prepared = store.open("IMD003")
    assert prepared.channels["segmentation"] == ("Lesion",)
    assert prepared.read("segmentation").sum() == 69, "a disc of radius 5"
    (tmp_path / "first.yaml").write_text(starter_experiment(proposal, "first", ph2 / "cohort.yaml"))
    assert load_experiment(tmp_path / "first.yaml").dataset.tasks


def test_marks_in_columns_become_classes_and_findings(ph2):
    proposal, cohort = init(ph2, "PH2_dataset.xlsx")
    labels = cohort.spec.labels
    assert {name: label.kind for name, label in labels.items()} == {
        "classes": "one_hot", "Asymmetry": "number", "Pigment_Network": "classes", "Streaks": "classes",
        "findings": "findings",
    }  # fmt: skip
    for number, case in enumerate(cohort.cases()):
        data = cohort.read(case)
        assert data.arrays["classes"].tolist() == [float(ph2_fakes.diagnosis(number) == place) for place in range(3)]
        assert data.arrays["findings"].tolist() == [float(there) for there in ph2_fakes.colours(number)]
    assert cohort.task("classes").exclusive
    notes = "\n".join(proposal.notes)
    assert "an empty cell is read as no" in notes
    assert "exactly one is positive in every row" in notes
    assert "row 13 names the columns" in notes


@pytest.mark.parametrize("pattern", ["{0}/{0}.png", "{0}/scan_{0}/{0}_t.png", "all/{0}-{0}.png"])
def test_an_id_several_times_in_a_pattern(tmp_path, pattern):
    make(tmp_path, ["id", "x"], [[f"p{n}", str(n % 2)] for n in range(8)])
    for picture in (tmp_path / "images").iterdir():
        place = tmp_path / "deep" / pattern.format(picture.stem)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(picture, place)
    _, cohort = init(tmp_path, "table.csv")
    assert cohort.spec.image == ["deep/" + pattern.replace("{0}", "{id}")]
    assert len(cohort.cases()) == 8


# --- one-hot columns ---


def test_one_hot_rows_that_contradict_themselves_are_told():
    label = OneHotLabel(kind="one_hot", columns=["a", "b"], positive=["X"], negative=[""])
    assert label.values("l", {"a": "X", "b": ""}, []) == {"a": 1.0, "b": 0.0}
    with pytest.raises(ValueError, match="'b' holds 'X': positive, as 'a' is"):
        label.values("l", {"a": "X", "b": "X"}, [])
    with pytest.raises(ValueError, match="none of a, b is positive"):
        label.values("l", {"a": "", "b": ""}, [])
    assert label.values("l", {"a": "", "b": "?"}, ["?"]) == {}


# --- ids ---


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ({3: "p2"}, "'id' is taken as the id, but rows 4, 5 have the same"),
        ({3: ""}, "'id' is taken as the id, but row 5 has none"),
        ({3: "", 7: "p2"}, "rows 4, 9 have the same, and row 5 has none"),
    ],
)
def test_one_duplicate_or_empty_id_does_not_make_the_age_the_id(tmp_path, ids, words):
    rows = [[ids.get(n, f"p{n}"), str(30.5 + n), str(n % 2)] for n in range(10)]
    make(tmp_path, ["id", "age", "x"], rows)
    proposal, cohort = init(tmp_path, "table.csv")
    assert cohort.spec.case == "id"
    assert any(words in note for note in proposal.notes)
    assert "must be unique: see below" in proposal.text
    assert errors(cohort)


def test_an_id_that_no_word_tells_of_is_noted(tmp_path):
    make(tmp_path, ["name", "score"], [["all", str(n + 0.5)] for n in range(6)])
    (tmp_path / "images").rename(tmp_path / "pictures")
    for n in range(6):
        shutil.copy(tmp_path / "pictures" / "all.png", tmp_path / "pictures" / f"{n}.5.png")
    proposal, cohort = init(tmp_path, "table.csv")
    assert cohort.spec.case == "score"
    assert not any("case:" in note for note in proposal.notes), "it names the pictures"


# --- splits ---


def test_a_test_set_without_validation_cases_is_kept(tmp_path):
    rows = [[f"p{n}", "train" if n % 4 else "test", str(n % 2)] for n in range(16)]
    make(tmp_path, ["id", "set", "x"], rows)
    proposal, cohort = init(tmp_path, "table.csv")
    assert proposal.rule == "validation_from_train"
    assert any("'set' names no validation cases; experiments draw them" in note for note in proposal.notes)
    assert {case.id for case in cohort.cases() if case.split == "test"} == {"p0", "p4", "p8", "p12"}
    (tmp_path / "first.yaml").write_text(starter_experiment(proposal, "first", "cohort.yaml"))
    assert load_experiment(tmp_path / "first.yaml").dataset.splits.rule == "validation_from_train"


def test_cases_without_a_split_are_said_to_be_the_reason(tmp_path):
    rows = [[f"p{n}", ("train", "test", "")[n % 3], str(n % 2)] for n in range(12)]
    make(tmp_path, ["id", "set", "x"], rows)
    proposal, _ = init(tmp_path, "table.csv")
    assert proposal.rule == "drawn"
    assert any("leaves 4 cases without a split" in note for note in proposal.notes)


# --- numbers and units ---


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_decimal_commas_are_numbers_and_units_in_brackets_are_units(tmp_path, separator):
    rows = [[f"p{n}", f"{30 + n},5", f"{n},25", f"{n % 3}"] for n in range(12)]
    make(tmp_path, ["id", "Age [years]", "Size (mm)", "Margin (0/1/2)"], rows, separator=separator)
    proposal, cohort = init(tmp_path, "table.csv")
    labels = cohort.spec.labels
    assert list(labels) == ["Age", "Size", "Margin"]
    age, size, margin = (labels[name] for name in labels)
    assert isinstance(age, NumberLabel) and isinstance(size, NumberLabel) and isinstance(margin, NumberLabel)
    assert (age.unit, size.unit, margin.unit) == ("years", "mm", "")
    assert (age.decimal, margin.decimal) == (",", ".")
    assert cohort.read(cohort.cases()[2]).arrays["Age"].tolist() == [32.5]
    assert any("'Age [years]' has commas for its decimals: 30,5 is read as 30.5" in note for note in proposal.notes)


def test_what_may_be_thousands_is_not_guessed(tmp_path):
    make(tmp_path, ["id", "platelets", "x"], [[f"p{n}", f"{n + 1},{n}50", str(n % 2)] for n in range(9)])
    proposal, cohort = init(tmp_path, "table.csv")
    assert "platelets" not in cohort.spec.labels
    assert any("1,050, thousands or decimals: not used" in note for note in proposal.notes)


def test_what_the_error_of_a_decimal_comma_advises_works(tmp_path):
    make(tmp_path, ["id", "age"], [["a", "41,5"], ["b", "1.234,5"], ["c", "30.5"], ["d", "7"]])
    text = "table: table.csv\ncase: id\nimage: images/{id}.png\nlabels:\n  age: {kind: number, column: age}\n"
    (tmp_path / "cohort.yaml").write_text(text)
    assert any("or decimal: ',' for this label" in message for message in errors(Cohort(tmp_path)))
    (tmp_path / "cohort.yaml").write_text(text.replace("column: age", "column: age, decimal: ','"))
    cohort = Cohort(tmp_path)
    assert errors(cohort) == []
    assert [cohort.read(case).arrays["age"].item() for case in cohort.cases()] == [41.5, 1234.5, 30.5, 7.0]


def test_stores_of_before_there_were_decimal_commas_stay_good(tmp_path):
    make(tmp_path, ["id", "age"], [["a", "41"], ["b", "3"]])
    _, cohort = init(tmp_path, "table.csv")
    assert "decimal" not in cohort.read_settings()["labels"]["age"]
    assert "decimal" in cohort.spec.labels["age"].model_dump()


# --- visits, and splits by other words ---


@pytest.mark.parametrize("name", ["{0}_{1}.png", "{0}/v{1}.png", "{1}/{0}.png"])
def test_pictures_named_by_patient_and_visit_are_each_row_s_own(tmp_path, name):
    """A pattern of the patient alone would give all of its visits the picture of one."""
    rows = [[f"P{n // 2}", str(n % 2 + 1), str(n // 3 % 2)] for n in range(12)]
    make(tmp_path, ["patient", "visit", "x"], rows)
    shutil.rmtree(tmp_path / "images")
    for n, (patient, visit, _) in enumerate(rows):
        path = tmp_path / "scans" / name.format(patient, visit)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((SIZE, SIZE), n, np.uint8)).save(path)
    _, cohort = init(tmp_path, "table.csv")
    assert (cohort.spec.case, cohort.spec.group) == ("{patient}_{visit}", "patient")
    assert cohort.spec.image == ["scans/" + name.format("{patient}", "{visit}")]
    assert list(cohort.spec.labels) == ["x"]
    assert [int(cohort.read(case).arrays["image"].max()) for case in cohort.cases()] == list(range(12))


def test_a_picture_that_rows_share_is_told(tmp_path):
    make(tmp_path, ["patient", "visit", "x"], [[f"P{n // 2}", f"v{n % 2}", str(n % 2)] for n in range(12)])
    proposal, _ = init(tmp_path, "table.csv")
    assert any("12 rows share 6 files by images/{patient}.png" in note for note in proposal.notes)


@pytest.mark.parametrize(
    ("column", "train", "test"),
    [
        ("set", "Training set", "Test set"),
        ("partition", "TRAIN", "holdout"),
        ("is_test", "0", "1"),
        ("train", "1", "0"),
    ],
)
def test_splits_by_other_words_are_splits_and_no_labels(tmp_path, column, train, test):
    rows = [[f"p{n}", test if n % 4 == 0 else train, str(n // 2 % 2)] for n in range(16)]
    make(tmp_path, ["id", column, "x"], rows)
    proposal, cohort = init(tmp_path, "table.csv")
    assert list(cohort.spec.labels) == ["x"]
    assert proposal.rule == "validation_from_train"
    assert [case.id for case in cohort.cases() if case.split == "test"] == ["p0", "p4", "p8", "p12"]
    assert errors(cohort) == []


def test_folds_are_no_label(tmp_path):
    make(tmp_path, ["id", "fold", "x"], [[f"p{n}", str(n % 3), str(n % 2)] for n in range(16)])
    proposal, cohort = init(tmp_path, "table.csv")
    assert list(cohort.spec.labels) == ["x"]
    assert any("'fold' looks like a split" in note for note in proposal.notes)
    assert "# split: fold    # not used" in proposal.text


def test_numbers_with_units_in_their_cells_are_no_reports(tmp_path):
    make(tmp_path, ["id", "size", "x"], [[f"p{n}", f"{n + 3} mm", str(n % 2)] for n in range(12)])
    proposal, _ = init(tmp_path, "table.csv")
    assert any("'size' holds numbers with a unit or sign, such as '3 mm'" in note for note in proposal.notes)
