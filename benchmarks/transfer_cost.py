"""What it costs to look at the tasks' gradients and affinities: CPU time of a batch that is looked at, in steps.

    OMP_NUM_THREADS=1 python benchmarks/transfer_cost.py [--encoder resnet18] [--size 64] [--batch 8] [--rounds 5]
        [--tasks 2 4]

A step is forward, backward and Adam, as Lightning runs it, without loading a sample. What a training becomes longer by
is the cost of a look over how often one is taken (``training.transfer_every``, by default every 50 batches a task);
loading and validation make that share smaller. Steps with and without a look take turns, and medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from types import SimpleNamespace

import torch

from crosstask.architectures import build
from crosstask.experiment import TrainingSection
from crosstask.sample import Batch
from crosstask.tasks import RegressionTask, SegmentationTask
from crosstask.tasks.base import Task
from crosstask.training.module import TrainingModule
from crosstask.training.transfer import STEPS_PER_TASK, Probe
from crosstask.weighting import build_weighting

METHODS = ("hps+equal", "ctan+equal", "ctan-gated+equal", "hps+pcgrad", "ctan+pcgrad")


def tasks_of(number: int) -> tuple[Task, ...]:
    """Masks and quantities in turn."""
    return tuple(
        SegmentationTask(f"t{index}", f"t{index}", ["a"])
        if index % 2 == 0
        else RegressionTask(f"t{index}", f"t{index}", ["a"], "Gy")
        for index in range(number)
    )


def batch_of(tasks: tuple[Task, ...], number: int, size: int) -> Batch:
    """Noise, all of it labelled."""
    torch.manual_seed(0)
    return Batch(
        image=torch.randn(number, 1, size, size),
        targets={task.name: (torch.rand(number, 1, size, size) > 0.7).float() for task in tasks},
        present={task.name: torch.ones(number, 1, dtype=torch.bool) for task in tasks},
        region=None,
        cases=[str(index) for index in range(number)],
        positions=[(0,)] * number,
    )


def seconds(module: TrainingModule, adam: torch.optim.Optimizer, batch: Batch, index: int) -> float:
    """CPU seconds of one step."""
    start = time.process_time()
    adam.zero_grad(set_to_none=True)
    loss = module.training_step(batch, index)
    assert loss is not None
    module.backward(loss)
    adam.step()
    return time.process_time() - start


def measured(method: str, tasks: tuple[Task, ...], arguments: argparse.Namespace) -> tuple[float, float]:
    """Seconds of a step, and of what a look adds."""
    architecture, _, weighting = method.partition("+")
    network = build(architecture, encoder=arguments.encoder, tasks=tasks).train()
    module = TrainingModule(
        network,
        tasks,
        build_weighting(weighting, [task.name for task in tasks]),
        TrainingSection(),
        probe=Probe(network, every=2),
    )
    module.trainer = SimpleNamespace(num_training_batches=1, current_epoch=0, is_last_batch=False, precision="32-true")
    module._sums = {task.name: [] for task in tasks}
    module._weights = {task.name: [] for task in tasks}
    adam = torch.optim.Adam(network.parameters(), fused=True)
    batch = batch_of(tasks, arguments.batch, arguments.size)
    taken: list[list[float]] = [[], []]
    for index in range(2 * arguments.rounds + 2):
        taken[index % 2].append(seconds(module, adam, batch, index))
    plain, looked = (statistics.median(own[1:]) for own in taken)
    return plain, looked - plain


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 4])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{arguments.encoder}, {arguments.batch} images of {arguments.size} x {arguments.size}")
    for number in arguments.tasks:
        for method in METHODS:
            plain, look = measured(method, tasks_of(number), arguments)
            share = look / plain / (STEPS_PER_TASK * number)
            print(
                f"{method:18s} {number} tasks: a step {plain:.3f} s, a look {look / plain:.2f} steps, by default "
                f"{100 * share:.1f} % of the time",
                flush=True,
            )


if __name__ == "__main__":
    main()
