"""Score runs under other rules for the epoch than that by which they are judged; what is done is kept.

Which epochs those are, validation alone says (:mod:`crosstask.runs.epochs`). Here their weights predict the test cases,
each epoch once, and one whose scores are there already not at all. No torch here but in the processes that predict.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crosstask.buckets import Place
from crosstask.evaluation.kept import history_of, predictions_of, scores_of
from crosstask.evaluation.predictions import joined_predictions, write_predictions
from crosstask.evaluation.scored import what_decides
from crosstask.evaluation.scores import write_scores
from crosstask.evaluation.work import Runner, Work
from crosstask.files import write_atomically
from crosstask.methods import baseline_of
from crosstask.runs import (
    EPOCHS,
    OTHER_RULES,
    SNAPSHOTS,
    RunSpec,
    other_epochs,
    predictions_under,
    remove_weights,
    scores_under,
    snapshots_needed,
    trained_record,
    weights_of_epoch,
    weights_path,
)
from crosstask.seals import seal
from crosstask.store import Store

Tables = tuple[pd.DataFrame, pd.DataFrame]
"""Scores and image-level predictions."""


@dataclass(frozen=True)
class OtherEpochs:
    """A complete run with the epochs that other rules would have taken.

    Attributes:
        spec: the run.
        epochs: ``{rule: {task: epoch}}``, from 0.
    """

    spec: RunSpec
    epochs: Mapping[str, Mapping[str, int]]

    def said(self) -> dict[str, Any]:
        """What scores under the other rules follow from, as it is kept beside them."""
        return {"epochs": self.epochs, "evaluation": what_decides(self.spec.experiment.evaluation)}

    def is_scored(self) -> bool:
        """Whether the run has scores under all rules, made as the experiment says now."""
        folder = self.spec.folder
        try:
            kept = json.loads((folder / EPOCHS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(kept == self.said()) and all((folder / scores_under(rule)).exists() for rule in OTHER_RULES)

    def can_be_scored(self) -> bool:
        """Whether the weights of all epochs that the rules chose are there."""
        needed = [weights_of_epoch(self.spec, epoch) for epoch in snapshots_needed(self.epochs)]
        return all(weights_path(self.spec.folder, weights).exists() for weights in needed)


def planned(specs: Sequence[RunSpec], methods: Sequence[str]) -> tuple[list[OtherEpochs], list[str], str]:
    """The runs that are, or can be, scored under other rules, and the methods that are compared by them.

    Those are the methods all of whose runs can be, and whose single-task baseline can.

    Args:
        specs: all runs, complete.
        methods: their keys, in order.

    Returns:
        The runs, the methods, and a remark on methods that were to be compared and cannot be; empty where none is.
    """
    keeping = [spec for spec in specs if spec.experiment.keeps_epochs]
    read = [spec for spec in keeping if history_of(spec.folder) is not None]
    plans = [OtherEpochs(spec, other_epochs(spec, read)) for spec in read]
    able = {plan.spec.name for plan in plans if plan.is_scored() or plan.can_be_scored()}
    kept = _whole_methods(methods, lost={spec.key for spec in specs if spec.name not in able})
    remark = _left_out([spec for spec in keeping if spec.name not in able], methods, kept)
    return [plan for plan in plans if plan.spec.key in kept], kept, remark


def _whole_methods(methods: Sequence[str], lost: Set[str]) -> list[str]:
    """The methods that have lost no run, nor has their baseline; none where no method is left beside the baselines."""
    baselines = {key: baseline_of(key, methods) for key in methods}
    kept = [key for key in methods if not {key, baselines[key]} & lost and baselines[key] in methods]
    return [] if all(baselines[key] == key for key in kept) else kept


def _left_out(unable: Sequence[RunSpec], methods: Sequence[str], kept: Sequence[str]) -> str:
    """What to say of runs that cannot be scored; empty where there are none, or no comparison was to be had."""
    if not unable or all(baseline_of(key, methods) == key for key in methods):
        return ""
    left = "is left out" if not kept else f"leaves out {', '.join(key for key in methods if key not in kept)}"
    more = f" and {len(unable) - 1} more runs" if len(unable) > 1 else ""
    return (
        f"The comparison under other rules for the epoch {left}: of {unable[0].name}{more} the weights of the "
        "epochs that are needed were never kept, or are gone since they were scored otherwise."
    )


def score_otherwise(
    plans: Sequence[OtherEpochs],
    store_root: Place,
    *,
    runner: Runner | None,
    progress: Callable[[int, int, str], None],
    tell: Callable[[str], None],
) -> None:
    """Score the runs that are not scored yet under other rules, and remove the weights that are needed no more.

    Args:
        plans: the runs.
        store_root: the prepared cases.
        runner: where it is done; None: in this process, one after the other.
        progress: told (done, total, name).
        tell: told in one line what is done in this process.

    Raises:
        CrosstaskError: a run failed, or its process was killed.
    """
    waiting = [plan for plan in plans if not plan.is_scored()]
    work = [Work(plan.spec, store_root, score_other_epochs, (plan.epochs,)) for plan in waiting]
    if runner is not None:

        def follow() -> None:
            progress(sum(plan.is_scored() for plan in waiting), len(waiting), "")

        runner(work, follow=follow)
    else:
        for done, one in enumerate(work, 1):
            one(tell)
            progress(done, len(work), one.spec.name)
    for plan in plans:
        remove_weights(plan.spec.folder / SNAPSHOTS)  # left by a kill


def score_other_epochs(
    spec: RunSpec, store_root: Place, epochs: Mapping[str, Mapping[str, int]], *, tell: Callable[[str], None]
) -> None:
    """One run under all other rules, whose ``epochs`` these are, in this process; ``tell`` is told what it does."""
    plan, folder = OtherEpochs(spec, epochs), spec.folder
    (folder / EPOCHS).unlink(missing_ok=True)
    tables = {epoch: _scored(spec, epoch, store_root, tell) for epoch in snapshots_needed(epochs)}
    names = []
    for rule, taken in epochs.items():
        scores, predictions = (
            pd.concat([_of_task(tables[epoch][kind], task) for task, epoch in taken.items()], ignore_index=True)
            for kind in (0, 1)
        )
        (folder / predictions_under(rule)).unlink(missing_ok=True)
        if len(predictions):
            write_predictions(predictions, folder / predictions_under(rule))
        write_scores(scores, folder / scores_under(rule))
        names += [scores_under(rule), predictions_under(rule)]
    seal(folder, *names)
    write_atomically(folder / EPOCHS, json.dumps(plan.said(), indent=1))
    remove_weights(folder / SNAPSHOTS)


def _of_task(table: pd.DataFrame, task: str) -> pd.DataFrame:
    return table[table["task"] == task]


def _scored(spec: RunSpec, epoch: int, store_root: Place, tell: Callable[[str], None]) -> Tables:
    """Scores and image-level predictions of an epoch of a run: those that it is judged by, or made now."""
    training = trained_record(spec.folder)["training"]
    judged = {"final": training["epochs"] - 1, "best": training["best_epoch"]}.get(spec.experiment.judged_weights)
    if epoch == judged:
        return scores_of(spec), predictions_of(spec)
    # whoever only reads scores must not pay for torch
    from crosstask.evaluation.evaluate import evaluate_run
    from crosstask.training.device import scoring_devices

    tell(f"{spec.name}: is scored as of epoch {epoch + 1}, for comparison")
    found = evaluate_run(
        spec.folder,
        Store(store_root),
        weights=weights_of_epoch(spec, epoch),
        device=scoring_devices(spec.experiment.training),
        evaluation=spec.experiment.evaluation.model_copy(update={"keep_predictions": False}),
    )
    return found.scores, found.predictions


def tables_under(plans: Sequence[OtherEpochs], rule: str) -> Tables:
    """Scores and image-level predictions of all runs under a rule.

    Raises:
        InputError: a table is missing or damaged; what is advised does without.
    """
    scores = [scores_of(plan.spec, rule) for plan in plans]
    predictions = [predictions_of(plan.spec, rule) for plan in plans]
    return pd.concat(scores, ignore_index=True), joined_predictions(predictions)
