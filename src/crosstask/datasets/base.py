"""What a data set is: a list of cases, a way to read one, and the tasks that its labels define."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crosstask.datasets.intake import Intake
from crosstask.geometry import Geometry
from crosstask.registry import DATASETS
from crosstask.tasks.base import Task

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Case:
    """One patient, lesion or exam on disk.

    Attributes:
        id: unique name of the case in its data set.
        group: what no split may divide (the patient).
        split: the split that the data set itself gives; empty if it gives none.
        files: every raw file that :meth:`Dataset.read` opens; a change of any makes the prepared case stale.
        facts: what else it reads of this case, as plain values (the row of a table that all cases share); a change
            makes the prepared case stale too.
    """

    id: str
    group: str
    split: Split | Literal[""]
    files: tuple[Path, ...]
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Issue:
    """One line of ``crosstask check``: what is wrong with a case, and how bad it is.

    Attributes:
        case: id of the case, or the name of a folder.
        severity: ``error`` (the case cannot be used and is skipped), ``warning`` (fixed, e.g. a clipped spike) or
            ``note`` (normal, but worth knowing, e.g. a structure that is not contoured).
        message: one line, naming the file.
    """

    case: str
    severity: Literal["error", "warning", "note"]
    message: str


@dataclass(frozen=True)
class Source:
    """The image file of a volume, on whose grid predictions are written.

    Attributes:
        file: it, or the folder of a DICOM series.
        grid: its grid, turned as :mod:`crosstask.io.images` turns volumes, without the rotation of an oblique scan.
    """

    file: Path
    grid: Geometry


@dataclass
class CaseData:
    """All arrays of one case, before any experiment's choice of tasks.

    Attributes:
        arrays: ``{name: c *s}`` on the grid, ``c z y x`` with z the slice axis or ``c y x``; or ``{name: c}``, labels
            of the case as a whole, e.g. one channel a diagnosis with a 1 at the true one, or an age in years.
        channels: ``{name: channel names}``. A channel that is not there is a *missing label*, never an empty one.
        geometry: the grid that all arrays with spatial axes share.
        information: further facts, as plain values; they are prepared with the case.
        issues: what is to be said of the case, and never kept.
        source: where predictions of the case belong, where it was read from a file of its own; never kept.
    """

    arrays: dict[str, np.ndarray]
    channels: dict[str, tuple[str, ...]]
    geometry: Geometry
    information: dict[str, Any] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    source: Source | None = None

    def __post_init__(self) -> None:
        for name, array in self.arrays.items():
            if len(self.channels[name]) != array.shape[0]:
                raise ValueError(f"array {name!r} has {array.shape[0]} channels, {len(self.channels[name])} names")
            if array.ndim > 1 and tuple(array.shape[1:]) != tuple(self.geometry.shape):
                raise ValueError(f"array {name!r} is {array.shape[1:]}, the grid is {self.geometry.shape}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape ``c *s``, or ``c``, of an array."""
        return self.arrays[name].shape

    def read(
        self, name: str, channels: Sequence[int] | None = None, slices: Sequence[slice | int] | None = None
    ) -> np.ndarray:
        """Part of an array, as :meth:`crosstask.store.CaseArrays.read` gives it of a prepared case."""
        array = self.arrays[name] if channels is None else self.arrays[name][list(channels)]
        selection = (slice(None), *(slices or ()))
        return array[selection]


class Dataset(ABC):
    """Base of all data sets.

    Attributes:
        name: name in :data:`crosstask.registry.DATASETS`.
        image_array: name of the case array that holds the image.
        image_channels: its channels: 1, or 3 for colour.
        spatial_dims: axes of a case's grid: 3 for volumes, 2 for images.
        region_array: name of the case array (one channel) that says where regression targets are defined, or None.
        structure_array, structures: case array and channel names that may serve as further input, if there are any.
        licence, source, citation: shown by ``check``, and kept in each run.
    """

    name: str
    registry = DATASETS
    image_array: str
    image_channels: int = 1
    spatial_dims: int = 3
    region_array: str | None = None
    structure_array: str | None = None
    structures: tuple[str, ...] = ()
    licence: str
    source: str
    citation: str

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def find(self, progress: Callable[[int, int, str], None] | None = None) -> None:
        """Look through the raw data where that takes long, so that :meth:`cases` and :meth:`check` need not.

        By default there is nothing to do: a look at folders and tables is quick.

        Args:
            progress: called as ``progress(done, total, name)`` now and then.

        Raises:
            InputError: the root is missing.
        """

    @abstractmethod
    def cases(self) -> list[Case]:
        """All usable cases, sorted naturally by id. Incomplete ones are left out and found by :meth:`check`.

        Raises:
            InputError: the root is missing or holds no case of this data set.
        """

    def unusable(self, case_ids: Collection[str]) -> Mapping[str, str]:
        """Which of these cases are still there, though :meth:`cases` leaves them out, and why, in one line a case.

        A store keeps what it has of them: they cannot be read, but were not taken away. By default there are none.
        """
        return {}

    @abstractmethod
    def read(self, case: Case) -> CaseData:
        """All arrays of a case.

        Raises:
            InputError: one line that names the file and the remedy.
        """

    def read_to_predict(self, case: Case) -> tuple[CaseData, list[str]]:
        """A case that is to be predicted, for which its labels need not be whole, and what was lost of them.

        By default as :meth:`read`.

        Raises:
            InputError: what is predicted from cannot be read; one line that names the file and the remedy.
        """
        return self.read(case), []

    def intake(self) -> Intake:
        """How :meth:`read` makes the image of a case, so that plain image files can be predicted as well.

        By default the values are taken as files hold them, and nothing is resampled.
        """
        return Intake(self.image_channels, self.spatial_dims)

    def left_out(self) -> list[tuple[str, str]]:
        """What :meth:`cases` leaves out though it could be meant as a case: its id, and why, in one line.

        By default nothing, as incomplete cases are found by :meth:`check`.
        """
        return []

    @property
    def unreadable(self) -> int:
        """How many files could not even be told to which case they belong, as far as :meth:`find` has looked."""
        return 0

    @abstractmethod
    def check(self) -> Iterator[Issue]:
        """Read the whole raw data set and say what is wrong with it, case by case."""

    @abstractmethod
    def task(self, name: str, **options: Any) -> Task:
        """One of the tasks that the data set's labels define, e.g. ``task("segmentation", classes=[...])``.

        Raises:
            InputError: no such task, class or structure; the message lists what there is.
        """

    @property
    @abstractmethod
    def tasks(self) -> tuple[str, ...]:
        """Names that :meth:`task` accepts."""

    def read_settings(self) -> Mapping[str, Any]:
        """Every option that changes what :meth:`read` gives; a change makes prepared cases stale."""
        return {}

    def scores(
        self, case: CaseData, predictions: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]]
    ) -> list[tuple[str, str, str, float]]:
        """Figures that only this data set defines (a challenge's score): rows of (task, class, metric, value).

        Args:
            case: the case's own arrays.
            predictions: ``{task: c *s}``, decoded, on the case's grid.
            classes: channel names of each prediction.
        """
        return []
