"""The slices of one DICOM series in a folder, in their order along the normal."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crosstask.errors import InputError
from crosstask.io.image_files import COPY_AGAIN, reason_of
from crosstask.io.itk import quiet, sitk_module

UNEVEN = 0.01
"""Largest difference of slice distances, as a share of their median, that is taken for rounding."""


def series_files(folder: Path) -> list[str]:
    """Files of the one DICOM series in a folder, sorted by position.

    Raises:
        InputError: no or several series, or slices at uneven distances.
    """
    sitk = sitk_module()
    with quiet():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        if not series:
            raise InputError(f"{folder}: no DICOM image in this folder; give a folder that holds one series")
        if len(series) > 1:
            raise InputError(f"{folder}: {len(series)} DICOM series in one folder; give each a folder of its own")
        files = list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    if len(files) > 1:
        positions = np.array([_slice_position(Path(file)) for file in files])
        order = np.argsort(positions, kind="stable")
        files = [files[index] for index in order]
        steps = np.diff(positions[order])
        usual = float(np.median(steps))
        uneven = np.flatnonzero(np.abs(steps - usual) > max(UNEVEN * usual, 1e-3))
        if usual <= 0 or len(uneven):
            at = int(uneven[0]) if len(uneven) else 0
            raise InputError(
                f"{folder}: slices {Path(files[at]).name} and {Path(files[at + 1]).name} are {steps[at]:.3f} mm apart, "
                f"others {usual:.3f}; add the missing slice, or remove the one too many"
            )
    return files


def _slice_position(file: Path) -> float:
    """Position of a DICOM slice along its normal, in mm."""
    reader = sitk_module().ImageFileReader()
    reader.SetFileName(str(file))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{file}: cannot be read ({reason_of(error)}); {COPY_AGAIN}") from None
    if not (reader.HasMetaDataKey("0020|0032") and reader.HasMetaDataKey("0020|0037")):
        raise InputError(f"{file}: no ImagePositionPatient or ImageOrientationPatient; the slices cannot be sorted")
    place = np.array(reader.GetMetaData("0020|0032").split("\\"), dtype=float)
    cosines = np.array(reader.GetMetaData("0020|0037").split("\\"), dtype=float)
    return float(place @ np.cross(cosines[:3], cosines[3:]))
