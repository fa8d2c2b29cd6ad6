"""Results of commands as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from crosstask.cli.answering import answer
from crosstask.cli.documents import scoring_document
from crosstask.cli.terminal import manner, out
from crosstask.errors import InputError

if TYPE_CHECKING:
    from crosstask.pipeline.predicting import Predicted
    from crosstask.pipeline.results import Comparison
    from crosstask.pipeline.scoring import Scoring


def show_comparison(comparison: Comparison) -> None:
    """The tables of a benchmark, and where its page is."""
    if manner.as_json:
        return
    output = comparison.page.parent
    more = {
        "diagnosis.txt": comparison.diagnosis is not None,
        "epochs.txt": comparison.epochs is not None,
        "transfer.txt": comparison.transfer is not None,
        "ensembles.txt": comparison.experiment.evaluation.ensembles and comparison.folder is None,
    }
    for name in ("table.txt", *(name for name, there in more.items() if there)):
        out.print((output / name).read_text(encoding="utf-8"), markup=False)
    out.print(f"Page: {comparison.page.resolve()}", markup=False)
    for name, external in comparison.external.items():
        out.print(f"External cases: {name}", markup=False)
        show_comparison(external)


def show_scores(scoring: Scoring, split: str, *, as_json: bool = False) -> None:
    """Means of a run's scores, and where the tables are."""
    if as_json:
        answer(scoring_document(scoring, split))
        return
    from crosstask.evaluation.predictions import COHORT_CASE
    from crosstask.evaluation.scored import decided_by

    evaluation = scoring.evaluation
    if scoring.predictions is not None:
        out.print(f"Image-level predictions: {scoring.predictions}", markup=False)
    if evaluation.left_out:
        out.print(
            f"{len(evaluation.left_out)} {split} cases are left out because a label of some task is missing "
            "(evaluation.complete_cases)",
            markup=False,
        )
    view = Table("Task", "Metric", "Class", "Mean", "SD over cases", "Cases", "Unit")
    for keys, part in evaluation.scores.groupby(["task", "metric", "class"], sort=False):
        values = part["value"]
        view.add_row(
            *(escape(str(key)) for key in keys),
            f"{values.mean():.3f}",
            f"{values.std():.3f}" if len(values) > 1 else "",
            f"{evaluation.scored[str(keys[0])]} together" if (part["case"] == COHORT_CASE).all() else str(len(values)),
            escape(part["unit"].iloc[0]),
        )
    out.print(view)
    predicted = evaluation.predictions.drop_duplicates("task")
    decided = dict(zip(predicted["task"], predicted["values"], strict=True))
    for line in decided_by(decided, scoring.settings):
        out.print(line, markup=False)
    out.print(f"Scores of the weights {evaluation.weights}: {scoring.output}", markup=False)


def show_predicted(predicted: Predicted, *, as_json: bool = False) -> None:
    """How many cases were predicted."""
    if as_json:
        failed = [{"case": case, "message": why} for case, why in predicted.failed]
        answer({"folder": predicted.folder, "predicted": predicted.done, "kept": predicted.kept, "failed": failed})
        return
    there = f", {predicted.kept} were there already" if predicted.kept else ""
    left = f", {len(predicted.failed)} skipped" if predicted.failed else ""
    out.print(
        f"{predicted.done} case{'s' * (predicted.done != 1)} predicted{there}{left}: {predicted.folder}", markup=False
    )


def one_of(option: str, value: str | None, accepted: Sequence[str]) -> None:
    """Make sure that an option, if it is given, has a value that it knows.

    Raises:
        InputError: it has another.
    """
    if value is not None and value not in accepted:
        raise InputError(f"{option}: {value!r} is not accepted; one of {', '.join(accepted)}")
