"""The papers' settings on a large GPU, in parts that each fit a time limit; made docs/results/reference.md.

Takes prepared stores along, so that raw data may stay where they are:

    crosstask prepare configs/openkbp.yaml dataset.root=... store=stores/openkbp      # once, for each data set
    python benchmarks/reference.py --store openkbp=stores/openkbp --store ham10000=stores/ham10000 \
        --store covid-ct=stores/covid-ct --output runs/reference --minutes 28

Each call trains until its time is over and goes on where the last one stopped; what is done is kept. When all runs
are done it prints the page: the paper's Table 2 beside ours, images per second, share of the time that the GPU
computes, and memory. With --device cpu the small configurations are taken instead.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd

from crosstask.assembly import dataset_of
from crosstask.evaluation.comparison import compare
from crosstask.evaluation.run import collect_predictions, collect_scores, is_done, run_all
from crosstask.experiment import Experiment, load_experiment
from crosstask.methods import label_of
from crosstask.report.tables import body, header, markdown_table
from crosstask.runs import HISTORY, RunSpec, read_record, run_specs
from crosstask.splits import splits_of
from crosstask.store import Store

CONFIGS = Path(__file__).parent.parent / "configs"
# The paper's settings (Kim et al. 2023, section 2.2), and on the CPU what two cores do in hours.
PAPER = {"openkbp": "openkbp.yaml", "ham10000": "ham10000.yaml", "covid-ct": "covid-ct-small.yaml"}
SMALL = {"openkbp": "openkbp-small.yaml", "ham10000": "ham10000-small.yaml", "covid-ct": "covid-ct-small.yaml"}
GPU = [
    "encoder.name=resnet50",
    "training.precision=bf16-mixed",
    "training.channels_last=true",
    "training.learning_rate=1.0e-4",
    "training.batch_size=8",
    "training.device=gpu",
    "training.loader_workers=3",
]
# Table 2 of Kim et al. (2023): method -> (M of task 1, M of task 2). COVID-CT stands in for STOIC, which is not public
# as a whole: other images, other labels, only the kind of the tasks is the same.
PUBLISHED = {
    "openkbp": {"stl": (71.29, 0.53), "hps": (70.87, 0.53), "mtan": (66.09, 0.56), "ctan": (71.59, 0.51)},
    "ham10000": {"stl": (92.83, 49.24), "hps": (92.21, 55.49), "mtan": (92.15, 47.08), "ctan": (92.91, 57.85)},
}


class Meter(threading.Thread):
    """Reads the GPU's load and memory once a second, where there is an NVIDIA GPU."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.load: list[float] = []
        self.memory: list[float] = []
        self.done = threading.Event()

    def run(self) -> None:
        if shutil.which("nvidia-smi") is None:
            return
        query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        while not self.done.wait(1):
            answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
            if answer:
                load, memory = (float(part) for part in answer[0].split(","))
                self.load.append(load)
                self.memory.append(memory)


def experiments(options: argparse.Namespace) -> dict[str, Experiment]:
    files = SMALL if options.device == "cpu" else PAPER
    overrides = [] if options.device == "cpu" else [*GPU, f"encoder.weights={options.weights or 'null'}"]
    found = {}
    for name, store in (item.split("=", 1) for item in options.store):
        own = [f"store={store}", f"output={options.output / name}"]
        if options.seeds:
            own.append(f"seeds={list(range(options.seeds))}")
        if options.epochs:
            own.append(f"training.epochs={options.epochs}")
        found[name] = load_experiment(CONFIGS / files[name], [*overrides, *own, *options.set])
    return found


def train(experiment: Experiment, jobs: int) -> None:
    os.setpgrp()
    run_all(run_specs(experiment), experiment.store_folder, jobs=jobs)


def part(found: dict[str, Experiment], jobs: int, seconds: float) -> dict[str, float]:
    """Train until the time is over; what the GPU did meanwhile."""
    meter, end = Meter(), time.monotonic() + seconds
    meter.start()
    started = time.monotonic()
    for experiment in found.values():
        if all(is_done(plan) for plan in run_specs(experiment)):
            continue
        process = multiprocessing.get_context("spawn").Process(target=train, args=(experiment, jobs))
        process.start()
        process.join(max(0.0, end - time.monotonic()))
        if process.is_alive():
            os.killpg(process.pid or 0, signal.SIGTERM)  # runs go on from their last epoch in the next part
            process.join(30)
            break
        if process.exitcode:
            raise SystemExit(f"{experiment.name}: failed; see the logs in {experiment.output_folder}")
    meter.done.set()
    mean = sum(meter.load) / len(meter.load) if meter.load else float("nan")
    return {
        "seconds": time.monotonic() - started,
        "gpu_load_percent": mean,
        "gpu_memory_mib": max(meter.memory, default=float("nan")),
    }


def speed(plans: list[RunSpec]) -> list[list[str]]:
    """Images per second of each method, over all epochs of its runs."""
    rows = []
    for method in dict.fromkeys(plan.method.name for plan in plans):
        own = [plan for plan in plans if plan.method.name == method]
        histories = [pd.read_csv(plan.folder / HISTORY) for plan in own]
        seconds = sum(float(history["seconds"].sum()) for history in histories)
        settings = own[0].experiment.training
        each = settings.samples_per_epoch or len(read_record(own[0].folder)["data"]["cases"]["train"])
        images = sum(len(history) for history in histories) * each
        rows.append([label_of(method), f"{images / seconds:.0f}", f"{seconds / 60:.1f}", str(len(own))])
    return rows


def page(found: dict[str, Experiment], parts: list[dict[str, float]]) -> str:
    text = ""
    for name, experiment in found.items():
        plans = run_specs(experiment)
        store = Store(experiment.store_folder)
        comparison = compare(
            collect_scores(plans),
            dataset=experiment.name,
            methods=experiment.methods,
            predictions=collect_predictions(plans),
            groups={case.id: case.group for case in store.cases},
        )
        splits = splits_of(store, experiment.dataset, dataset_of(experiment).image_array)
        counts = ", ".join(f"{len(cases)} {split}" for split, cases in splits.items())
        text += f"## {name}\n\n{markdown_table(header(comparison), body(comparison))}\n"
        text += f"Cases: {counts}; seeds: {experiment.seeds}; encoder {experiment.encoder.name}, "
        text += f"weights {experiment.encoder.weights or 'random'}, {experiment.training.epochs} epochs.\n\n"
        if name in PUBLISHED:
            rows = [[label_of(method), f"{one:.2f}", f"{two:.2f}"] for method, (one, two) in PUBLISHED[name].items()]
            text += "Published (Kim et al. 2023, Table 2):\n\n"
            text += markdown_table(["Method", *(measure.task for measure in comparison.measures)], rows) + "\n"
        text += markdown_table(["Method", "Images a second", "Minutes", "Runs"], speed(plans)) + "\n"
    for number, figures in enumerate(parts, 1):
        text += f"Part {number}: {', '.join(f'{key} {value:.1f}' for key, value in figures.items())}\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="append", required=True, metavar="NAME=FOLDER", help=", ".join(PAPER))
    parser.add_argument("--output", type=Path, default=Path("runs/reference"))
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--weights", default="", help="imagenet, or a file; none by default")
    parser.add_argument("--minutes", type=float, default=28)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, help="how many; by default those of the configuration")
    parser.add_argument("--jobs", type=int, default=4, help="runs at a time: small networks leave a large GPU idle")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="more keys to change")
    options = parser.parse_args()
    found = experiments(options)
    options.output.mkdir(parents=True, exist_ok=True)
    record = options.output / "parts.json"
    parts = json.loads(record.read_text()) if record.exists() else []
    if not all(is_done(plan) for experiment in found.values() for plan in run_specs(experiment)):
        parts.append(part(found, options.jobs, 60 * options.minutes))
        record.write_text(json.dumps(parts))
    left = [plan.name for experiment in found.values() for plan in run_specs(experiment) if not is_done(plan)]
    if left:
        print(f"{len(left)} runs are left ({left[0]} first); call this again to go on")
        return
    text = page(found, parts)
    (options.output / "page.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
