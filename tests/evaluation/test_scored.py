"""How runs are scored: at a given threshold or one of validation, and on cases with every label or on all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from crosstask.assembly import assembly_of, dataset_of
from crosstask.datasets import DATASETS
from crosstask.datasets.base import Case
from crosstask.datasets.stoic import STOIC
from crosstask.errors import InputError
from crosstask.evaluation.evaluate import evaluate_constant, evaluate_run
from crosstask.evaluation.predictions import read_predictions
from crosstask.evaluation.run import is_done, train_and_score
from crosstask.evaluation.scored import scored_cases, scoring_remarks
from crosstask.experiment import Experiment, experiment_from
from crosstask.methods import get_method
from crosstask.prediction.predictor import Predictor
from crosstask.runs import EXAMPLES, PREDICTIONS, RunSpec, load_spec
from crosstask.store import Store, prepare
from run_fakes import Pictures, fake_experiment, fake_run

EVERY = {"lesion": "c3", "kind": "c4", "signs": "c5", "age": "c6"}
"""Of each task the case that lacks a label of it; of signs one of two."""


class Single(Pictures):
    """Pictures of which no two belong together."""

    def cases(self) -> list[Case]:
        return [replace(case, group=case.id) for case in super().cases()]


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Experiment, Store, Path]:
    monkeypatch.setitem(DATASETS._entries, "pictures", Single)
    rule = {"rule": "file", "file": "s.csv"}
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "out", dataset={"splits": rule})
    monkeypatch.chdir(tmp_path)
    splits = {"train": (0, 1, 2), "validation": (7, 8), "test": (3, 4, 5, 6, 9, 10, 11)}
    rows = [f"c{index},{split}" for split, cases in splits.items() for index in cases]
    (tmp_path / "s.csv").write_text("\n".join(["case,split", *rows]))
    prepare(dataset_of(experiment), experiment.store_folder, workers=1)
    return experiment, Store(experiment.store_folder), fake_run(experiment)


def with_evaluation(experiment: Experiment, **changes: object) -> Experiment:
    values = experiment.model_dump(mode="json")
    return experiment_from({**values, "evaluation": {**values["evaluation"], **changes}})


def spec_of(experiment: Experiment) -> RunSpec:
    return RunSpec(experiment, get_method("hps"), 0, tuple(experiment.dataset.tasks))


def decided(table, task: str = "signs"):
    return table[table["task"] == task]


def test_findings_are_decided_at_a_given_threshold_and_not_at_one_of_validation(pictures) -> None:
    experiment, store, folder = pictures
    middle = decided(evaluate_run(folder, store).predictions)["prediction"].median()
    (folder / "thresholds.json").unlink()
    for threshold in (0.5, middle):
        settings = with_evaluation(experiment, threshold=threshold).evaluation
        found = evaluate_run(folder, store, evaluation=settings)
        signs = decided(found.predictions)
        assert (signs["decision"] == (signs["prediction"] > threshold)).all()
        kinds = decided(found.predictions, "kind")
        assert (kinds.groupby("case")["decision"].sum() == 1).all(), "a softmax has its most probable class"
        constant = evaluate_constant(experiment.model_copy(update={"evaluation": settings}), store)
        assert len(decided(constant.scores, "signs"))
    assert 0 < signs["decision"].mean() < 1
    assert not (folder / "thresholds.json").exists(), "none was chosen"


def test_predictions_are_decided_as_the_run_says(pictures) -> None:
    experiment, _, folder = pictures
    (folder / "thresholds.json").write_text(json.dumps({"final": {"signs": [0.1, 0.9]}}))
    thresholds = {task.name: task.thresholds for task in Predictor(folder).tasks}
    assert thresholds["signs"] == (0.1, 0.9) and thresholds["kind"] is None
    given = with_evaluation(experiment, threshold=0.3).evaluation
    assert [t.thresholds for t in Predictor(folder, evaluation=given).tasks if t.name == "signs"] == [(0.3, 0.3)]


@pytest.mark.parametrize("threshold", [0, 1, 1.5, "half", True, None])
def test_what_is_no_threshold_is_refused(pictures, threshold) -> None:
    with pytest.raises(InputError, match=r"evaluation\.threshold: .* give validation, or a probability"):
        with_evaluation(pictures[0], threshold=threshold)


def test_test_cases_that_lack_a_label_are_left_out_of_every_task(pictures) -> None:
    experiment, store, folder = pictures
    assert set(evaluate_run(folder, store).scores["case"]) >= set(EVERY.values()) - {"c5"}
    complete = with_evaluation(experiment, complete_cases=True)
    found = evaluate_run(folder, store, evaluation=complete.evaluation)
    assert found.left_out == tuple(EVERY.values())
    assert set(found.scores["case"]) - {""} == set(found.predictions["case"]) == {"c9", "c10", "c11"}
    assert set(evaluate_constant(complete, store).scores["case"]) - {""} == {"c9", "c10", "c11"}
    alone = evaluate_constant(complete, store, tasks=["age"])
    assert set(alone.scores["case"]) - {""} == {"c9", "c10", "c11"}, "the same cases for single-task learning"


def test_cases_that_are_not_asked_for_a_label_on_purpose_lack_none(tmp_path: Path) -> None:
    """Severity is learned and scored among COVID-positives alone; negatives have it too."""
    task = STOIC(tmp_path).task("severity")
    assert (task.array, task.labelled_array) == ("severe_among_positives", "severe")
    assert STOIC(tmp_path).task("covid").labelled_array == "covid"


def test_a_task_without_labels_leaves_no_case_and_is_named(pictures) -> None:
    experiment, store, _ = pictures
    complete = with_evaluation(experiment, complete_cases=True)
    assembly = assembly_of(complete, dataset_of(complete))
    with pytest.raises(InputError, match=r"complete_cases: none of the 2 cases to score .* lesion, kind, signs, age"):
        scored_cases(store, ["c3", "c6"], assembly, complete.evaluation)


def test_tables_say_what_decided_and_how_many_cases_are_left_out(pictures) -> None:
    experiment, store, _ = pictures
    tests = {0: ["c3", "c4", "c9", "c10"], 1: ["c5", "c9"]}
    splits = {seed: {"validation": ["c7", "c8"], "test": cases} for seed, cases in tests.items()}

    def remarks(**changes: object) -> tuple[str, ...]:
        changed = with_evaluation(experiment, **changes)
        return scoring_remarks(changed, assembly_of(changed, dataset_of(changed)), store, splits, [])

    chosen, few = remarks()
    assert few.startswith("signs: thresholds were chosen on few validation cases: ")
    assert chosen.startswith("signs: decided at thresholds of highest balanced accuracy on validation cases")
    first, second, classes, findings = remarks(decision="balanced")
    assert (first, findings) == (chosen, few)
    assert second.startswith("kind: decided for the class that would be the most probable, were all as frequent")
    assert classes.startswith("kind: thresholds were chosen on few validation cases: ") and "negative" not in classes
    given, left = remarks(threshold=0.5, complete_cases=True)
    assert given.startswith("signs: decided at 0.5, which is given")
    assert left.startswith("3 of 5 test cases are left out")


def test_tables_say_on_how_few_validation_cases_a_threshold_was_chosen(pictures, monkeypatch) -> None:
    experiment, store, _ = pictures
    assembly = assembly_of(experiment, dataset_of(experiment))

    def remarks(*validation: list[str], **changes: object) -> list[str]:
        splits = {seed: {"validation": cases, "test": ["c9"]} for seed, cases in enumerate(validation)}
        found = scoring_remarks(with_evaluation(experiment, **changes), assembly, store, splits, [])
        return [remark for remark in found if "few validation cases" in remark]

    # signs are scored in even cases; spots are in 0, 4 and 8, lines in 0 and 10
    cases = [f"c{index}" for index in range(12)]
    (remark,) = remarks(cases, cases)
    assert "few validation cases: spots (3 positive, 3 negative), lines (2 positive, 4 negative);" in remark
    assert "no interval" in remark and "any seed" not in remark
    (remark,) = remarks(cases, cases[:5])
    assert "cases, the fewest of any seed: spots (2 positive, 1 negative), lines (1 positive, 2 negative);" in remark
    (remark,) = remarks(["c2", "c4"])
    assert "spots (1 positive, 1 negative), lines (0 positive, 2 negative: 0.5 decides)" in remark
    assert remarks(cases, threshold=0.5) == [], "none is chosen"
    monkeypatch.setattr("crosstask.evaluation.scored._FEW", 3)
    assert "few validation cases: lines (2 positive, 4 negative);" in remarks(cases)[0]
    monkeypatch.setattr("crosstask.evaluation.scored._FEW", 2)
    assert remarks(cases) == []


def test_a_run_is_scored_anew_where_its_scores_were_made_otherwise(pictures) -> None:
    experiment, store, folder = pictures
    train_and_score(spec_of(experiment), store.root)
    assert is_done(spec_of(experiment))
    (folder / EXAMPLES).write_bytes(b"pictures with decisions of before")
    changed = with_evaluation(experiment, threshold=0.5, complete_cases=True, bootstrap=10)
    assert is_done(spec_of(with_evaluation(experiment, bootstrap=10, batch_size=1)))
    assert not is_done(spec_of(changed))
    train_and_score(spec_of(changed), store.root)
    assert is_done(spec_of(changed)) and not is_done(spec_of(experiment))
    assert load_spec(folder).experiment.evaluation.threshold == 0.5, "predictions are decided as the scores were"
    signs = decided(read_predictions(folder / PREDICTIONS))
    assert set(signs["case"]) <= {"c9", "c10", "c11"}
    assert (signs["decision"] == (signs["prediction"] > 0.5)).all()
    assert not (folder / EXAMPLES).exists()
