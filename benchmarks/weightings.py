"""What a training step costs under each weighting, as a ratio to equal weights.

    python benchmarks/weightings.py

CPU seconds of forward, backward and optimiser step, on one thread, best of several rounds that take all weightings in
turn. Compare ratios of one start only.
"""

import argparse
import time

import torch

from crosstask.architectures import build
from crosstask.registry import WEIGHTINGS
from crosstask.weighting import Step, build_weighting

TASKS = ("structures", "dose")


def steps_of(architecture: str, encoder: str, size: int, batch: int):
    """One function a weighting that takes a training step."""
    torch.manual_seed(0)
    network = build(architecture, encoder=encoder, tasks=dict.fromkeys(TASKS, 1))
    image = torch.randn(batch, 1, size, size)
    targets = {task: torch.randn(batch, 1, size, size) for task in TASKS}
    own = {task: network.task_parameters(task) for task in TASKS}
    last = [parameter for parameter in network.encoder_parameters() if parameter.ndim > 1][-1]
    step = Step(torch.tensor(1.0), network.shared_parameters(), own, last)

    def losses():
        outputs = network(image)
        return {task: (outputs[task] - targets[task]).square().mean() for task in TASKS}

    def stepping(weighting):
        optimiser = torch.optim.Adam([*network.parameters(), *weighting.parameters()], lr=1e-6, fused=True)

        def take():
            found = losses()
            optimiser.zero_grad()
            weighting.backward(found, step)
            optimiser.step()
            with torch.no_grad():
                weighting.after_step(losses)

        return take

    found = {}
    for name, kind in WEIGHTINGS.items():
        options = {"weights": dict.fromkeys(TASKS, 1.0)} if name == "fixed" else {}
        if not kind.needs_labels:  # those have fixed weights by the time of a step
            found[name] = stepping(build_weighting(name, TASKS, **options))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for architecture in ("hps", "ctan"):
        steps = steps_of(architecture, options.encoder, options.size, options.batch)
        seconds = dict.fromkeys(steps, float("inf"))
        for number in range(options.rounds + 1):
            for name, take in steps.items():
                start = time.process_time()
                take()
                if number:  # the first warms up
                    seconds[name] = min(seconds[name], time.process_time() - start)
        print(f"{architecture}: equal {seconds['equal']:.3f} s")
        for name, value in seconds.items():
            print(f"  {name:12} {value / seconds['equal']:.2f}")


if __name__ == "__main__":
    main()
