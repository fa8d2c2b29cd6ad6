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
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scored import scored

import crosstask
from crosstask.assembly import dataset_of
from crosstask.evaluation.comparison import measures_of
from crosstask.evaluation.resampling import case_values
from crosstask.experiment import Experiment, load_experiment
from crosstask.functional.grouping import group_affinity, partitions
from crosstask.functional.improvement import relative_improvement
from crosstask.functional.spearman import spearman
from crosstask.methods import BASELINE
from crosstask.pipeline.affinity import EPOCHS, SEEDS
from crosstask.report.tables import markdown_table
from crosstask.runs import RunSpec, run_specs
from crosstask.store import prepare

TOGETHER = "hps+equal"
_DIRECTION = ["task", "other", "value", "low", "high"]
Group = tuple[str, ...]


def group_specs(experiment: Experiment) -> Iterator[RunSpec]:
    """A run of every group of tasks, seed by seed: of a task alone single-task learning, of more hard sharing."""
    tasks, store = tuple(experiment.dataset.tasks), experiment.store_folder
    for spec in run_specs(experiment):
        if spec.method.run_per_task:
            yield spec
            continue
        for group in (group for size in range(2, len(tasks) + 1) for group in combinations(tasks, size)):
            places = {"output": experiment.output_folder / "groups" / named(group), "store": store}
            yield replace(spec, tasks=group, experiment=spec.experiment.model_copy(update=places))


def named(group: Sequence[str]) -> str:
    """How a group is called in folders and tables."""
    return "+".join(group)


def run(spec: RunSpec) -> pd.DataFrame:
    """Train a group and score it on the test cases."""
    table = scored(spec, "test")
    seconds = pd.read_csv(spec.folder / "history.csv")["seconds"].sum()
    return table.assign(group=named(spec.tasks), seconds=seconds)


def gains_of(table: pd.DataFrame) -> pd.DataFrame:
    """Improvement in % of each task of each group over the task alone: a row a seed; NaN over a figure of zero."""
    rows = []
    table = table.assign(method=table["group"])
    for task, metric, higher in ((one.task, one.metric, one.higher_is_better) for one in measures_of(table)):
        groups = [str(group) for group in table.loc[table["task"] == task, "group"].unique()]
        found = case_values(table, task, metric, groups, by_seed=False)
        values = {group: [float(figure(None)[0]) for figure in found.figures[group]] for group in groups}
        alone = float(np.mean(values[task]))
        for group in groups:
            for seed, value in zip(found.seeds[group], values[group], strict=True):
                gain = relative_improvement(alone, value, higher_is_better=higher) if alone else math.nan
                rows.append((group, task, seed, value, gain))
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
        pair = [named((task, other)), named((other, task))]
        both = gains["group"].isin(pair) & (gains["task"] == other)
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
    rho, p, _ = spearman(np.array(affinity), np.array(gain))
    yield f"Spearman's correlation of affinity and gain over {len(rows)} directions: {rho:+.2f} (p = {p:.2f})."


def divisions_table(
    tasks: Sequence[str], affinities: pd.DataFrame, gains: pd.DataFrame, chosen: Sequence[Group]
) -> Iterator[str]:
    """All divisions, the best on test first."""
    known = {(task, other): value for task, other, value, *_ in directions(affinities)}
    picked = {frozenset(group) for group in chosen}
    rows = []
    for groups in partitions(tasks, len(tasks)):
        parts = pd.concat([gains[gains["group"] == named(group)] for group in groups])
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
    agree, _, _ = spearman(np.array([row[1] for row in rows]), np.array([row[0] for row in rows]))
    place = next(number for number, row in enumerate(rows, 1) if row[2].endswith("(chosen)"))
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
    given = load_experiment(arguments.experiment, [*arguments.settings, *places])
    experiment = given.model_copy(update={"variants": {}, "major": None})  # all tasks count alike
    if len(experiment.dataset.tasks) < 3:
        parser.error("fewer than three tasks have no groups to choose among; give more in dataset.tasks")
    prepare(dataset_of(experiment), experiment.store_folder)
    look = crosstask.affinity(experiment, epochs=arguments.look_epochs, seeds=max(SEEDS, arguments.seeds))
    print(f"{look.sentence}\n", flush=True)
    specs = list(group_specs(experiment))
    tables = []
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for spec, table in zip(specs, pool.imap(run, specs), strict=True):
            tables.append(table)
            done = f"{len(tables)} of {len(specs)}: {named(spec.tasks)}, seed {spec.seed}"
            print(f"{done}: {table['seconds'].iloc[0]:.0f} s", flush=True)
    table = pd.concat(tables, ignore_index=True)
    gains = gains_of(table)
    alone = gains[gains["group"] == gains["task"]].groupby("task", sort=False)["value"]
    print("\nAlone: " + "; ".join(f"{task} {values.mean():.2f} ± {values.std():.2f}" for task, values in alone) + "\n")
    for text in (
        *pairs_table(look.affinities, gains),
        *divisions_table(tuple(experiment.dataset.tasks), look.affinities, gains, look.groups),
    ):
        print(f"{text}\n")
    spent = table.drop_duplicates(["group", "seed"])["seconds"].sum()
    print(f"Training took {spent / 60:.0f} minutes, all runs added, besides the look.")


if __name__ == "__main__":
    main()
