"""The commands of ``crosstask``, parsed by typer. Heavy modules are imported inside them: help must be instant."""

from __future__ import annotations

from collections import Counter
from copy import copy
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape
from typer.models import CommandInfo

from crosstask import __version__
from crosstask.buckets import store_place
from crosstask.cli.affinity import affinity
from crosstask.cli.answering import answer
from crosstask.cli.benchmarking import run_benchmarks
from crosstask.cli.cohort import cohort_app
from crosstask.cli.comparing import compare
from crosstask.cli.configs import config_app, configs, tell_config
from crosstask.cli.documents import run_document
from crosstask.cli.dvh import dvh
from crosstask.cli.elsewhere import (
    After,
    Cores,
    Elsewhere,
    Gpus,
    Memory,
    OneRun,
    OnRay,
    OnSlurm,
    OwnDisk,
    Sbatch,
    address_among,
)
from crosstask.cli.explaining import explain
from crosstask.cli.listing import list_entries
from crosstask.cli.options import (
    SPLITS,
    WEIGHTS,
    Device,
    DryRun,
    ExperimentFile,
    Json,
    Overrides,
    Quiet,
    Verbose,
    Weights,
    speak_all,
)
from crosstask.cli.packing import pack
from crosstask.cli.planning import show_plans
from crosstask.cli.predicting import predict
from crosstask.cli.reporting import report
from crosstask.cli.resolving import experiment_app
from crosstask.cli.showing import one_of, show_scores
from crosstask.cli.stopping import run_to_its_end
from crosstask.cli.terminal import err, manner, out, progress_bar
from crosstask.cli.watching import watch
from crosstask.errors import MOST, InputError, Repeated, one_line

app = typer.Typer(
    help="Multi-task learning for medical imaging: prepare, train, predict, compare.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cohort_app, name="cohort")
app.command()(watch)
app.command()(affinity)
app.command()(compare)
app.command()(report)
app.command()(dvh)
app.command()(configs)
app.command()(pack)
app.command(name="list")(list_entries)
app.command()(explain)
app.add_typer(config_app, name="config")
app.add_typer(experiment_app, name="experiment")

Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Runs at a time, each in its own process.")]
ExternalName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="With --on: what the cases are called; default: after their file or folder."),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crosstask {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    manner.be(quiet=quiet, verbose=verbose)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo lives.")] = Path("demo"),
    jobs: Jobs = 2,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="From generated DICOM plans to RTSTRUCT and RTDOSE for a new CT.")
    ] = False,
) -> None:
    """Run a whole benchmark on generated phantoms: a few minutes on two CPU cores."""
    if dicom:
        from crosstask.cli.demo_dicom import run_dicom_demo

        run_dicom_demo(folder / "dicom", jobs)
        return
    from crosstask.cli.demo import run_demo

    run_demo(folder, jobs)


@app.command()
def fetch(
    name: Annotated[Optional[str], typer.Argument(help="Name of the data set; without it, what there is.")] = None,  # noqa: UP045
    folder: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Folder for it; default: data/NAME."),
    ] = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only this many cases (stoic).")] = None,  # noqa: UP045
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licence that is shown; do not ask.")] = False,
    what: Annotated[bool, typer.Option("--list", help="List what there is.")] = False,
    as_json: Json = False,
    server: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(hidden=True, help="Address to download from instead, e.g. of a mirror."),
    ] = None,
) -> None:
    """Download a public data set; of a private one, say where to apply."""
    from crosstask.cli.fetch import fetch_dataset, list_sources

    if what or name is None:
        list_sources(as_json=as_json)
    else:
        fetch_dataset(name, folder, limit, yes, server)
        if as_json:
            answer({"name": name, "folder": folder or Path("data") / name})


@app.command()
def check(
    dataset: Annotated[str, typer.Argument(help="Name of the data set, e.g. openkbp.")],
    root: Annotated[
        Path, typer.Argument(help="Its folder, or the YAML file of a cohort (or its name: see crosstask configs).")
    ],
    options: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Argument(help="Options of the data set's reader, e.g. folder=data/covid_ct", metavar="[OPTION=VALUE]..."),
    ] = None,
    notes: Annotated[bool, typer.Option("--notes", help="Show notes too, not only errors and warnings.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help=f"Show every message, not only the first {MOST} of a kind.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a raw data set and say what is wrong with it, case by case."""
    from crosstask.datasets import open_dataset
    from crosstask.experiment import override_values

    data = open_dataset(dataset, root, **override_values(options or ()))
    fault: InputError | None = None
    try:
        with progress_bar("Looking", at_once=False) as looking:
            data.find(looking)
        cases = len(data.cases())
    except InputError as error:
        cases, fault = 0, error
    counts: Counter[str] = Counter()
    said: list[dict[str, str]] = []
    repeated = Repeated(None if everything else MOST)
    shown = err if manner.quiet else out
    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    with progress_bar("Checking") as progress:
        seen: dict[str, None] = {}
        for issue in data.check():
            seen[issue.case] = None
            progress(min(len(seen), cases), cases, issue.case)
            counts[issue.severity] += 1
            if issue.severity == "note" and not notes:
                continue
            said.append({"case": issue.case, "severity": issue.severity, "message": issue.message})
            if repeated.shows(issue.message, issue.severity):
                line = escape(one_line(f"{issue.case}: {issue.message}"))
                shown.print(f"[{colours[issue.severity]}]{issue.severity:8}[/] {line}", markup=True)
    for severity, count, first in repeated.rest():
        line = escape(one_line(f"and {count} more such (--all shows them), of the kind of: {first}"))
        shown.print(f"[{colours[severity]}]{severity:8}[/] {line}", markup=True)
    if fault is not None:
        raise fault
    out.print(
        f"{cases} usable cases; {counts['error']} errors, {counts['warning']} warnings, {counts['note']} notes"
        + ("" if notes or not counts["note"] else " (--notes shows them)")
    )
    out.print(f"Licence: {data.licence}. Source: {data.source}. Cite: {data.citation}")
    if as_json:
        told = {"licence": data.licence, "source": data.source, "citation": data.citation}
        answer({"dataset": dataset, "root": root, "cases": cases, **_counted(counts), "issues": said, **told})
    if counts["error"]:
        raise typer.Exit(InputError.exit_code)


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {f"{severity}s": counts[severity] for severity in ("error", "warning", "note")}


@app.command()
def prepare(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    workers: Annotated[Optional[int], typer.Option(help="Processes; default: all cores.")] = None,  # noqa: UP045
    verify: Annotated[
        bool, typer.Option("--verify", help="Also recompute every checksum; rebuild damaged cases.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the cases of a data set into the experiment's store, once."""
    from crosstask.cli.listening import Terminal
    from crosstask.experiment import load_experiment
    from crosstask.pipeline.context import Context

    tell_config(experiment)
    context = Context(load_experiment(experiment, overrides or ()), Terminal())
    store = context.prepare(workers=workers, verify=verify, strict=True)
    if as_json:
        answer({"store": str(store.root), "cases": len(store), "prepared": context.prepared})


@app.command()
def train(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    method: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only this method: its name, or with a variant NAME+VARIANT."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train the experiment's methods one after the other, without scoring; interrupted runs go on."""
    from crosstask.cli.listening import Terminal
    from crosstask.experiment import load_experiment
    from crosstask.pipeline.context import Context
    from crosstask.pipeline.training import train_runs

    tell_config(experiment)
    context = Context(load_experiment(experiment, overrides or ()), Terminal())
    if dry_run:
        show_plans([context], method, scored=False, as_json=as_json)
        return
    folders = train_runs(context, method)
    if as_json and context.speaks:
        answer({"runs": [run_document(folder) for folder in folders]})


@app.command()
def evaluate(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder; with --on or --ensemble a benchmark: its output folder or experiment.",
            metavar="RUN_OR_BENCHMARK",
        ),
    ],
    split: Annotated[str, typer.Option(help="train, validation, test, or all cases of the store.")] = "test",
    weights: Weights = None,
    output: Annotated[Optional[Path], typer.Option("--output", "-o", help="Table: .csv or .parquet.")] = None,  # noqa: UP045
    store: Annotated[Optional[str], typer.Option(help="Prepared cases, if others or not where they were.")] = None,  # noqa: UP045
    device: Device = "auto",
    on: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Labelled cases that were never met: an experiment, a cohort file, a folder, DATASET=FOLDER, or a "
            "name under external of the experiment.",
            metavar="EXPERIMENT_OR_COHORT",
        ),
    ] = None,
    classes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--class", help="With --on: which class of theirs is which of ours.", metavar="TASK.THEIRS=OURS"),
    ] = None,
    tasks: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--task", help="With --on: which task of theirs is which of ours.", metavar="THEIRS=OURS"),
    ] = None,
    name: ExternalName = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="The seeds of each method of a benchmark as one, with its calibration.")
    ] = False,
    method: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="With --ensemble: only this method."),
    ] = None,
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            help="evaluation.KEY=value, in the place of what the run's settings have; of a benchmark any key.",
            metavar="[KEY=VALUE]...",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a run on whole cases: one row per case, class and metric, and a summary. With --on: on external cases."""
    one_of("--split", split, (*SPLITS, "all"))
    one_of("--weights", weights, WEIGHTS)
    if ensemble or method is not None:
        from crosstask.cli.ensembles import evaluate_ensembles

        others: dict[str, object] = {"--on": on, "--weights": weights, "--output": output, "--store": store}
        others |= {"--class": classes, "--task": tasks, "--name": name}
        one_of("--split", split, ("test",))
        evaluate_ensembles(run, method, device, overrides or (), others, ensemble=ensemble, as_json=as_json)
        return
    if on is not None:
        from crosstask.cli.external import evaluate_on

        one_of("--split", split, ("test",))  # every external case is a test case
        evaluate_on(run, on, classes or (), tasks or (), name, weights, output, store, device, overrides or (), as_json)
        return
    for option, given in (("--class", classes), ("--task", tasks), ("--name", name)):
        if given:
            raise InputError(f"{option}: is of external cases; give these with --on")
    from crosstask.cli.listening import Terminal
    from crosstask.pipeline.scoring import score_run

    scoring = score_run(
        run,
        split=split,  # type: ignore[arg-type]
        weights=weights,
        output=output,
        store=None if store is None else store_place(store),
        device=device,
        overrides=overrides or (),
        listener=Terminal(),
    )
    show_scores(scoring, split, as_json=as_json)


app.command()(predict)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    output: Annotated[Path, typer.Argument(help="The new file, NAME.onnx.", metavar="FILE.onnx")],
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Write a run's network as ONNX and check it against PyTorch."""
    one_of("--weights", weights, WEIGHTS)
    from crosstask.export.onnx import export_onnx

    difference = export_onnx(run, output, weights=weights)
    if as_json:
        answer({"file": output, "difference": difference})
        return
    out.print(
        f"{output}: differs from PyTorch by {difference:.1e} of the largest output at most (both on the CPU)",
        markup=False,
    )


@app.command()
def benchmark(
    arguments: Annotated[
        list[str],
        typer.Argument(
            help="Experiment files; several are compared one by one and then averaged. Then keys to change in all of "
            "them, e.g. training.epochs=3",
            metavar="EXPERIMENT... [KEY=VALUE]...",
        ),
    ],
    jobs: Jobs = 1,
    table: Annotated[Path, typer.Option(help="Folder of the table of several experiments.")] = Path("runs/table"),
    until: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Add seeds until the interval of the mean improvement reaches at most so many percent to either side, "
            "of every method.",
            metavar="PERCENT",
        ),
    ] = None,
    max_seeds: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="With --until: seeds at most, the experiment's own among them; default: 20."),
    ] = None,
    ray: OnRay = False,
    slurm: OnSlurm = False,
    run: OneRun = None,
    cores: Cores = None,
    gpus: Gpus = None,
    memory: Memory = None,
    own_disk: OwnDisk = False,
    sbatch: Sbatch = None,
    slurm_after: After = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train methods x seeds, score them on test, and compare: the papers' Table 2. Resumes where it stopped."""
    from crosstask.cli.listening import Terminal
    from crosstask.experiment import load_experiment
    from crosstask.pipeline.benchmark import check_aim, check_together
    from crosstask.pipeline.context import Context
    from crosstask.pipeline.seeds import MAX_SEEDS, Aim

    if max_seeds is not None and until is None:
        raise InputError("--max-seeds: ends what --until begins; give --until PERCENT too, or seeds=[...]")
    aim = None if until is None else Aim(until, MAX_SEEDS if max_seeds is None else max_seeds)
    address, arguments = address_among(arguments) if ray else (None, arguments)
    elsewhere = Elsewhere(ray, slurm, cores, gpus, memory, own_disk, sbatch or (), slurm_after, run, address)
    elsewhere.check(jobs)
    files = [Path(argument) for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    if not files:
        raise InputError("EXPERIMENT: no experiment file was given; crosstask configs lists those that come along")
    for file in files:
        tell_config(file)
    contexts = [Context(load_experiment(file, overrides), Terminal()) for file in files]
    if len(contexts) > 1:
        check_together(contexts)
    for context in contexts:
        check_aim(context, aim)
    if dry_run:
        show_plans(contexts, None, jobs=jobs, scored=True, as_json=as_json)
        return
    run_benchmarks(contexts, arguments, jobs=jobs, aim=aim, table=table, elsewhere=elsewhere, as_json=as_json)


@app.command()
def score(
    challenge: Annotated[str, typer.Argument(help="openkbp.")],
    reference: Annotated[Path, typer.Argument(help="Folder of raw patients, e.g. validation-pats.")],
    prediction: Annotated[Path, typer.Argument(help="Folder of predicted dose, pt_N.csv.")],
    as_json: Json = False,
    partial: Annotated[bool, typer.Option("--partial", help="Score the patients that were predicted only.")] = False,
) -> None:
    """Score predicted dose by the challenge's own rules."""
    if challenge != "openkbp":
        raise InputError(f"{challenge!r}: no such challenge; there is openkbp")
    from crosstask.datasets.openkbp_scoring import score_directory

    with progress_bar("Scoring") as progress:
        result = score_directory(reference, prediction, partial=partial, progress=progress)
    if as_json:
        answer(result.as_dict())
        return
    out.print(f"Dose score {result.dose_score:.4f} Gy, DVH score {result.dvh_score:.4f} Gy, {result.patients} patients")


speak_all(app, cohort_app, config_app, experiment_app)


def app_for(command: str) -> typer.Typer:
    """The application with one of its commands alone, which is quicker to build; all if none is called so."""
    commands = [info for info in app.registered_commands if _name_of(info) == command]
    groups = [info for info in app.registered_groups if info.name == command]
    if not commands and not groups:
        return app
    alone = copy(app)
    alone.registered_commands, alone.registered_groups = commands, groups
    return alone


def _name_of(info: CommandInfo) -> str:
    return info.name or (info.callback.__name__.replace("_", "-") if info.callback else "")


def run(command: str) -> None:
    """Run the command line; errors are one line and an exit code: 2 for input, 1 for anything else.

    Args:
        command: the command that it names, if any.
    """
    manner.reset()
    run_to_its_end(app_for(command))
