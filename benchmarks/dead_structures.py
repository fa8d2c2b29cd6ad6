"""Does every method find every structure, whatever its seed? A structure is dead where its Dice is below 1 %.

Trains methods, and forms of them, on the demo's phantoms with many seeds, and prints what each seed has on the
*validation* phantoms: Dice per structure and dose error.

    python benchmarks/dead_structures.py FOLDER [stl hps ctan:scaled_bottleneck=true ...] [--seeds 20] [-j 2]
    python benchmarks/dead_structures.py --of BENCHMARK

A form is METHOD:OPTION=VALUE,... with options of its architecture; none means every method that learns structures.
--set changes the experiment of all, as on crosstask's command line. FOLDER takes phantoms, store and runs; a command
that was stopped goes on from there. --of trains nothing: it reads the scores of a benchmark that is there, of whatever
cases it was judged on.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from scored import scored

from crosstask.assembly import dataset_of
from crosstask.cli.demo import CASES, EXPERIMENT, demo_experiment
from crosstask.datasets import Phantom
from crosstask.evaluation.scores import read_scores
from crosstask.experiment import Experiment, load_experiment
from crosstask.runs import run_specs
from crosstask.store import prepare

DEAD = 1.0
"""Dice in % below which a structure counts as never found."""
FORMS = ("stl", "hps", "mtan", "ctan", "ctan-gated", "cross_stitch", "nddr", "sequential")
"""Every architecture with pixel-level tasks."""


class Job(NamedTuple):
    """One seed of one form."""

    form: str
    seed: int
    folder: Path
    experiment: Path
    settings: tuple[str, ...]

    def load(self) -> Experiment:
        """The experiment of this job alone, in a folder of its form's own."""
        method, _, options = self.form.partition(":")
        changed = hashlib.sha1(repr((options, self.settings)).encode()).hexdigest()[:8]
        changes = [f"architecture.{method}.{option}" for option in options.split(",") if option]
        places = {"output": Path("runs", f"{method}-{changed}"), "store": "store", "dataset.root": "data"}
        return load_experiment(
            self.experiment,
            [
                f"methods=[{method}]",
                f"seeds=[{self.seed}]",
                *(f"{key}='{self.folder / place}'" for key, place in places.items()),
                *changes,
                *self.settings,
            ],
        )


def run(job: Job) -> pd.DataFrame:
    """Train the job's runs and score them on the validation phantoms; a dose alone has no structure to lose."""
    experiment = job.load()
    started = time.process_time()
    parts = [scored(plan, "validation") for plan in run_specs(experiment) if "segmentation" in plan.tasks]
    return pd.concat(parts).assign(form=job.form, cpu=time.process_time() - started)


def line(table: pd.DataFrame) -> str:
    """One seed: Dice per structure, dose error, processor time."""
    dice = table[table["metric"] == "dice"].groupby("class", sort=False)["value"].mean()
    dose = table.loc[table["metric"] == "mae", "value"].mean()
    shown = ", ".join(f"{name} {value:.1f}" for name, value in dice.items())
    return f"{shown}; mean {dice.mean():.1f} %, dose {dose:.2f} Gy, {table['cpu'].iloc[0]:.0f} s"


def summary(table: pd.DataFrame) -> str:
    """Mean and standard deviation over the seeds of each form, and its dead structures."""
    rows = [
        "| form | seeds | Dice % | dose error Gy | lowest Dice of a structure | dead structures |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for form, part in table.groupby("form", sort=False):
        dice = part[part["metric"] == "dice"].groupby(["seed", "class"])["value"].mean().unstack()
        dose = part[part["metric"] == "mae"].groupby("seed")["value"].mean()
        dead = [f"{name} (seed {seed})" for name in dice for seed in dice.index[dice[name] < DEAD]]
        means = dice.mean(axis=1)
        error = f"{dose.mean():.2f} ± {dose.std():.2f}" if len(dose) else ""
        name, lowest = min(((name, dice[name].min()) for name in dice), key=lambda found: found[1])
        figures = f"{means.mean():.1f} ± {means.std():.1f} | {error} | {lowest:.1f} ({name})"
        rows.append(f"| {form} | {len(means)} | {figures} | {', '.join(dead) or 'none'} |")
    return "\n".join(rows)


def trained(arguments: argparse.Namespace) -> pd.DataFrame:
    """Scores of every form and seed, a line as each is done."""
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    demo = demo_experiment(folder, arguments.experiment)
    if not demo.dataset.root.exists():
        Phantom.generate(demo.dataset.root, **CASES, size=48, seed=1)
    prepare(dataset_of(demo), demo.store_folder)
    jobs = [
        Job(form, seed, folder, arguments.experiment, tuple(arguments.settings))
        for seed in range(arguments.seeds)
        for form in arguments.forms or FORMS
    ]
    tables = []
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for job, table in zip(jobs, pool.imap(run, jobs), strict=True):
            tables.append(table)
            print(f"{len(tables)} of {len(jobs)}: {job.form}, seed {job.seed}: {line(table)}", flush=True)
    return pd.concat(tables)


def main() -> None:
    """Train, or read what is trained, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("forms", nargs="*")
    parser.add_argument("--of", type=Path, metavar="BENCHMARK")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--experiment", type=Path, default=EXPERIMENT)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if (arguments.of is None) == (arguments.folder is None):
        parser.error("give a FOLDER for phantoms and runs, or --of a benchmark that is there")
    if arguments.of is not None:
        scores = read_scores(arguments.of / "scores.csv")
        print(summary(scores.assign(form=scores["method"])))
    else:
        print(summary(trained(arguments)))


if __name__ == "__main__":
    main()
