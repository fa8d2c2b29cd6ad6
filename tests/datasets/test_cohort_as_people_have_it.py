"""What tired people hand in: capital letters, phones' pictures, wrong sheets, lost zeros, misspelled classes."""

from __future__ import annotations

from pathlib import Path

import layout_fakes as fakes
import numpy as np
import pytest

from crosstask.datasets import Cohort
from crosstask.datasets.cohort.init import propose_cohort
from crosstask.datasets.cohort.init_experiment import plan_of, starter_experiment
from crosstask.datasets.cohort.plan import Machine
from crosstask.datasets.cohort.proposal import Proposal
from crosstask.datasets.cohort.spelling import is_typo, variants
from crosstask.datasets.cohort.survey import Survey
from crosstask.errors import InputError, InputErrors, Repeated
from crosstask.io.tables import Table, read_table

COUNT = 12


def pictures(folder: Path, form: str = "c{0}.png") -> None:
    for number in range(COUNT):
        fakes.save(folder / form.format(number), fakes.photo(number))


def table(folder: Path, values: list[str], column: str = "dx", ids: str = "c{0}") -> Path:
    rows = [[ids.format(number), value] for number, value in enumerate(values)]
    return fakes.write_csv(folder / "t.csv", [["id", column], *rows])


def init(folder: Path, name: str = "t.csv", **options):
    proposal = propose_cohort(folder / name, folder / "cohort.yaml", **options)
    (folder / "cohort.yaml").write_text(proposal.text, encoding="utf-8")
    return proposal, Cohort(folder)


def errors(cohort: Cohort) -> list[str]:
    return [finding.message for finding in cohort.check() if finding.severity == "error"]


# --- names of files ---


def test_names_in_capital_letters_are_found_where_the_cohort_file_says_so(tmp_path):
    pictures(tmp_path / "Images", "C{0}.PNG")
    (tmp_path / "Images" / "C3.PNG").rename(tmp_path / "Images" / "c3.png")
    table(tmp_path, ["a", "b"] * 6)
    proposal, cohort = init(tmp_path)
    assert cohort.spec.ignore_case
    assert any("only if capital letters make no difference" in note for note in proposal.notes)
    assert len(cohort.cases()) == COUNT and errors(cohort) == []


def test_the_error_for_a_name_in_capital_letters_advises_what_works(tmp_path):
    pictures(tmp_path)
    table(tmp_path, ["a", "b"] * 6)
    init(tmp_path)
    (tmp_path / "c4.png").rename(tmp_path / "C4.PNG")
    (message,) = errors(Cohort(tmp_path))
    assert "c4.png: no such image, but C4.PNG, which differs in upper and lower case" in message
    with (tmp_path / "cohort.yaml").open("a") as file:
        file.write("ignore_case: true\n")
    assert errors(Cohort(tmp_path)) == []


def test_phones_pictures_are_named_as_what_they_are(tmp_path):
    for number in range(COUNT):
        (tmp_path / f"c{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    table(tmp_path, ["a", "b"] * 6)
    with pytest.raises(InputError, match=r"no image that can be read, but 12 files .heic: HEIC, as phones save"):
        init(tmp_path)
    (tmp_path / "cohort.yaml").write_text(
        "table: t.csv\ncase: id\nimage: '{id}.HEIC'\nlabels: {dx: {kind: classes, column: dx, classes: [a, b]}}\n"
    )
    assert all("HEIC, as phones save pictures, is not read; convert" in message for message in errors(Cohort(tmp_path)))


def test_zeros_that_a_spreadsheet_took_are_told(tmp_path):
    pictures(tmp_path, "{0:03}.png")
    table(tmp_path, ["a", "b"] * 6, ids="{0}")
    with pytest.raises(InputError, match=r"'id' has '0' where the file is 000.png: the zeros in front are lost"):
        init(tmp_path)


def test_the_wrong_sheet_is_told_and_the_right_one_taken(tmp_path):
    pictures(tmp_path)
    notes = [["who", "when"], ["me", "today"], ["you", "never"]]
    data = [["id", "dx"], *([f"c{number}", "ab"[number % 2]] for number in range(COUNT))]
    fakes.workbook(tmp_path / "t.xlsx", {"Info": notes, "Data": data})
    with pytest.raises(InputError, match="no column of sheet 'Info' names an image, but sheet 'Data' does: --sheet"):
        init(tmp_path, "t.xlsx", sheet="Info")
    _, cohort = init(tmp_path, "t.xlsx")
    assert cohort.spec.sheet == ["Data"] and len(cohort.cases()) == COUNT
    text = (tmp_path / "cohort.yaml").read_text()
    (tmp_path / "cohort.yaml").write_text(text.replace("sheet: Data", "sheet: Info"))
    assert any(
        "'id' in sheet 'Info' of t.xlsx, but in sheet 'Data'; write sheet: Data" in m for m in errors(Cohort(tmp_path))
    )


def test_files_in_several_folders_are_one_pattern_and_two_that_fit_are_refused(tmp_path):
    for number in range(COUNT):
        fakes.save(tmp_path / f"images_part_{number % 3 + 1}" / f"c{number}[1].png", fakes.photo(number))
    table(tmp_path, ["a", "b"] * 6, ids="c{0}[1]")
    _, cohort = init(tmp_path)
    assert cohort.spec.image == ["images_part_*/{id}.png"]
    assert len(cohort.cases()) == COUNT and errors(cohort) == []
    fakes.save(tmp_path / "images_part_2" / "c0[1].png", fakes.photo(0))
    (message,) = errors(Cohort(tmp_path))
    assert "images_part_2/c0[1].png both fit the pattern" in message


# --- values ---


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("benign", "bengin", True),
        ("malignant", "malignent", True),
        ("melanoma", "melanom", True),
        ("seborrheic keratosis", "seborrheic keratsis", True),
        ("grade1", "grade2", False),
        ("type A", "type B", False),
        ("stage II", "stage III", False),
        ("typical", "atypical", False),
        ("left", "loft", False),
        ("benign", "Benign", False),
    ],
)
def test_what_is_a_misspelling(first, second, same):
    assert is_typo(first, second) is same
    assert is_typo(second, first) is same


def test_frequent_values_that_differ_by_a_letter_are_two_until_somebody_says_otherwise():
    joined, doubtful = variants({"ileum": 20, "ilium": 18, "Ileum": 2, "ileam": 1})
    assert joined == {"ileum": ["Ileum", "ileam"]} or joined == {"ileum": ["ileam", "Ileum"]}
    assert doubtful == [("ileum", "ilium")]


def test_misspelled_classes_are_joined_by_synonyms_and_said(tmp_path):
    pictures(tmp_path)
    values = ["benign", "malignant", "benign", "Benign", "malignant", "bengin", "benign", "malignant"] + ["benign"] * 4
    table(tmp_path, values)
    proposal, cohort = init(tmp_path)
    assert cohort.spec.synonyms == {"dx": {"benign": ["Benign", "bengin"]}}
    assert list(cohort.spec.labels["dx"].classes) == ["benign", "malignant"]  # type: ignore[union-attr]
    assert any("in 'dx' 'Benign' (1), 'bengin' (1) is taken as 'benign' (7)" in note for note in proposal.notes)
    assert errors(cohort) == []
    assert [float(cohort.read(case).arrays["dx"][0]) for case in cohort.cases()][3:6] == [1.0, 0.0, 1.0]


def test_somebody_who_is_asked_may_keep_them_apart(tmp_path):
    pictures(tmp_path)
    table(tmp_path, ["benign", "bengin", "benign", "malignant"] * 3)
    asked = []

    def ask(question: str, answers: object, proposed: str) -> str:
        asked.append(question)
        return {"two": "one"}.get(proposed, proposed)

    proposal, cohort = init(tmp_path, ask=ask)
    assert any("'benign' (6) and 'bengin' (3) two values, or one" in question for question in asked)
    assert cohort.spec.synonyms == {"dx": {"benign": ["bengin"]}}
    assert not any("synonyms" in note for note in proposal.notes), "what somebody decided needs no note"


def test_classes_that_differ_in_capital_letters_are_refused_and_a_misspelled_cell_is_told(tmp_path):
    pictures(tmp_path)
    table(tmp_path, ["benign", "malignant"] * 5 + ["bengin", "malignant"])
    text = "table: t.csv\ncase: id\nimage: '{id}.png'\nlabels: {dx: {kind: classes, column: dx, classes: [%s]}}\n"
    (tmp_path / "cohort.yaml").write_text(text % "benign, Benign, malignant")
    with pytest.raises(InputError, match="'benign' and 'Benign' differ only in capital letters or spaces; join them"):
        Cohort(tmp_path).cases()
    (tmp_path / "cohort.yaml").write_text(text % "benign, malignant")
    (message,) = errors(Cohort(tmp_path))
    advice = "synonyms: {dx: {benign: [bengin]}}"
    assert f"did you mean 'benign'? Then write {advice}" in message
    (tmp_path / "cohort.yaml").write_text(f"{advice}\n{text % 'benign, malignant'}")
    assert errors(Cohort(tmp_path)) == []
    (tmp_path / "cohort.yaml").write_text(text % "benign, bengin, malignant")
    warnings = [one.message for one in Cohort(tmp_path).check() if one.severity == "warning"]
    assert any("'benign' and 'bengin' differ by one letter" in message for message in warnings)


def test_a_misspelled_positive_is_not_taken_for_negative(tmp_path):
    pictures(tmp_path)
    table(tmp_path, ["malignant", "naevus"] * 5 + ["malignent", "naevus"])
    label = "{kind: binary, column: dx, positive: [malignant]}"
    (tmp_path / "cohort.yaml").write_text(f"table: t.csv\ncase: id\nimage: '{{id}}.png'\nlabels: {{dx: {label}}}\n")
    (message,) = errors(Cohort(tmp_path))
    assert "holds 'malignent': nearly 'malignant'" in message


# --- all that is wrong, and not too often ---


def test_all_faults_of_a_cohort_file_and_of_a_table_are_told(tmp_path):
    (tmp_path / "cohort.yaml").write_text(
        "table: t.csv\nimage: ''\nchannels: red\ngroups: x\nmasks: {a: {classes: {}}}\n"
    )
    with pytest.raises(InputErrors) as caught:
        Cohort(tmp_path).cases()
    lines = caught.value.lines
    assert [line.partition("cohort.yaml")[2].partition(": ")[2].partition(":")[0] for line in lines] == [
        "groups", "case", "image", "channels", "masks.a.classes",
    ]  # fmt: skip
    (tmp_path / "t.csv").write_text("id,a\n1,2\n3\n4,5,6\n")
    with pytest.raises(InputErrors) as caught:
        read_table(tmp_path / "t.csv")
    assert [line.partition(", ")[2].partition(":")[0] for line in caught.value.lines] == ["row 3", "row 4"]


def test_columns_that_are_not_there_are_all_told(tmp_path):
    pictures(tmp_path)
    table(tmp_path, ["a", "b"] * 6)
    label = "{kind: classes, column: dy, classes: [a, b]}"
    (tmp_path / "cohort.yaml").write_text(f"table: t.csv\ncase: ids\nimage: '{{id}}.png'\nlabels: {{dx: {label}}}\n")
    with pytest.raises(InputErrors) as caught:
        Cohort(tmp_path).cases()
    assert ["'ids'" in line or "'dy'" in line for line in caught.value.lines] == [True, True]


def test_messages_of_one_kind_are_counted():
    repeated = Repeated(2)
    shown = [repeated.shows(f"/data/x{number}.png: no such image (row {number})", "error") for number in range(5)]
    assert shown == [True, True, False, False, False]
    assert repeated.shows("t.csv: has no 'id'", "error")
    assert repeated.rest() == [("error", 3, "/data/x0.png: no such image (row 0)")]


# --- the plan ---


def proposed(
    shape: tuple[int, ...], cases: int, *, masks: bool = True, spacing: tuple[float, ...] | None = None
) -> Proposal:
    steps = spacing or (1.0,) * len(shape)
    return Proposal(
        Table(Path("t.csv"), ("id",), ()),
        masks=["segmentation"] * masks,
        labels=["dx"],
        dimensions=len(shape),
        cases=cases,
        trained=round(0.7 * cases),
        survey=Survey(cases, shape, shape, shape, steps),
    )


CPU = Machine(2, 8.0)
GPU = Machine(16, 100.0, "a GPU", 80.0)


@pytest.mark.parametrize(
    ("shape", "cases", "machine", "kind", "sizes"),
    [
        ((64, 64), 120, CPU, "image", [(64, 64)]),
        ((450, 600), 200, GPU, "image", [(192, 256)]),
        ((40, 60, 60), 50, CPU, "volume", [(48, 64, 64), (16, 32, 32), (16, 16, 16)]),
        ((300, 512, 512), 100, CPU, "slice", [(64, 64), (96, 96), (128, 128)]),
        ((300, 512, 512), 100, GPU, "patch", [(64, 128, 128)]),
    ],
)
def test_the_sample_fits_the_images_and_the_machine(shape, cases, machine, kind, sizes):
    plan = plan_of(proposed(shape, cases), machine)
    assert (plan.kind.value, plan.size in sizes) == (kind, True), plan.size


def test_thick_slices_are_not_taken_as_patches():
    assert plan_of(proposed((30, 400, 400), 100, spacing=(6.0, 0.8, 0.8)), GPU).kind.value == "slice"


def test_large_data_sets_are_thinned_out_and_small_memories_get_small_batches():
    plan = plan_of(proposed((256, 256), 20_000), CPU)
    assert plan.samples is not None and int(plan.samples.value) < 1000
    assert int(plan.epochs.value) == 12
    assert not plan.cache or plan.size == (64, 64)
    small, large = (plan_of(proposed((300, 512, 512), 30), Machine(8, 30.0, "a GPU", gb)) for gb in (6.0, 80.0))
    assert int(np.prod(small.size)) * int(small.batch.value) < int(np.prod(large.size)) * int(large.batch.value)
    assert plan_of(proposed((64, 64), 120), CPU).samples is None
    assert plan_of(proposed((64, 64), 120), Machine(8, 4.0)).jobs == 3


def test_every_choice_has_its_reason_beside_it():
    text = starter_experiment(proposed((300, 512, 512), 30), "x", "c.yaml", CPU)
    for key in ("sample:", "  epochs:", "  batch_size:", "  windows:", "  splits:", "  samples_per_epoch:"):
        (line,) = (line for line in text.splitlines() if line.startswith(key))
        assert "    # " in line, line
    assert "# Planned for 2 cores, 8 GB of free memory, no GPU." in text
