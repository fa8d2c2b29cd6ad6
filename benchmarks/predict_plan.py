"""Time and memory of ``crosstask predict`` on a generated patient, from the CT's files to RTSTRUCT and RTDOSE.

Run ``python benchmarks/predict_plan.py [--size 128]``. A network like that of ``configs/phantom-dicom.yaml`` (CTAN,
both tasks, but ResNet-18 and slices of the patient's own size) is trained for a moment, which does not change how long
it takes to predict. What is timed is the whole command, in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from crosstask.cli import demo_dicom
from crosstask.cli.demo import demo_experiment
from crosstask.experiment import Experiment
from crosstask.pipeline.context import Context
from crosstask.pipeline.training import train_runs


def experiment_of(folder: Path, size: int) -> Experiment:
    """The demo's with ResNet-18, on the CT's own grid, with as little training as there can be."""
    values = demo_experiment(folder, demo_dicom.EXPERIMENT).model_dump(mode="json")
    values["dataset"]["options"] |= {"spacing": None, "margin": None}
    values["encoder"]["name"] = "resnet18"
    values["sample"]["size"] = [size, size]
    values["training"] |= {"epochs": 1, "samples_per_epoch": 16}
    return Experiment.model_validate(values)


def main() -> None:
    """Generate, train, predict, and print what the last took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis of the patient")
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo_dicom.generate_patients(folder, patients=6)
        demo_dicom.write_phantom(folder / "patient", 50, size=size, planned=False)
        train_runs(Context(experiment_of(folder, size)), "ctan")
        run = folder / "results" / "runs" / "ctan" / "seed0"
        command = [
            sys.executable,
            "-m",
            "crosstask.cli.main",
            "predict",
            run,
            folder / "patient",
            "-o",
            folder / "plan",
        ]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{size}^3: {seconds:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor time, "
            f"{used.ru_maxrss / 1e6:.2f} GB at most"
        )


if __name__ == "__main__":
    main()
