"""What the commands do, once their heavy parts may be imported."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from crosstask.assembly import assembly_of, dataset_of
from crosstask.cli.terminal import err, on_terminal, out, progress_bar
from crosstask.datasets import SPLITS
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import Experiment, with_evaluation
from crosstask.files import writing
from crosstask.history import epoch_line, read_history
from crosstask.processes import cores
from crosstask.runs import (
    CHARACTERISTICS,
    HISTORY,
    PREDICTIONS,
    RunPlan,
    keys_of,
    learned_tasks,
    plan_runs,
    read_record,
)
from crosstask.splits import SPLIT_FILE, SPLIT_FOLDER, write_splits
from crosstask.store import Store, is_of_earlier_version, prepare

if TYPE_CHECKING:
    import pandas as pd

    from crosstask.benchmark.comparison import Cell, Comparison
    from crosstask.benchmark.diagnosis import Diagnosis
    from crosstask.datasets.base import Split
    from crosstask.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Result:
    """What a benchmark found: the comparison, and M of the constant predictor per task."""

    comparison: Comparison
    floor: dict[str, Cell]


def prepare_store(
    experiment: Experiment, *, workers: int | None = None, verify: bool = False, strict: bool = False
) -> Store:
    """Prepare the experiment's cases and say what was done.

    Raises:
        CrosstaskError: with ``strict``, a case that was prepared before cannot be read any more.
    """
    dataset = dataset_of(experiment)
    assembly_of(experiment, dataset)  # or it is refused
    if is_of_earlier_version(experiment.store_folder):
        err.print(f"{experiment.store_folder}: is of an earlier version, so all cases are prepared anew", markup=False)
    with progress_bar("Looking", at_once=False) as looking:
        dataset.find(looking)
    with progress_bar("Preparing") as progress:
        report = prepare(dataset, experiment.store_folder, workers=workers, verify=verify, progress=progress)
    for case, message in report.warned:
        err.print(f"Warning: {case}: {message}", markup=False)
    for case, message in report.failed:
        err.print(f"Skipped {case}: {message}", markup=False)
    for case, message in report.outdated:
        err.print(f"Kept {case} as it was prepared before: {message}", markup=False)
    outdated = f", {len(report.outdated)} kept that cannot be read any more" if report.outdated else ""
    out.print(
        f"Store {experiment.store_folder}: {len(report.written)} written, {len(report.rebuilt)} rebuilt, "
        f"{len(report.kept)} kept, {len(report.removed)} removed, {len(report.failed)} failed{outdated}",
        markup=False,
    )
    store = Store(experiment.store_folder)
    if not len(store):
        raise InputError(f"{experiment.dataset.root}: no case could be prepared; see crosstask check {dataset.name}")
    if strict and report.outdated:
        more = f" and {len(report.outdated) - 1} more" if len(report.outdated) > 1 else ""
        raise CrosstaskError(
            f"{experiment.store_folder}: {report.outdated[0][0]}{more} cannot be read any more and stayed as prepared "
            "before; mend the files named above, or take them out of the data set, and prepare again"
        )
    return store


def train_runs(experiment: Experiment, method: str | None) -> None:
    """Train the runs of an experiment in this process; ``method`` is a name, or a key with its variant."""
    plans = [plan for plan in plan_runs(experiment) if method in (None, plan.method.name, plan.key)]
    if not plans:
        known = [*experiment.methods, *(keys_of(experiment) if experiment.variants else ())]
        raise InputError(f"--method: {method!r} is not among the experiment's methods {known}")

    from crosstask.network import check_names
    from crosstask.training.run import check_plans

    check_names(experiment)
    check_plans(plans)
    store = prepare_store(experiment)

    from crosstask.benchmark.run import splits_by_seed
    from crosstask.training.run import train

    splits = splits_by_seed(plans, store, needed=("train", "validation"))  # or one is refused
    _tell_one_sided(experiment, plans, store, splits)
    _tell_lacking(experiment, store, splits)

    for plan in plans:
        started = time.perf_counter()
        try:
            with writing(plan.folder):
                record = train(plan, store, show_progress=on_terminal(), tell=_tell)["training"]
        except SystemExit:  # Lightning takes Ctrl-C and leaves by itself
            raise KeyboardInterrupt from None
        score = "none" if record["best_score"] is None else f"{record['best_score']:.4f}"
        out.print(
            f"{plan.name}: {record['epochs']} epochs, best {record['best_epoch'] + 1} (score {score}), "
            f"{time.perf_counter() - started:.0f} s on {record['device']}; {plan.folder}",
            markup=False,
        )
    _tell_lonely(plans)
    _tell_unscored(plans)


def _tell(line: str) -> None:
    err.print(line, markup=False)


def _tell_one_sided(
    experiment: Experiment, plans: Sequence[RunPlan], store: Store, splits: dict[int, dict[Split, list[str]]]
) -> None:
    """Say which splits hold one class alone, or lack one, before hours are spent."""
    from crosstask.benchmark.coverage import one_sided

    assembly = assembly_of(experiment, dataset_of(experiment)).for_scoring()
    rules = {plan.seed: plan.experiment.dataset.splits for plan in plans}
    told: set[str] = set()
    for seed, own in splits.items():
        for name in SPLITS[1:]:
            for line in one_sided(store, assembly, own[name], name, rules[seed]):
                if line not in told:
                    told.add(line)
                    err.print(f"seed {seed}: {line}" if experiment.dataset.splits.by_seed else line, markup=False)


def _tell_lacking(experiment: Experiment, store: Store, splits: dict[int, dict[Split, list[str]]]) -> None:
    """Say before the training which tasks will have no say in which epoch is the best."""
    from crosstask.benchmark.scored import chosen_without, validation_lacks

    assembly = assembly_of(experiment, dataset_of(experiment))
    lacking = [name for own in splits.values() for name in validation_lacks(own, assembly, store, experiment)]
    if lacking:
        _tell(f"Warning: {chosen_without(list(dict.fromkeys(lacking)))}")


def _tell_unscored(plans: Sequence[RunPlan]) -> None:
    """Say of which runs a task had no score on the validation cases, though they have its label."""
    from crosstask.benchmark.scored import chosen_without

    for plan in plans:
        major = plan.experiment.major
        unscored = read_record(plan.folder).get("training", {}).get("unscored", ())
        if judged := [name for name in unscored if major in (None, name)]:
            _tell(f"Warning: {plan.name}: {chosen_without(judged)}")


def _tell_lonely(plans: Sequence[RunPlan]) -> None:
    """Say which runs of several tasks were left with the major one, as nothing goes with it."""
    lonely = [plan for plan in plans if len(plan.tasks) > 1 and len(learned_tasks(read_record(plan.folder))) == 1]
    if lonely:
        more = f" and {len(lonely) - 1} more runs" if len(lonely) > 1 else ""
        err.print(
            f"{lonely[0].name}{more}: learned {lonely[0].experiment.major} alone, since no characteristic is kept; see "
            f"{lonely[0].folder / CHARACTERISTICS}",
            markup=False,
        )


def evaluate_to_table(
    run: Path,
    split: str,
    weights: str,
    output: Path | None,
    store: Path | None,
    device: str,
    overrides: Sequence[str] = (),
) -> None:
    """Score one run, as its settings say or as they are overridden, and print the means."""
    one_of("--split", split, (*SPLITS, "all"))
    one_of("--weights", weights, ("best", "final"))
    from crosstask.benchmark.coverage import is_own_store
    from crosstask.benchmark.evaluate import evaluate_run
    from crosstask.benchmark.predictions import COHORT_CASE, write_predictions
    from crosstask.benchmark.scored import decided_by
    from crosstask.benchmark.scores import write_scores
    from crosstask.devices import describe_device, find_device
    from crosstask.runs import load_plan

    plan = load_plan(run)
    settings = with_evaluation(plan.experiment, overrides).evaluation
    default = run / f"scores-{split}.csv"
    given, output = output is not None, output or default
    if output.suffix not in (".csv", ".parquet"):
        raise InputError(f"--output: {output} must end in .csv or .parquet")
    if not output.parent.is_dir():
        raise InputError(f"--output: there is no folder {output.parent}; make it first")
    if store is None and not plan.experiment.store_folder.exists():
        raise InputError(
            f"{plan.experiment.store_folder}: the run's prepared cases are not there; give their folder with --store"
        )
    cases = Store(store or plan.experiment.store_folder)
    if not given and output.exists() and not is_own_store(run, cases):  # figures of the run's own cases are kept
        output = run / f"scores-{split}-{cases.root.parent.name}-{cases.root.name}.csv"
    found = find_device(device)
    out.print(f"Device: {describe_device(found)}", markup=False)
    with progress_bar("Scoring") as progress:
        evaluation = evaluate_run(
            run,
            cases,
            split=split,  # type: ignore[arg-type]
            weights=weights,
            device=str(found),
            evaluation=settings,
            progress=progress,
        )
    table = evaluation.scores
    for remark in evaluation.remarks:
        err.print(remark, markup=False)
    write_scores(table, output)
    if len(evaluation.predictions):
        beside = output.with_name(f"{output.stem}-predictions.csv")
        write_predictions(evaluation.predictions, beside)
        out.print(f"Image-level predictions: {beside}", markup=False)
    if evaluation.left_out:
        out.print(
            f"{len(evaluation.left_out)} {split} cases are left out, for want of a label of some task "
            "(evaluation.complete_cases)",
            markup=False,
        )
    view = Table("Task", "Metric", "Class", "Mean", "SD over cases", "Cases", "Unit")
    for keys, part in table.groupby(["task", "metric", "class"], sort=False):
        values = part["value"]
        view.add_row(
            *(escape(str(key)) for key in keys),
            f"{values.mean():.3f}",
            f"{values.std():.3f}" if len(values) > 1 else "",
            f"{evaluation.scored[str(keys[0])]} together" if (part["case"] == COHORT_CASE).all() else str(len(values)),
            escape(part["unit"].iloc[0]),
        )
    out.print(view)
    if len(evaluation.predictions) and "sigmoid" in set(evaluation.predictions["values"]):
        out.print(f"Findings are {decided_by(settings)}", markup=False)
    out.print(f"Scores: {output}", markup=False)


def export_network(run: Path, output: Path, weights: str) -> None:
    """Write a run's network as ONNX, and say how near it is to PyTorch's."""
    one_of("--weights", weights, ("best", "final"))
    from crosstask.export.onnx import export_onnx

    difference = export_onnx(run, output, weights=weights)
    out.print(
        f"{output}: differs from PyTorch by {difference:.1e} of the largest output at most (both on the CPU)",
        markup=False,
    )


def run_benchmark(experiment: Experiment, jobs: int) -> Result:
    """Prepare, train, score, compare; print the tables and the path of the page."""
    plans = plan_runs(experiment)

    from crosstask.network import check_names
    from crosstask.training.run import check_plans

    check_names(experiment)
    check_plans(plans)
    store = prepare_store(experiment)
    from crosstask.benchmark.predictions import write_predictions
    from crosstask.benchmark.run import check_belonging, collect_predictions, collect_scores, run_all, splits_by_seed
    from crosstask.benchmark.scored import scored_cases, scoring_remarks
    from crosstask.benchmark.scores import write_scores

    splits = splits_by_seed(plans, store)
    check_belonging(plans, experiment.store_folder)  # before anything that is there is replaced
    assembly = assembly_of(experiment, dataset_of(experiment))
    remarks = scoring_remarks(experiment, assembly, store, splits)
    _tell_one_sided(experiment, plans, store, splits)
    output = experiment.output_folder
    _write_splits(experiment, store, splits)
    _tell_lacking(experiment, store, splits)
    if jobs > 1:
        plans = [_with_threads(plan, max(1, cores() // jobs)) for plan in plans]
    with _watch(plans) as progress:
        run_all(plans, experiment.store_folder, jobs=jobs, progress=progress)
    _tell_lonely(plans)
    _tell_unscored(plans)
    scores, predictions = collect_scores(plans), collect_predictions(plans)

    from crosstask.benchmark.characteristics import collect_characteristics
    from crosstask.benchmark.comparison import compare, measure_of
    from crosstask.benchmark.examples import choose_examples, save_examples
    from crosstask.benchmark.kept import examples_of, without_history
    from crosstask.report.page import write_report
    from crosstask.report.tables import floor_of
    from crosstask.training.device import scoring_device

    constant = _constant(experiment, plans, store)
    write_scores(constant, output / "constant.csv")
    write_scores(scores, output / "scores.csv")
    write_scores(scores, output / "scores.parquet")
    if len(predictions):
        write_predictions(predictions, output / PREDICTIONS)
    shown_cases = scored_cases(store, splits[experiment.seeds[0]]["test"], assembly, experiment.evaluation)
    examples = choose_examples(store, shown_cases, assembly)
    shown = [plan for plan in plans if plan.seed == experiment.seeds[0]]
    for line in without_history(plans):
        _tell(line)
    with progress_bar("Drawing") as progress:
        for done, plan in enumerate(shown, 1):
            if examples_of(plan.folder) is None:
                device = scoring_device(plan.experiment.training)
                save_examples(plan.folder, store, examples, device=device)
            progress(done, len(shown), plan.name)
        compared: dict[str, Any] = {
            "dataset": experiment.name,
            "methods": keys_of(experiment),
            "groups": {case.id: case.group for case in store.cases},
            "by_seed": experiment.dataset.splits.by_seed,
            "resamplings": experiment.evaluation.bootstrap,
        }
        # single-task learning knows the major task alone
        judged = [task for task in assembly.tasks if experiment.major in (None, task.name)]
        comparison = compare(
            scores,
            predictions=predictions,
            constant=constant,
            measures=[measure_of(task) for task in judged],
            **compared,
        )
        comparison = dataclasses.replace(comparison, remarks=(*remarks, *comparison.remarks))
        result = Result(comparison, floor_of(constant, comparison))
        diagnosis = _diagnosis(experiment, predictions, judged, compared)
        if diagnosis is not None:
            diagnosis = dataclasses.replace(diagnosis, remarks=(*remarks, *diagnosis.remarks))
        page = write_report(
            experiment,
            plans,
            scores,
            predictions,
            constant,
            comparison,
            output,
            diagnosis=diagnosis,
            characteristics=collect_characteristics(plans),
        )
    for name in ("table.txt", *(("diagnosis.txt",) if diagnosis is not None else ())):
        out.print((output / name).read_text(encoding="utf-8"), markup=False)
    out.print(f"Page: {page.resolve()}", markup=False)
    return result


def _write_splits(experiment: Experiment, store: Store, splits: dict[int, dict[Split, list[str]]]) -> None:
    """One file, or one a seed where each has splits of its own."""
    output = experiment.output_folder
    if not experiment.dataset.splits.by_seed:
        write_splits(output / SPLIT_FILE, store.cases, splits[experiment.seeds[0]])
        return
    for seed, own in splits.items():
        write_splits(output / SPLIT_FOLDER / f"seed{seed}.csv", store.cases, own)


def _with_threads(plan: RunPlan, threads: int) -> RunPlan:
    """The plan with so many threads, if it does not say how many."""
    training = plan.experiment.training
    if training.threads is not None:
        return plan
    changed = plan.experiment.model_copy(update={"training": training.model_copy(update={"threads": threads})})
    return dataclasses.replace(plan, experiment=changed)


def _constant(experiment: Experiment, plans: Sequence[RunPlan], store: Store) -> pd.DataFrame:
    """Scores of the constant predictor, of each seed where each has splits of its own."""
    import pandas as pd

    from crosstask.benchmark.evaluate import evaluate_constant

    seeds = experiment.seeds if experiment.dataset.splits.by_seed else experiment.seeds[:1]
    tables = []
    for seed in seeds:
        own = [plan for plan in plans if plan.seed == seed]
        learned = [task for plan in own for task in learned_tasks(read_record(plan.folder))]
        with progress_bar("Scoring the constant") as progress:
            tables.append(
                evaluate_constant(own[0].experiment, store, seed=seed, tasks=learned, progress=progress).scores
            )
    return pd.concat(tables, ignore_index=True)


def _diagnosis(
    experiment: Experiment, predictions: pd.DataFrame, judged: Sequence[Task], options: dict[str, Any]
) -> Diagnosis | None:
    """The table of the major task, if that is a classification of whole cases."""
    if experiment.major is None or judged[0].level != "image" or judged[0].values == "quantity":
        return None
    from crosstask.benchmark.diagnosis import diagnose

    return diagnose(predictions, task=judged[0], **options)


def run_benchmarks(experiments: Sequence[Experiment], jobs: int, table: Path) -> None:
    """Several benchmarks, and their common table with the average over data sets."""
    for kind in ("name", "output_folder"):
        values = [getattr(experiment, kind) for experiment in experiments]
        if len(set(values)) < len(values):
            raise InputError(f"the experiments share one {kind.removesuffix('_folder')}; each needs its own")
    if any(keys_of(experiment) != keys_of(experiments[0]) for experiment in experiments):
        raise InputError("the experiments differ in methods or variants; set methods=[...] for all of them")
    results = [run_benchmark(experiment, jobs) for experiment in experiments]

    from crosstask.report.joint import write_joint_table

    path = write_joint_table([result.comparison for result in results], [result.floor for result in results], table)
    out.print(path.read_text(encoding="utf-8"), markup=False)
    out.print(f"Table: {path.parent.resolve()}", markup=False)


@contextmanager
def _watch(plans: Sequence[RunPlan]) -> Iterator[Any]:
    """A live table of all runs on a terminal; elsewhere a line an epoch, and one when a run is done."""
    done: set[str] = set()
    if not on_terminal():
        told = {plan.name: len(read_history(plan.folder / HISTORY)) for plan in plans}

        def tell(states: Sequence[Any]) -> None:
            for state in states:
                plan = state.plan
                if state.doing != "waiting" and plan.name not in done:
                    for row in read_history(plan.folder / HISTORY)[told[plan.name] :]:
                        told[plan.name] += 1
                        line = epoch_line(row, plan.experiment.training.epochs)
                        err.print(f"{plan.name}: {line}", markup=False)
                if state.doing == "done" and state.plan.name not in done:
                    done.add(state.plan.name)
                    err.print(
                        f"{state.plan.name}: done, {state.epochs} epochs ({len(done)} of {len(states)})", markup=False
                    )

        yield tell
        return
    with Live(console=err, refresh_per_second=2, transient=True) as live:

        def show(states: Sequence[Any]) -> None:
            table = Table("Run", "Epochs", "", box=None)
            for state in states:
                total = state.plan.experiment.training.epochs
                filled = round(20 * min(state.epochs / total, 1))
                bar = "[green]" + "━" * filled + "[/][dim]" + "━" * (20 - filled) + "[/]"
                table.add_row(escape(state.plan.name), f"{bar} {state.epochs}/{total}", state.doing)
            live.update(table)

        yield show


def one_of(option: str, value: str, accepted: Sequence[str]) -> None:
    """Make sure that an option has a value that it knows.

    Raises:
        InputError: it has another.
    """
    if value not in accepted:
        raise InputError(f"{option}: {value!r} is not accepted; one of {', '.join(accepted)}")
