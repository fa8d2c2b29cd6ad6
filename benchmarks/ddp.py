"""Two processes that share every batch, against one process with all of it: CPU seconds of a step, and its wall time.

    python benchmarks/ddp.py            # ResNet-50 at 128 pixels, batch of 16
    python benchmarks/ddp.py --short    # ResNet-18 at 64 pixels

Two ways. By the clock: one process on two threads against two on one thread each, so that both have the same cores; the
fastest step of each counts, since others may be at work, and on a busy machine it says little. By CPU seconds of all
processes together, one thread each: that has everything that sharing costs (gradients, losses and normalisation that go
to and fro), but not what a second thread in one process costs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from rows import Row

from crosstask import ranks
from crosstask.architectures import build
from crosstask.experiment import TrainingSection
from crosstask.nn.shared_norm import share_batch_norms
from crosstask.processes import context_with
from crosstask.sample import Batch
from crosstask.tasks import RegressionTask, SegmentationTask
from crosstask.training import launch
from crosstask.training.module import TrainingModule
from crosstask.weighting import build_weighting

FIGURES = {"count": 100, "positive": 30, "cases": 5, "mean": 1.0, "std": 2.0, "median": 0.5}
BATCH = 16  # 8 a process
_IMPORTED = ("crosstask.training.module", "crosstask.training.launch", "monai.networks.nets.resnet")


def _module(encoder: str, *, shared: bool) -> TrainingModule:
    tasks = (SegmentationTask("masks", "structures", list("abcdefg")), RegressionTask("dose", "dose", ("dose",), "Gy"))
    for task in tasks:
        task.fit({name: FIGURES for name in task.classes})
    torch.manual_seed(0)
    network = build("ctan", encoder=encoder, tasks=tasks, spatial_dims=2, in_channels=3).train()
    if shared and ranks.world_size() > 1:
        share_batch_norms(network, torch.device("cpu"))
    module = TrainingModule(network, tasks, build_weighting("equal", ["masks", "dose"]), TrainingSection(device="cpu"))
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        is_last_batch=False, current_epoch=0, num_training_batches=2, precision="32", global_rank=ranks.rank()
    )
    module._weights, module._sums = {"masks": [], "dose": []}, {"masks": [], "dose": []}
    return module


def _share(size: int) -> Batch:
    number = BATCH // ranks.world_size()
    mask = (torch.rand(number, 7, size, size) > 0.7).float()
    return Batch(
        torch.rand(number, 3, size, size),
        {"masks": mask, "dose": torch.rand(number, 1, size, size)},
        {"masks": torch.ones(number, 7, dtype=torch.bool), "dose": torch.ones(number, 1, dtype=torch.bool)},
        None,
        [""] * number,
        [()] * number,
    )


def _steps(encoder: str, size: int, count: int, shared: bool) -> list[tuple[float, float]]:
    """CPU and wall seconds of each of so many steps, after one that is not counted."""
    module, batch, taken = _module(encoder, shared=shared), _share(size), []
    optimiser = torch.optim.Adam(module.architecture.parameters(), lr=1e-4, fused=True)
    for index in range(count + 1):
        begun = time.process_time(), time.perf_counter()
        optimiser.zero_grad()
        loss = module.training_step(batch, 1)
        assert loss is not None
        module.backward(loss)
        optimiser.step()
        if index:
            taken.append((time.process_time() - begun[0], time.perf_counter() - begun[1]))
    return taken


def _process(rank: int, world: int, threads: int, folder: str, what: tuple[str, int, int, bool], pipe: Any) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(threads)
    if world > 1:
        store = torch.distributed.FileStore(str(Path(folder, "meeting")), world)
        launch._join(launch.Position(rank, world, rank, world), "cpu", store)
    pipe.send(_steps(*what))


def measured(world: int, threads: int, what: tuple[str, int, int, bool]) -> tuple[list[float], list[float]]:
    """CPU seconds of each step of all processes together, and its wall seconds."""
    context = context_with(_IMPORTED, on_cpu=True)
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = [], []
        for rank in range(world):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_process, args=(rank, world, threads, folder, what, theirs))
            process.start()
            pipes.append(ours)
            processes.append(process)
        found = [pipe.recv() for pipe in pipes]
        for process in processes:
            process.join()
    cpu = [sum(one[step][0] for one in found) for step in range(len(found[0]))]
    wall = [max(one[step][1] for one in found) for step in range(len(found[0]))]
    return cpu, wall


def rows(short: bool) -> Iterator[Row]:
    """The rows of ``make bench``."""
    encoder, size, steps, rounds = ("resnet18", 64, 4, 2) if short else ("resnet50", 128, 4, 3)
    ways = {"one": (1, 1, False), "threads": (1, 2, False), "two": (2, 1, False), "shared": (2, 1, True)}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    wall: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):  # interleaved, as the machine's load changes
        for way, (world, threads, shared) in ways.items():
            spent, taken = measured(world, threads, (encoder, size, steps, shared))
            cpu[way] += spent
            wall[way] += taken
    what = f"two processes that share a batch of {BATCH} against one (CTAN, {encoder} at {size})"
    for way, normalised, bound in (
        ("two", "each normalises its own half", 0.9),
        ("shared", "normalised together", 0.7),
    ):
        yield Row(
            f"{what} on the same two cores, by the clock; {normalised}",
            min(wall["threads"]) / min(wall[way]),
            bound,
            lower_is_better=False,
            note=f"{min(wall['threads']):.2f} s in one of two threads, {min(wall[way]):.2f} s in two; the fastest of "
            f"{steps * rounds} steps; in CPU seconds against one thread "
            f"{statistics.median(cpu['one']) / statistics.median(cpu[way]):.2f}",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true")
    for row in rows(parser.parse_args().short):
        print(f"{row.what}: {row.measured:.2f} {row.unit} (at least {row.bound}); {row.note}; {Path(__file__).name}")
