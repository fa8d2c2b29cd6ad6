"""Files of images: their endings, and what no reader takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crosstask.errors import InputError

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VOLUME_ENDINGS = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd")
IMAGE_ENDINGS = (*PICTURE_ENDINGS, *VOLUME_ENDINGS)
MAXIMUM_VOXELS = 2**31
"""More than any scanner gives: a header that says so is broken, and reading it would only fill the memory."""
_CONVERT = "convert it to PNG, e.g. with ImageMagick: magick mogrify -format png *"
OTHER_ENDINGS = {
    ".heic": f"HEIC, as phones save pictures, is not read; {_CONVERT}.heic",
    ".heif": f"HEIF, as phones save pictures, is not read; {_CONVERT}.heif",
    ".webp": f"WebP is not read; {_CONVERT}.webp",
    ".gif": f"GIF is not read; {_CONVERT}.gif",
    ".jp2": f"JPEG 2000 is not read; {_CONVERT}.jp2",
    ".dcm": "a single DICOM file is not read; name the folder that holds its series",
    ".svs": "whole slides are not read; cut them into pictures (PNG) first",
    ".ndpi": "whole slides are not read; cut them into pictures (PNG) first",
    ".npy": "arrays of numpy are not read; save pictures as PNG, volumes as .nii.gz",
    ".npz": "arrays of numpy are not read; save pictures as PNG, volumes as .nii.gz",
    ".pdf": "PDF is not read; export its pictures as PNG",
}
"""What people have and no reader takes, and what to do."""
COPY_AGAIN = "copy it again from the original or leave the case out"


def ending(path: Path) -> str:
    """Ending of a file name in lower case, ``.nii.gz`` whole."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def must_be_a_file(path: Path) -> None:
    """Refuse a path at which there is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")


def must_be_real(path: Path, values: np.ndarray) -> None:
    """Refuse what has no order, or no number at all."""
    if values.dtype.kind not in "biuf":
        what = "complex numbers" if values.dtype.kind == "c" else f"values of type {values.dtype}"
        raise InputError(f"{path}: {what}; save an image of real numbers, such as the magnitudes")


def reason_of(error: BaseException) -> str:
    """The part of an error that says something: ITK's run over many lines and begin with a source file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = next((line for line in lines[1:] if "ERROR" in line), lines[-1])
    return text.rpartition("ERROR: ")[2].rstrip(".")[:200]
