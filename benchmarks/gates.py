"""What a task that is pure noise does to one beside it, and to its gates: STL, CTAN and gated CTAN on drawn pictures.

    OMP_NUM_THREADS=1 python benchmarks/gates.py [--seeds 3] [--steps 150]

One task outlines a bright shape. The other names its kind: truly, by drawn labels (noise), or by drawn labels and with
masks that are held nearly shut (hiding), so that who looks through them sees next to nothing. Printed are the first
task's Dice on new pictures, and how far its gates to the other are open at the end; they begin at 0.953.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from crosstask.architectures import Architecture, build
from crosstask.architectures.ctan import CTAN, CTAEStage
from crosstask.nn.gates import Gates
from crosstask.tasks.base import Level

SIZE, BATCH, RATE = 32, 16, 1e-3
TASKS: dict[str, tuple[Level, int]] = {"outline": ("pixel", 1), "kind": ("image", 3)}
OTHERS = ("helpful", "noise", "hiding")
METHODS = ("stl", "ctan", "ctan-gated")


def pictures(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Squares, discs and crosses in noise: image, mask, and kind."""
    y, x = (axis.float() for axis in torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"))
    kinds, masks = torch.randint(3, (number,)), []
    for kind in kinds.tolist():
        (dy, dx), radius = torch.randint(-5, 6, (2,)).tolist(), int(torch.randint(7, 11, ()))
        u, v = (y - SIZE / 2 - dy).abs(), (x - SIZE / 2 - dx).abs()
        square = torch.maximum(u, v) <= radius
        masks.append((square, u.square() + v.square() <= radius**2, square & (torch.minimum(u, v) <= 2))[kind])
    mask = torch.stack(masks)[:, None].float()
    return mask * (0.5 + torch.rand(number, 1, 1, 1)) + 0.2 * torch.randn(number, 1, SIZE, SIZE), mask, kinds


def shut(network: CTAN, task: str) -> None:
    """Hold a task's masks near 0.002 for good."""
    for stage in network.stages:
        assert isinstance(stage, CTAEStage)
        mask = stage.masks[task].requires_grad_(False)
        normalisation = list(mask.modules())[-1]
        assert isinstance(normalisation, torch.nn.BatchNorm2d)
        normalisation.bias.fill_(-6.0)


def trained(method: str, other: str, seed: int, steps: int) -> Architecture:
    """A network after a cosine schedule of Adam."""
    torch.manual_seed(seed)
    network = build(method, encoder="resnet18-narrow", tasks=TASKS).train()
    if other == "hiding" and isinstance(network, CTAN):
        shut(network, "kind")
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=RATE, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        image, mask, kind = pictures(BATCH)
        outputs = network(image)
        labels = kind if other == "helpful" else torch.randint(3, (BATCH,))
        loss = F.binary_cross_entropy_with_logits(outputs["outline"], mask) + F.cross_entropy(outputs["kind"], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def dice(network: Architecture) -> float:
    """Mean Dice of the outline on 200 pictures, the same for all."""
    torch.manual_seed(10_000)
    image, mask, _ = pictures(200)
    with torch.no_grad():
        found = (network(image)["outline"] > 0).float()
    return float((2 * (found * mask).flatten(1).sum(1) / (found + mask).flatten(1).sum(1)).mean())


def gates(network: Architecture) -> list[float]:
    """Of the outline to the other task, level by level; none where there are none."""
    if network.name != "ctan-gated":
        return []
    levels = network.get_submodule("gates.outline").children()
    return [float(level.gates().detach()) for level in levels if isinstance(level, Gates)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'other task':12}{'method':12}{'Dice, seed by seed':26}gates at stages 1 to 4 and bottleneck, mean over seeds"
    )
    for other in OTHERS:
        for method in METHODS:
            if method == "stl" and other == "hiding":
                continue  # it has no masks
            networks = [trained(method, other, seed, arguments.steps) for seed in range(arguments.seeds)]
            figures = "  ".join(f"{dice(network):.3f}" for network in networks)
            levels = zip(*map(gates, networks), strict=True)
            means = "  ".join(f"{sum(level) / len(level):.2f}" for level in levels)
            print(f"{other:12}{method:12}{figures:26}{means}", flush=True)


if __name__ == "__main__":
    main()
