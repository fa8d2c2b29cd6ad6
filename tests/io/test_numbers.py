"""Values that are no numbers come out of every kind of file, are found, and are replaced where that is asked for."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.images import read_image
from crosstask.io.nifti import strange_values
from crosstask.io.numbers import not_numbers, only_numbers
from crosstask.io.volumes import read_volume, write_volume

GRID = Geometry((3, 4, 5), (3.0, 2.0, 1.0), (1.0, -2.0, 4.0))


def volume(kind: str = "f4") -> np.ndarray:
    values = np.random.default_rng(0).normal(size=GRID.shape).astype(kind)
    values[0, 1, 2], values[2, 3, 0], values[1, 0, 4] = np.nan, np.inf, -np.inf
    return values


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "mhd", "nrrd"])
def test_nan_and_infinity_of_a_volume_are_read_as_no_numbers_whatever_the_format(
    tmp_path: Path, ending: str, kind: str
) -> None:
    """ITK puts zeros in their place where the file is NIfTI, and says nothing."""
    values = volume(kind)
    write_volume(tmp_path / f"a.{ending}", values, GRID)
    read, geometry, _ = read_volume(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(np.isfinite(read), np.isfinite(values))
    np.testing.assert_array_equal(read[np.isfinite(read)], values[np.isfinite(values)])
    np.testing.assert_allclose(geometry.origin, GRID.origin)
    np.testing.assert_allclose(geometry.spacing, GRID.spacing)


@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True)])
def test_nan_of_a_nifti_file_stays_in_its_place_where_the_axes_are_turned(
    tmp_path: Path, flips: tuple[bool, bool, bool]
) -> None:
    image = sitk.GetImageFromArray(volume())
    turned = sitk.Flip(sitk.PermuteAxes(image, (2, 0, 1)), flips)
    for name in ("a.nii.gz", "a.mha"):
        sitk.WriteImage(turned, str(tmp_path / name))
    nii, mha = (read_volume(tmp_path / name)[0] for name in ("a.nii.gz", "a.mha"))
    assert np.isnan(nii).sum() == 3
    np.testing.assert_array_equal(np.isnan(nii), ~np.isfinite(mha))


def test_nan_of_a_big_endian_nifti_2_file_and_of_one_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = volume(">f8")
    header = bytearray(544)
    struct.pack_into(">i8s2h", header, 0, 540, b"n+2\0\r\n\x1a\n", 64, 64)
    struct.pack_into(">8q", header, 16, 3, 5, 4, 3, 1, 1, 1, 1)
    struct.pack_into(">q", header, 168, 544)
    (tmp_path / "a.nii").write_bytes(bytes(header) + values.tobytes() + b"rest of \xff\xff\xff\xff\xff\xff\xff\xff")
    places = np.flatnonzero(~np.isfinite(values)).tolist()
    assert strange_values(tmp_path / "a.nii").tolist() == places
    monkeypatch.setattr("crosstask.io.nifti._PIECE", 5)
    assert strange_values(tmp_path / "a.nii").tolist() == places


def test_a_float_picture_keeps_nan_and_one_of_16_bits_its_overflow(tmp_path: Path) -> None:
    values = np.ones((4, 5), np.float32)
    values[1, 2] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert np.isnan(read_image(tmp_path / "a.tif")[0]).sum() == 1
    with np.errstate(over="ignore"):
        tifffile.imwrite(tmp_path / "b.tif", (values * 1e6).astype(np.float16))
    read = read_image(tmp_path / "b.tif")[0]
    strange = not_numbers(read)
    assert strange is not None
    assert strange.all()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.tif"])
def test_complex_numbers_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, np.ones((4, 5), np.complex64))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4, 5), np.complex64)), str(tmp_path / name))
    with pytest.raises(InputError, match=r"a\.\S+: complex numbers; save .* magnitudes"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -3.4e38])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_values_that_stand_for_no_data_are_named_or_filled(value: float, kind: str) -> None:
    with np.errstate(over="ignore"):
        values = np.array([[1.0, value], [2.0, 3.0]]).astype(kind)
    with pytest.raises(InputError, match=r"x: 1 of 4 values are no numbers \(NaN or infinite\); give fill, export"):
        only_numbers(Path("x"), values, None, "give fill")
    assert only_numbers(Path("x"), values, -1000.0, "").tolist() == [[1, -1000], [2, 3]]


def test_an_image_without_any_number_is_not_filled() -> None:
    with pytest.raises(InputError, match="x: holds no numbers, all its values are NaN or infinite"):
        only_numbers(Path("x"), np.full((2, 2), np.nan), 0.0, "")


@pytest.mark.parametrize("kind", ["?", "u1", "i2", "i8", "f2", "f4", "f8"])
def test_numbers_stay_as_they_are(kind: str) -> None:
    values = np.array([0, 1, 100]).astype(kind)
    assert only_numbers(Path("x"), values, 7.0, "") is values


def test_a_fill_beyond_half_precision_is_kept() -> None:
    assert only_numbers(Path("x"), np.array([1, np.nan], np.float16), 1e6, "").tolist() == [1, 1e6]
