"""What the commands do, once their heavy parts may be imported."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table

from crosstask.assembly import assembly_of, dataset_of
from crosstask.cli.terminal import err, on_terminal, out, progress_bar
from crosstask.datasets import SPLITS, open_dataset
from crosstask.errors import InputError
from crosstask.experiment import Experiment
from crosstask.files import writing
from crosstask.runs import EXAMPLES, PREDICTIONS, plan_runs
from crosstask.splits import SPLIT_FILE, splits_of, write_splits
from crosstask.store import Store, prepare

if TYPE_CHECKING:
    from crosstask.benchmark.comparison import Cell, Comparison
    from crosstask.datasets import Case, Dataset


@dataclasses.dataclass(frozen=True)
class Result:
    """What a benchmark found: the comparison, and M of the constant predictor per task."""

    comparison: Comparison
    floor: dict[str, Cell]


def prepare_store(experiment: Experiment, *, workers: int | None = None, verify: bool = False) -> Store:
    """Prepare the experiment's cases and say what was done."""
    dataset = dataset_of(experiment)
    assembly_of(experiment, dataset)  # or it is refused
    with progress_bar("Preparing") as progress:
        report = prepare(dataset, experiment.store_folder, workers=workers, verify=verify, progress=progress)
    for case, message in report.failed:
        err.print(f"Skipped {case}: {message}", markup=False)
    out.print(
        f"Store {experiment.store_folder}: {len(report.written)} written, {len(report.rebuilt)} rebuilt, "
        f"{len(report.kept)} kept, {len(report.removed)} removed, {len(report.failed)} failed",
        markup=False,
    )
    store = Store(experiment.store_folder)
    if not len(store):
        raise InputError(f"{experiment.dataset.root}: no case could be prepared; see crosstask check {dataset.name}")
    return store


def train_runs(experiment: Experiment, method: str | None) -> None:
    """Train the runs of an experiment in this process."""
    plans = [plan for plan in plan_runs(experiment) if method in (None, plan.method.name)]
    if not plans:
        raise InputError(f"--method: {method!r} is not among the experiment's methods {experiment.methods}")

    from crosstask.training.run import check_plans

    check_plans(plans)
    store = prepare_store(experiment)
    splits_of(store, experiment.dataset, dataset_of(experiment).image_source, needed=("train", "validation"))

    from crosstask.training.run import train

    for plan in plans:
        started = time.perf_counter()
        try:
            with writing(plan.folder):
                record = train(plan, store, show_progress=on_terminal())["training"]
        except SystemExit:  # Lightning takes Ctrl-C and leaves by itself
            raise KeyboardInterrupt from None
        score = "none" if record["best_score"] is None else f"{record['best_score']:.4f}"
        out.print(
            f"{plan.name}: {record['epochs']} epochs, best {record['best_epoch'] + 1} (score {score}), "
            f"{time.perf_counter() - started:.0f} s; {plan.folder}",
            markup=False,
        )


def evaluate_to_table(
    run: Path, split: str, weights: str, output: Path | None, store: Path | None, device: str
) -> None:
    """Score one run and print the means."""
    _one_of("--split", split, SPLITS)
    _one_of("--weights", weights, ("best", "final"))
    from crosstask.benchmark.evaluate import evaluate_run
    from crosstask.benchmark.predictions import COHORT_CASE, write_predictions
    from crosstask.benchmark.scores import write_scores
    from crosstask.runs import load_plan

    plan = load_plan(run)
    output = output or run / f"scores-{split}.csv"
    if output.suffix not in (".csv", ".parquet"):
        raise InputError(f"--output: {output} must end in .csv or .parquet")
    if not output.parent.is_dir():
        raise InputError(f"--output: there is no folder {output.parent}; make it first")
    if store is None and not plan.experiment.store_folder.exists():
        raise InputError(
            f"{plan.experiment.store_folder}: the run's prepared cases are not there; give their folder with --store"
        )
    cases = Store(store or plan.experiment.store_folder)
    with progress_bar("Scoring") as progress:
        evaluation = evaluate_run(run, cases, split=split, weights=weights, device=device, progress=progress)  # type: ignore[arg-type]
    table = evaluation.scores
    write_scores(table, output)
    if len(evaluation.predictions):
        beside = output.with_name(f"{output.stem}-predictions.csv")
        write_predictions(evaluation.predictions, beside)
        out.print(f"Image-level predictions: {beside}", markup=False)
    view = Table("Task", "Metric", "Class", "Mean", "SD over cases", "Cases", "Unit")
    for keys, part in table.groupby(["task", "metric", "class"], sort=False):
        values = part["value"]
        view.add_row(
            *map(str, keys),
            f"{values.mean():.3f}",
            f"{values.std():.3f}" if len(values) > 1 else "",
            "all" if (part["case"] == COHORT_CASE).all() else str(len(values)),
            part["unit"].iloc[0],
        )
    out.print(view)
    out.print(f"Scores: {output}", markup=False)


def predict_cases(
    run: Path,
    root: Path,
    output: Path,
    cases: Sequence[str] | None,
    split: str | None,
    kind: str | None,
    weights: str,
    device: str,
) -> None:
    """Predict raw cases and write them."""
    _one_of("--weights", weights, ("best", "final"))
    if split is not None:
        _one_of("--split", split, SPLITS)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: exists and is not empty; give a new folder, nothing is overwritten")
    from crosstask.export.cases import FORMATS, writers
    from crosstask.prediction.predictor import Predictor
    from crosstask.runs import load_plan, read_record, read_thresholds

    if kind is not None:
        _one_of("--format", kind, tuple(FORMATS))
    experiment = load_plan(run).experiment
    dataset = open_dataset(experiment.dataset.name, root, **experiment.dataset.options)
    chosen = _of_split(dataset, split, read_record(run), given=experiment.dataset.splits.rule == "original")
    if cases:
        known = {case.id: case for case in chosen}
        missing = [case for case in cases if case not in known]
        if missing:
            raise InputError(f"--case: {root} has no usable case {missing[0]!r}; see crosstask check {dataset.name}")
        chosen = [known[case] for case in dict.fromkeys(cases)]
    if not chosen:
        raise InputError(f"{root}: has no {split} case; choose another --split")
    predictor = Predictor(run, weights=weights, device=device, dataset=dataset)
    outputs = writers(kind, output, predictor.assembly, dataset)
    if any(task.thresholds is not None for task in predictor.tasks) and not read_thresholds(run, weights):
        err.print("No thresholds were chosen on validation cases yet, so 0.5 decides; see crosstask evaluate")
    failed: list[tuple[str, str]] = []
    with progress_bar("Predicting") as progress:
        for done, case in enumerate(chosen, 1):
            try:
                data = dataset.read(case)
                prediction = predictor.predict(case.id, data, data.geometry)
                for writer in outputs:
                    writer.write(prediction, data)
            except InputError as error:
                failed.append((case.id, str(error)))
            progress(done, len(chosen), case.id)
    for writer in outputs:
        writer.finish()
    for case_id, message in failed:
        err.print(f"Skipped {case_id}: {message}", markup=False)
    if len(failed) == len(chosen):
        raise InputError(f"{root}: no case could be predicted; see the lines above")
    out.print(f"{len(chosen) - len(failed)} cases predicted: {output}", markup=False)


def _of_split(dataset: Dataset, split: str | None, record: dict[str, Any], *, given: bool) -> list[Case]:
    """Cases of a split: that of the data set if the run used it, else that in which the run saw a case.

    Where one of them says nothing of a case, the other does.
    """
    seen = {case: name for name, cases in record.get("data", {}).get("cases", {}).items() for case in cases}
    cases = dataset.cases()
    if given:
        return [case for case in cases if split in (None, case.split or seen.get(case.id))]
    return [case for case in cases if split in (None, seen.get(case.id, case.split))]


def run_benchmark(experiment: Experiment, jobs: int) -> Result:
    """Prepare, train, score, compare; print the table and the path of the page."""
    plans = plan_runs(experiment)

    from crosstask.training.run import check_plans

    check_plans(plans)
    store = prepare_store(experiment)
    splits = splits_of(store, experiment.dataset, dataset_of(experiment).image_source)
    from crosstask.benchmark.predictions import write_predictions
    from crosstask.benchmark.run import check_belonging, collect_predictions, collect_scores, run_all
    from crosstask.benchmark.scores import write_scores

    check_belonging(plans, experiment.store_folder)  # before anything that is there is replaced
    write_splits(experiment.output_folder / SPLIT_FILE, store.cases, splits)
    if jobs > 1 and experiment.training.threads is None:
        threads = max(1, (os.cpu_count() or 1) // jobs)
        experiment = experiment.model_copy(
            update={"training": experiment.training.model_copy(update={"threads": threads})}
        )
        plans = [dataclasses.replace(plan, experiment=experiment) for plan in plans]
    with _watch() as progress:
        run_all(plans, experiment.store_folder, jobs=jobs, progress=progress)
    output = experiment.output_folder
    scores, predictions = collect_scores(plans), collect_predictions(plans)

    from crosstask.benchmark.comparison import compare, measure_of
    from crosstask.benchmark.evaluate import evaluate_constant
    from crosstask.benchmark.examples import choose_examples, save_examples
    from crosstask.report.page import write_report
    from crosstask.report.tables import floor_of

    with progress_bar("Scoring the constant") as progress:
        constant = evaluate_constant(experiment, store, progress=progress)
    write_scores(constant.scores, output / "constant.csv")
    write_scores(scores, output / "scores.csv")
    write_scores(scores, output / "scores.parquet")
    if len(predictions):
        write_predictions(predictions, output / PREDICTIONS)
    assembly = assembly_of(experiment, dataset_of(experiment))
    examples = choose_examples(store, splits["test"], assembly)
    shown = [plan for plan in plans if plan.seed == experiment.seeds[0]]
    with progress_bar("Drawing") as progress:
        for done, plan in enumerate(shown, 1):
            if not (plan.folder / EXAMPLES).exists():
                save_examples(plan.folder, store, examples)
            progress(done, len(shown), plan.name)
        comparison = compare(
            scores,
            dataset=experiment.name,
            methods=experiment.methods,
            predictions=predictions,
            measures=[measure_of(task) for task in assembly.tasks],
            groups={case.id: case.group for case in store.cases},
            resamplings=experiment.evaluation.bootstrap,
        )
        result = Result(comparison, floor_of(constant.scores, comparison))
        page = write_report(experiment, plans, scores, predictions, constant.scores, comparison, output)
    out.print((output / "table.txt").read_text(encoding="utf-8"), markup=False)
    out.print(f"Page: {page.resolve()}", markup=False)
    return result


def run_benchmarks(experiments: Sequence[Experiment], jobs: int, table: Path) -> None:
    """Several benchmarks, and their common table with the average over data sets."""
    for kind in ("name", "output_folder"):
        values = [getattr(experiment, kind) for experiment in experiments]
        if len(set(values)) < len(values):
            raise InputError(f"the experiments share one {kind.removesuffix('_folder')}; each needs its own")
    if any(experiment.methods != experiments[0].methods for experiment in experiments):
        raise InputError("the experiments differ in methods; set methods=[...] for all of them")
    results = [run_benchmark(experiment, jobs) for experiment in experiments]

    from crosstask.report.joint import write_joint_table

    path = write_joint_table([result.comparison for result in results], [result.floor for result in results], table)
    out.print(path.read_text(encoding="utf-8"), markup=False)
    out.print(f"Table: {path.parent.resolve()}", markup=False)


@contextmanager
def _watch() -> Iterator[Any]:
    """A live table of all runs on a terminal; elsewhere a line when a run is done."""
    done: set[str] = set()
    if not on_terminal():

        def tell(states: Sequence[Any]) -> None:
            for state in states:
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
                table.add_row(state.plan.name, f"{bar} {state.epochs}/{total}", state.doing)
            live.update(table)

        yield show


def _one_of(option: str, value: str, accepted: Sequence[str]) -> None:
    if value not in accepted:
        raise InputError(f"{option}: {value!r} is not accepted; one of {', '.join(accepted)}")
