"""Arrays to NIfTI files that lie in space where the prediction does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crosstask.errors import CrosstaskError, InputError
from crosstask.export.output import new_file
from crosstask.geometry import Geometry
from crosstask.io.itk import to_itk
from crosstask.io.volumes import untouched

ENDINGS = (".nii", ".nii.gz")


def write_nifti_like(path: Path, array: np.ndarray, file: Path) -> None:
    """Write a volume as NIfTI on the grid of a file, in the axes of that file.

    Args:
        path: the new file, .nii.gz.
        array: ``z y x``, turned as :func:`crosstask.io.volumes.read_volume` turns the file.
        file: a volume, or the folder of a DICOM series.

    Raises:
        InputError: the new file is there already, or the other cannot be read.
        CrosstaskError: the array is not of its shape, or the disk is full.
    """
    import SimpleITK

    grid = untouched(file)
    turned = SimpleITK.DICOMOrient(grid, "LPS")
    if array.shape != turned.GetSize()[::-1]:
        raise CrosstaskError(f"{path}: an array of {array.shape} for a volume of {turned.GetSize()[::-1]}")
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    image.CopyInformation(turned)
    code = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(grid.GetDirection())
    own = SimpleITK.DICOMOrient(image, code)
    own.CopyInformation(grid)  # to the last digit
    with new_file(path) as part:
        try:
            SimpleITK.WriteImage(own, str(part), useCompression=True)
        except RuntimeError:
            raise CrosstaskError(f"{path}: cannot be written; free space or choose another folder") from None


def write_nifti(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write a volume as NIfTI, with origin, spacing and direction of its grid.

    NIfTI has x from right to left and y from back to front, the other way round than DICOM and :class:`Geometry`;
    SimpleITK turns the header, here and on reading. Positions are right to 0.01 mm: the header holds floats of 32 bits.

    Args:
        path: the new file, .nii or .nii.gz.
        array: ``z y x``; bool is written as uint8, floats as float32, integers of 8, 16 and 32 bits as they are.
        geometry: its grid.

    Raises:
        InputError: the file is there already, or has another ending.
        CrosstaskError: the array is not of the grid's shape or type, or the disk is full.
    """
    if not path.name.lower().endswith(ENDINGS):
        raise InputError(f"{path}: NIfTI files end in {' or '.join(ENDINGS)}")
    if array.ndim != 3 or array.shape != tuple(geometry.shape):
        raise CrosstaskError(f"{path}: an array of {array.shape} on a grid of {geometry.shape}; give z y x")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype.kind not in "iu" or array.itemsize > 4:
        raise CrosstaskError(
            f"{path}: values of {array.dtype} cannot be written; give bool, numbers of 32 bits or floats"
        )
    # costs a third of a second
    import SimpleITK

    with new_file(path) as part:
        try:
            SimpleITK.WriteImage(to_itk(array, geometry), str(part), useCompression=True)
        except RuntimeError:
            raise CrosstaskError(f"{path}: cannot be written; free space or choose another folder") from None
