"""A first experiment's settings, from the sizes of the images, the number of cases and the machine, with the reasons.

The aim is a first look: every method trained in about ten minutes of one CPU core (or less on a GPU), within the
memory that is there. Costs were measured on one core of a server (forward, backward and Adam of every method), and hold
to a factor of two or so elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crosstask.datasets.cohort.proposal import Proposal

_MINUTES = (10, 30)
"""What all runs of a first look shall take together on one core: of few cases, and of many."""
_ENOUGH = {2: 200, 3: 50}
"""Samples an epoch that are enough for a first look, by their axes."""
WIDE, NARROW = "resnet18", "resnet18-narrow"
_STEP = {(2, WIDE): 0.4, (3, WIDE): 0.95, (3, NARROW): 0.05}
"""Seconds of a training step whatever its size: the optimiser's, by the axes of a sample and the encoder."""
_VOXEL = {(2, WIDE): 11e-6, (3, WIDE): 7.5e-6, (3, NARROW): 4e-6}
"""Seconds a pixel or voxel of a batch."""
_GPU = 100.0
"""A GPU is taken to be so many times as fast as a core (not measured)."""
_BASE = {2: 1.2, 3: 1.8}
"""GB of a run without its samples: libraries, weights, gradients, moments."""
_BYTES = 2000
"""Of memory that a pixel or voxel of a batch takes in training."""
_SHARE = 0.5
"""Of the free memory that a run may take: others are at work too, and predictions need some."""
_KEPT, _CACHED = 20, 0.25
"""Bytes of a pixel of a sample that is kept, and the share of the free memory that these may take."""
_EPOCHS = (12, 30)
"""Epochs that are wanted, and at most."""
_THINNED = 0.8
"""Where the time is enough for this share of the samples, all are taken."""
_SIDES = (64, 96, 128, 160, 192, 224, 256)
"""Sides of pictures and slices, smallest first."""
_WHOLE = 96
"""Volumes of at most so many voxels along each axis are taken whole."""
_MOST_VOXELS = 64**3
_FEW = 500
"""Cases below which a class may well have under ten in test."""
_SHORT = 40
"""Cases below which a tenth is too few to choose an epoch on."""


@dataclass(frozen=True)
class Machine:
    """What there is to compute with.

    Attributes:
        cores: CPU cores.
        memory: free, in GB.
        gpu: name of a GPU; "" if there is none.
        gpu_memory: its, in GB.
    """

    cores: int = 2
    memory: float = 8.0
    gpu: str = ""
    gpu_memory: float = 0.0

    @property
    def says(self) -> str:
        """In words."""
        own = f"{self.cores} cores, {self.memory:.0f} GB of free memory"
        return f"{own}, {self.gpu} with {self.gpu_memory:.0f} GB" if self.gpu else f"{own}, no GPU"


@dataclass(frozen=True)
class Setting:
    """A value of an experiment, and why it is so."""

    value: str
    why: str


@dataclass(frozen=True)
class Plan:
    """The settings of a first experiment.

    Attributes:
        kind, size: of a sample.
        encoder: of all networks.
        batch, epochs: of training.
        samples: training samples an epoch; None for all.
        fractions: of the splits that are drawn.
        cache: whether all samples fit into the memory together.
        few: so few cases that every class must count.
        jobs: runs that the machine can train at a time.
    """

    kind: Setting
    size: tuple[int, ...]
    encoder: Setting
    batch: Setting
    epochs: Setting
    samples: Setting | None
    fractions: Setting
    cache: bool
    few: bool
    jobs: int


def plan(proposal: Proposal, runs: int, machine: Machine) -> Plan:
    """Settings for a proposed cohort.

    Args:
        proposal: what was found.
        runs: how many the benchmark will train.
        machine: what there is.
    """
    cases = max(proposal.cases, 1)
    trained = max(1, proposal.trained)
    budget = 60 * _MINUTES[cases >= _FEW]
    kind, sizes = _kind(proposal, machine)
    of_a_case = proposal.survey.shape[0] if kind.value == "slice" else 1
    samples = trained * of_a_case
    size, batch = _fitting(sizes, samples, runs, cases, machine)
    step = _seconds(size, batch, machine)
    steps = math.ceil(samples / batch)
    epochs = int(budget / (runs * steps * step))
    limited = None
    if epochs < _EPOCHS[0]:
        epochs = _EPOCHS[0]
        fewer = max(4, int(budget / (runs * epochs * step)))
        if fewer < _THINNED * steps:
            steps = fewer
            what = "slices" if kind.value == "slice" else "cases"
            limited = Setting(str(steps * batch), f"of about {samples} {what}, for a first look; take it out for all")
    epochs = min(epochs, _EPOCHS[1])
    seconds = runs * epochs * steps * step
    where = "on this GPU" if machine.gpu else "of one core"
    need = _memory(size, batch)
    return Plan(
        kind,
        size,
        Setting(NARROW, "3-D without a GPU: a quarter of ResNet-18's width")
        if _encoder(size, machine) == NARROW
        else Setting(WIDE, ""),
        Setting(str(batch), f"{trained} training cases; a run takes about {need:.1f} GB of {machine.memory:.0f} free"),
        Setting(str(epochs), f"{runs} runs, about {_duration(seconds)} {where} together; more for a comparison"),
        limited,
        Setting("[0.6, 0.2, 0.2]", f"{cases} cases: a tenth would be too few to choose on")
        if cases < _SHORT
        else Setting("[0.7, 0.1, 0.2]", ""),
        _KEPT * samples * math.prod(size) / 1e9 < _CACHED * machine.memory,
        cases < _FEW,
        1 if machine.gpu else max(1, min(machine.cores, int(machine.memory / need), runs)),
    )


def _kind(proposal: Proposal, machine: Machine) -> tuple[Setting, list[tuple[int, ...]]]:
    """The kind of a sample, and the sizes that it could have, largest first."""
    survey = proposal.survey
    if proposal.dimensions == 2:
        return Setting("image", f"pictures: {survey.says}"), _squares(survey.shape)
    if max(survey.shape) <= _WHOLE:
        whole = tuple(_sixteens(length) for length in survey.shape)
        sizes = [whole, *(tuple(_sixteens(length // part) for length in survey.shape) for part in (2, 4))]
        return Setting("volume", f"volumes small enough to be taken whole: {survey.says}"), sizes
    steps = survey.spacing
    if machine.gpu and proposal.masks and steps[0] < 3 * min(steps[1:]):
        lengths = tuple(min(_sixteens(length), side) for length, side in zip(survey.shape, (64, 128, 128), strict=True))
        halves = tuple(max(16, length // 2 // 16 * 16) for length in lengths)
        return Setting("patch", f"voxels of {_mm(steps)}; {survey.says}; masks need detail"), [lengths, halves]
    why = "3-D patches are slow without a GPU" if not machine.gpu else f"voxels of {_mm(steps)}, so slices"
    if machine.gpu and not proposal.masks:
        why = "no masks, so slices whose predictions are averaged"
    return Setting("slice", f"{why}; {survey.says}"), _squares(survey.shape[1:])


def _squares(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Sizes of pictures in the shape of the usual one, largest first: square where it nearly is."""
    longest = max(shape)
    sizes = [side for side in _SIDES if side <= longest] or [_SIDES[0]]
    wide = [max(0.5, length / longest) for length in shape]
    if min(wide) > 0.8:
        wide = [1.0] * len(shape)
    return [tuple(_sixteens(round(side * share)) for share in wide) for side in reversed(sizes)]


def _sixteens(length: int) -> int:
    """A length that networks take well."""
    return max(16, round(length / 16) * 16)


def _fitting(
    sizes: list[tuple[int, ...]], samples: int, runs: int, cases: int, machine: Machine
) -> tuple[tuple[int, ...], int]:
    """The largest size, and the batch, that fit into the memory and leave time for the wanted epochs."""
    axes = len(sizes[0])
    usual = 8 if axes == 2 and cases < _FEW else 16 if axes == 2 else 4
    usual = max(2, min(usual, 2 ** int(math.log2(max(2, samples // 2)))))
    most = _SHARE * (machine.gpu_memory if machine.gpu else machine.memory)
    for size in sizes:
        batch = usual
        while batch > 2 and _memory(size, batch) > most:
            batch //= 2
        # large data sets are thinned out, so time counts for as many samples as a first look needs
        steps = math.ceil(min(samples, _ENOUGH[axes]) / batch)
        seconds = runs * _EPOCHS[0] * steps * _seconds(size, batch, machine)
        small = machine.gpu or math.prod(size) <= _MOST_VOXELS
        if _memory(size, batch) <= most and seconds <= 1.05 * 60 * _MINUTES[cases >= _FEW] and small:
            return size, batch
    return sizes[-1], 2 if _memory(sizes[-1], usual) > most else usual


def _seconds(size: tuple[int, ...], batch: int, machine: Machine) -> float:
    """Of a training step."""
    key = len(size), _encoder(size, machine)
    return (_STEP[key] + _VOXEL[key] * math.prod(size) * batch) / (_GPU if machine.gpu else 1.0)


def _encoder(size: tuple[int, ...], machine: Machine) -> str:
    """The usual one; without a GPU a narrow one for volumes, whose training it shortens by half and more."""
    return NARROW if len(size) == 3 and not machine.gpu else WIDE


def _memory(size: tuple[int, ...], batch: int) -> float:
    """Of a run, in GB."""
    return _BASE[len(size)] + _BYTES * math.prod(size) * batch / 1e9


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min"


def _mm(steps: tuple[float, ...]) -> str:
    return " x ".join(f"{step:.2g}" for step in steps) + " mm"
