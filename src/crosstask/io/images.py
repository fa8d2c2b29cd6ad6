"""Pictures and volumes: files <-> arrays with geometry.

Axes:
    A picture is ``c y x``, with y down and x to the right, as a viewer shows it. A volume is ``z y x``, with x from the
    patient's right to the left, y from anterior to posterior and z from feet to head (DICOM's LPS), whatever order and
    direction the file stores its axes in: volumes are turned to the *nearest* of these directions by swapping and
    flipping axes, never by interpolation. So an image and a mask that were saved with different axes fit each other.
    The small rotation that an oblique scan has left is not undone; it is in the header as ``direction``.

Geometry:
    Spacing and origin are in array axis order, so ``z y x``, in mm. (SimpleITK gives them as x y z; NIfTI's own axes
    have x and y the other way round. Neither is seen outside these modules.) Pictures know no millimetre: their spacing
    is 1.0 by agreement.

Values:
    As the file stores them, in its own type; only a rescale that the format itself defines (DICOM slope and intercept,
    NIfTI ``scl_slope``) is applied. CT is thus in HU.

Round trip:
    :func:`crosstask.io.volumes.write_volume` then :func:`crosstask.io.volumes.read_volume` gives the same array and
    Geometry (NIfTI keeps spacing and origin as 32-bit floats). A volume that was stored with other axes comes back with
    its axes turned, not as it was.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.image_files import IMAGE_ENDINGS, OTHER_ENDINGS, PICTURE_ENDINGS, VOLUME_ENDINGS, ending
from crosstask.io.pictures import read_picture
from crosstask.io.volumes import read_any, read_stack, to_array


def read_image(path: Path, channels: int | None = None) -> tuple[np.ndarray, Geometry]:
    """A picture or volume, whichever the ending says; a folder is a DICOM series.

    Args:
        path: the file or folder.
        channels: volumes that a file holds along a fourth axis; without it there may be but one.

    Returns:
        array with a channel axis, and Geometry of its spatial axes: ``c y x`` for pictures, ``1 z y x`` for volumes,
        ``1 y x`` (``3 y x`` in colour) for a two-dimensional .mha, .mhd, .nii, .nii.gz or .nrrd, ``c z y x`` for a
        file of several volumes.

    Raises:
        InputError: as :func:`crosstask.io.pictures.read_picture` and :func:`crosstask.io.volumes.read_volume`; or the
            ending is none of theirs.
    """
    if not path.is_dir():
        if ending(path) in PICTURE_ENDINGS:
            picture = read_picture(path)
            return picture, Geometry(shape=picture.shape[1:], spacing=(1.0, 1.0))
        if ending(path) not in VOLUME_ENDINGS:
            if ending(path) in OTHER_ENDINGS:
                raise InputError(f"{path}: {OTHER_ENDINGS[ending(path)]}")
            known = ", ".join(IMAGE_ENDINGS)
            raise InputError(f"{path}: no image format is known by this ending; known: {known}, or a DICOM folder")
    if channels is not None:
        return read_stack(path, channels)
    image, _ = read_any(path)
    components = image.GetNumberOfComponentsPerPixel()
    if components > 1 and (image.GetDimension() == 3 or components > 4):
        raise InputError(f"{path}: {components} channels; give an image of one channel")
    array, geometry = to_array(path, image)
    return (array[None] if components == 1 else np.ascontiguousarray(np.moveaxis(array, -1, 0)[:3])), geometry


_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


def recoloured(values: np.ndarray, channels: int) -> np.ndarray:
    """An image ``c *s`` of one or three channels with one or three: grey of colours, or grey as three of a kind."""
    if len(values) == 3 and channels == 1:
        grey = np.tensordot(_LUMA, values.astype(np.float64), 1)
        rounded = np.rint(grey) if values.dtype.kind in "iu" else grey
        return rounded.astype(values.dtype)[None]
    return np.repeat(values, 3, axis=0) if len(values) == 1 and channels == 3 else values
