"""From data as people have it to a benchmark, by the command line alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import layout_fakes as fakes
import ph2_fakes
import pytest
from cli_runner import Call, run

from crosstask.cli import capacity
from crosstask.cli import cohort as command
from crosstask.datasets.cohort.plan import Machine

SHORT = ("encoder.name=resnet18-narrow", "training.epochs=1", "evaluation.bootstrap=20", "training.device=cpu")


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan for the same machine everywhere."""
    monkeypatch.setattr(capacity, "this_machine", lambda: Machine(2, 8.0))


def decathlon(folder: Path) -> None:
    fakes.decathlon(folder, channels=2)


def coco(folder: Path) -> None:
    fakes.coco(folder, count=10)


def classes(folder: Path) -> None:
    fakes.class_folders(folder, count=4)


@pytest.mark.parametrize("make", [decathlon, classes, fakes.label_maps, fakes.series_and_masks])
def test_the_starter_file_trains_on_every_layout(tmp_path: Path, call: Call, make: Callable[[Path], object]):
    """The last method of the file, which asks most of the data, for one epoch."""
    make(tmp_path / "raw")
    outcome = call("cohort", "init", "raw", "--experiment", "first.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    assert call("check", "cohort", "cohort.yaml").code == 0
    method = "stl" if "methods: [stl]" in (tmp_path / "first.yaml").read_text() else "ctan"
    outcome = call("train", "first.yaml", "--method", method, *SHORT)
    assert outcome.code == 0, outcome.err
    assert list((tmp_path / "runs/first/runs" / method).rglob("final.safetensors"))


@pytest.mark.parametrize("make", [fakes.nnunet, coco])
def test_nnunet_s_and_coco_s_files_go_from_nothing_to_a_benchmark(
    tmp_path: Path, call: Call, make: Callable[[Path], object]
):
    make(tmp_path / "raw")
    assert call("cohort", "init", "raw", "--experiment", "first.yaml").code == 0
    outcome = call("benchmark", "first.yaml", *SHORT, "methods=[stl]")
    assert outcome.code == 0, outcome.err
    results = tmp_path / "runs/first"
    assert "segmentation" in (results / "table.csv").read_text(encoding="utf-8")
    assert ">Cases</h2>" in (results / "index.html").read_text(encoding="utf-8")


def test_ph2_from_nothing_to_a_benchmark(tmp_path: Path):
    ph2_fakes.make_pictures(tmp_path / "raw")
    ph2_fakes.write_excel(tmp_path / "raw" / "PH2_dataset.xlsx")
    assert run(tmp_path, "cohort", "init", "raw", "--experiment", "first.yaml").code == 0
    outcome = run(tmp_path, "benchmark", "first.yaml", *SHORT, "methods=[stl]", "dataset.tasks={segmentation: {}}")
    assert outcome.code == 0, outcome.err
    assert "segmentation" in (tmp_path / "runs/first/table.csv").read_text()
    assert (tmp_path / "runs/first/index.html").is_file()


def test_several_tables_and_none_that_is_chosen(tmp_path: Path, call: Call):
    ph2_fakes.make_pictures(tmp_path / "raw")
    ph2_fakes.write_excel(tmp_path / "raw" / "PH2_dataset.xlsx")
    ph2_fakes.write_csv(tmp_path / "raw" / "ph2.csv")
    outcome = call("cohort", "init", "raw")
    assert outcome.code == 2
    assert "2 tables name its images: PH2_dataset.xlsx, ph2.csv; name the one to read" in outcome.error


# --- questions ---


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], list[str]]:
    """A person at a terminal who gives these answers in turn; returns the questions."""

    def sit(answers: list[str]) -> list[str]:
        asked: list[str] = []

        def answer(question: str, **options: object) -> str:
            asked.append(question)
            return answers.pop(0) if answers else str(options["default"])

        monkeypatch.setattr(command, "_on_terminal", lambda: True)
        monkeypatch.setattr(command.Prompt, "ask", answer)
        return asked

    return sit


def test_a_person_is_asked_and_what_is_answered_is_taken(tmp_path: Path, call: Call, terminal):
    fakes.label_maps(tmp_path / "raw", count=4)
    (tmp_path / "raw" / "labels.csv").unlink()
    asked = terminal(["Kidney", "Tumour"])
    assert call("cohort", "init", "raw").code == 0
    assert [question for question in asked if "value" in question] == [
        "What is the value 1 of the masks seg/{id}.nii.gz?",
        "What is the value 2 of the masks seg/{id}.nii.gz?",
    ]
    text = (tmp_path / "cohort.yaml").read_text()
    assert "Kidney: {path: 'seg/{id}.nii.gz', values: [1]}" in text
    assert "Tumour: {path: 'seg/{id}.nii.gz', values: [2]}" in text


def test_yes_asks_nothing(tmp_path: Path, call: Call, terminal):
    fakes.two_folders(tmp_path / "raw")
    asked = terminal([])
    assert call("cohort", "init", "raw", "--yes").code == 0
    assert asked == []
    assert "Structure: {path: 'masks/{case}_mask.png'" in (tmp_path / "cohort.yaml").read_text()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_no_question_where_only_one_end_is_a_terminal(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    fakes.two_folders(tmp_path / "raw")
    assert call("cohort", "init", "raw").code == 0


# --- what is wrong, in few lines ---


def test_every_fault_of_a_cohort_file_has_its_line_up_to_ten(tmp_path: Path, call: Call):
    labels = "\n".join(f"  l{number}: {{kind: nonsense, column: x}}" for number in range(14))
    (tmp_path / "cohort.yaml").write_text(f"table: t.csv\ncase: id\nimage: '{{id}}.png'\nlabels:\n{labels}\n")
    outcome = call("check", "cohort", "cohort.yaml")
    assert outcome.code == 2
    lines = outcome.err.splitlines()
    assert len(lines) == 10 and all(line.startswith("Error: ") for line in lines)
    assert "cohort.yaml, line 13: labels.l8" in lines[8]
    assert lines[-1] == "Error: and 5 more; mend these first"


def test_one_wrong_path_is_no_page_of_errors(tmp_path: Path, call: Call):
    for number in range(60):
        if number % 2:
            fakes.save(tmp_path / f"c{number}.png", fakes.photo(number))
    fakes.write_csv(tmp_path / "t.csv", [["id", "x"], *([f"c{number}", number % 3] for number in range(60))])
    label = "{kind: number, column: x}"
    (tmp_path / "cohort.yaml").write_text(f"table: t.csv\ncase: id\nimage: '{{id}}.png'\nlabels: {{x: {label}}}\n")
    outcome = call("check", "cohort", "cohort.yaml")
    assert outcome.code == 2
    assert sum(line.startswith("error") for line in outcome.out.splitlines()) == 11
    assert "and 20 more such (--all shows them), of the kind of:" in outcome.out
    assert "30 usable cases; 30 errors" in outcome.out
    everything = call("check", "cohort", "cohort.yaml", "--all")
    assert sum(line.startswith("error") for line in everything.out.splitlines()) == 30
