"""Pictures: PNG, JPEG, TIFF and BMP to arrays ``c y x``, deep and indexed ones too."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.errors import InputError
from crosstask.io.declared import refuse_bomb
from crosstask.io.image_files import COPY_AGAIN, MAXIMUM_VOXELS, ending, must_be_a_file, must_be_real, reason_of
from crosstask.io.itk import sitk_module
from crosstask.io.volumes import read_itk

_ORIENTATION = 0x0112
_PICTURE_MODES = {"1": "L", "L": None, "I": None, "I;16": None, "I;16B": None, "I;16L": None, "F": None, "LA": "L"}


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

    must_be_a_file(path)
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
            raise InputError(f"{path}: no readable picture ({reason_of(error)}); {COPY_AGAIN}") from None
        deep = "TIFF"  # of a kind that Pillow does not know
    if pages > 1:
        raise InputError(f"{path}: {pages} pages in one file; save one picture a file, or the stack as .nii.gz or .mha")
    if deep == "TIFF":
        values = _read_deep_tiff(path, Image.MAX_IMAGE_PIXELS or MAXIMUM_VOXELS)
    elif deep == "PNG":
        values = _upright(_read_deep_png(path), orientation)
    if values.ndim not in (2, 3) or not values.size:
        raise InputError(f"{path}: no readable picture (its size is {values.shape}); {COPY_AGAIN}")
    must_be_real(path, values)
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
        raise InputError(f"{path}: no readable picture ({reason_of(error)}); {COPY_AGAIN}") from None


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
    image, _ = read_itk(path, [str(path)])
    return np.asarray(sitk_module().GetArrayFromImage(image))


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
            f"{path}: no readable picture ({reason_of(error)}); copy it again, or save it uncompressed"
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
