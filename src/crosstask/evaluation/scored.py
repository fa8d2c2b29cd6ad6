"""How an experiment has its runs scored: which test cases count, and what decides. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crosstask.assembly import Assembly
from crosstask.datasets.base import Split
from crosstask.decisions import is_chosen
from crosstask.errors import InputError
from crosstask.experiment import EvaluationSection, Experiment
from crosstask.store import Store
from crosstask.store.statistics import labels_of
from crosstask.tasks.base import Task

_OF_PREDICTIONS = ("overlap", "pooling", "threshold", "decision", "tta", "complete_cases")
_OF_SCORES = ("weights", "split", *_OF_PREDICTIONS)
"""Keys of the section on which scores depend; the others are about speed, or about what is made of the scores."""

ON_VALIDATION = (
    "Judged on validation cases in the place of test cases (evaluation.split), to choose settings: no result, since "
    "thresholds and best epochs are chosen on the same cases."
)

_FEW = 50  # validation cases of either side, below which the threshold that they choose is worth a word


def same_scores(one: EvaluationSection, other: EvaluationSection) -> bool:
    """Whether a run has the same scores under both, which name the weights (:attr:`Experiment.scoring`)."""
    return all(getattr(one, key) == getattr(other, key) for key in _OF_SCORES)


def what_decides(evaluation: EvaluationSection) -> dict[str, Any]:
    """Values of the keys on which scores of given weights depend, as plain values."""
    decides = evaluation.model_dump(mode="json", include=set(_OF_PREDICTIONS))
    for key, default in (("tta", []), ("decision", "most_probable")):
        if decides[key] == default:
            del decides[key]  # as before there was any, so that what was kept then is still good
    return decides


def scored_cases(store: Store, case_ids: Sequence[str], assembly: Assembly, evaluation: EvaluationSection) -> list[str]:
    """The cases that are scored: all, or those that have a label of every class of every task.

    Args:
        store: the prepared cases.
        case_ids: the cases of a split.
        assembly: all tasks of the experiment, so that all its runs are scored on the same cases.
        evaluation: whether cases with incomplete labels are left out.

    Raises:
        InputError: none would be left.
    """
    if not evaluation.complete_cases:
        return list(case_ids)
    kept = [case_id for case_id in case_ids if _is_complete(store, case_id, assembly)]
    if case_ids and not kept:
        raise InputError(
            f"evaluation.complete_cases: none of the {len(case_ids)} cases to score has a label of each of "
            f"{', '.join(task.name for task in assembly.tasks)}; set it false, or leave out the task that lacks them"
        )
    return kept


def _is_complete(store: Store, case_id: str, assembly: Assembly) -> bool:
    channels = store.open(case_id).channels
    return all(set(task.classes) <= set(channels.get(task.labelled_array, ())) for task in assembly.tasks)


def validation_lacks(
    splits: Mapping[Split, Sequence[str]], assembly: Assembly, store: Store, experiment: Experiment
) -> list[str]:
    """Tasks of which no validation case has a label, so that the best epoch is chosen without them.

    Args:
        splits: case ids of each split.
        assembly: all tasks of the experiment.
        store: the prepared cases.
        experiment: the experiment; with a major task that alone chooses the epoch.
    """
    channels = [store.open(case_id).channels for case_id in splits["validation"]]
    judged = [task for task in assembly.tasks if experiment.major in (None, task.name)]
    return [
        task.name
        for task in judged
        if not any(set(task.classes) & set(own.get(task.scored_array, ())) for own in channels)
    ]


def scoring_remarks(
    experiment: Experiment,
    assembly: Assembly,
    store: Store,
    splits: Mapping[int, Mapping[Split, Sequence[str]]],
    lacking: Sequence[str],
) -> tuple[str, ...]:
    """What must be said beside the figures of a benchmark: what decided, and which test cases were left out.

    Args:
        experiment: the experiment.
        assembly: all its tasks.
        store: the prepared cases.
        splits: case ids of each split, of each seed.
        lacking: tasks without a label on validation cases; see :func:`validation_lacks`.

    Raises:
        InputError: no test case would be left.
    """
    split = experiment.evaluation.split
    remarks = [ON_VALIDATION] if split == "validation" else []
    remarks += mirrored_remarks(experiment.evaluation)
    remarks += [f"{line}." for line in decided_by(decided_tasks(assembly.tasks), experiment.evaluation)]
    remarks += few_to_decide(experiment, assembly, store, splits)
    if lacking:
        remarks.append(chosen_without(lacking))
    if experiment.evaluation.complete_cases:
        tests = [list(own[split]) for own in splits.values()]
        whole = {case for test in tests for case in test}
        kept = {case for test in tests for case in scored_cases(store, test, assembly, experiment.evaluation)}
        remarks.append(
            f"{len(whole) - len(kept)} of {len(whole)} {split} cases are left out because a label of some task is "
            "missing (evaluation.complete_cases)."
        )
    return tuple(remarks)


def few_to_decide(
    experiment: Experiment,
    assembly: Assembly,
    store: Store,
    splits: Mapping[int, Mapping[Split, Sequence[str]]],
) -> list[str]:
    """The remarks on thresholds that few validation cases decide: how many, and that intervals know nothing of it.

    Args:
        experiment: the experiment.
        assembly: all its tasks.
        store: the prepared cases.
        splits: case ids of each split, of each seed.
    """
    chosen_on = {tuple(own["validation"]) for own in splits.values()}
    beside = ", the fewest of any seed" if len(chosen_on) > 1 else ""
    remarks = []
    for task in assembly.tasks:
        if not is_chosen(task, experiment.evaluation):
            continue
        counts = np.min([_sides(task, store, cases) for cases in chosen_on], axis=0).tolist()
        few = _few(task, *counts)
        if few:
            remarks.append(
                f"{task.name}: thresholds were chosen on few validation cases{beside}: {', '.join(few)}; other cases "
                "would have chosen others, which no interval of a figure that needs a threshold holds."
            )
    return remarks


def _few(task: Task, positives: Sequence[int], negatives: Sequence[int]) -> list[str]:
    """Classes of few cases, with how many there are; of classes that exclude each other none has too few negatives."""
    if task.values == "softmax":
        return [
            f"{name} ({number}{'' if number else ': as the others on average'})"
            for name, number in zip(task.classes, positives, strict=True)
            if number < _FEW
        ]
    return [
        f"{name} ({positive} positive, {negative} negative{'' if positive and negative else ': 0.5 decides'})"
        for name, positive, negative in zip(task.classes, positives, negatives, strict=True)
        if min(positive, negative) < _FEW
    ]


def _sides(task: Task, store: Store, case_ids: Sequence[str]) -> np.ndarray:
    """How many cases are positive of each class, and how many negative: ``2 c``."""
    labels = [one.get(name) for one in labels_of(store, case_ids, task.scored_array).values() for name in task.classes]
    known = np.array(labels, dtype=float).reshape(-1, len(task.classes))
    return np.stack([(known > 0.5).sum(0), (known <= 0.5).sum(0)])


def chosen_without(tasks: Sequence[str]) -> str:
    """The remark on tasks that have no say in which epoch is the best."""
    have = "has no score" if len(tasks) == 1 else "have no score"
    return f"{', '.join(tasks)} {have} on the validation cases: the best epoch is chosen without."


def mirrored_remarks(evaluation: EvaluationSection) -> list[str]:
    """What must be said beside figures of predictions with test-time augmentation; nothing without it."""
    if not evaluation.tta:
        return []
    axes = "the axes that training flipped" if evaluation.tta == "flips" else " and ".join(evaluation.tta)
    return [f"Every prediction is the mean over samples mirrored along {axes} (evaluation.tta)."]


def decided_by(values: Mapping[str, str], evaluation: EvaluationSection) -> list[str]:
    """What decides whether there is a finding, and which class there is: sentences without their full stop.

    Args:
        values: ``{task: sigmoid or softmax}`` of image-level tasks; see :func:`decided_tasks`.
        evaluation: what the experiment says of it.
    """
    findings, alternatives = (
        ", ".join(task for task, own in values.items() if own == kind) for kind in ("sigmoid", "softmax")
    )
    said = []
    if findings and evaluation.fixed_threshold is not None:
        said.append(f"{findings}: decided at {evaluation.fixed_threshold:g}, which is given (AUC needs no threshold)")
    elif findings:
        said.append(
            f"{findings}: decided at thresholds of highest balanced accuracy on validation cases, one a class (AUC "
            "needs none)"
        )
    if alternatives and evaluation.decision == "balanced":
        said.append(
            f"{alternatives}: decided for the class that would be the most probable, were all as frequent (thresholds "
            "of validation cases, evaluation.decision)"
        )
    return said


def decided_tasks(tasks: Sequence[Task]) -> dict[str, str]:
    """``{task: sigmoid or softmax}`` of those whose classes are decided by thresholds."""
    return {task.name: task.values for task in tasks if task.thresholds is not None}
