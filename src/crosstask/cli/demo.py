"""The demo: generated phantoms, prepared, trained, scored and compared."""

from __future__ import annotations

from pathlib import Path

from crosstask.cli.terminal import out, progress_bar
from crosstask.cli.work import run_benchmark
from crosstask.datasets import Phantom
from crosstask.experiment import Experiment, experiment_from

CASES = {"train": 20, "validation": 4, "test": 8, "size": 48, "seed": 1}


def demo_experiment(folder: Path) -> Experiment:
    """The experiment of ``configs/phantom.yaml``, in a folder of the user's choice."""
    return experiment_from(
        {
            "name": "phantom",
            "dataset": {
                "name": "phantom",
                "root": str(folder / "data"),
                "tasks": {
                    "segmentation": {"classes": ["Brainstem", "SpinalCord", "RightParotid", "LeftParotid"]},
                    "dose": {},
                },
                "windows": [[0, 2500], [800, 1200]],
            },
            "sample": {"kind": "slice", "size": [48, 48]},
            "encoder": {"name": "resnet18"},
            "architecture": {"upsampling_blocks": 5},
            "weighting": {"name": "dwa", "temperature": 2.0},
            "training": {
                "epochs": 6,
                "batch_size": 16,
                "samples_per_epoch": 640,
                "validation_samples": 96,
                "learning_rate": 2e-3,
                "schedule": "cosine",
                "threads": 1,
                "channels_last": True,
                "precision": "bf16-mixed",
            },
            "methods": ["stl", "hps", "mtan", "ctan"],
            "seeds": [0],
            "output": str(folder / "results"),
            "store": str(folder / "store"),
        },
        "demo",
    )


def run_demo(folder: Path, jobs: int) -> None:
    """Generate the phantoms and run the benchmark on them."""
    experiment = demo_experiment(folder)
    with progress_bar("Generating phantoms") as progress:
        Phantom.generate(
            experiment.dataset.root,
            train=CASES["train"],
            validation=CASES["validation"],
            test=CASES["test"],
            size=CASES["size"],
            seed=CASES["seed"],
            progress=progress,
        )
    out.print(
        f"Phantoms {experiment.dataset.root}: {CASES['train']} training, {CASES['test']} test cases", markup=False
    )
    run_benchmark(experiment, jobs)
