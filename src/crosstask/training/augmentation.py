"""Random changes of training samples, alike for the image and all that lies on its grid."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from crosstask.assembly import Assembly
from crosstask.errors import InputError
from crosstask.experiment import AugmentationSection
from crosstask.functional.sides import other_sides, sided
from crosstask.sample import AXES, Sample

_PURPOSE = 5  # of the random numbers, beside those of the order


class Augmentation:
    """Flips, rotation and scaling of image, masks and quantities together; brightness, contrast and noise of the image.

    Rotation (in the y-x plane) and scaling (of all axes alike) are about the middle of the sample, in its own voxels,
    and linear for all: a mask is made one again by its task, a region is where more than half is. Outside the sample
    the image has its lowest value, and there is no structure, target or region. Brightness multiplies what lies above
    the lowest value, contrast the distance from the mean of the channel; both and the noise leave structure channels
    alone, and the image within [-1, 1]. Image-level targets stay as they are, but for classes of sides: with
    ``exchange_sides`` left and right of all inputs and labels change places where a sample is flipped along x.

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
        sample = self._moved(sample, generator)
        return replace(sample, image=self._coloured(sample.image, generator))

    def _moved(self, sample: Sample, generator: np.random.Generator) -> Sample:
        settings = self._settings
        flips = [axis for axis in self._flips if generator.random() < 0.5]
        angle = math.radians(settings.rotate) * generator.uniform(-1, 1)
        scale = 1 + settings.scale * generator.uniform(-1, 1)
        if not (flips or settings.rotate or settings.scale):
            return sample
        if self._sides and AXES["x"] in flips:
            sample = self._exchanged(sample)
        parts = [sample.image, *(sample.targets[task.name] for task in self._tasks)]
        if sample.region is not None:
            parts.append(sample.region.to(sample.image.dtype))
        values = torch.cat(parts)
        if flips:
            values = values.flip(flips)
        if settings.rotate or settings.scale:
            values = self._turned(values, angle, scale)
        moved = list(values.split([len(part) for part in parts]))
        region = None if sample.region is None else moved.pop() > 0.5
        targets = {task.name: task.resized(part) for task, part in zip(self._tasks, moved[1:], strict=True)}
        return replace(sample, image=moved[0], targets={**sample.targets, **targets}, region=region)

    def _exchanged(self, sample: Sample) -> Sample:
        """With left and right of inputs and labels in each other's place, as they are once it is flipped along x."""
        return replace(
            sample,
            image=sample.image[self._inputs],
            targets={name: target[self._sides[name]] for name, target in sample.targets.items()},
            present={name: present[self._sides[name]] for name, present in sample.present.items()},
        )

    def _turned(self, values: Tensor, angle: float, scale: float) -> Tensor:
        """Rotated and scaled; the image's lowest value, -1, comes in from outside, and zero in all other channels."""
        from monai.transforms import Affine

        dims = values.ndim - 1
        values[: self._image_channels] += 1
        turn = Affine(
            rotate_params=(angle, 0.0, 0.0) if dims == 3 else angle,
            scale_params=(1 / scale,) * dims,  # MONAI scales the grid that is looked up
            mode="bilinear",
            padding_mode="zeros",
            image_only=True,
        )
        turned: Tensor = turn(values).as_tensor()
        turned[: self._image_channels] -= 1
        return turned

    def _coloured(self, image: Tensor, generator: np.random.Generator) -> Tensor:
        settings = self._settings
        brightness, contrast = 1 + settings.intensity * generator.uniform(-1, 1, size=2)
        if not (settings.rotate or settings.scale or settings.intensity or settings.noise):
            return image
        seen, structures = image[: self._image_channels], image[self._image_channels :]
        if settings.intensity:
            seen = ((seen + 1) * brightness - 1).clamp(-1, 1)
            mean = seen.flatten(1).mean(1).reshape(-1, *(1,) * (seen.ndim - 1))
            seen = mean + (seen - mean) * contrast
        if settings.noise:
            noise = generator.standard_normal(tuple(seen.shape), dtype=np.float32)
            seen = seen + settings.noise * torch.from_numpy(noise)
        return torch.cat([seen.clamp(-1, 1), structures])


class AugmentedSamples(Dataset[Sample]):
    """Samples, changed anew at each draw: the same seed and draw give the same change, whoever loads it.

    Args:
        samples: the samples.
        augmentation: how to change them.
        seed: of the changes.
    """

    def __init__(self, samples: Dataset[Sample], augmentation: Augmentation, seed: int) -> None:
        self._samples, self._augmentation, self._seed = samples, augmentation, seed

    def __len__(self) -> int:
        return len(self._samples)  # type: ignore[arg-type]

    def __getitem__(self, draw: tuple[int, int]) -> Sample:
        index, number = draw
        generator = np.random.default_rng([self._seed, number, _PURPOSE])
        return self._augmentation(self._samples[index], generator)


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
