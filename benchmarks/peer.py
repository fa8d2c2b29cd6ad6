"""LibMTL's networks beside ours: one training step of MTAN over that of HPS, in one process, in turn.

    python -m pip download --no-deps -d peer LibMTL==1.1.5 && (cd peer && unzip -q LibMTL-*.whl)
    OMP_NUM_THREADS=1 python benchmarks/peer.py peer [--size 128] [--batch 8] [--rounds 5]

LibMTL (Lin and Zhang, 2023, MIT licence) is a library of multi-task learning. Its wheel is unpacked, not installed: it
asks for torchvision, of which it takes one function that downloads weights; that has a stand-in here.

Both have a ResNet-50 without weights on ``batch x 3 x size x size`` and two tasks of pixels, 4 channels and 1. Decoders
are not LibMTL's part, and an encoder gives them its last feature; they get the kind of head that its example of scenes
has, an ASPP (Chen et al., 2017: a 1x1, three dilated 3x3 and a pooled branch of 256 channels, put together and
projected) whose output is interpolated. Ours have their decoders with skips. CPU seconds of forward and backward at one
thread, medians; only ratios within one library are compared.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from crosstask.architectures import build

CHANNELS = {"segmentation": 4, "dose": 1}


class Pooled(nn.Module):
    """The pooled branch: one value a channel, everywhere."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, width, 1), nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).expand(-1, -1, *features.shape[2:])  # type: ignore[no-any-return]


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling and a last convolution, interpolated to the image's size."""

    def __init__(self, channels: int, outputs: int, size: int, width: int = 256) -> None:
        super().__init__()

        def branch(inputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
            padding = dilation * (kernel // 2)
            convolution = nn.Conv2d(inputs, width, kernel, padding=padding, dilation=dilation, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())

        self.branches = nn.ModuleList(
            [branch(channels, 1), *(branch(channels, 3, by) for by in (12, 24, 36)), Pooled(channels, width)]
        )
        self.output = nn.Sequential(branch(5 * width, 1), branch(width, 3), nn.Conv2d(width, outputs, 1))
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        together = torch.cat([branch(features) for branch in self.branches], dim=1)
        return interpolate(self.output(together), (self.size, self.size), mode="bilinear")


def peer_modules(folder: Path) -> tuple[Any, Any, Any]:
    """LibMTL's encoders, its HPS and its MTAN, without what else its package imports."""

    def no_weights(*_: Any, **__: Any) -> None:
        raise RuntimeError("no weights are downloaded here")

    for name in ("torchvision", "torchvision.models", "torchvision.models.utils"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision.models.utils"].load_state_dict_from_url = no_weights  # type: ignore[attr-defined]
    for name in ("LibMTL", "LibMTL.architecture", "LibMTL.model"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = package
    names = ("model.resnet", "architecture.HPS", "architecture.MTAN")
    resnet, hps, mtan = (importlib.import_module(f"LibMTL.{name}") for name in names)
    return resnet.resnet50, hps.HPS, mtan.MTAN


def peer_networks(folder: Path, size: int) -> dict[str, nn.Module]:
    """LibMTL's HPS and MTAN."""
    resnet50, *kinds = peer_modules(folder)
    networks = {}
    for kind in kinds:
        heads = nn.ModuleDict({task: Aspp(2048, channels, size) for task, channels in CHANNELS.items()})
        networks[kind.__name__.lower()] = kind(
            list(CHANNELS), lambda: resnet50(pretrained=False), heads, False, False, torch.device("cpu")
        )
    return networks


def step_of(network: Callable[[Tensor], Mapping[str, Tensor]], image: Tensor, parameters: list[Tensor]) -> float:
    """CPU seconds of a forward and a backward pass."""
    for parameter in parameters:
        parameter.grad = None
    start = time.process_time()
    sum(output.square().mean() for output in network(image).values()).backward()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where LibMTL's wheel was unpacked")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    image = torch.randn(arguments.batch, 3, arguments.size, arguments.size)
    tasks: dict[str, Any] = {task: ("pixel", channels) for task, channels in CHANNELS.items()}
    networks = {f"LibMTL {name}": network for name, network in peer_networks(arguments.folder, arguments.size).items()}
    for name, options in (("hps", {}), ("mtan", {}), ("mtan", {"pool_first": True}), ("ctan", {})):
        label = f"Crosstask {name}{', pooling first' if options else ''}"
        networks[label] = build(name, encoder="resnet50", tasks=tasks, in_channels=3, **options)
    times: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(arguments.rounds + 1):
        for name, network in networks.items():
            seconds = step_of(network, image, list(network.parameters()))
            if number:
                times[name].append(seconds)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    where = f"{arguments.batch} x 3 x {arguments.size} x {arguments.size}"
    print(f"ResNet-50, {where}; CPU seconds of one thread; torch {torch.__version__}")
    for name, seconds in medians.items():
        own = medians[f"{name.split()[0]} hps"]
        count = sum(parameter.numel() for parameter in networks[name].parameters()) / 1e6
        print(f"{name:32}{seconds:8.2f} s{seconds / own:7.2f} x its HPS{count:8.1f} M parameters", flush=True)


if __name__ == "__main__":
    main()
