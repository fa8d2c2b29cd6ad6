"""COCO's instances: one JSON file of images, categories and outlines, as polygons or run lengths.

Pixels:
    Points are in pixels with the upper left corner of the picture at 0, 0, so the centre of the first pixel is at 0.5.
    A pixel belongs to a polygon if its centre does; the polygons of one annotation are parts of one object, and are
    joined. Run lengths go down the columns, the first run being outside. (Lin et al., Microsoft COCO, 2014.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from crosstask.errors import InputError
from crosstask.functional.contours import fill


@dataclass(frozen=True)
class CocoImage:
    """One picture: its id, name as the file has it, and size ``y x``."""

    id: int | str
    name: str
    shape: tuple[int, int]


@dataclass(frozen=True)
class Coco:
    """What such a file holds.

    Attributes:
        path: the file.
        images: by name, with ``/``.
        categories: ``{id: name}``.
        annotations: by the id of the image.
        info, licences: as the file has them.
    """

    path: Path
    images: Mapping[str, CocoImage]
    categories: Mapping[int, str]
    annotations: Mapping[int | str, Sequence[Mapping[str, Any]]]
    info: Mapping[str, Any]
    licences: Sequence[str]

    def of(self, image: Path) -> CocoImage | None:
        """The entry of a picture's file: the one whose name is the longest end of its path; None if there is none."""
        parts = image.as_posix().split("/")
        for first in range(len(parts)):
            found = self.images.get("/".join(parts[first:]))
            if found is not None:
                return found
        named = [entry for entry in self.images.values() if PurePosixPath(entry.name).name == parts[-1]]
        return named[0] if len(named) == 1 else None

    def masks(self, image: CocoImage) -> dict[int, np.ndarray | None]:
        """``{category: y x}``, uint8, of every category; None where an annotation has a box and no outline.

        Raises:
            InputError: an outline cannot be drawn. The message names file, image and annotation.
        """
        masks: dict[int, np.ndarray | None] = {
            category: np.zeros(image.shape, np.uint8) for category in self.categories
        }
        for annotation in self.annotations.get(image.id, ()):
            category, outline = annotation["category_id"], annotation.get("segmentation")
            held = masks[category]
            if not outline:
                masks[category] = None
            elif held is not None:
                held |= self._drawn(image, annotation, outline)
        return masks

    def _drawn(self, image: CocoImage, annotation: Mapping[str, Any], outline: Any) -> np.ndarray:
        try:
            if isinstance(outline, Mapping):
                return decoded(outline)
            return polygons(outline, image.shape)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise InputError(
                f"{self.path}: annotation {annotation.get('id', '?')} of {image.name}: no outline ({error}); export "
                "the file again, or take the annotation out"
            ) from None


def polygons(outline: Sequence[Sequence[float]], shape: tuple[int, int]) -> np.ndarray:
    """Pixels of one object: ``y x``, uint8.

    Args:
        outline: its polygons, each x, y, x, y, ...
        shape: rows and columns.

    Raises:
        ValueError: a polygon has an odd number of values, fewer than three points, or no numbers.
    """
    mask = np.zeros(shape, np.uint8)
    for flat in outline:
        points = np.asarray(flat, dtype=float)
        if points.ndim != 1 or points.size % 2 or points.size < 6:
            raise ValueError(f"a polygon of {points.size} values; x and y of three points or more are needed")
        mask |= fill([points.reshape(-1, 2)[:, ::-1] - 0.5], shape).astype(np.uint8)
    return mask


def decoded(runs: Mapping[str, Any]) -> np.ndarray:
    """Pixels of run lengths: ``y x``, uint8.

    Args:
        runs: ``{size: [rows, columns], counts: [...]}``, or counts as COCO's text.

    Raises:
        ValueError: the runs do not fill the size.
    """
    rows, columns = (int(length) for length in runs["size"])
    counts = runs["counts"]
    counts = _unpacked(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if min(counts, default=0) < 0 or sum(counts) != rows * columns:
        raise ValueError(f"runs of {sum(counts)} pixels for {rows} x {columns}")
    values = np.arange(len(counts)) % 2
    return np.repeat(values.astype(np.uint8), counts).reshape(columns, rows).T.copy()


def _unpacked(text: str) -> list[int]:
    """Counts of COCO's text: five bits a letter, of which the sixth says that more follow.

    From the fourth count on each is the difference to the one before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{letter!r} in the text of run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the text of run lengths breaks off")
    return counts


def read_coco(path: Path) -> Coco | None:
    """A COCO file, or None if a JSON file holds something else.

    Raises:
        InputError: no JSON, or images, categories or annotations that do not fit together.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from None
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int, _size: int) -> Coco | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); export it again") from None
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(content):
        return None
    try:
        return _coco(path, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: no COCO file that can be read ({said}); export it again") from None


def _coco(path: Path, content: Mapping[str, Any]) -> Coco:
    categories = {int(category["id"]): str(category["name"]) for category in content["categories"]}
    images: dict[str, CocoImage] = {}
    for image in content["images"]:
        name = str(image["file_name"]).replace("\\", "/").removeprefix("./")
        images[name] = CocoImage(image["id"], name, (int(image["height"]), int(image["width"])))
    known = {image.id for image in images.values()}
    annotations: dict[int | str, list[Mapping[str, Any]]] = {}
    for annotation in content["annotations"]:
        if annotation["category_id"] not in categories:
            raise ValueError(
                f"annotation {annotation.get('id', '?')} is of category {annotation['category_id']}, "
                "which is not among the categories"
            )
        if annotation["image_id"] not in known:
            raise ValueError(
                f"annotation {annotation.get('id', '?')} is of image {annotation['image_id']}, which is "
                "not among the images"
            )
        annotations.setdefault(annotation["image_id"], []).append(annotation)
    licences = [str(one.get("name", "")) for one in content.get("licenses") or () if isinstance(one, dict)]
    info = content.get("info")
    return Coco(path, images, categories, annotations, info if isinstance(info, dict) else {}, licences)
