"""HAM10000: dermoscopic images of pigmented skin lesions with outlines, diagnoses and metadata."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.datasets.base import Case, CaseData, Dataset, Issue
from crosstask.datasets.names import natural, refuse_options, unknown_name
from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.pictures import read_picture
from crosstask.tasks import ClassificationTask, ScalarTask, SegmentationTask
from crosstask.tasks.base import Task

DIAGNOSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
"""Actinic keratosis, basal cell carcinoma, benign keratosis, dermatofibroma, melanoma, naevus, vascular lesion."""
SITES = (
    "abdomen",
    "acral",
    "back",
    "chest",
    "ear",
    "face",
    "foot",
    "genital",
    "hand",
    "lower extremity",
    "neck",
    "scalp",
    "trunk",
    "upper extremity",
)
"""Every localization of the data but ``unknown``."""
METADATA_NAMES = ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")
IMAGE_FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images")
MASK_FOLDER = "HAM10000_segmentations_lesion_tschandl"

_COLUMNS = ("lesion_id", "image_id", "dx", "age", "sex", "localization")
_UNKNOWN = {"", "unknown", "nan", "na", "none"}
_ENDINGS = (".jpg", ".jpeg", ".png")
_CLASSIFICATION = (*ClassificationTask.loss_options, "measure")
_TASK_OPTIONS = {
    "segmentation": SegmentationTask.loss_options,
    "diagnosis": _CLASSIFICATION,
    "localization": _CLASSIFICATION,
    "sex": _CLASSIFICATION,
    "age": (),
}
_OLDEST = 120.0


@dataclass(frozen=True)
class _Row:
    """One line of the metadata. None, or an empty text, is unknown."""

    image: str
    lesion: str
    diagnosis: str
    age: str
    sex: str
    site: str

    def faults(self) -> list[str]:
        """What cannot be true of the row."""
        faults = []
        if self.diagnosis and self.diagnosis not in DIAGNOSES:
            faults.append(f"dx {self.diagnosis!r} is none of {', '.join(DIAGNOSES)}")
        if self.site and self.site not in SITES:
            faults.append(f"localization {self.site!r} is none of {', '.join(SITES)}")
        if self.sex not in ("", "male", "female"):
            faults.append(f"sex {self.sex!r} is neither male nor female")
        if self.age and not _is_age(self.age):
            faults.append(f"age {self.age!r} is no age in years")
        return faults


@dataclass(frozen=True)
class _Layout:
    """What was found on disk."""

    metadata: Path
    rows: tuple[_Row, ...]
    images: dict[str, Path]
    masks: dict[str, Path]


class HAM10000(Dataset):
    """HAM10000 in its official layout, without splits of its own. A case is one image; its group is the lesion.

    The root, or a folder directly in it, holds ``HAM10000_metadata.csv`` (also without ending, or as ``.tab``), the
    folders ``HAM10000_images_part_1`` and ``_2`` (or all in one ``HAM10000_images``) with ``<image_id>.jpg``, and
    ``HAM10000_segmentations_lesion_tschandl`` with ``<image_id>_segmentation.png``. Images may have any size, the
    masks must have the same. Several images can show one lesion: 10,015 images of 7,470 lesions in the whole data.

    ================ ============ ====================================================================================
    ``image``        ``3 y x``    uint8, RGB
    ``lesion``       ``1 y x``    uint8, 0 or 1; no channel without a mask file, or with an empty one (every image
                                  shows a lesion)
    ``diagnosis``    ``7``        one-hot in the order of :data:`DIAGNOSES`
    ``localization`` ``14``       one-hot in the order of :data:`SITES`; no channel where unknown
    ``sex``          ``1``        channel ``male``: 1 male, 0 female; no channel where unknown
    ``age``          ``1``        years, in steps of five in the data; no channel where unknown
    ================ ============ ====================================================================================

    ``dx_type`` (how the diagnosis was made) is not read at all: only malignant or doubtful lesions are cut out, so it
    gives the diagnosis away.

    Tasks: ``segmentation``, ``diagnosis``, ``localization``, ``sex`` and ``age``; the classifications take the options
    ``class_weights`` and ``measure``.
    """

    name = "ham10000"
    image_array = "image"
    image_channels = 3
    spatial_dims = 2
    licence = "CC BY-NC 4.0"
    source = "https://doi.org/10.7910/DVN/DBW86T"
    citation = (
        "P. Tschandl, C. Rosendahl, H. Kittler. The HAM10000 dataset, a large collection of multi-source dermatoscopic "
        "images of common pigmented skin lesions. Scientific Data 5, 2018, 180161."
    )

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._rows: dict[str, _Row] | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(_TASK_OPTIONS)

    def cases(self) -> list[Case]:
        """All images with a file and a line of metadata that can be true, sorted by id.

        No image is opened.

        Raises:
            InputError: root or metadata are missing, the metadata lack a column, or no image has both file and line.
        """
        layout = self._layout()
        self._rows = _usable(layout.rows)
        cases = []
        for row in self._rows.values():
            if row.image in layout.images:
                files = [layout.images[row.image], layout.metadata]
                if row.image in layout.masks:
                    files.insert(1, layout.masks[row.image])
                cases.append(Case(id=row.image, group=row.lesion or row.image, split="", files=tuple(files)))
        if not cases:
            raise InputError(f"{layout.metadata.parent}: no image with a line of metadata; run the check, unpack again")
        return sorted(cases, key=lambda case: natural(case.id))

    def unusable(self, case_ids: Collection[str]) -> Mapping[str, str]:
        """Images that lack their file or a line of metadata that can be true, one of the two being there."""
        layout = self._layout()
        usable = _usable(layout.rows)
        there = {*layout.images, *(row.image for row in layout.rows)}
        found = {}
        for image in case_ids:
            if image in there and not (image in layout.images and image in usable):
                what = "no usable line of it" if image in layout.images else f"no image file {image}.jpg"
                found[image] = f"{layout.metadata}: {what}; see crosstask check {self.name}"
        return found

    def read(self, case: Case) -> CaseData:
        """All arrays of an image; see the class for what they are.

        Raises:
            InputError: image or mask cannot be read, the image has no colour, or their sizes differ.
        """
        if self._rows is None:
            self._rows = _usable(_read_metadata(case.files[-1]))
        if case.id not in self._rows:
            raise InputError(f"{case.files[-1]}: no usable line for image {case.id!r}; run the check")
        row = self._rows[case.id]
        image = read_picture(case.files[0])
        if image.shape[0] != 3 or image.dtype != np.uint8:
            found = f"{image.shape[0]} channels of {image.dtype}"
            raise InputError(f"{case.files[0]}: {found}, not an 8-bit RGB picture; unpack it again")
        masks = [_read_mask(file, image.shape[1:]) for file in case.files[1:-1]]
        masks = [mask for mask in masks if mask.any()]
        labels: dict[str, tuple[tuple[str, ...], list[float]]] = {
            "diagnosis": _one_hot(row.diagnosis, DIAGNOSES),
            "localization": _one_hot(row.site, SITES),
            "sex": (("male",), [float(row.sex == "male")]) if row.sex else ((), []),
            "age": (("age",), [float(row.age)]) if row.age else ((), []),
        }
        return CaseData(
            arrays={
                "image": image,
                "lesion": np.array(masks, np.uint8).reshape(-1, *image.shape[1:]),
                **{name: np.array(values, np.float32) for name, (_, values) in labels.items()},
            },
            channels={
                "image": ("red", "green", "blue"),
                "lesion": ("lesion",) * len(masks),
                **{name: channels for name, (channels, _) in labels.items()},
            },
            geometry=Geometry(shape=image.shape[1:], spacing=(1.0, 1.0)),
            information={"empty_mask": len(case.files) > 2 and not masks},
        )

    def check(self) -> Iterator[Issue]:
        """Read every image and mask and say what is wrong; see the base class."""
        try:
            layout = self._layout()
        except InputError as error:
            yield Issue(str(self.root), "error", str(error))
            return
        self._rows = _usable(layout.rows)
        yield from _check_rows(layout)
        if not layout.masks:
            message = f"{layout.metadata.parent}: no mask in {MASK_FOLDER}; unpack it to segment lesions"
            yield Issue(self.name, "warning", message)
        seen: dict[bytes, _Row] = {}
        for image in sorted(self._rows, key=natural):
            row = self._rows[image]
            if image not in layout.images:
                message = f"{layout.metadata}: no image file {image}.jpg; it is left out; unpack the images again"
                yield Issue(image, "error", message)
                continue
            files = [layout.images[image], layout.metadata]
            if image in layout.masks:
                files.insert(1, layout.masks[image])
            elif layout.masks:
                yield Issue(image, "note", f"{layout.images[image]}: no mask; the segmentation is a missing label")
            try:
                data = self.read(Case(id=image, group=row.lesion or image, split="", files=tuple(files)))
            except InputError as error:
                yield Issue(image, "error", str(error))
                continue
            if data.information["empty_mask"]:
                yield Issue(image, "warning", f"{layout.masks[image]}: it is empty; taken as a missing label")
            pixels = data.arrays["image"]
            digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()
            if digest in seen:
                twin = seen[digest]
                same = bool(row.lesion) and twin.lesion == row.lesion
                lesion = "which splits keep together" if same else "of another lesion; leave one of them out"
                message = f"{layout.images[image]}: the same pixels as {twin.image}, {lesion}"
                yield Issue(image, "warning", message)
            else:
                seen[digest] = row

    def task(self, name: str, **options: Any) -> Task:
        """One of :attr:`tasks`; masks and classifications take the options of their losses, these ``measure``, too.

        Raises:
            InputError: no such task or option.
        """
        if name not in _TASK_OPTIONS:
            raise unknown_name(f"task of {self.name}", name, self.tasks)
        refuse_options(f"task {name!r} of {self.name}", options, _TASK_OPTIONS[name])
        if name == "segmentation":
            return SegmentationTask(name, "lesion", ("lesion",), **options)
        if name == "age":
            return ScalarTask(name, "age", "years", minimum=0.0)
        if name == "sex":
            return ClassificationTask(name, "sex", ("male",), exclusive=False, **options)
        classes = DIAGNOSES if name == "diagnosis" else SITES
        return ClassificationTask(name, name, classes, exclusive=True, **options)

    def _layout(self) -> _Layout:
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; give the folder that holds {METADATA_NAMES[0]}")
        for folder in (self.root, *sorted(child for child in self.root.iterdir() if child.is_dir())):
            metadata = next((folder / name for name in METADATA_NAMES if (folder / name).is_file()), None)
            if metadata is not None:
                break
        else:
            raise InputError(f"{self.root}: no {METADATA_NAMES[0]} in it; give the folder that holds it")
        images: dict[str, Path] = {}
        for name in IMAGE_FOLDERS:
            for path in _pictures(folder, name):
                images.setdefault(path.stem, path)
        masks = {path.stem.removesuffix("_segmentation"): path for path in _pictures(folder, MASK_FOLDER)}
        return _Layout(metadata, tuple(_read_metadata(metadata)), images, masks)


def _pictures(parent: Path, name: str) -> Iterator[Path]:
    """Pictures in a folder, in capitals or not, and in one of the same name inside it, as some archives unpack."""
    for folder in sorted(parent.iterdir()):
        if folder.is_dir() and folder.name.lower() == name.lower():
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in _ENDINGS and not path.name.startswith("."):
                    yield path
            yield from _pictures(folder, name)


def _read_metadata(path: Path) -> list[_Row]:
    """Lines of the metadata, separated by commas or tabs.

    Raises:
        InputError: the file cannot be read as text, or lacks a column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); download the metadata again") from None
    header = text.partition("\n")[0]
    table = csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in header else ",")
    missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; the columns are {', '.join(_COLUMNS)}")

    def value(row: Mapping[str, str | None], column: str) -> str:
        text = (row[column] or "").strip()
        return "" if text.lower() in _UNKNOWN else text

    return [
        _Row(
            image=value(row, "image_id"),
            lesion=value(row, "lesion_id"),
            diagnosis=value(row, "dx").lower(),
            age=value(row, "age"),
            sex=value(row, "sex").lower(),
            site=value(row, "localization").lower(),
        )
        for row in table
    ]


def _usable(rows: list[_Row] | tuple[_Row, ...]) -> dict[str, _Row]:
    """Rows by image that have no fault, and that no other row contradicts."""
    found: dict[str, _Row] = {}
    contradicted = set()
    for row in rows:
        if found.setdefault(row.image, row) != row:
            contradicted.add(row.image)
    return {image: row for image, row in found.items() if image and image not in contradicted and not row.faults()}


def _check_rows(layout: _Layout) -> Iterator[Issue]:
    """What is wrong with the metadata alone."""
    first: dict[str, _Row] = {}
    for number, row in enumerate(layout.rows, start=2):
        place = f"{layout.metadata}, line {number}"
        if not row.image:
            yield Issue(layout.metadata.name, "error", f"{place}: no image_id; complete the line or remove it")
            continue
        if row.image in first:
            if first[row.image] == row:
                yield Issue(row.image, "warning", f"{place}: {row.image} is listed before, with the same values")
            else:
                message = f"{place}: {row.image} is listed before with other values, it is left out; remove one line"
                yield Issue(row.image, "error", message)
            continue
        first[row.image] = row
        for fault in row.faults():
            yield Issue(row.image, "error", f"{place}: {fault}; the image is left out; correct the line")
        if not row.lesion:
            message = f"{place}: no lesion_id; the image is taken as a lesion of its own"
            yield Issue(row.image, "warning", message)
    rows = first.values()
    unknown = {
        "diagnosis": sum(not row.diagnosis for row in rows),
        "age": sum(not row.age for row in rows),
        "sex": sum(not row.sex for row in rows),
        "localization": sum(not row.site for row in rows),
    }
    if any(unknown.values()):
        counts = ", ".join(f"{name} of {count}" for name, count in unknown.items() if count)
        message = f"{layout.metadata}: unknown, and so missing labels: {counts} of {len(rows)} images"
        yield Issue(layout.metadata.name, "note", message)
    if strange := sorted(set(layout.images) - set(first), key=natural):
        message = f"{layout.images[strange[0]]}: no line of metadata, left out, as are {len(strange) - 1} other images"
        yield Issue(layout.metadata.name, "warning", message)


def _read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask ``y x``, 0 or 1, of values 0 and 255 (or 0 and 1)."""
    mask = read_picture(path)
    if mask.shape[1:] != shape:
        sizes = [" x ".join(map(str, size[::-1])) for size in (mask.shape[1:], shape)]
        raise InputError(f"{path}: the mask is {sizes[0]} pixels, its image {sizes[1]}; unpack both again")
    top = mask.max(axis=0)
    return (top > (127 if top.max() > 1 else 0)).astype(np.uint8)


def _one_hot(name: str, classes: tuple[str, ...]) -> tuple[tuple[str, ...], list[float]]:
    """Channels and values of one class among others; none if it is unknown."""
    return (classes, [float(name == other) for other in classes]) if name else ((), [])


def _is_age(text: str) -> bool:
    try:
        age = float(text)
    except ValueError:
        return False
    return math.isfinite(age) and 0 <= age <= _OLDEST
