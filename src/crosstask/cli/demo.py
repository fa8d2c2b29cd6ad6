"""The demo: generated phantoms, prepared, trained, scored and compared."""

from __future__ import annotations

from pathlib import Path

from crosstask.cli.listening import Terminal
from crosstask.cli.showing import show_comparison
from crosstask.cli.terminal import out, progress_bar
from crosstask.datasets import SPLITS, Phantom
from crosstask.experiment import Experiment, load_experiment
from crosstask.pipeline.benchmark import Manner, run_benchmark
from crosstask.pipeline.context import Context
from crosstask.shipped import config_file

EXPERIMENT = config_file("phantom")
CASES = {"train": 16, "validation": 4, "test": 8}


def demo_experiment(folder: Path, file: Path = EXPERIMENT) -> Experiment:
    """The experiment of a file (``crosstask configs phantom``), in a folder of the user's choice."""
    places = {"dataset.root": folder / "data", "output": folder / "results", "store": folder / "store"}
    # quoted, since a folder may be called anything that YAML would read otherwise
    quoted = {key: "'" + str(place).replace("'", "''") + "'" for key, place in places.items()}
    return load_experiment(file, [f"{key}={place}" for key, place in quoted.items()])


def run_demo(folder: Path, jobs: int) -> None:
    """Generate the phantoms and run the benchmark on them."""
    experiment = demo_experiment(folder)
    with progress_bar("Generating phantoms") as progress:
        Phantom.generate(
            experiment.dataset.root,
            train=CASES["train"],
            validation=CASES["validation"],
            test=CASES["test"],
            size=48,
            seed=1,
            progress=progress,
        )
    out.print(f"Phantoms {experiment.dataset.root}: {sum(CASES[split] for split in SPLITS)} cases", markup=False)
    compare(experiment, jobs)


def compare(experiment: Experiment, jobs: int) -> None:
    """Run the benchmark and show its tables."""
    show_comparison(run_benchmark(Context(experiment, Terminal()), Manner(jobs)))
