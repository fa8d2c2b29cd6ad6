"""``crosstask evaluate --on``: a run, or all runs of a benchmark, on cases that they have never met."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crosstask.buckets import is_address, store_place
from crosstask.cli.answering import answer
from crosstask.cli.documents import comparison_document
from crosstask.cli.showing import show_comparison, show_scores
from crosstask.errors import InputError


def evaluate_on(
    run: Path,
    on: str,
    classes: Sequence[str],
    tasks: Sequence[str],
    name: str | None,
    weights: str | None,
    output: Path | None,
    store: str | None,
    device: str,
    overrides: Sequence[str],
    as_json: bool = False,
) -> None:
    """Score and show; see the options of ``crosstask evaluate``.

    Raises:
        InputError: a statement is none, or see :mod:`crosstask.pipeline.external`.
    """
    by_task, by_class = task_pairs(tasks), class_pairs(classes)
    from crosstask.cli.listening import Terminal
    from crosstask.pipeline.external import compare_on, score_run_on
    from crosstask.pipeline.subject import benchmark_at, is_run

    how: dict[str, Any] = {
        "tasks": by_task,
        "classes": by_class,
        "name": name,
        "weights": weights,
        "device": device,
        "listener": Terminal(),
    }
    if is_run(run):
        scoring = score_run_on(
            run, on, output=output, store=None if store is None else store_place(store), overrides=overrides, **how
        )
        show_scores(scoring, "external", as_json=as_json)
        return
    experiment = benchmark_at(run, overrides)
    if output is not None:
        raise InputError("--output: a benchmark's tables lie in external/NAME of its output; leave it out")
    if store is not None:
        experiment = experiment.model_copy(update={"store": store if is_address(store) else Path(store)})
    comparison = compare_on(experiment, on, **how)
    if as_json:
        answer(comparison_document(comparison))
    else:
        show_comparison(comparison)


def task_pairs(given: Sequence[str]) -> dict[str, str]:
    """``{theirs: ours}`` of ``THEIRS=OURS``.

    Raises:
        InputError: one is no such statement, or two contradict each other.
    """
    found: dict[str, str] = {}
    for text in given:
        theirs, equals, ours = text.rpartition("=")
        if not (equals and theirs and ours):
            raise InputError(f"--task {text}: is no statement; write THEIRS=OURS, e.g. --task dx=diagnosis")
        if found.setdefault(theirs, ours) != ours:
            raise InputError(f"--task {text}: {theirs!r} is {found[theirs]!r} already; give one of the two")
    return found


def class_pairs(given: Sequence[str]) -> dict[str, dict[str, str]]:
    """``{task: {theirs: ours}}`` of ``TASK.THEIRS=OURS``; their class may hold dots.

    Raises:
        InputError: one is no such statement, or one of theirs is to be two of ours.
    """
    found: dict[str, dict[str, str]] = {}
    for text in given:
        place, equals, ours = text.rpartition("=")
        task, dot, theirs = place.partition(".")
        if not (equals and dot and task and theirs and ours):
            raise InputError(
                f"--class {text}: is no statement; write TASK.THEIRS=OURS, e.g. --class diagnosis.Melanoma=mel"
            )
        pairs = found.setdefault(task, {})
        if pairs.setdefault(theirs, ours) != ours:
            raise InputError(
                f"--class {text}: {theirs!r} is {pairs[theirs]!r} already; one of theirs is one of ours (several of "
                "theirs may be the same of ours)"
            )
    return found
