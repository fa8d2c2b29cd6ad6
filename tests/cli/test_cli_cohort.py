"""From a folder and a table to a prepared cohort, as docs/your-own-data.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_runner import Call, run

from crosstask.cli import capacity
from crosstask.datasets import Cohort
from crosstask.datasets.cohort.plan import Machine
from crosstask.experiment import load_experiment
from crosstask.store import Store

DOCUMENT = (Path(__file__).parents[2] / "docs" / "your-own-data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of the document in one language."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def lesions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data set that the document's snippet makes, on the machine that it speaks of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(capacity, "this_machine", lambda: Machine(2, 8.0))
    exec(compile(blocks("python")[0], "docs/your-own-data.md", "exec"), {})
    return tmp_path


def test_the_walk_through_is_true(lesions: Path, call: Call):
    assert "\n".join((lesions / "lesions/table.csv").read_text().splitlines()[:4]) + "\n" == blocks("text")[0]
    init, check = (block for block in blocks("console")[:2])
    outcome = call("cohort", "init", "lesions/table.csv", "--experiment", "first.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == init.partition("\n")[2]
    assert (lesions / "cohort.yaml").read_text() == blocks("yaml")[0]
    assert (lesions / "first.yaml").read_text() == blocks("yaml")[1]

    text = (lesions / "cohort.yaml").read_text()
    (lesions / "cohort.yaml").write_text(text.replace("Structure:", "Lesion:"))
    outcome = call("check", "cohort", "cohort.yaml", "--notes")
    assert outcome.code == 0
    for line in check.splitlines()[1:]:
        assert line.startswith("...") or line in outcome.out.splitlines()

    outcome = call("prepare", "first.yaml", "--workers", "1")
    assert "120 written" in outcome.out
    store = Store(lesions / "runs/first/store")
    present = [len(store.open(case.id).channels["segmentation"]) for case in store.cases]
    assert sum(present) == 96


def test_nothing_is_overwritten(lesions: Path, call: Call):
    (lesions / "cohort.yaml").write_text("mine")
    outcome = call("cohort", "init", "lesions/table.csv")
    assert outcome.code == 2
    assert "cohort.yaml: exists and is not overwritten" in outcome.error
    assert (lesions / "cohort.yaml").read_text() == "mine"
    (lesions / "first.yaml").write_text("mine")
    outcome = call("cohort", "init", "lesions/table.csv", "-o", "other.yaml", "--experiment", "first.yaml")
    assert "first.yaml: exists" in outcome.error
    assert not (lesions / "other.yaml").exists(), "both or none"


def test_print_writes_nothing(lesions: Path, call: Call):
    outcome = call("cohort", "init", "lesions/table.csv", "--print", "--experiment", "first.yaml")
    assert "image: images/{image_id}.png" in outcome.out
    assert "name: first" in outcome.out
    assert not list(lesions.glob("*.yaml"))


def test_the_files_work_from_another_folder(lesions: Path, call: Call):
    (lesions / "configs").mkdir()
    arguments = ("-o", "configs/c.yaml", "--experiment", "configs/e.yaml")
    assert call("cohort", "init", "lesions/table.csv", *arguments).code == 0
    assert len(Cohort(lesions / "configs/c.yaml").cases()) == 120
    assert load_experiment(lesions / "configs/e.yaml").dataset.root == Path("configs/c.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.csv",), "none.csv: no such table"),
        (("lesions/images",), "lesions/images: 120 images, and no table, no masks and no folders of classes"),
        (("lesions/table.csv", "-o", "a.yaml", "--experiment", "a.yaml"), "give them two names"),
        (("lesions/table.csv", "-o", "nowhere/a.yaml"), "there is no folder nowhere"),
        (("lesions/table.csv", "--sheet", "x"), "only .xlsx files have sheets"),
    ],
)
def test_faults(lesions: Path, call: Call, arguments: tuple[str, ...], words: str):
    outcome = call("cohort", "init", *arguments)
    assert outcome.code == 2
    assert words in outcome.error
    assert not list(lesions.rglob("*.yaml"))


def test_check_gives_the_line_of_a_wrong_column(lesions: Path, call: Call):
    call("cohort", "init", "lesions/table.csv")
    text = (lesions / "cohort.yaml").read_text().replace("group: patient ", "group: patent ")
    (lesions / "cohort.yaml").write_text(text)
    outcome = call("check", "cohort", "cohort.yaml")
    assert outcome.code == 2
    assert "cohort.yaml, line 6: group: no column in table.csv 'patent': did you mean 'patient'?" in outcome.error


def test_help_is_quick_and_names_the_table(tmp_path: Path):
    outcome = run(tmp_path, "cohort", "init", "--help")
    assert outcome.code == 0
    assert "TABLE" in outcome.out
    assert "--experiment" in outcome.out
