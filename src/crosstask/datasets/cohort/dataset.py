"""Any data set of one table and files of images and masks, described by one YAML file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.datasets.base import Case, CaseData, Dataset, Issue, Source
from crosstask.datasets.cohort.check import check_cohort
from crosstask.datasets.cohort.labels import ClassesLabel, FindingsLabel, NumberLabel, OneHotLabel
from crosstask.datasets.cohort.masks import Mask, belongs, read_mask
from crosstask.datasets.cohort.rows import CohortRows
from crosstask.datasets.cohort.spec import IMAGE, CohortFile, CohortSpec, load_cohort
from crosstask.datasets.intake import Intake
from crosstask.datasets.names import refuse_options, unknown_name
from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.images import read_image, recoloured
from crosstask.io.numbers import not_numbers, only_numbers
from crosstask.io.resampling import resample
from crosstask.io.tables import Row
from crosstask.shipped import find_config
from crosstask.tasks import ClassificationTask, ScalarTask, SegmentationTask
from crosstask.tasks.base import Task

COHORT_FILE = "cohort.yaml"
"""Name of the file that is looked for when the root is a folder."""


class Cohort(Dataset):
    """A data set of one's own: a table with one row a case, and files that its cells name.

    The cohort file is described in docs/your-own-data.md; ``crosstask cohort init TABLE`` proposes one.

    Arrays of a case: ``image`` (``c *s``, in the files' own type), one uint8 array for each entry of ``masks`` with a
    channel per class whose file exists, and one float32 array without spatial axes for each entry of ``labels`` with
    a channel per value that is known. What the table or the folders lack is a missing label.

    Tasks: every entry of ``masks`` (options ``classes``, ``exclusive``) and of ``labels`` (``measure`` of
    classifications, ``classes`` of findings), and the options of their losses.

    Args:
        root: the cohort file, the folder of a ``cohort.yaml``, or the name of a cohort that comes with the package.
        folder: where the file's relative paths begin, instead of what it says itself.
    """

    name = "cohort"
    image_array = IMAGE
    licence = "as the cohort file states"
    source = "as the cohort file states"
    citation = "as the cohort file states"

    def __init__(self, root: Path, folder: str | Path | None = None) -> None:
        super().__init__(find_config(Path(root)))
        self._given_folder = None if folder is None else Path(folder).expanduser()
        self._file: CohortFile | None = None
        self._rows: CohortRows | None = None
        self._dimensions: int | None = None
        path = self._path()
        if path.is_file():
            spec = self._cohort.spec
            self.licence, self.source, self.citation = spec.licence, spec.source, spec.citation

    # --- what the file says ---

    @property
    def spec(self) -> CohortSpec:
        """The validated cohort file."""
        return self._cohort.spec

    @property
    def folder(self) -> Path:
        """Where relative paths begin."""
        if self._given_folder is not None:
            return self._given_folder
        return self._path().parent / self.spec.folder.expanduser()

    @property
    def rows(self) -> CohortRows:
        """The table, read once.

        Raises:
            InputError: it cannot be read, or lacks a column that the cohort file names.
        """
        if self._rows is None:
            self._rows = CohortRows(self._cohort, self.folder)
        return self._rows

    @property
    def image_channels(self) -> int:  # type: ignore[override]
        """3 for colour, else the number of image files of a case."""
        if isinstance(self.spec.channels, int):
            return self.spec.channels
        return 3 if self.spec.channels == "colour" else len(self.spec.image)

    @property
    def spatial_dims(self) -> int:  # type: ignore[override]
        """2 for pictures, 3 for volumes: as the cohort file says, or as the first image is.

        Raises:
            InputError: the file does not say it and no image can be read.
        """
        if self._dimensions is None:
            self._dimensions = self.spec.dimensions
        fault: InputError | None = None
        for case in self.rows.cases() if self._dimensions is None else ():
            try:
                first = self.rows.images_of(self.rows.row(case.id))[0]
                self._dimensions = len(read_image(first, self._stacked)[1].shape)
                break
            except InputError as error:
                fault = fault or error
        if self._dimensions is None:
            raise fault or InputError(f"{self.root}: no image can be read; run the check")
        return self._dimensions

    @property
    def tasks(self) -> tuple[str, ...]:
        return (*self.spec.masks, *self.spec.labels)

    def task(self, name: str, **options: Any) -> Task:
        """A task of ``masks`` or ``labels``; see the class for options.

        Raises:
            InputError: no such task, option or class.
        """
        if name not in self.tasks:
            raise unknown_name("task of the cohort", name, self.tasks)
        label = self.spec.labels.get(name)
        accepted: tuple[str, ...] = (*ClassificationTask.loss_options, "measure")
        if label is None:
            accepted = ("classes", "exclusive", *SegmentationTask.loss_options)
        elif isinstance(label, NumberLabel):
            accepted = ()
        elif isinstance(label, FindingsLabel) and not isinstance(label, OneHotLabel):
            accepted = ("classes", *accepted)
        refuse_options(f"task {name!r}", options, accepted)
        if label is None:
            classes = _chosen(options.pop("classes", None), tuple(self.spec.masks[name].classes))
            return SegmentationTask(name, name, classes, **options)
        if isinstance(label, NumberLabel):
            return ScalarTask(name, name, label.unit, minimum=label.minimum)
        classes = _chosen(options.pop("classes", None), label.channels(name))
        exclusive = isinstance(label, (ClassesLabel, OneHotLabel))
        return ClassificationTask(name, name, classes, exclusive=exclusive, **options)

    def intake(self) -> Intake:
        """As the cohort file reads its images."""
        spec = self.spec
        refusal = ""
        if spec.crop is not None:
            refusal = (
                f"the run has learned from volumes cut to a box around {spec.crop.masks!r}, which plain images do not "
                "outline; give a cohort file with that outline"
            )
        return Intake(
            self.image_channels,
            self.spatial_dims,
            files=len(spec.image),
            converts=len(spec.image) == 1,
            spacing=spec.spacing,
            fill=spec.fill,
            patterns=tuple(spec.image),
            case=spec.case,
            missing=tuple(spec.missing),
            refusal=refusal,
        )

    def read_settings(self) -> Mapping[str, Any]:
        return self.spec.reading()

    # --- cases ---

    def cases(self) -> list[Case]:
        """All rows with an id whose image files exist, sorted naturally by id; labels are not looked at.

        A change of a row makes its prepared case stale, and no other.

        Raises:
            InputError: the cohort file or the table cannot be used, two rows have one id, or no case has its image.
        """
        return self.rows.cases()

    def unusable(self, case_ids: Collection[str]) -> Mapping[str, str]:
        """Cases whose row is there, but whose image is not."""
        return self.rows.without_image(case_ids)

    def read(self, case: Case) -> CaseData:
        """All arrays of a case; see the class.

        Raises:
            InputError: a file cannot be read, is of another kind or size than the others, or a cell of the table holds
                what its label does not accept. The message names the file, or row, column and value.
        """
        return self._read(case, None)

    def read_to_predict(self, case: Case) -> tuple[CaseData, list[str]]:
        """A case whose labels and masks may be wrong: they are left out.

        Raises:
            InputError: the image cannot be read, or the outline that it is cut around.
        """
        lost: list[str] = []
        return self._read(case, lost), lost

    def _read(self, case: Case, lost: list[str] | None) -> CaseData:
        """A case; with a list for what is lost of its labels, these need not be right."""
        row = self.rows.row(case.id)
        images = self.rows.images_of(row)
        if missing := next((path for path in images if not path.exists()), None):
            raise InputError(f"{self.rows.no_image(missing)}; add it, or take {row.place} out of the table")
        information: dict[str, Any] = {}
        issues: list[Issue] = []
        labels, faults = self.rows.labels_of(row)
        if faults and lost is None:
            raise InputError(faults[0])
        if lost is not None:
            lost += faults
        image, native = self._image(images, information)
        channels: dict[str, tuple[str, ...]] = {IMAGE: self._channel_names()}
        arrays: dict[str, np.ndarray] = {}
        for task in self.spec.masks:
            try:
                channels[task], arrays[task] = self._masks(case.id, task, row, images[0], native, information, issues)
            except InputError as error:
                if lost is None or (self.spec.crop is not None and self.spec.crop.masks == task):
                    raise
                lost.append(str(error))
        source = Source(images[0], native) if len(native.shape) == 3 else None
        if self.spec.crop is not None:
            box = self._box(arrays[self.spec.crop.masks], native, row)
            image, native = image[box], native.cropped(box[1:])
            arrays = {task: mask[box] for task, mask in arrays.items()}
        geometry = native
        if self.spec.spacing is not None:
            arrays = {task: _resampled(mask, native, self.spec.spacing, mask=True)[0] for task, mask in arrays.items()}
            image, geometry = _resampled(image, native, self.spec.spacing, mask=False)
        arrays[IMAGE] = image
        for name, values in labels.items():
            arrays[name], channels[name] = np.array(list(values.values()), np.float32), tuple(values)
        return CaseData(arrays, channels, geometry, information, tuple(issues), source)

    # --- files ---

    @property
    def _stacked(self) -> int | None:
        """Volumes in one file of an image, where the cohort file gives their number."""
        return self.spec.channels if isinstance(self.spec.channels, int) else None

    def _channel_names(self) -> tuple[str, ...]:
        if self.spec.channels == "colour":
            return ("red", "green", "blue")
        count = self.image_channels
        return (IMAGE,) if count == 1 else tuple(f"{IMAGE} {number}" for number in range(1, count + 1))

    def _image(self, paths: Sequence[Path], information: dict[str, Any]) -> tuple[np.ndarray, Geometry]:
        """``c *s`` of all image files, and the grid that they share."""
        parts: list[np.ndarray] = []
        geometry: Geometry | None = None
        for path in paths:
            values, grid = read_image(path, self._stacked)
            values = only_numbers(path, values, self.spec.fill, "give fill in the cohort file, a value in their place")
            have, want = len(grid.shape), self.spatial_dims
            if have != want:
                kinds = {2: "a picture", 3: "a volume"}
                raise InputError(
                    f"{path}: is {kinds[have]}, this cohort is of {kinds[want][2:]}s; describe the two kinds in "
                    "cohort files of their own, or fix dimensions"
                )
            if geometry is None:
                geometry = grid
            elif grid.shape != geometry.shape:
                raise InputError(f"{path}: is {_size(grid)}, {paths[0]} is {_size(geometry)}; channels need one size")
            parts.append(self._coloured(values, information))
        assert geometry is not None
        return np.concatenate(parts), geometry

    def _coloured(self, values: np.ndarray, information: dict[str, Any]) -> np.ndarray:
        """One channel, or three of a colour cohort, of an image with one or three."""
        if isinstance(self.spec.channels, int):
            return values
        if self.spec.channels == "grey" and len(values) == 3:
            if not (values == values[:1]).all():
                information["converted"] = "colour to grey"
            return recoloured(values, 1)
        if self.spec.channels == "colour" and len(values) == 1:
            information["converted"] = "grey to colour"
            return recoloured(values, 3)
        return values

    def _masks(
        self,
        case_id: str,
        task: str,
        row: Row,
        image: Path,
        geometry: Geometry,
        information: dict[str, Any],
        issues: list[Issue],
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """Classes whose file exists, and their masks ``c *s``."""
        files: dict[Path, Mask | None] = {}
        found: dict[str, np.ndarray] = {}
        for name, mask in self.spec.masks[task].classes.items():
            path = self.rows.resolved(mask.path, row)
            if path is None or not path.exists():
                continue
            if path not in files:
                files[path] = read = read_mask(path, image, geometry)
                grid = geometry if read is None else read.grid
                if grid.shape != geometry.shape:
                    raise InputError(
                        f"{path}: the mask is {_size(grid)}, its image {image} is {_size(geometry)}; make them one size"
                    )
                if not _same_place(grid, geometry):
                    information.setdefault("displaced", []).append(str(path))
            held = files[path]
            if held is None:
                continue
            if why := held.unknown(mask):
                message = f"{path}: the mask of {image.name} {why}, so {name} is a missing label ({row.place})"
                issues.append(Issue(case_id, "warning", message))
                continue
            if mask.fill is not None:
                held = replace(held, values=only_numbers(path, held.values, mask.fill, ""))
            elif not_numbers(held.values) is not None:
                message = (
                    f"{path}: the mask holds values that are no numbers (NaN or infinite), so {name} is a missing "
                    f"label ({row.place}); export it again, or give fill beside its path (fill: 0)"
                )
                issues.append(Issue(case_id, "warning", message))
                continue
            found[name] = belongs(held, mask)
            if mask.values == ">0" or isinstance(mask.values, list):
                threshold = held.threshold
                if threshold is not None:
                    information.setdefault("soft", {})[f"{task}.{name}"] = threshold
        masks = np.stack(list(found.values())) if found else np.empty((0, *geometry.shape), np.uint8)
        return tuple(found), masks

    def _box(self, outline: np.ndarray, geometry: Geometry, row: Row) -> tuple[slice, ...]:
        """What is kept of ``c z y x``: all channels, and a box around its outline."""
        assert self.spec.crop is not None
        if len(geometry.shape) != 3:
            raise InputError("crop: this cohort is of pictures, which have no millimetres; leave crop out")
        hits = np.argwhere(outline.any(0)) if len(outline) else np.empty((0, 3))
        if not len(hits):
            first = next(iter(self.spec.masks[self.spec.crop.masks].classes.values()))
            path = self.rows.resolved(first.path, row)
            where = path or f"{self.rows.table.path}, {first.path!r}"
            unknown = path is not None and path.exists() and not len(outline)
            state = "is empty" if len(outline) else "holds values that are no numbers" if unknown else "is missing"
            raise InputError(f"{where}: the outline to crop around {state} ({row.place}); draw it, or take the row out")
        return slice(None), *geometry.box_around(hits.min(0), hits.max(0), self.spec.crop.margin)

    # --- check ---

    def check(self) -> Iterator[Issue]:
        """Read table and files and say what is wrong; see the base class."""
        try:
            rows = self.rows
        except InputError as error:
            yield Issue(str(self.root), "error", str(error))
            return
        yield from check_cohort(rows, self.read)

    # --- helpers ---

    @property
    def _cohort(self) -> CohortFile:
        if self._file is None:
            self._file = load_cohort(self._path())
        return self._file

    def _path(self) -> Path:
        return self.root / COHORT_FILE if self.root.is_dir() else self.root


def _chosen(classes: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """Names of classes from what an experiment file may say."""
    if classes is None or classes == "all":
        return known
    names = tuple(map(str, [classes] if isinstance(classes, str) else classes))
    if not names:
        raise InputError("classes is empty; name at least one, or 'all'")
    for name, times in Counter(names).items():
        if name not in known:
            raise unknown_name("class", name, known)
        if times > 1:
            raise InputError(f"class {name!r} is listed {times} times; list it once")
    return names


def _resampled(
    values: np.ndarray, geometry: Geometry, spacing: Sequence[float], *, mask: bool
) -> tuple[np.ndarray, Geometry]:
    """All channels of ``c z y x`` on another grid."""
    if len(geometry.shape) != 3:
        raise InputError("spacing: this cohort is of pictures, which have no millimetres; leave spacing out")
    # no channel still has a grid
    parts = [resample(channel, geometry, spacing, mask=mask) for channel in values if len(values)]
    grid = parts[0][1] if parts else resample(np.zeros(geometry.shape, np.uint8), geometry, spacing, mask=True)[1]
    return np.stack([part for part, _ in parts]) if parts else np.empty((0, *grid.shape), values.dtype), grid


def _same_place(first: Geometry, second: Geometry) -> bool:
    """Whether two grids of one shape lie at one place: no corner is displaced by half a voxel or more."""
    ends = [np.array(grid.origin) + np.array(grid.spacing) * (np.array(grid.shape) - 1) for grid in (first, second)]
    begin = np.abs(np.array(first.origin) - np.array(second.origin))
    spacing = np.array(first.spacing)
    return bool((begin < spacing / 2).all() and (np.abs(ends[0] - ends[1]) < spacing / 2).all())


def _size(geometry: Geometry) -> str:
    return " x ".join(map(str, geometry.shape))
