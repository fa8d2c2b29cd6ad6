"""Volumes: MetaImage, NIfTI, NRRD and DICOM series to arrays ``z y x`` with geometry, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.declared import check_length, refuse_bomb
from crosstask.io.image_files import (
    COPY_AGAIN,
    MAXIMUM_VOXELS,
    VOLUME_ENDINGS,
    ending,
    must_be_a_file,
    must_be_real,
    reason_of,
)
from crosstask.io.itk import quiet, sitk_module, to_itk
from crosstask.io.nifti import strange_values
from crosstask.io.series import series_files

if TYPE_CHECKING:
    import SimpleITK


def read_volume(path: Path) -> tuple[np.ndarray, Geometry, dict[str, str]]:
    """A volume of one .mha, .mhd, .nii, .nii.gz or .nrrd file, or a folder that holds one DICOM series.

    Slices of a DICOM series are sorted by their position along the slice normal.

    Returns:
        volume ``z y x``, its Geometry, and the strings of the file's header as the format names them (of a DICOM
        series, those of its first slice, ``{"0010|1010": "065Y"}``), with ``direction`` the nine direction cosines
        of the turned axes, x y z.

    Raises:
        InputError: the file or folder is missing, unreadable or truncated, is a picture, has more than one channel or
            point in time; a folder holds no or several series, or slices at uneven distances. One line that names it.
    """
    image, header = read_any(path)
    if image.GetDimension() == 2:
        raise InputError(f"{path}: a picture of size {image.GetSize()}, not a volume; give volumes here")
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{path}: {image.GetNumberOfComponentsPerPixel()} channels; give a volume of one channel")
    array, geometry = to_array(path, image)
    return array, geometry, header


def axes_of(path: Path) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How :func:`read_volume` turns the axes of a volume's file.

    Returns:
        for each of the file's own axes, first to third (NIfTI's i j k; columns, rows and slices of a DICOM series,
        sorted): the axis z y x of the array that it becomes, 0 to 2, and whether it then runs the other way.

    Raises:
        InputError: as :func:`read_volume`, so far as the header tells.
    """
    files = series_files(path) if path.is_dir() else [str(path)]
    if not path.is_dir():
        must_be_a_file(path)
    sitk = sitk_module()
    reader = sitk.ImageFileReader()
    reader.SetFileName(files[0])
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)}); {COPY_AGAIN}") from None
    axes = reader.GetDimension()
    if axes < 3:
        raise InputError(f"{path}: a picture of size {reader.GetSize()}, not a volume; give volumes here")
    cosines = np.array(reader.GetDirection()).reshape(axes, axes)[:3, :3]
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(cosines.ravel().tolist())
    first, second, third = (next(axis for axis, pair in enumerate(("SI", "PA", "LR")) if to in pair) for to in code)
    return (first, second, third), (code[0] in "IAR", code[1] in "IAR", code[2] in "IAR")


def write_volume(path: Path, array: np.ndarray, geometry: Geometry, header: Mapping[str, str] | None = None) -> None:
    """Write a volume ``z y x`` (or a picture ``y x``), compressed, in the format that the ending says.

    Args:
        path: .mha, .mhd, .nii, .nii.gz or .nrrd.
        array: the values; bool becomes 8-bit.
        geometry: its grid.
        header: further strings of the header, for .mha, .mhd and .nrrd.

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    if ending(path) not in VOLUME_ENDINGS:
        raise InputError(f"{path}: volumes are written as {', '.join(VOLUME_ENDINGS)}")
    sitk = sitk_module()
    image = to_itk(array.astype(np.uint8) if array.dtype == np.bool_ else array, geometry)
    for key, value in (header or {}).items():
        image.SetMetaData(key, value)
    try:
        with quiet():
            sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be written ({reason_of(error)}); check the folder and the disk") from None


def read_any(path: Path) -> tuple[SimpleITK.Image, dict[str, str]]:
    """A volume's or picture's image in ITK's own form, volumes turned to LPS, and its header."""
    if path.is_dir():
        files = series_files(path)
    else:
        must_be_a_file(path)
        if ending(path) not in VOLUME_ENDINGS:
            raise InputError(f"{path}: volumes are {', '.join(VOLUME_ENDINGS)} or a DICOM folder; convert the file")
        files = [str(path)]
    image, header = read_itk(path, files)
    image = _of_one_time(image)
    if image.GetDimension() not in (2, 3):
        raise InputError(
            f"{path}: {image.GetDimension()} axes, sizes {image.GetSize()}; give one volume a file (of a cohort, "
            f"channels: {image.GetSize()[-1]} takes the last axis as channels)"
        )
    if image.GetDimension() == 3:
        image = sitk_module().DICOMOrient(image, "LPS")
    header["direction"] = " ".join(f"{cosine:.6g}" for cosine in image.GetDirection())
    return image, header


def read_stack(path: Path, channels: int) -> tuple[np.ndarray, Geometry]:
    """Volumes of one grid that a file holds along its fourth axis, as channels ``c z y x``.

    Args:
        path: .nii, .nii.gz, .mha, .mhd or .nrrd.
        channels: how many there must be.

    Raises:
        InputError: as :func:`read_volume`, or there are others than so many.
    """
    must_be_a_file(path)
    if ending(path) not in VOLUME_ENDINGS:
        raise InputError(f"{path}: channels: {channels} is for volumes in one file ({', '.join(VOLUME_ENDINGS)})")
    image, _ = read_itk(path, [str(path)])
    held = image.GetSize()[3] if image.GetDimension() == 4 else 1
    if image.GetDimension() not in (3, 4) or held != channels or image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{path}: sizes {image.GetSize()}, so not {channels} volumes; fix channels, or the file")
    volumes = [image[:, :, :, place] for place in range(held)] if image.GetDimension() == 4 else [image]
    read = [to_array(path, sitk_module().DICOMOrient(volume, "LPS")) for volume in volumes]
    return np.stack([array for array, _ in read]), read[0][1]


def untouched(path: Path) -> SimpleITK.Image:
    """A volume's image in ITK's own form and in the file's own axes.

    Raises:
        InputError: as :func:`read_volume`.
    """
    files = series_files(path) if path.is_dir() else [str(path)]
    return _of_one_time(read_itk(path, files)[0])


def _of_one_time(image: SimpleITK.Image) -> SimpleITK.Image:
    """Without further axes of length 1."""
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]
    return image


def read_itk(path: Path, files: Sequence[str]) -> tuple[SimpleITK.Image, dict[str, str]]:
    """The image of one file, or of a series' slices in their order, in the axes of the file, and its header."""
    sitk = sitk_module()
    strange = strange_values(Path(files[0])) if ending(Path(files[0])) in (".nii", ".nii.gz") else np.empty(0, np.int64)
    try:
        with quiet():
            first = sitk.ImageFileReader()
            first.SetFileName(files[0])
            first.ReadImageInformation()
            sizes = (*first.GetSize(), len(files))
            if not all(sizes):
                raise InputError(
                    f"{path}: the header says {' x '.join(map(str, first.GetSize()))} voxels, so none; {COPY_AGAIN}"
                )
            if math.prod(sizes) > MAXIMUM_VOXELS:
                raise InputError(f"{path}: the header says {math.prod(sizes)} voxels, too many; {COPY_AGAIN}")
            needed = math.prod(sizes) * _bytes_of_a_voxel(first)
            if ending(Path(files[0])) in (".mha", ".mhd", ".nrrd"):
                check_length(path, needed)
            else:
                refuse_bomb(path, list(map(Path, files)), needed)
            header = _header_of(first)
            if len(files) == 1:
                image = first.Execute()
                return (_with_nan(path, image, strange) if strange.size else image), header
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(list(files))
            return reader.Execute(), header
    except (RuntimeError, MemoryError) as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)}); {COPY_AGAIN}") from None


def _with_nan(path: Path, image: SimpleITK.Image, strange: np.ndarray) -> SimpleITK.Image:
    """The image of a NIfTI file with NaN where the file has it, or infinity, and ITK a zero.

    Args:
        path: the file, for messages.
        image: as ITK reads it, its axes those of the file.
        strange: flat indices in the file's order.
    """
    sitk = sitk_module()
    values = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1 or values.dtype.kind != "f" or strange[-1] >= values.size:
        raise InputError(f"{path}: {strange.size} values are no numbers (NaN or infinite); export it again")
    values.reshape(-1)[strange] = np.nan
    told = sitk.GetImageFromArray(values, isVector=False)
    told.CopyInformation(image)
    return told


def _bytes_of_a_voxel(reader: SimpleITK.ImageFileReader) -> int:
    """Of all channels, once the header has been read.

    Raises:
        InputError: the voxels are complex numbers.
    """
    if "complex" in sitk_module().GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{reader.GetFileName()}: complex numbers; save real ones, such as their magnitudes")
    voxel = sitk_module().Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    return int(voxel.GetSizeOfPixelComponent()) * int(reader.GetNumberOfComponents())


def _header_of(reader: SimpleITK.ImageFileReader) -> dict[str, str]:
    """The strings of a header. Those that are not UTF-8 are read as Latin-1; such a key's value cannot be asked for."""
    header: dict[str, str] = {}
    for key in reader.GetMetaDataKeys():
        if key.startswith("ITK_"):  # its own notes
            continue
        with suppress(TypeError, UnicodeError):
            header[key] = _legible(reader.GetMetaData(key))
    return header


def _legible(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def to_array(path: Path, image: SimpleITK.Image) -> tuple[np.ndarray, Geometry]:
    """Array ``*s`` (``*s c`` with several channels) and Geometry of an image of two or three axes."""
    array = np.asarray(sitk_module().GetArrayFromImage(image))
    must_be_real(path, array)
    try:
        geometry = Geometry(
            shape=tuple(image.GetSize()[::-1]),
            spacing=tuple(image.GetSpacing()[::-1]),
            origin=tuple(image.GetOrigin()[::-1]),
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}; {COPY_AGAIN}") from None
    return array, geometry
