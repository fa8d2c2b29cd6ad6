"""From the arrays of a case to what a network takes and should give: input channels, targets, present labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from crosstask.datasets import Dataset, HiddenLabels, open_dataset
from crosstask.decisions import settle
from crosstask.errors import InputError
from crosstask.experiment import BeamSection, Experiment, LesionSection
from crosstask.functional.planes import PLANES, middle_of, plane_points, values_at
from crosstask.functional.sides import other_sides
from crosstask.geometry import Geometry
from crosstask.inputs import Beams, Earlier, Readable, Slices
from crosstask.registry import TASKS, did_you_mean
from crosstask.runs import earlier_inputs
from crosstask.tasks.base import Task

_DESCRIBED = ("image_array", "region_array", "windows", "image_channels", "structure_array", "structures")


@dataclass(frozen=True)
class Assembly:
    """How an experiment looks at a case.

    Attributes:
        tasks: the tasks, in order.
        image_array: case array of the image.
        region_array: case array of the region where regression targets are defined, or None.
        windows: one input channel per image channel and window [low, high] of its values, scaled to [-1, 1].
        image_channels: of the case array of the image.
        structure_array: case array whose channels become further input channels, or None.
        structures: names of these channels; one that a case lacks is zero.
        beams: aimed at the targets, as further input channels, or None.
        earlier: what an earlier run predicted, as further input channels, or None.
        scoring: take the targets that scores and validation look at, where these differ from those of training.
    """

    tasks: tuple[Task, ...]
    image_array: str
    region_array: str | None
    windows: tuple[tuple[float, float], ...]
    image_channels: int = 1
    structure_array: str | None = None
    structures: tuple[str, ...] = ()
    beams: Beams | None = None
    earlier: Earlier | None = None
    scoring: bool = False

    @property
    def in_channels(self) -> int:
        """Number of input channels."""
        return self.seen_channels + len(self.further)

    @property
    def seen_channels(self) -> int:
        """Number of input channels of the image itself, which are the first."""
        return len(self.windows) * self.image_channels

    @property
    def further(self) -> tuple[str, ...]:
        """Names of the input channels behind those of the image: structures, beams, earlier predictions."""
        beams = () if self.beams is None else self.beams.names
        return (*self.structures, *beams, *(() if self.earlier is None else self.earlier.channels))

    def other_sides(self) -> list[int]:
        """Of each input channel the index of the one that it becomes once left and right have changed places.

        Raises:
            ValueError: a structure or a beam has no counterpart; the message is its name.
        """
        groups = [list(range(self.seen_channels)), other_sides(self.structures)]
        groups += [further.other_sides() for further in (self.beams, self.earlier) if further is not None]
        starts = itertools.accumulate(map(len, groups), initial=0)
        return [start + index for start, group in zip(starts, groups, strict=False) for index in group]

    @property
    def labels(self) -> tuple[Task, ...]:
        """What a sample carries targets of: the tasks, and for training the masks that their losses look at."""
        masks = [task.masks for task in self.tasks if task.masks is not None]
        return self.tasks if self.scoring else (*self.tasks, *masks)

    def only(self, names: Sequence[str]) -> Assembly:
        """The same with some of the tasks."""
        return replace(self, tasks=tuple(task for task in self.tasks if task.name in names))

    def for_scoring(self) -> Assembly:
        """The same with the targets that scores and validation look at."""
        return replace(self, scoring=True)

    def image(self, case: Readable, slices: Slices | None = None) -> np.ndarray:
        """Input channels ``c *s``, float32."""
        parts = [self.seen(case, slices)]
        if self.structure_array is not None:
            masks, _ = _channels(case, self.structure_array, self.structures, slices, parts[0].shape[1:])
            parts.append(masks.astype(np.float32))
        if self.beams is not None:
            parts.append(self.beams.fields(case, slices))
        if self.earlier is not None:
            parts.append(self.earlier.read(case, slices))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def seen(self, case: Readable, slices: Slices | None = None) -> np.ndarray:
        """Input channels of the image itself, which are the first, ``c *s``, float32."""
        return self.windowed(case.read(self.image_array, None, slices).astype(np.float32))

    def windowed(self, values: np.ndarray) -> np.ndarray:
        """Input channels of an image's values ``c *s``, float32: all channels in the first window, then the next."""
        return np.concatenate([np.clip((values - low) * (2 / (high - low)) - 1, -1, 1) for low, high in self.windows])

    def padded(self, image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Input channels ``c *s``, padded at the end of each axis to at least ``shape``: lowest value, no structure."""
        widths = [(0, max(want - have, 0)) for have, want in zip(image.shape[1:], shape, strict=True)]
        count = self.seen_channels
        parts = [(image[:count], -1.0), (image[count:], 0.0)]
        return np.concatenate([np.pad(part, [(0, 0), *widths], constant_values=value) for part, value in parts])

    def target(self, task: Task, case: Readable, slices: Slices | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Target ``c *s`` (float32, zero where missing) and present ``c`` (bool) of one task; ``c`` at image level."""
        source = task.scored_array if self.scoring else task.array
        if task.level == "image":
            return _channels(case, source, task.classes, None, ())
        shape = _shape(case.shape(self.image_array)[1:], slices)
        return _channels(case, source, task.classes, slices, shape)

    def region(self, case: Readable, slices: Slices | None = None) -> np.ndarray | None:
        """Where regression targets are defined, ``1 *s``, bool; None if the case does not say."""
        if self.region_array is None or not case.channels.get(self.region_array):
            return None
        return case.read(self.region_array, None, slices) > 0


def describe_assembly(assembly: Assembly) -> dict[str, Any]:
    """An assembly as plain JSON values, from which :func:`assembly_from` makes the same without a data set."""
    values = {name: getattr(assembly, name) for name in _DESCRIBED}
    tasks = [{"kind": task.kind, "arguments": task.arguments()} for task in assembly.tasks]
    further = {"beams": assembly.beams, "earlier": assembly.earlier}
    return {**values, **{name: asdict(one) for name, one in further.items() if one is not None}, "tasks": tasks}


def assembly_from(description: Mapping[str, Any]) -> Assembly:
    """The assembly that was described.

    Raises:
        InputError: a kind of task that there is not.
        KeyError, TypeError, ValueError: it is none.
    """
    values = {name: description[name] for name in _DESCRIBED}
    values["windows"] = tuple((float(low), float(high)) for low, high in values["windows"])
    values["structures"] = tuple(values["structures"])
    kinds: dict[str, Callable[..., Any]] = {"beams": Beams, "earlier": Earlier}
    for name, kind in kinds.items():
        if name in description:
            made = {key: tuple(one) if isinstance(one, list) else one for key, one in description[name].items()}
            values[name] = kind(**made)
    tasks = tuple(TASKS.find(task["kind"], "task kind")(**task["arguments"]) for task in description["tasks"])
    return Assembly(tasks=tasks, **values)


@dataclass(frozen=True)
class Lesion:
    """A lesion and as much of the image around it as its patches can reach.

    Attributes:
        image: ``c z y x``, in the type in which it is stored.
        geometry: the grid of this part of the image.
        whole: the grid of the whole image.
        voxels: ``n 3``, indices z y x of the lesion's voxels in the whole image.
        middle: place of the lesion's middle in the whole image, in voxels; see
            :func:`crosstask.functional.planes.middle_of`.
    """

    image: np.ndarray
    geometry: Geometry
    whole: Geometry
    voxels: np.ndarray
    middle: np.ndarray

    def patch(
        self,
        settings: LesionSection,
        plane: str,
        voxel: np.ndarray,
        shift: Sequence[float] = (0.0, 0.0),
        angle: float = 0.0,
    ) -> np.ndarray:
        """Values of the image in a plane through the lesion, interpolated once and linearly.

        Args:
            settings: the patch's spacing and pixels.
            plane: axial, coronal or sagittal.
            voxel: place of the patch's centre in the whole image, in voxels.
            shift: of the centre in the plane, in mm.
            angle: of the patch in the plane, in radians.

        Returns:
            ``c pixels pixels``, float32, in the image's own values; beyond the image -inf, the lowest of any window.
        """
        spacing, origin = self.geometry.spacing, self.geometry.origin or (0.0,) * 3
        centre = np.asarray(self.whole.origin) + voxel * np.asarray(spacing)
        points = plane_points(plane, centre, settings.pixels, settings.spacing, shift, angle)
        return np.stack([values_at(channel, origin, spacing, points, -np.inf) for channel in self.image])

    def middle_patch(self, settings: LesionSection) -> np.ndarray:
        """The axial patch about the lesion's middle, the one by which a case is judged; see :meth:`patch`."""
        return self.patch(settings, PLANES[0], self.middle)


def lesion_of(case_id: str, case: Readable, geometry: Geometry, source: str, settings: LesionSection) -> Lesion:
    """The lesion of a case: all that any mask of its outline covers.

    Args:
        case_id: its id, for messages.
        case: its arrays.
        geometry: its grid.
        source: case array of the image.
        settings: which array is the outline, and how far patches reach.

    Raises:
        InputError: the case has no outline, or an empty one.
    """
    there = bool(case.channels.get(settings.outline))
    found = (case.read(settings.outline) > 0).any(0) if there else np.zeros(0, bool)
    if not found.any():
        raise without_outline([case_id], settings.outline)
    voxels = np.argwhere(found).astype(np.min_scalar_type(max(found.shape)))  # many, and small numbers
    reach = math.sqrt(2) * settings.spacing * settings.pixels / 2 + settings.shift
    near = geometry.box_around(voxels.min(0), voxels.max(0), reach)
    return Lesion(
        case.read(source, None, near), geometry.cropped(near), geometry, voxels, middle_of(voxels, geometry.spacing)
    )


def without_outline(case_ids: Sequence[str], outline: str) -> InputError:
    """The error for cases that no patch can be taken of."""
    names = ", ".join(case_ids) if len(case_ids) <= 4 else f"{', '.join(case_ids[:3])} and {len(case_ids) - 3} more"
    return InputError(
        f"{names}: no outline in {outline!r}, or an empty one, so there is no lesion to take patches of; add it, or "
        "leave out the case"
    )


def _channels(
    case: Readable, source: str, names: Sequence[str], slices: Slices | None, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    there = {name: index for index, name in enumerate(case.channels.get(source, ()))}
    present = np.array([name in there for name in names])
    values = np.zeros((len(names), *shape), dtype=np.float32)
    if present.any():
        values[present] = case.read(source, [there[name] for name in names if name in there], slices)
    return values, present


def _shape(full: tuple[int, ...], slices: Slices | None) -> tuple[int, ...]:
    shape: list[int] = []
    for axis, length in enumerate(full):
        part = slices[axis] if slices is not None and axis < len(slices) else slice(None)
        if isinstance(part, slice):
            shape.append(len(range(*part.indices(length))))
    return tuple(shape)


def dataset_of(experiment: Experiment) -> Dataset:
    """The experiment's data set."""
    section = experiment.dataset
    dataset = open_dataset(section.name, section.root, **section.options)
    return HiddenLabels(dataset, section.hide_labels) if section.hide_labels else dataset


def assembly_of(experiment: Experiment, dataset: Dataset) -> Assembly:
    """How the experiment looks at a case.

    Raises:
        InputError: a task or an option that the data set does not have, or samples that it cannot give.
    """
    section = experiment.dataset
    if experiment.sample.case_dims != dataset.spatial_dims:
        have = {2: "images; set it image", 3: "volumes; set it slice, patch, volume or lesion"}[dataset.spatial_dims]
        raise InputError(f"sample.kind: {experiment.sample.kind!r} does not fit: {dataset.name} has {have}")
    assembly = assemble(
        dataset,
        section.tasks,
        section.windows,
        structure_input=section.structure_input,
        beams=section.beams,
        earlier=earlier_inputs(experiment),
    )
    settle(assembly.tasks, experiment.evaluation)
    if experiment.sample.kind == "lesion":
        _check_lesions(assembly)
    return assembly


def _check_lesions(assembly: Assembly) -> None:
    """Patches of a lesion are turned out of the case's grid, so nothing that lies on it goes with them."""
    pixel = next((task.name for task in assembly.tasks if task.level == "pixel"), None)
    if pixel is not None:
        raise InputError(
            f"dataset.tasks.{pixel}: patches of a lesion (sample.kind) carry labels of whole cases alone; leave the "
            "task out, or set sample.kind patch"
        )
    if assembly.structure_array is not None:
        raise InputError("dataset.structure_input: patches of a lesion (sample.kind) have none; set it false")
    for key, further in (("dataset.beams", assembly.beams), ("input_from", assembly.earlier)):
        if further is not None:
            raise InputError(f"{key}: patches of a lesion (sample.kind) have no such input; set it null")


def assemble(
    dataset: Dataset,
    tasks: Mapping[str, Mapping[str, object]],
    windows: Sequence[tuple[float, float]],
    *,
    structure_input: bool | Sequence[str] = False,
    beams: BeamSection | None = None,
    earlier: Earlier | None = None,
) -> Assembly:
    """The assembly of an experiment's data set section.

    Raises:
        InputError: a task or an option that the data set does not have, or no structures to give as input or to aim at.
    """
    structures = _structures(dataset, structure_input) if structure_input else ()
    return Assembly(
        tasks=tuple(_task(dataset, name, options) for name, options in tasks.items()),
        image_array=dataset.image_array,
        region_array=dataset.region_array,
        windows=tuple((float(low), float(high)) for low, high in windows),
        image_channels=dataset.image_channels,
        structure_array=dataset.structure_array if structures else None,
        structures=structures,
        beams=None if beams is None else _beams(dataset, beams),
        earlier=earlier,
    )


def _structures(dataset: Dataset, wanted: bool | Sequence[str]) -> tuple[str, ...]:
    """Structures that are given as input, in the data set's order: all, or those that are named.

    Raises:
        InputError: it has no structures, or none of that name.
    """
    if dataset.structure_array is None:
        raise InputError(f"dataset.structure_input: {dataset.name} has no structures to give as input; set it false")
    if isinstance(wanted, bool):
        return tuple(dataset.structures)
    for name in wanted:
        _must_be_structure("dataset.structure_input", name, dataset)
    return tuple(name for name in dataset.structures if name in wanted)


def _must_be_structure(key: str, name: str, dataset: Dataset) -> None:
    """Refuse a name that is no structure of a data set."""
    if name not in dataset.structures:
        near = did_you_mean(name, dataset.structures)
        raise InputError(f"{key}: {name!r} is no structure; {near}there is {', '.join(dataset.structures)}")


def _beams(dataset: Dataset, section: BeamSection) -> Beams:
    """The beams of an experiment, aimed at targets that the data set has.

    Raises:
        InputError: it has no structures, no volumes, or none of that name.
    """
    if dataset.structure_array is None or dataset.spatial_dims != 3:
        raise InputError(f"dataset.beams: {dataset.name} has no structures in volumes to aim at; set it null")
    targets = section.targets or [name for name in dataset.structures if name.upper().startswith("PTV")]
    if not targets:
        known = ", ".join(dataset.structures)
        raise InputError(f"dataset.beams.targets: no structure's name begins with PTV; name some of {known}")
    for name in targets:
        _must_be_structure("dataset.beams.targets", name, dataset)
    angles = tuple(float(angle) for angle in section.angles)
    return Beams(dataset.structure_array, tuple(targets), angles, section.margin, section.source_distance)


def _task(dataset: Dataset, name: str, options: Mapping[str, object]) -> Task:
    """A task of the data set; what it does not accept is named by its key."""
    try:
        return dataset.task(name, **options)
    except InputError as error:
        raise InputError(f"dataset.tasks.{name}: {error}") from None
    except TypeError:
        raise InputError(f"dataset.tasks.{name}: {options} is not accepted; crosstask configs has examples") from None
