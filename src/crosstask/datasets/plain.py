"""Image files without a data set around them: a folder, a table without labels, or the files themselves."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.datasets.base import Case, CaseData, Dataset, Issue, Source
from crosstask.datasets.cohort.patterns import find_patterns
from crosstask.datasets.cohort.profile import columns_of
from crosstask.datasets.cohort.spec import fill, pattern_columns
from crosstask.datasets.intake import Intake
from crosstask.datasets.names import natural
from crosstask.errors import InputError, listed
from crosstask.geometry import Geometry
from crosstask.io.image_files import IMAGE_ENDINGS, ending
from crosstask.io.images import read_image, recoloured
from crosstask.io.numbers import only_numbers
from crosstask.io.resampling import resample
from crosstask.io.tables import Table, read_table
from crosstask.tasks.base import Task

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")
KIND = {2: "pictures", 3: "volumes"}
_DICOM = ".dcm"
_UNREAD = (".heic", ".heif", ".webp", ".gif", ".jp2", ".svs", ".ndpi", ".avif")
"""Endings of images that no reader takes."""
_SHARES = 20.0
"""Width of a range of values in which those from 0 to 1 would be nearly one."""
_FAR = 2.0
"""By how much voxels may be smaller or larger than all that a run has seen."""


@dataclass(frozen=True)
class Found:
    """What there is to predict, and what was passed over.

    Attributes:
        files: of each case its image files, one a channel, by its id.
        left: (file or row, why) of what could be meant as a case and is none.
        notes: what was read, chosen and skipped, in sentences.
    """

    files: dict[str, tuple[Path, ...]]
    left: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outlook:
    """What a run has seen of images, beyond which it is not asked.

    Attributes:
        windows: of their values.
        spacing: smallest and largest, z y x in mm, of volumes that are not resampled; None where nobody knows.
    """

    windows: Sequence[tuple[float, float]]
    spacing: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def find_plain(
    paths: Sequence[Path], intake: Intake, image: str | None = None, *, besides: Path | None = None
) -> Found:
    """All images that paths name: files, folders with all that is below them, and tables with a row a case.

    An id is a file's name, from the given folder on, without its ending; with it where two files would have one id. Of
    a table, it is the cell of the id's column where the training cases' table has a column of that name.

    Args:
        paths: files, folders and tables.
        intake: what the images must be.
        image: of folders only these files, as a pattern such as ``*/ct.nii.gz``; of tables the column, or the pattern
            such as ``scans/{id}.png``, that names the images.
        besides: a folder that is passed over: where predictions go. So is every folder of predictions.

    Raises:
        InputError: a path is not there, or there is nothing to predict in it.
    """
    if intake.refusal:
        raise InputError(f"{paths[0]}: {intake.refusal}")
    named: list[tuple[str, tuple[Path, ...]]] = []
    left: list[tuple[str, str]] = []
    notes: list[str] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
        if path.is_file() and ending(path) in TABLE_ENDINGS:
            table = read_table(path)
            notes += table.notes
            own, lacking, note = _of_table(table, intake, image)
            left += lacking
            notes.append(note)
        elif path.is_dir() and not _is_series(path):
            own = _of_folder(path, intake, image, besides, left, notes)
        elif path.is_dir() or ending(path) in IMAGE_ENDINGS:
            own = [(path.name, (path,))]
        else:
            raise InputError(
                f"{path}: is no image ({', '.join(IMAGE_ENDINGS)}), table ({', '.join(TABLE_ENDINGS)}) or folder"
            )
        named += own
    return Found(_with_ids(named), left, notes)


def _with_ids(named: Sequence[tuple[str, tuple[Path, ...]]]) -> dict[str, tuple[Path, ...]]:
    """The cases by id: without endings where that leaves them apart, else with them; a file is taken once."""
    once = {tuple(file.resolve() for file in files): (name, files) for name, files in reversed(named)}
    cases = list(reversed(once.values()))
    short = Counter(_stem(name) for name, _ in cases)
    whole = Counter(name for name, _ in cases)
    found: dict[str, tuple[Path, ...]] = {}
    for name, files in cases:
        case_id = _stem(name) if short[_stem(name)] == 1 else name
        if short[_stem(name)] > 1 and whole[name] > 1:  # of two folders
            case_id = files[0].as_posix().lstrip("/.")
        found[case_id] = files
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def _stem(name: str) -> str:
    """A name without the ending of an image."""
    known = ending(Path(name))
    return name[: -len(known)] if known in IMAGE_ENDINGS else name


def _is_series(folder: Path) -> bool:
    """Whether a folder is one DICOM series: files of that ending, and no other image."""
    names = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return any(ending(path) == _DICOM for path in names) and not any(ending(path) in IMAGE_ENDINGS for path in names)


def _of_folder(
    folder: Path, intake: Intake, image: str | None, besides: Path | None, left: list[tuple[str, str]], notes: list[str]
) -> list[tuple[str, tuple[Path, ...]]]:
    """The images below a folder; what is none is counted in a note."""
    names, others = _walk(folder, besides)
    if image is not None:
        kept = [name for name in names if fnmatch.fnmatch(name, image)]
        if not kept:
            raise InputError(
                f"--image: no image below {folder} is called {image!r}; the first is {next(iter(names), 'none')}"
            )
        others.update([f"not {image}"] * (len(names) - len(kept)))
        names = kept
    if intake.files > 1:
        own, alone = _grouped(folder, names, intake.patterns)
        left += alone
    else:
        own = [(name, (folder / name,)) for name in names]
    skipped = "".join(f"; {count} {what} skipped" for what, count in sorted(others.items()))
    notes.append(f"{folder}: {len(own)} {'cases' if intake.files > 1 else 'images'}{skipped}")
    return own


def _walk(folder: Path, besides: Path | None = None) -> tuple[list[str], Counter[str]]:
    """Images below a folder, relative and with ``/``, and how many files of which kind are none."""
    names: list[str] = []
    others: Counter[str] = Counter()
    for parent, folders, files in os.walk(folder):
        hidden = [name for name in (*folders, *files) if name.startswith(".")]
        others.update(["hidden"] * len(hidden))
        place = Path(parent)
        predicted = [name for name in folders if _is_predicted(place / name, besides)]
        others.update(["folders of predictions"] * len(predicted))
        folders[:] = sorted(name for name in folders if name not in (*hidden, *predicted))
        if place != folder and _is_series(place):
            names.append(place.relative_to(folder).as_posix())
            folders.clear()
            continue
        for name in sorted(set(files) - set(hidden), key=natural):
            if ending(Path(name)) in IMAGE_ENDINGS:
                names.append((place / name).relative_to(folder).as_posix())
            else:
                kind = ending(Path(name))
                unread = " (images of a kind that is not read: save them as PNG)" if kind in _UNREAD else ""
                others[f"{kind}{unread}" if kind else "files without ending"] += 1
    return sorted(names, key=natural), others


def _is_predicted(folder: Path, besides: Path | None) -> bool:
    """Whether a folder is the one that predictions go to, or holds some."""
    here = besides is not None and besides.exists() and folder.samefile(besides)
    return here or (folder / ".predicted.jsonl").exists()


def _grouped(
    folder: Path, names: Sequence[str], patterns: Sequence[str]
) -> tuple[list[tuple[str, tuple[Path, ...]]], list[tuple[str, str]]]:
    """Files of one case together, one a channel, told by what the patterns of their names have in common."""
    forms = [_form(pattern) for pattern in patterns]
    found: dict[str, dict[int, str]] = {}
    for name in names:
        for index, form in enumerate(forms):
            if match := form.search(name):
                found.setdefault("_".join(dict.fromkeys(match.groups())) or name, {}).setdefault(index, name)
                break
    whole = [
        (key, tuple(folder / parts[index] for index in range(len(forms))))
        for key, parts in found.items()
        if len(parts) == len(forms)
    ]
    alone = [
        (key, f"has {len(parts)} of {len(forms)} channels, files called {listed(list(patterns), 4)}")
        for key, parts in found.items()
        if len(parts) < len(forms)
    ]
    if not whole:
        raise InputError(
            f"{folder}: the run takes {len(forms)} files a case, one a channel, called {listed(list(patterns), 4)}; no "
            "case has them all"
        )
    return whole, alone


def _form(pattern: str) -> re.Pattern[str]:
    """The file's own part of a pattern as an expression; its ending may be any."""
    name = _stem(pattern.rpartition("/")[2])
    parts = re.split(r"\{[^{}]*\}", name)
    return re.compile(r"(?:^|/)" + "(.+)".join(map(re.escape, parts)) + r"(?:\.[A-Za-z.]+)?$")


def _of_table(
    table: Table, intake: Intake, image: str | None
) -> tuple[list[tuple[str, tuple[Path, ...]]], list[tuple[str, str]], str]:
    """The images that a table names, the rows without one, and how they were found."""
    folder = table.path.parent
    patterns = _patterns_of(table, intake, image, folder)
    ids = intake.case if set(pattern_columns(intake.case) or [intake.case]) <= set(table.columns) else ""
    own: list[tuple[str, tuple[Path, ...]]] = []
    lacking: list[tuple[str, str]] = []
    for row in table.rows:
        cells = [fill(pattern, row.cells, intake.missing) for pattern in patterns]
        name = (fill(_braced(ids), row.cells, intake.missing) if ids else None) or cells[0] or f"row {row.number}"
        files = [folder / cell.replace("\\", "/") for cell in cells if cell is not None]
        reason = _why_lacking(files, len(patterns), row.number)
        name = name.replace("\\", "/")
        if reason:
            lacking.append((name, reason))
        else:
            own.append((name, tuple(files)))
    if not own:
        raise InputError(
            f"{table.path}: none of {len(table.rows)} rows has an image {listed(patterns, 4)}; give --image"
        )
    doubled = next((name for name, count in Counter(name for name, _ in own).items() if count > 1), None)
    if doubled is not None:
        raise InputError(f"{table.path}: several rows have the id {doubled!r} by {ids or patterns[0]}; make ids unique")
    by = f", ids by {ids}" if ids else ""
    told = f"{table.path}: {len(own)} of {len(table.rows)} rows with an image by {listed(patterns, 4)}{by}"
    return own, lacking, told


def _why_lacking(files: Sequence[Path], wanted: int, number: int) -> str:
    """Why a row has no image; empty where it has."""
    if len(files) < wanted:
        return f"row {number} names no image"
    missing = next((file for file in files if not file.exists()), None)
    return "" if missing is None else f"{missing}: no such image (row {number})"


def _patterns_of(table: Table, intake: Intake, image: str | None, folder: Path) -> list[str]:
    """Patterns of the image files: as they are given, as the training cases had them, or as they are found."""
    if image is not None:
        columns = pattern_columns(image) or [image]
        if lacking := [column for column in columns if column not in table.columns]:
            raise InputError(f"--image: {table.path} has no column {lacking[0]!r}, but {', '.join(table.columns)}")
        return [_braced(image)]
    if _fits(intake.patterns, table, intake, folder):
        return list(intake.patterns)
    if intake.files > 1:
        raise InputError(
            f"{table.path}: has no files as the run takes them, {listed(list(intake.patterns), 4)}; name them so"
        )
    return [_column_of_paths(table, folder) or _found_pattern(table, folder)]


def _fits(patterns: Sequence[str], table: Table, intake: Intake, folder: Path) -> bool:
    """Whether a row of a table has its images where patterns say."""
    known = {column for pattern in patterns for column in pattern_columns(pattern)}
    if not known or not known <= set(table.columns):
        return False
    rows = ([fill(one, row.cells, intake.missing) for one in patterns] for row in table.rows)
    return any(all(cell and (folder / cell).exists() for cell in row) for row in rows)


def _column_of_paths(table: Table, folder: Path) -> str:
    """The column that holds whole paths of images, as a pattern; empty where there is none.

    Raises:
        InputError: there are several.
    """

    def named(column: str) -> list[str]:
        cells = (row.cells[column] for row in table.rows)
        return [cell for cell in cells if cell and ending(Path(cell)) in IMAGE_ENDINGS]

    holding = [column for column in table.columns if named(column)]
    here = next((column for column in holding if any((folder / cell).exists() for cell in named(column))), None)
    if here is None:
        return ""
    others = [column for column in holding if column != here]
    if others:
        raise InputError(
            f"{table.path}: columns {here!r} and {others[0]!r} both name images; say which: --image {here}"
        )
    return _braced(here)


def _found_pattern(table: Table, folder: Path) -> str:
    """The one pattern by which files beside a table are named after a column of it.

    Raises:
        InputError: there is none, or several.
    """
    names, _ = _walk(folder)
    found = [pattern.text for pattern in find_patterns(columns_of(table), names) if not pattern.is_mask]
    if len(found) == 1:
        return found[0]
    several = f"several patterns fit ({listed(found, 3)})" if found else "no column fits a file name"
    raise InputError(f"{table.path}: {several}; say which: --image 'FOLDER/{{COLUMN}}.png'")


def _braced(text: str) -> str:
    """A column as a pattern of it alone; a pattern as it is."""
    return text if pattern_columns(text) else f"{{{text}}}"


class PlainImages(Dataset):
    """Images of which nothing else is known, read as a run's own cases were.

    Args:
        root: what to name in messages.
        intake: how they are read.
        image_array: name of the case array.
        found: the files.
        outlook: what the run has seen.
    """

    name = "images"
    licence = source = citation = "not stated"

    def __init__(self, root: Path, intake: Intake, image_array: str, found: Found, outlook: Outlook) -> None:
        super().__init__(root)
        self._intake, self._found, self._outlook = intake, found, outlook
        self.image_array = image_array
        self.image_channels, self.spatial_dims = intake.channels, intake.dims
        self.converted: Counter[str] = Counter()

    @property
    def tasks(self) -> tuple[str, ...]:
        return ()

    def task(self, name: str, **options: Any) -> Task:
        raise InputError(f"{name!r}: plain images have no labels, so there is no task")

    def intake(self) -> Intake:
        return self._intake

    def cases(self) -> list[Case]:
        """All images, by id; none is opened."""
        return [Case(case_id, case_id, "", _all_files(files)) for case_id, files in self._found.files.items()]

    def left_out(self) -> list[tuple[str, str]]:
        """Rows and cases without their images."""
        return self._found.left

    def check(self) -> Iterator[Issue]:
        """What was left out."""
        return (Issue(name, "warning", reason) for name, reason in self._found.left)

    def read_settings(self) -> Mapping[str, Any]:
        return self._intake.describe()

    def read(self, case: Case) -> CaseData:
        """The image of a case.

        Raises:
            InputError: it cannot be read, or is none that the run can take.
        """
        parts: list[np.ndarray] = []
        grid: Geometry | None = None
        files = self._found.files[case.id]
        for file in files:
            values, own = read_image(file)
            self._check_kind(file, own)
            if grid is not None and own.shape != grid.shape:
                raise InputError(f"{file}: is of another size than {files[0].name}; channels need one size")
            grid = own
            parts.append(self._channels(file, only_numbers(file, values, self._intake.fill, "replace them")))
        assert grid is not None
        image, geometry = np.concatenate(parts), grid
        if self._intake.spacing is not None:
            placed = [resample(channel, grid, self._intake.spacing) for channel in image]
            image, geometry = np.stack([values for values, _ in placed]), placed[0][1]
        self._check_seen(files[0], image, geometry)
        source = Source(files[0], grid) if len(grid.shape) == 3 else None
        channels = {self.image_array: tuple(map(str, range(len(image))))}
        return CaseData({self.image_array: image}, channels, geometry, source=source)

    def _check_kind(self, file: Path, grid: Geometry) -> None:
        if len(grid.shape) != self._intake.dims:
            raise InputError(
                f"{file}: is one of {KIND[len(grid.shape)]}, and the run has learned from {KIND[self._intake.dims]}"
            )

    def _check_seen(self, file: Path, image: np.ndarray, grid: Geometry) -> None:
        """Refuse values and spacings far from those that the run has learned from."""
        low = min(window[0] for window in self._outlook.windows)
        high = max(window[1] for window in self._outlook.windows)
        least, most = float(image.min()), float(image.max())
        outside = most <= low or least >= high
        shares = image.dtype.kind == "f" and least >= 0 and most <= 1 and high - low > _SHARES
        if most > least and (outside or shares or float((image > high).mean()) > 0.5):
            raise InputError(
                f"{file}: holds values from {least:g} to {most:g}, and the run looks at {low:g} to {high:g}; save it "
                "in the values of the training images (8 bits, HU, ...)"
            )
        if self._outlook.spacing is None:
            return
        for axis, step, fine, coarse in zip("zyx", grid.spacing, *self._outlook.spacing, strict=True):
            if not fine / _FAR <= step <= coarse * _FAR:
                raise InputError(
                    f"{file}: voxels of {step:g} mm along {axis}, and the run has learned from {fine:g} to "
                    f"{coarse:g} mm; resample it first"
                )

    def _channels(self, file: Path, values: np.ndarray) -> np.ndarray:
        """As many channels as the run takes of a file; colour and grey are converted where training did so."""
        wanted = self._intake.channels // self._intake.files
        if len(values) == wanted:
            return values
        if not self._intake.converts:
            kinds = {1: "one channel (grey)", 3: "three channels (colour)"}
            raise InputError(
                f"{file}: has {kinds.get(len(values), f'{len(values)} channels')}, and the run takes "
                f"{kinds.get(wanted, f'{wanted} channels')}; save it so"
            )
        self.converted["grey to colour" if wanted == 3 else "colour to grey"] += 1
        return recoloured(values, wanted)


def _all_files(files: Sequence[Path]) -> tuple[Path, ...]:
    """The files themselves, and those of folders of DICOM."""
    return tuple(
        one
        for file in files
        for one in (sorted(part for part in file.iterdir() if part.is_file()) if file.is_dir() else [file])
    )
