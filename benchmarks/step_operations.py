"""Where one architecture's training step is dearer than another's: milliseconds of each of PyTorch's operations.

    OMP_NUM_THREADS=1 python benchmarks/step_operations.py [--of ctan] [--over hps] [--encoder resnet50] [--size 128]

Forward and backward on 8 x 3 x size x size, channels last, one thread, the mean of two steps by PyTorch's profiler. The
two are profiled one after the other, so on a machine that others use it says where time goes, not how much.
"""

from __future__ import annotations

import argparse

import torch
from steps import TASKS, step_of
from torch.profiler import ProfilerActivity, profile

from crosstask.architectures import build

STEPS = 2
SHOWN = 16


def operations(name: str, encoder: str, size: int) -> dict[str, float]:
    """Milliseconds of a step that each operation takes by itself."""
    torch.manual_seed(0)
    network = build(name, encoder=encoder, tasks=TASKS, in_channels=3)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = step_of(network, torch.randn(8, 3, size, size).contiguous(memory_format=torch.channels_last))
    step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(STEPS):
            step()
    return {event.key: event.self_cpu_time_total / 1000 / STEPS for event in seen.key_averages()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--of", default="ctan")
    parser.add_argument("--over", default="hps")
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    torch.set_num_threads(1)
    below, above = (operations(name, given.encoder, given.size) for name in (given.over, given.of))
    more = {key: above.get(key, 0) - below.get(key, 0) for key in {*above, *below}}
    print(
        f"{given.of} {sum(above.values()):.0f} ms, {given.over} {sum(below.values()):.0f} ms; the largest differences:"
    )
    for key in sorted(more, key=lambda key: -abs(more[key]))[:SHOWN]:
        print(f"{more[key]:+8.1f} ms  {key}")
