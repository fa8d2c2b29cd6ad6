"""Sizes of pictures and volumes from their headers alone, so that hundreds can be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosstask.errors import InputError
from crosstask.io.image_files import PICTURE_ENDINGS, VOLUME_ENDINGS, ending
from crosstask.io.itk import quiet, sitk_module
from crosstask.io.series import series_files

_TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap rows and columns."""
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Header:
    """Size of an image in array order (``y x`` or ``z y x``), its steps in mm (1 of pictures), and volumes in one file.

    Axes of volumes are turned as :mod:`crosstask.io.images` turns them.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    volumes: int = 1


def read_header(path: Path) -> Header | None:
    """The header of a picture or volume, or None where it cannot be read."""
    try:
        return _picture(path) if ending(path) in PICTURE_ENDINGS and not path.is_dir() else _volume(path)
    except (InputError, OSError, RuntimeError, ValueError, SyntaxError):
        return None


def _picture(path: Path) -> Header:
    from PIL import Image

    with Image.open(path) as picture:
        width, height = picture.size
        turned = int(picture.getexif().get(_ORIENTATION, 1)) in _TURNED
    return Header((width, height) if turned else (height, width), (1.0, 1.0))


def _volume(path: Path) -> Header | None:
    if not path.is_dir() and ending(path) not in VOLUME_ENDINGS:
        return None
    files = series_files(path) if path.is_dir() else [str(path)]
    sitk = sitk_module()
    reader = sitk.ImageFileReader()
    reader.SetFileName(files[0])
    with quiet():
        reader.ReadImageInformation()
    axes = reader.GetDimension()
    size, steps = list(reader.GetSize()), list(reader.GetSpacing())
    volumes = size[3] if axes == 4 else 1
    if axes == 2:
        return Header((size[1], size[0]), (steps[1], steps[0]))
    size, steps = [*size[:2], size[2] if len(files) == 1 else len(files)], steps[:3]
    cosines = np.abs(np.array(reader.GetDirection()).reshape(axes, axes)[:3, :3])
    order = [int(place) for place in cosines.argmax(axis=1)]
    if sorted(order) != [0, 1, 2]:
        order = [0, 1, 2]
    own = order[::-1]
    return Header(tuple(size[axis] for axis in own), tuple(steps[axis] for axis in own), volumes)
