"""Random changes of training samples, alike for the image and all that lies on its grid."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from crosstask.assembly import Assembly
from crosstask.errors import InputError
from crosstask.experiment import AugmentationSection
from crosstask.sample import AXES, Sample

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
_PURPOSE = 5  # of the random numbers, beside those of the order


class Augmentation:
    """Flips, rotation and scaling of image, masks and quantities together; brightness, contrast and noise of the image.

    Rotation (in the y-x plane) and scaling (of all axes alike) are about the middle of the sample, in its own voxels,
    and linear for all: a mask is made one again by its task, a region is where more than half is. Outside the sample
    the image has its lowest value, and there is no structure, target or region. Brightness multiplies what lies above
    the lowest value, contrast the distance from the mean of the channel; both and the noise leave structure channels
    alone, and the image within [-1, 1]. Image-level targets stay as they are.

    Args:
        settings: how much of each.
        assembly: how the samples look at a case.
    """

    def __init__(self, settings: AugmentationSection, assembly: Assembly) -> None:
        self._settings = settings
        self._flips = [AXES[axis] for axis in dict.fromkeys(settings.flip)]
        self._tasks = tuple(task for task in assembly.labels if task.level == "pixel")
        self._image_channels = len(assembly.windows) * assembly.image_channels

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
        names = [name for task in whole.tasks for name in task.classes]
        sided = _sided([*names, *whole.structures])
        if sided:
            raise InputError(
                f"training.augmentation.flip: along x it would teach wrong sides of {' and '.join(map(repr, sided))}; "
                "leave x out"
            )


def _sided(names: Iterable[str]) -> list[str]:
    """Names that say left or right, or (as L and R) have a counterpart that differs in that alone."""
    words = {name: tuple(word.lower() for word in _WORD.findall(name)) for name in dict.fromkeys(names)}
    mirrored = {name: tuple(_OTHER_SIDE.get(word, word) for word in parts) for name, parts in words.items()}
    return [
        name
        for name, parts in words.items()
        if {"left", "right"} & set(parts) or (mirrored[name] != parts and mirrored[name] in words.values())
    ]
