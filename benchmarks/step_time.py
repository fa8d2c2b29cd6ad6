"""CPU time of one training step (forward and backward) of each architecture, in one thread.

    OMP_NUM_THREADS=1 python benchmarks/step_time.py [--encoder resnet50] [--size 128] [--batch 8] [--rounds 3]
        [--in-channels 3] [--tasks mixed]

The architectures take turns, so that a busy machine slows all of them alike; medians are compared. CPU time and one
thread, because wall time at several threads says more about what else is running than about the network.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from crosstask.architectures import ARCHITECTURES, Architecture, build
from crosstask.tasks.base import Level

TASKS: dict[str, dict[str, tuple[Level, int]]] = {
    "pixel": {"segmentation": ("pixel", 4), "dose": ("pixel", 1)},
    "mixed": {"segmentation": ("pixel", 1), "diagnosis": ("image", 7)},
    "image": {"covid": ("image", 1), "severity": ("image", 1)},
}


def step_time(network: Architecture, image: torch.Tensor) -> float:
    """CPU seconds of one forward and backward pass."""
    network.zero_grad(set_to_none=True)
    start = time.process_time()
    outputs = network(image)
    sum(output.square().mean() for output in outputs.values()).backward()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--size", type=int, default=128, help="height and width of the image")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--in-channels", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", choices=TASKS, default="pixel", help="levels of the two tasks")
    parser.add_argument("--upsampling-blocks", type=int, default=3)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tasks = TASKS[arguments.tasks]
    shape = (arguments.batch, arguments.in_channels, arguments.size, arguments.size)
    image = torch.randn(shape)
    at_image_level = all(level == "image" for level, _ in tasks.values())
    networks = {
        name: build(
            name,
            encoder=arguments.encoder,
            tasks=tasks,
            in_channels=arguments.in_channels,
            upsampling_blocks=arguments.upsampling_blocks,
            **({"major": next(iter(tasks))} if name == "auxiliary" else {}),
        )
        for name in ARCHITECTURES
        if name != "auxiliary" or at_image_level
    }
    times: dict[str, list[float]] = {name: [] for name in networks}
    for round_number in range(arguments.rounds + 1):
        for name, network in networks.items():
            seconds = step_time(network, image)
            if round_number:  # the first warms up caches and the allocator
                times[name].append(seconds)

    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"{arguments.encoder}, {' x '.join(map(str, shape))}, {len(tasks)} tasks ({arguments.tasks} level),")
    print(f"forward + backward, CPU seconds, one thread, median of {arguments.rounds}; torch {torch.__version__}")
    print(f"{'':10}{'seconds':>9}{'x HPS':>8}{'parameters':>14}")
    for name, seconds in medians.items():
        parameters = sum(parameter.numel() for parameter in networks[name].parameters())
        print(f"{name:10}{seconds:9.2f}{seconds / medians['hps']:8.2f}{parameters / 1e6:12.1f} M")


if __name__ == "__main__":
    main()
