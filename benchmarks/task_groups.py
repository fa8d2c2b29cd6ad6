"""Does the look before a benchmark choose well? Every group of the tasks is learned, and judged on test cases.

Takes the look (``crosstask affinity``), trains every group of the experiment's tasks with several seeds (each task
alone as STL, two and more by hard sharing with equal weights), and prints

- beside each affinity between two tasks how much the one gains on test when it is learned with the other,
- all divisions of the tasks into networks: total affinity, and the mean gain of the tasks over each alone,
- how well the one goes with the other, and how good the division is that the look chose.

    python benchmarks/task_groups.py FOLDER EXPERIMENT [KEY=VALUE ...] [--seeds 3] [--look-epochs 5] [-j 2]

FOLDER takes the store and all runs; a command that was stopped goes on from there. The look sees training cases alone.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from scipy.stats import spearmanr

import crosstask
from crosstask.assembly import dataset_of
from crosstask.evaluation.comparison import Measure, measures_of
from crosstask.evaluation.evaluate import evaluate_run
from crosstask.evaluation.scores import read_scores, write_scores
from crosstask.experiment import Experiment, load_experiment
from crosstask.functional.grouping import group_affinity, partitions
from crosstask.methods import BASELINE, get_method
from crosstask.pipeline.affinity import EPOCHS, SEEDS
from crosstask.report.tables import markdown_table
from crosstask.runs import RunSpec
from crosstask.store import Store, prepare
from crosstask.training.run import train

TOGETHER = "hps+equal"
_DIRECTION = ["task", "other", "value", "low", "high"]
Group = tuple[str, ...]


class Job(NamedTuple):
    """One seed of one group of tasks."""

    experiment: Experiment
    group: Group
    seed: int

    def spec(self) -> RunSpec:
        """The run: single-task learning of a task alone, else hard sharing."""
        method = get_method(BASELINE if len(self.group) == 1 else TOGETHER)
        folder = self.experiment.output_folder / "groups" / "+".join(self.group)
        return RunSpec(self.experiment.model_copy(update={"output": folder}), method, self.seed, self.group)


def run(job: Job) -> pd.DataFrame:
    """Train a group and score it on the test cases."""
    spec, store = job.spec(), Store(job.experiment.store_folder)
    scores = spec.folder / "scores-test.csv"
    if not scores.exists():
        train(spec, store)
        write_scores(evaluate_run(spec.folder, store, split="test").scores, scores)
    seconds = pd.read_csv(spec.folder / "history.csv")["seconds"].sum()
    return read_scores(scores).assign(group="+".join(job.group), seed=job.seed, seconds=seconds)


def figure(table: pd.DataFrame, measure: Measure) -> float:
    """M of one run: the mean over classes, then over cases."""
    rows = table[(table["task"] == measure.task) & (table["metric"] == measure.metric)]
    classes = rows[rows["class"] != "mean"]
    return float((rows if classes.empty else classes).groupby("case")["value"].mean().mean())


def gains_of(table: pd.DataFrame) -> pd.DataFrame:
    """Improvement in % of each task of each group over the task alone (eq. 3 of Kim et al. 2023): a row a seed."""
    rows = []
    for measure in measures_of(table):
        sign = 1 if measure.higher_is_better else -1
        values = {
            (str(group), int(str(seed))): figure(part, measure)
            for (group, seed), part in table[table["task"] == measure.task].groupby(["group", "seed"])
        }
        seeds = sorted({seed for _, seed in values})
        alone = sum(values[measure.task, seed] for seed in seeds) / len(seeds)
        rows += [
            (group, measure.task, seed, value, 100 * sign * (value - alone) / (abs(alone) or math.nan))
            for (group, seed), value in values.items()
        ]
    return pd.DataFrame(rows, columns=["group", "task", "seed", "value", "gain"])


def spread(values: pd.Series) -> str:
    """Mean and standard deviation over seeds."""
    return f"{values.mean():+.1f} ± {values.std():.1f}"


def directions(affinities: pd.DataFrame) -> list[tuple[str, str, float, float, float]]:
    """Task of the step, task whose loss it is, affinity and its interval, of two tasks each, in millionths."""
    two = affinities[affinities["task"] != affinities["other"]]
    return [
        (str(task), str(other), 1e6 * value, 1e6 * low, 1e6 * high)
        for task, other, value, low, high in two[_DIRECTION].to_numpy().tolist()
    ]


def pairs_table(affinities: pd.DataFrame, gains: pd.DataFrame) -> Iterator[str]:
    """Each direction of two tasks: affinity, and what the one gains on test by the other."""
    rows, affinity, gain = [], [], []
    for task, other, value, low, high in directions(affinities):
        both = gains["group"].isin([f"{task}+{other}", f"{other}+{task}"]) & (gains["task"] == other)
        affinity.append(value)
        gain.append(gains.loc[both, "gain"].mean())
        shown = f"{value:+.0f} [{low:+.0f}, {high:+.0f}]"
        rows.append([task, other, shown, f"{spread(gains.loc[both, 'gain'])} %"])
    titles = [
        "Step for",
        "Loss of",
        "Affinity, millionths [95 % over runs]",
        "Gain of the second on test, learned together",
    ]
    yield markdown_table(titles, rows)
    found = spearmanr(affinity, gain)
    yield (
        f"Spearman's correlation of affinity and gain over {len(rows)} directions: {found.statistic:+.2f} "
        f"(p = {found.pvalue:.2f})."
    )


def divisions_table(
    tasks: Sequence[str], affinities: pd.DataFrame, gains: pd.DataFrame, chosen: Sequence[Group]
) -> Iterator[str]:
    """All divisions, the best on test first."""
    known = {(task, other): value for task, other, value, *_ in directions(affinities)}
    picked = {frozenset(group) for group in chosen}
    rows = []
    for groups in partitions(tasks, len(tasks)):
        parts = pd.concat([gains[gains["group"] == "+".join(group)] for group in groups])
        by_seed, by_task = parts.groupby("seed")["gain"].mean(), parts.groupby("task")["gain"].mean()
        name = " | ".join(", ".join(group) for group in groups)
        name += " (chosen)" if {frozenset(group) for group in groups} == picked else ""
        total = float(sum(group_affinity(group, known) for group in groups))
        rows.append((float(by_seed.mean()), total, name, spread(by_seed), f"{by_task.idxmin()} {by_task.min():+.1f} %"))
    rows.sort(reverse=True)
    shown = [[name, f"{total:+.0f}", f"{gain} %", worst] for _, total, name, gain, worst in rows]
    yield markdown_table(
        ["Division into networks", "Total affinity, millionths", "Mean gain on test", "Worst task"], shown
    )
    agree = spearmanr([row[1] for row in rows], [row[0] for row in rows]).statistic
    place = next((number for number, row in enumerate(rows, 1) if row[2].endswith("(chosen)")), "none")
    yield (
        f"Spearman's correlation of both over {len(rows)} divisions: {agree:+.2f}. The chosen one is number {place} of "
        f"{len(rows)} on test."
    )


def main() -> None:
    """Look, train all groups, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("experiment")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--look-epochs", type=int, default=EPOCHS)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    arguments = parser.parse_args()
    seeds = list(range(arguments.seeds))
    places = [f"output='{arguments.folder.resolve()}'", f"seeds={seeds}", f"methods=[{BASELINE},{TOGETHER}]"]
    experiment = load_experiment(arguments.experiment, [*arguments.settings, *places])
    tasks = tuple(experiment.dataset.tasks)
    prepare(dataset_of(experiment), experiment.store_folder)
    look = crosstask.affinity(experiment, epochs=arguments.look_epochs, seeds=max(SEEDS, arguments.seeds))
    print(f"{look.sentence}\n", flush=True)
    jobs = [
        Job(experiment, group, seed)
        for seed in seeds
        for size in range(1, len(tasks) + 1)
        for group in combinations(tasks, size)
    ]
    tables = []
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for job, table in zip(jobs, pool.imap(run, jobs), strict=True):
            tables.append(table)
            done = f"{len(tables)} of {len(jobs)}: {'+'.join(job.group)}, seed {job.seed}"
            print(f"{done}: {table['seconds'].iloc[0]:.0f} s", flush=True)
    table = pd.concat(tables, ignore_index=True)
    gains = gains_of(table)
    alone = gains[gains["group"] == gains["task"]].groupby("task", sort=False)["value"]
    print("\nAlone: " + "; ".join(f"{task} {values.mean():.2f} ± {values.std():.2f}" for task, values in alone) + "\n")
    for text in (*pairs_table(look.affinities, gains), *divisions_table(tasks, look.affinities, gains, look.groups)):
        print(f"{text}\n")
    spent = table.drop_duplicates(["group", "seed"])["seconds"].sum()
    print(f"Training took {spent / 60:.0f} minutes, all runs added, besides the look.")


if __name__ == "__main__":
    main()
