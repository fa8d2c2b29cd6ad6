"""Pictures and volumes: files <-> arrays with geometry.

Axes:
    A picture is ``c y x``, with y down and x to the right, as a viewer shows it. A volume is ``z y x``, with x from the
    patient's right to the left, y from anterior to posterior and z from feet to head (DICOM's LPS), whatever order and
    direction the file stores its axes in: volumes are turned to the *nearest* of these directions by swapping and
    flipping axes, never by interpolation. So an image and a mask that were saved with different axes fit each other.
    The small rotation that an oblique scan has left is not undone; it is in the header as ``direction``.

Geometry:
    Spacing and origin are in array axis order, so ``z y x``, in mm. (SimpleITK gives them as x y z; NIfTI's own axes
    have x and y the other way round. Neither is seen outside this module.) Pictures know no millimetre: their spacing
    is 1.0 by agreement.

Values:
    As the file stores them, in its own type; only a rescale that the format itself defines (DICOM slope and intercept,
    NIfTI ``scl_slope``) is applied. CT is thus in HU.

Round trip:
    :func:`write_volume` then :func:`read_volume` gives the same array and Geometry (NIfTI keeps spacing and origin as
    32-bit floats). A volume that was stored with other axes comes back with its axes turned, not as it was.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.declared import check_length, refuse_bomb
from crosstask.io.itk import itk_direction, to_itk
from crosstask.io.nifti import strange_values

if TYPE_CHECKING:
    import SimpleITK

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VOLUME_ENDINGS = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd")
MAXIMUM_VOXELS = 2**31
"""More than any scanner gives: a header that says so is broken, and reading it would only fill the memory."""
UNEVEN = 0.01
"""Largest difference of slice distances, as a share of their median, that is taken for rounding."""

_ORIENTATION = 0x0112
_COPY = "copy it again from the original or leave the case out"
_PICTURE_MODES = {"1": "L", "L": None, "I": None, "I;16": None, "I;16B": None, "I;16L": None, "F": None, "LA": "L"}


def ending(path: Path) -> str:
    """Ending of a file name in lower case, ``.nii.gz`` whole."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def read_picture(path: Path) -> np.ndarray:
    """A PNG, JPEG, TIFF or BMP picture.

    Grey pictures have one channel and colour ones three; a palette and other colour models (CMYK) become RGB, and
    transparency is dropped. One-bit pictures are 0 and 255. 16-bit values and floats are kept, in colour too. An EXIF
    or TIFF orientation is applied, so the array is upright as viewers show it, and a mask drawn in one fits.

    Returns:
        ``c y x``, in the file's own type.

    Raises:
        InputError: no such file, no picture, truncated, several pages, or more than 89 million pixels (which a small
            file can claim to fill the memory). The message names the file.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    _must_be_a_file(path)
    deep, pages, orientation = "", 1, 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that are damaged: what matters is the pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                pages = getattr(picture, "n_frames", 1)
                deep = _deep_colour(picture)
                orientation = int(picture.getexif().get(_ORIENTATION, 1))
                if pages == 1 and not deep:
                    picture.load()
                    upright = ImageOps.exif_transpose(picture)
                    mode = _PICTURE_MODES.get(upright.mode, "RGB")
                    values = np.array(upright if mode in (None, upright.mode) else upright.convert(mode))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InputError(f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels; reduce the picture's size") from None
    except Exception as error:  # Pillow lets through whatever the parser of a format met in a damaged file.
        if not (isinstance(error, UnidentifiedImageError) and ending(path) in (".tif", ".tiff")):
            raise InputError(f"{path}: no readable picture ({_one_line(error)}); {_COPY}") from None
        deep = "TIFF"  # of a kind that Pillow does not know
    if pages > 1:
        raise InputError(f"{path}: {pages} pages in one file; save one picture a file, or the stack as .nii.gz or .mha")
    if deep == "TIFF":
        values = _read_deep_tiff(path, Image.MAX_IMAGE_PIXELS or MAXIMUM_VOXELS)
    elif deep == "PNG":
        values = _upright(_read_deep_png(path), orientation)
    if values.ndim not in (2, 3) or not values.size:
        raise InputError(f"{path}: no readable picture (its size is {values.shape}); {_COPY}")
    _must_be_real(path, values)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values[..., :3], -1, 0))


def mask_parts(path: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What :func:`read_picture` drops of a picture and a mask needs.

    Returns:
        ``y x`` where the picture is wholly transparent, None where it has no transparency; and ``y x`` numbers of the
        palette's colours, None where it has no palette, or one of greys alone.

    Raises:
        InputError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                alpha = "A" in picture.mode or "transparency" in picture.info
                palette = picture.mode == "P"
                if not alpha and not palette:
                    return None, None
                picture.load()
                upright = ImageOps.exif_transpose(picture)
        transparent = np.array(upright.convert("RGBA"))[..., 3] == 0 if alpha else None
        colours = np.array(upright.convert("RGB"))
        grey = bool((colours == colours[..., :1]).all())
        return transparent, np.array(upright) if palette and not grey else None
    except Exception as error:  # as in read_picture
        raise InputError(f"{path}: no readable picture ({_one_line(error)}); {_COPY}") from None


def _must_be_real(path: Path, values: np.ndarray) -> None:
    """Refuse what has no order, or no number at all."""
    if values.dtype.kind not in "biuf":
        what = "complex numbers" if values.dtype.kind == "c" else f"values of type {values.dtype}"
        raise InputError(f"{path}: {what}; save an image of real numbers, such as the magnitudes")


def _deep_colour(picture: Any) -> str:
    """The format of a picture with several channels of more than 8 bits, which Pillow would cut to 8; else empty."""
    if picture.format == "PNG" and str(picture.tile[0][3]) in ("RGB;16B", "RGBA;16B", "LA;16B"):
        return "PNG"
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(258, (1,))
        return "TIFF" if len(bits) > 1 and max(bits) > 8 else ""
    return ""


def _read_deep_png(path: Path) -> np.ndarray:
    """Colour of 16 bits a channel, ``y x c``."""
    image, _ = _read_itk(path, [str(path)])
    return np.asarray(_sitk().GetArrayFromImage(image))


def _read_deep_tiff(path: Path, most: int) -> np.ndarray:
    """A TIFF picture ``y x`` or ``y x c``, upright, whatever its numbers."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # a line for each damaged tag; what is wrong is raised
    try:
        with tifffile.TiffFile(path) as file:
            page, pages = file.pages.first, len(file.pages)
            sizes = dict(zip(page.axes, page.shape, strict=True))
            if sizes.get("S", 1) > 4:
                raise InputError(f"{path}: {sizes['S']} channels; save grey or RGB pictures")
            if pages == 1 and set(page.axes) <= set("YXS") and sizes["Y"] * sizes["X"] <= most:
                refuse_bomb(path, [path], page.nbytes)
                values = np.moveaxis(page.asarray(), page.axes.index("S"), -1) if "S" in sizes else page.asarray()
                tag = page.tags.get(_ORIENTATION)
                orientation = 1 if tag is None else int(tag.value)
            else:
                raise InputError(f"{path}: {pages} pages of {page.axes} {page.shape}; save one picture of usual size")
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(
            f"{path}: no readable picture ({_one_line(error)}); copy it again, or save it uncompressed"
        ) from None
    upright = _upright(values, orientation)
    return upright[..., 0] if upright.ndim == 3 and upright.shape[-1] <= 2 else upright


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """A picture ``y x ...`` turned as its EXIF or TIFF orientation (1 to 8) says."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values


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
    image, header = _read_any(path)
    if image.GetDimension() == 2:
        raise InputError(f"{path}: a picture of size {image.GetSize()}, not a volume; give volumes here")
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{path}: {image.GetNumberOfComponentsPerPixel()} channels; give a volume of one channel")
    array, geometry = _to_array(path, image)
    return array, geometry, header


def read_image(path: Path) -> tuple[np.ndarray, Geometry]:
    """A picture or volume, whichever the ending says; a folder is a DICOM series.

    Returns:
        array with a channel axis, and Geometry of its spatial axes: ``c y x`` for pictures, ``1 z y x`` for volumes,
        ``1 y x`` (``3 y x`` in colour) for a two-dimensional .mha, .mhd, .nii, .nii.gz or .nrrd.

    Raises:
        InputError: as :func:`read_picture` and :func:`read_volume`; or the ending is none of theirs.
    """
    if not path.is_dir():
        if ending(path) in PICTURE_ENDINGS:
            picture = read_picture(path)
            return picture, Geometry(shape=picture.shape[1:], spacing=(1.0, 1.0))
        if ending(path) not in VOLUME_ENDINGS:
            known = ", ".join((*PICTURE_ENDINGS, *VOLUME_ENDINGS))
            raise InputError(f"{path}: no image format is known by this ending; known: {known}, or a DICOM folder")
    image, _ = _read_any(path)
    channels = image.GetNumberOfComponentsPerPixel()
    if channels > 1 and (image.GetDimension() == 3 or channels > 4):
        raise InputError(f"{path}: {channels} channels; give an image of one channel")
    array, geometry = _to_array(path, image)
    return (array[None] if channels == 1 else np.ascontiguousarray(np.moveaxis(array, -1, 0)[:3])), geometry


def axes_of(path: Path) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How :func:`read_volume` turns the axes of a volume's file.

    Returns:
        for each of the file's own axes, first to third (NIfTI's i j k; columns, rows and slices of a DICOM series,
        sorted): the axis z y x of the array that it becomes, 0 to 2, and whether it then runs the other way.

    Raises:
        InputError: as :func:`read_volume`, so far as the header tells.
    """
    files = _series_files(path) if path.is_dir() else [str(path)]
    if not path.is_dir():
        _must_be_a_file(path)
    sitk = _sitk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(files[0])
    try:
        with _quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read ({_one_line(error)}); {_COPY}") from None
    axes = reader.GetDimension()
    if axes < 3:
        raise InputError(f"{path}: a picture of size {reader.GetSize()}, not a volume; give volumes here")
    cosines = np.array(reader.GetDirection()).reshape(axes, axes)[:3, :3]
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(cosines.ravel().tolist())
    first, second, third = (next(axis for axis, pair in enumerate(("SI", "PA", "LR")) if to in pair) for to in code)
    return (first, second, third), (code[0] in "IAR", code[1] in "IAR", code[2] in "IAR")


def resample(
    volume: np.ndarray, geometry: Geometry, spacing: Sequence[float], *, mask: bool = False
) -> tuple[np.ndarray, Geometry]:
    """A volume or picture on a grid of another spacing.

    The new grid begins at the same outer edge as the old one (the edge of its first voxel, half a voxel before the
    origin) and has as many voxels as it takes to reach the old end; the last ones may stick out by less than a voxel,
    where they repeat the nearest value. Values are interpolated linearly. Where the new voxels are at least twice as
    large, whole blocks of old voxels are averaged first, as many as fit into a new one, so noise and fine structures
    do not alias. Masks take the nearest old voxel and keep their values. Integers are rounded, not cut.

    Args:
        volume: ``z y x``, or ``y x``.
        geometry: its grid.
        spacing: of the new grid, in mm, in array axis order.
        mask: the values are labels.

    Returns:
        array of the same type, and its Geometry.

    Raises:
        InputError: the spacing has another number of axes, is not positive, or gives a grid too large to hold.
    """
    axes = len(geometry.shape)
    new = tuple(float(step) for step in spacing)
    if len(new) != axes or not all(math.isfinite(step) and step > 0 for step in new):
        raise InputError(f"spacing {list(spacing)} is not {axes} positive lengths in mm; give one for each axis")
    if tuple(volume.shape) != tuple(geometry.shape):
        raise ValueError(f"the volume is {volume.shape}, its grid {geometry.shape}")
    if all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(new, geometry.spacing, strict=True)):
        return volume, geometry
    extent = [length * step for length, step in zip(geometry.shape, geometry.spacing, strict=True)]
    shape = tuple(max(1, math.ceil(whole / step - 1e-3)) for whole, step in zip(extent, new, strict=True))
    if math.prod(shape) > MAXIMUM_VOXELS:
        raise InputError(f"spacing {list(new)} gives a grid of {shape} voxels, too many; give a larger spacing")
    first = [(after / before - 1) / 2 for before, after in zip(geometry.spacing, new, strict=True)]
    origin = tuple(geometry.points([first])[0].tolist())
    grid = Geometry(shape=shape, spacing=new, origin=origin, direction=geometry.direction)

    sitk = _sitk()
    boolean = volume.dtype == np.bool_
    image = to_itk(volume.astype(np.uint8) if boolean else volume, geometry)
    if not mask:
        blocks = [max(1, math.floor(a / b + 1e-6)) for a, b in zip(new, geometry.spacing, strict=True)]
        image = sitk.Cast(_averaged(image, blocks[::-1]), sitk.sitkFloat32)
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)  # Cases are read by one process a core.
    resampler.SetSize(shape[::-1])
    resampler.SetOutputSpacing(new[::-1])
    resampler.SetOutputOrigin(origin[::-1])
    resampler.SetOutputDirection(itk_direction(grid))
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if mask else sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    result = np.asarray(sitk.GetArrayFromImage(resampler.Execute(image)))
    if np.issubdtype(volume.dtype, np.integer) and not mask:
        limits = np.iinfo(volume.dtype)
        result = np.clip(np.rint(result), limits.min, limits.max)
    return result.astype(volume.dtype, copy=False), grid


def _averaged(image: SimpleITK.Image, blocks: Sequence[int]) -> SimpleITK.Image:
    """Means of blocks of voxels (x y z); an incomplete block at the end is filled by its last voxels."""
    if all(length == 1 for length in blocks):
        return image
    sitk = _sitk()
    missing = [-length % block for length, block in zip(image.GetSize(), blocks, strict=True)]
    if any(missing):
        image = sitk.ZeroFluxNeumannPad(image, [0] * len(missing), missing)
    return sitk.BinShrink(image, list(blocks))


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
    sitk = _sitk()
    image = to_itk(array.astype(np.uint8) if array.dtype == np.bool_ else array, geometry)
    for key, value in (header or {}).items():
        image.SetMetaData(key, value)
    try:
        with _quiet():
            sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be written ({_one_line(error)}); check the folder and the disk") from None


def _sitk() -> Any:
    # Most of the project never opens a volume: it need not pay for the import.
    import SimpleITK

    return SimpleITK


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ITK's warnings, many lines each, from the terminal; errors are raised all the same."""
    process = _sitk().ProcessObject
    before = process.GetGlobalWarningDisplay()
    process.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        process.SetGlobalWarningDisplay(before)


def _must_be_a_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")


def _read_any(path: Path) -> tuple[SimpleITK.Image, dict[str, str]]:
    """A volume's or picture's image in ITK's own form, volumes turned to LPS, and its header."""
    if path.is_dir():
        files = _series_files(path)
    else:
        _must_be_a_file(path)
        if ending(path) not in VOLUME_ENDINGS:
            raise InputError(f"{path}: volumes are {', '.join(VOLUME_ENDINGS)} or a DICOM folder; convert the file")
        files = [str(path)]
    image, header = _read_itk(path, files)
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]
    if image.GetDimension() not in (2, 3):
        raise InputError(f"{path}: {image.GetDimension()} axes, sizes {image.GetSize()}; give one volume a file")
    if image.GetDimension() == 3:
        image = _sitk().DICOMOrient(image, "LPS")
    header["direction"] = " ".join(f"{cosine:.6g}" for cosine in image.GetDirection())
    return image, header


def _read_itk(path: Path, files: Sequence[str]) -> tuple[SimpleITK.Image, dict[str, str]]:
    sitk = _sitk()
    strange = strange_values(Path(files[0])) if ending(Path(files[0])) in (".nii", ".nii.gz") else np.empty(0, np.int64)
    try:
        with _quiet():
            first = sitk.ImageFileReader()
            first.SetFileName(files[0])
            first.ReadImageInformation()
            sizes = (*first.GetSize(), len(files))
            if not all(sizes):
                raise InputError(
                    f"{path}: the header says {' x '.join(map(str, first.GetSize()))} voxels, so none; {_COPY}"
                )
            if math.prod(sizes) > MAXIMUM_VOXELS:
                raise InputError(f"{path}: the header says {math.prod(sizes)} voxels, too many; {_COPY}")
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
        raise InputError(f"{path}: cannot be read ({_one_line(error)}); {_COPY}") from None


def _with_nan(path: Path, image: SimpleITK.Image, strange: np.ndarray) -> SimpleITK.Image:
    """The image of a NIfTI file with NaN where the file has it, or infinity, and ITK a zero.

    Args:
        path: the file, for messages.
        image: as ITK reads it, its axes those of the file.
        strange: flat indices in the file's order.
    """
    sitk = _sitk()
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
    if "complex" in _sitk().GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{reader.GetFileName()}: complex numbers; save real ones, such as their magnitudes")
    voxel = _sitk().Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
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


def _series_files(folder: Path) -> list[str]:
    """Files of the one DICOM series in a folder, sorted by position.

    Raises:
        InputError: no or several series, or slices at uneven distances.
    """
    sitk = _sitk()
    with _quiet():
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
    reader = _sitk().ImageFileReader()
    reader.SetFileName(str(file))
    try:
        with _quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{file}: cannot be read ({_one_line(error)}); {_COPY}") from None
    if not (reader.HasMetaDataKey("0020|0032") and reader.HasMetaDataKey("0020|0037")):
        raise InputError(f"{file}: no ImagePositionPatient or ImageOrientationPatient; the slices cannot be sorted")
    place = np.array(reader.GetMetaData("0020|0032").split("\\"), dtype=float)
    cosines = np.array(reader.GetMetaData("0020|0037").split("\\"), dtype=float)
    return float(place @ np.cross(cosines[:3], cosines[3:]))


def _to_array(path: Path, image: SimpleITK.Image) -> tuple[np.ndarray, Geometry]:
    """Array ``*s`` (``*s c`` with several channels) and Geometry of an image of two or three axes."""
    array = np.asarray(_sitk().GetArrayFromImage(image))
    _must_be_real(path, array)
    try:
        geometry = Geometry(
            shape=tuple(image.GetSize()[::-1]),
            spacing=tuple(image.GetSpacing()[::-1]),
            origin=tuple(image.GetOrigin()[::-1]),
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}; {_COPY}") from None
    return array, geometry


def _one_line(error: BaseException) -> str:
    """The part of an error that says something: ITK's run over many lines and begin with a source file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = next((line for line in lines[1:] if "ERROR" in line), lines[-1])
    return text.rpartition("ERROR: ")[2].rstrip(".")[:200]
