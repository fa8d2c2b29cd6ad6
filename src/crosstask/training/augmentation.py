"""Random changes of training samples, alike for the image and all that lies on its grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from crosstask.assembly import Assembly
from crosstask.errors import InputError
from crosstask.experiment import AugmentationSection
from crosstask.functional.sides import other_sides, sided
from crosstask.sample import AXES, Batch, Sample, collate

_PURPOSE = 5  # of the random numbers, beside those of the order


@dataclass(frozen=True)
class Change:
    """What is drawn for one sample, but for its noise.

    Attributes:
        flips: axes along which it is flipped, as dimensions of a tensor.
        angle: of rotation, in radians.
        scale: change of length.
        brightness, contrast: factors.
    """

    flips: tuple[int, ...]
    angle: float
    scale: float
    brightness: float
    contrast: float


class Augmentation:
    """Flips, rotation and scaling of image, masks and quantities together; brightness, contrast and noise of the image.

    Rotation (in the y-x plane) and scaling (of all axes alike) are about the middle of the sample, in its own voxels,
    and linear for all: a mask is made one again by its task, a region is where more than half is. Outside the sample
    the image has its lowest value, and there is no structure, target or region. Brightness multiplies what lies above
    the lowest value, contrast the distance from the mean of the channel; both and the noise leave structure channels
    alone, and the image within [-1, 1]. Image-level targets stay as they are, but for classes of sides: with
    ``exchange_sides`` left and right of all inputs and labels change places where a sample is flipped along x.

    Samples are changed together, each by its own draws, wherever they lie: one look-up for all of a batch, in which
    flips are part of the rotation.

    Args:
        settings: how much of each.
        assembly: how the samples look at a case.
    """

    def __init__(self, settings: AugmentationSection, assembly: Assembly) -> None:
        self._settings = settings
        self._flips = [AXES[axis] for axis in dict.fromkeys(settings.flip)]
        self._tasks = tuple(task for task in assembly.labels if task.level == "pixel")
        self._image_channels = assembly.seen_channels
        self._inputs: list[int] = []
        self._sides: dict[str, list[int]] = {}
        if settings.exchange_sides:
            self._inputs = assembly.other_sides()
            self._sides = {task.name: other_sides(task.classes) for task in assembly.labels}

    @property
    def changes(self) -> bool:
        """Whether anything is changed at all."""
        settings = self._settings
        return bool(self._flips or settings.rotate or settings.scale or settings.intensity or settings.noise)

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """A changed copy of a sample, by the generator alone."""
        batch = self.changed(collate([sample]), [generator])
        return replace(
            sample,
            image=batch.image[0],
            targets={name: target[0] for name, target in batch.targets.items()},
            present={name: present[0] for name, present in batch.present.items()},
            region=None if batch.region is None else batch.region[0],
        )

    def changed(self, batch: Batch, generators: Sequence[np.random.Generator]) -> Batch:
        """A changed copy of a batch, each sample by its own generator alone; on the device where the batch is."""
        changes = [self._drawn(generator) for generator in generators]
        batch = self._moved(batch, changes)
        return replace(batch, image=self._coloured(batch.image, changes, generators))

    def _drawn(self, generator: np.random.Generator) -> Change:
        """The draws of one sample, the same ones in the same order whatever is asked for."""
        settings = self._settings
        flips = tuple(axis for axis in self._flips if generator.random() < 0.5)
        angle = math.radians(settings.rotate) * generator.uniform(-1, 1)
        scale = 1 + settings.scale * generator.uniform(-1, 1)
        brightness, contrast = 1 + settings.intensity * generator.uniform(-1, 1, size=2)
        return Change(flips, float(angle), float(scale), float(brightness), float(contrast))

    def _moved(self, batch: Batch, changes: Sequence[Change]) -> Batch:
        turns = bool(self._settings.rotate or self._settings.scale)
        if not (turns or any(change.flips for change in changes)):
            return batch
        if self._sides:
            batch = self._exchanged(batch, [AXES["x"] in change.flips for change in changes])
        parts = [batch.image, *(batch.targets[task.name] for task in self._tasks)]
        if batch.region is not None:
            parts.append(batch.region)
        values = torch.cat([part.to(batch.image.dtype) for part in parts], dim=1)
        values = self._turned(values, changes) if turns else _flipped(values, changes)
        moved = list(values.split([part.shape[1] for part in parts], dim=1))
        region = None if batch.region is None else moved.pop() > 0.5
        targets = {task.name: task.resized(part) for task, part in zip(self._tasks, moved[1:], strict=True)}
        return replace(batch, image=moved[0], targets={**batch.targets, **targets}, region=region)

    def _exchanged(self, batch: Batch, flipped: Sequence[bool]) -> Batch:
        """With left and right of inputs and labels in each other's place in samples that are flipped along x."""
        rows = torch.tensor(flipped, device=batch.image.device)

        def exchanged(values: Tensor, order: list[int]) -> Tensor:
            column = rows.view(-1, *(1,) * (values.ndim - 1)).to(values.device)
            return torch.where(column, values[:, order], values)

        return replace(
            batch,
            image=exchanged(batch.image, self._inputs),
            targets={name: exchanged(target, self._sides[name]) for name, target in batch.targets.items()},
            present={name: exchanged(present, self._sides[name]) for name, present in batch.present.items()},
        )

    def _turned(self, values: Tensor, changes: Sequence[Change]) -> Tensor:
        """Rotated, scaled and flipped; from outside comes the image's lowest value, -1, and zero in other channels."""
        values[:, : self._image_channels] += 1
        lookup = np.stack([lookup_of(change, values.shape[2:]) for change in changes])
        theta = torch.from_numpy(lookup).to(values.dtype).to(values.device, non_blocking=True)
        grid = affine_grid(theta, list(values.shape), align_corners=False)
        turned = grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        turned[:, : self._image_channels] -= 1
        return turned

    def _coloured(self, image: Tensor, changes: Sequence[Change], generators: Sequence[np.random.Generator]) -> Tensor:
        settings = self._settings
        if not (settings.rotate or settings.scale or settings.intensity or settings.noise):
            return image
        seen, structures = image[:, : self._image_channels], image[:, self._image_channels :]
        if settings.intensity:
            column = (-1,) + (1,) * (seen.ndim - 1)
            factors = torch.tensor([(change.brightness, change.contrast) for change in changes], dtype=seen.dtype)
            brightness, contrast = factors.to(seen.device, non_blocking=True).unbind(1)
            seen = ((seen + 1) * brightness.view(column) - 1).clamp_(-1, 1)
            mean = seen.flatten(2).mean(2).view(*seen.shape[:2], *(1,) * (seen.ndim - 2))
            seen = mean + (seen - mean) * contrast.view(column)
        if settings.noise:
            seen = seen + settings.noise * _noise_like(seen, generators)
        seen = seen.clamp(-1, 1)
        return torch.cat([seen, structures], dim=1) if structures.shape[1] else seen


def lookup_of(change: Change, shape: Sequence[int]) -> np.ndarray:
    """Where a changed sample takes its values from, in the coordinates of :func:`torch.nn.functional.affine_grid`.

    About the middle, a voxel at p (in voxels, z y x) of the result is looked up at ``F R p / scale`` of the sample, R
    being a rotation by the angle from y to x and F the flips. The coordinates are in halves of each axis, x first.

    Args:
        change: the draws.
        shape: of the sample, ``*s``.

    Returns:
        ``d d+1``, the last column, a shift, being zero.
    """
    dims = len(shape)
    turn = np.eye(dims)
    cosine, sine = math.cos(change.angle), math.sin(change.angle)
    turn[-2:, -2:] = [[cosine, -sine], [sine, cosine]]
    turn /= change.scale
    for axis in change.flips:
        turn[axis] *= -1
    half = np.asarray(shape, dtype=np.float64)
    turn *= half[None, :] / half[:, None]
    return np.concatenate([turn[::-1, ::-1], np.zeros((dims, 1))], axis=1)


def _flipped(values: Tensor, changes: Sequence[Change]) -> Tensor:
    """Each sample flipped along its own axes, to the last bit."""
    flipped = [one.flip(change.flips) if change.flips else one for one, change in zip(values, changes, strict=True)]
    return torch.stack(flipped)


def _noise_like(seen: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Standard normal noise ``b c *s``, each sample's by its own generator.

    On another device than the processor the numbers are drawn there, from seeds of the same generators: the same each
    time, but not those that the processor draws.
    """
    if seen.device.type != "cpu":
        noise = torch.empty_like(seen)
        for own, generator in zip(noise, generators, strict=True):
            drawn = torch.Generator(seen.device).manual_seed(int(generator.integers(2**62)))
            own.normal_(generator=drawn)
        return noise
    values = np.empty(tuple(seen.shape), dtype=np.float32)
    for one, generator in zip(values, generators, strict=True):
        generator.standard_normal(dtype=np.float32, out=one)
    return torch.from_numpy(values)


class SeededAugmentation:
    """Changes batches anew at each draw: the same seed and draw give the same change, whoever makes it.

    Args:
        augmentation: how to change samples.
        seed: of the changes.
    """

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        self._augmentation, self._seed = augmentation, seed

    def __call__(self, batch: Batch) -> Batch:
        """A changed copy of a batch of samples that know their draws."""
        generators = [np.random.default_rng([self._seed, number, _PURPOSE]) for number in batch.draws]
        return self._augmentation.changed(batch, generators)


def check_augmentation(settings: AugmentationSection, whole: Assembly, spatial_dims: int) -> None:
    """Refuse flips that samples do not have, or that would teach wrong sides.

    Args:
        settings: the experiment's.
        whole: its assembly, with all tasks.
        spatial_dims: axes of a sample.

    Raises:
        InputError: z of 2-D samples; or x, where classes are told apart by their side of the body.
    """
    if "z" in settings.flip and spatial_dims < 3:
        raise InputError("training.augmentation.flip: 2-D samples have no axis z; leave it out")
    if "x" in settings.flip:
        _check_sides(settings, whole)


def _check_sides(settings: AugmentationSection, whole: Assembly) -> None:
    """Refuse flips along x that would teach wrong sides.

    Raises:
        InputError: there are sides that are not exchanged, or one without its counterpart.
    """
    names = [name for task in whole.tasks for name in task.classes]
    if not settings.exchange_sides:
        beams = () if whole.beams is None else whole.beams.names
        earlier = () if whole.earlier is None else whole.earlier.channels
        if found := [*sided([*names, *whole.structures, *earlier]), *beams[:1]]:
            raise InputError(
                f"training.augmentation.flip: along x it would teach wrong sides of {' and '.join(map(repr, found))}; "
                "leave x out, or set training.augmentation.exchange_sides=true"
            )
        return
    try:
        whole.other_sides()
        for task in whole.labels:
            other_sides(task.classes)
    except ValueError as error:
        raise InputError(
            f"training.augmentation.exchange_sides: {str(error)!r} has no counterpart to change places with; add it, "
            "or leave x out of training.augmentation.flip"
        ) from None
