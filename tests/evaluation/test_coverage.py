"""Scoring a run on another store, and splits of one class: what is not scored is said, and nothing is not a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosstask.assembly import assembly_of, dataset_of
from crosstask.cli.listening import Terminal
from crosstask.datasets import DATASETS
from crosstask.datasets.base import Case, CaseData
from crosstask.errors import InputError
from crosstask.evaluation.coverage import one_sided
from crosstask.evaluation.evaluate import evaluate_run
from crosstask.experiment import Experiment, SplitSection
from crosstask.pipeline.scoring import score_run
from crosstask.runs import read_record, write_record
from crosstask.store import Store, prepare
from run_fakes import FAKES, Pictures, fake_experiment, fake_run


class Foreign(Pictures):
    """Pictures of another place, whose classes have other names; ``{theirs: ours}`` in ``names.json``."""

    def read(self, case: Case) -> CaseData:
        data = super().read(case)
        names = json.loads((self.root / "names.json").read_text())
        channels = {
            key: tuple(names.get(name, name) for name in value) if key not in ("image",) else value
            for key, value in data.channels.items()
        }
        return CaseData(data.arrays, channels, data.geometry)


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Experiment:
    for name, dataset in FAKES.items():
        monkeypatch.setitem(DATASETS._entries, name, dataset)
    return fake_experiment(tmp_path / "raw", tmp_path / "out", dataset={"tasks": ["lesion", "kind", "signs"]})


@pytest.fixture
def run(experiment: Experiment) -> Path:
    prepare(dataset_of(experiment), experiment.store_folder, workers=1)
    store = Store(experiment.store_folder)
    folder = fake_run(experiment, {"train": ["c0", "c1"], "validation": ["c2"], "test": ["c3"]})
    record = read_record(folder)
    record["data"]["fingerprint"] = store.fingerprint_of(["c0", "c1", "c2", "c3"])
    write_record(folder, record)
    return folder


def foreign(tmp_path: Path, names: dict[str, str], number: int = 12) -> Store:
    root = tmp_path / "foreign"
    root.mkdir()
    (root / "cases.json").write_text(str(number))
    (root / "names.json").write_text(json.dumps(names))
    prepare(Foreign(root), tmp_path / "other" / "store", workers=1)
    return Store(tmp_path / "other" / "store")


def evaluate(run: Path, **options: Any) -> None:
    score_run(run, **{"device": "cpu", "listener": Terminal(), **options})


def test_a_store_without_any_of_the_classes_is_refused_and_nothing_is_written(run, tmp_path, capsys):
    names = {"lesion": "Lesion", "red": "Red", "green": "GREEN", "blue": "nevus", "spots": "x", "lines": "y"}
    store = foreign(tmp_path, names)
    before = sorted(run.iterdir())
    with pytest.raises(InputError, match="none of 12 cases can be scored") as error:
        evaluate(run, store=store.root, split="all")
    text = str(error.value)
    assert "\n" not in text and str(store.root) in text
    assert "no case has lesion: lesion is Lesion there; names must be the same to the letter" in text
    assert "red is Red there, green is GREEN there" in text
    assert "no case has spots, lines, but x, y" in text
    assert sorted(run.iterdir()) == before


def test_what_another_store_is_not_scored_on_is_said(run, tmp_path, capsys):
    store = foreign(tmp_path, {"green": "mole", "lines": "LINES"})
    evaluate(run, store=store.root)
    said = " ".join(capsys.readouterr().err.split())
    assert "of the 12 cases of" in said and "(drawn); --split all scores every case" in said
    evaluate(run, store=store.root, split="all")
    said = " ".join(capsys.readouterr().err.split())
    assert "kind: 0 of 12 cases scored (no case has green, but mole" in said
    assert "lines is LINES there" in said
    assert "lesion: 11 of 12 cases scored (1 without any label of it)" in said  # c3
    assert "3 of 12 cases have ids of cases that trained the run" in said


def test_a_case_of_a_class_that_the_run_does_not_know_is_counted_and_named(run, experiment, monkeypatch, tmp_path):
    real = Foreign.read

    def with_another_class(self: Foreign, case: Case) -> CaseData:
        data = real(self, case)
        if data.channels["kind"]:
            strange = float(int(case.id[1:]) % 2)
            data.arrays["kind"] = np.append(data.arrays["kind"] * (1 - strange), np.float32(strange))
            data.channels["kind"] = (*data.channels["kind"], "df")
        return data

    monkeypatch.setattr(Foreign, "read", with_another_class)
    found = evaluate_run(run, foreign(tmp_path, {}), split="all", device="cpu")
    (said,) = [remark for remark in found.remarks if remark.startswith("kind:")]
    assert said == "kind: 5 of 12 cases scored (1 without any label of it; 6 of none of its classes, but df (6))."
    assert found.scored["kind"] == 5


def test_thresholds_are_not_chosen_on_cases_of_another_store(run, tmp_path):
    found = evaluate_run(run, foreign(tmp_path, {"green": "mole"}), device="cpu", split="all")
    assert not (run / "thresholds.json").exists()
    assert any("0.5 decides" in remark for remark in found.remarks)
    evaluate_run(run, Store(run.parents[2] / "store"), device="cpu")
    assert (run / "thresholds.json").exists()


def test_figures_of_the_runs_own_cases_are_not_overwritten_by_those_of_others(run, tmp_path):
    evaluate(run)
    before = (run / "scores-test.csv").read_bytes()
    evaluate(run, store=foreign(tmp_path, {"green": "mole"}).root)
    assert (run / "scores-test.csv").read_bytes() == before
    assert (run / "scores-test-other-store.csv").exists()


def test_a_store_of_images_that_the_network_cannot_take_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Foreign, "image_channels", 1)
    with pytest.raises(InputError, match="has 1 channels and 2 axes, and those that the run was trained on 3 and 2"):
        evaluate(run, store=foreign(tmp_path, {}).root, split="all")


def test_the_own_store_says_nothing_of_splits(run, capsys):
    evaluate(run)
    assert "--split all" not in capsys.readouterr().err


# Splits of one class


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        (["c0", "c3", "c6"], "kind: every labelled test case is red, so accuracy, AUC and the like are not defined"),
        (["c0", "c1", "c3"], "kind: no test case is blue"),
        (["c0", "c1", "c2"], ""),
        (["c4"], ""),  # its kind is not known
    ],
)
def test_a_split_of_one_class_is_told_where_it_is_drawn(run, experiment, cases, words):
    store = Store(experiment.store_folder)
    assembly = assembly_of(experiment, dataset_of(experiment)).only(["kind"])
    rule = SplitSection(rule="drawn")
    found = one_sided(store, assembly, cases, "test", rule)
    assert (not found) if not words else found[0].startswith(words)
    assert all(line.endswith("set dataset.splits.stratify=kind, or another dataset.splits.seed.") for line in found)


def test_findings_that_all_or_none_have_are_told(run, experiment):
    store = Store(experiment.store_folder)
    assembly = assembly_of(experiment, dataset_of(experiment)).only(["signs"])
    (line,) = one_sided(store, assembly, ["c0", "c1"], "validation")
    assert line == (
        "signs: of the labelled validation cases every one is spots, so the best epoch cannot be chosen by them."
    )
