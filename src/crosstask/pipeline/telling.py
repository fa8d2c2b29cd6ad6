"""What is to be known of an experiment's runs beside their figures, before and after hours of training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from crosstask.datasets.base import SPLITS, Split
from crosstask.evaluation.coverage import one_sided
from crosstask.evaluation.scored import chosen_without
from crosstask.pipeline.context import Context
from crosstask.pipeline.listener import Listener
from crosstask.runs import CHARACTERISTICS, RunSpec, has_learned, learned_tasks, never_predicted, read_record
from crosstask.training.loggers import failures_of

_log = logging.getLogger(__name__)


def tell_or_follow(listener: Listener, line: str) -> None:
    """Pass on what a run says: warnings as such, all else as what happens on the way."""
    (listener.followed if is_progress(line) else listener.warned)(line)


def is_progress(line: str) -> bool:
    """Whether a line of a run says where it trains or is scored, which is no warning."""
    return any(f": {words} " in line for words in ("trains on", "is scored on", "is scored as"))


def tell_splits(context: Context, splits: dict[int, dict[Split, list[str]]], lacking: Sequence[str]) -> None:
    """Say which splits hold one class alone, or lack one, and which tasks have no say in which epoch is the best.

    Args:
        context: the experiment.
        splits: case ids of each split, of each seed.
        lacking: tasks without a label on validation cases; see :meth:`Context.lacking`.
    """
    by_seed = context.experiment.dataset.splits.by_seed
    for seed, own in splits.items():
        counts = ", ".join(f"{len(cases)} {name}" for name, cases in own.items())
        _log.info("splits of seed %d, by the rule %s: %s", seed, context.experiment.dataset.splits.rule, counts)
    assembly = context.assembly.for_scoring()
    rules = {spec.seed: spec.experiment.dataset.splits for spec in context.specs}
    told: dict[str, None] = {}
    for seed, own in splits.items():
        for name in SPLITS[1:]:
            for line in one_sided(context.store, assembly, own[name], name, rules[seed]):
                if line not in told:
                    told[line] = None
                    context.listener.warned(f"seed {seed}: {line}" if by_seed else line)
    if lacking:
        context.listener.warned(f"Warning: {chosen_without(lacking)}")


def tell_trained(specs: Sequence[RunSpec], listener: Listener) -> None:
    """Say which runs were left with the major task alone, and of which a task had no score on validation cases."""
    lonely = [spec for spec in specs if len(spec.tasks) > 1 and len(learned_tasks(read_record(spec.folder))) == 1]
    if lonely:
        more = f" and {len(lonely) - 1} more runs" if len(lonely) > 1 else ""
        listener.warned(
            f"{lonely[0].name}{more}: learned {lonely[0].experiment.major} alone, since no characteristic is kept; see "
            f"{lonely[0].folder / CHARACTERISTICS}"
        )
    for spec in specs:
        major = spec.experiment.major
        unscored = read_record(spec.folder).get("training", {}).get("unscored", ())
        if judged := [name for name in unscored if major in (None, name)]:
            listener.warned(f"Warning: {spec.name}: {chosen_without(judged)}")


def tell_never_predicted(specs: Sequence[RunSpec], listener: Listener) -> None:
    """Say in one line of runs, trained in processes of their own, that never predict a class on validation samples."""
    lines = [line for spec in specs if (line := never_predicted(spec.name, read_record(spec.folder)))]
    if lines:
        more = len(lines) - 1
        others = f"{more} more runs never predict" if more > 1 else "another run never predicts"
        listener.warned(lines[0] + f" ({others} some class)" * bool(more))


def tell_loggers(specs: Sequence[RunSpec], listener: Listener) -> None:
    """Say in a line each which loggers have failed in runs that were trained in processes of their own."""
    failed: dict[str, dict[str, str]] = {}
    for spec in specs:
        for name, why in failures_of(spec).items():
            failed.setdefault(name, {})[spec.name] = why
    for name, runs in failed.items():
        run, why = next(iter(runs.items()))
        more = f" and {len(runs) - 1} more runs" if len(runs) > 1 else ""
        listener.warned(f"Warning: the logger {name} failed in {run}{more}, which went on without it: {why}")


def other_seeds(context: Context) -> list[str]:
    """What to say where runs of further seeds lie in the output folder, which the comparison leaves out."""
    experiment = context.experiment
    runs = {path for key in context.keys for path in (experiment.output_folder / "runs" / key).glob("seed*")}
    numbers = {path: path.name.removeprefix("seed") for path in runs if path.is_dir()}
    found = sorted(
        {
            int(number)
            for path, number in numbers.items()
            if number.isdecimal() and any(map(has_learned, (path, *filter(Path.is_dir, path.iterdir()))))
        }
        - set(experiment.seeds)
    )
    if not found:
        return []
    return [
        f"Runs of further seeds lie in {experiment.output_folder / 'runs'}: {', '.join(map(str, found))}; compared are "
        f"{', '.join(map(str, experiment.seeds))}"
    ]
