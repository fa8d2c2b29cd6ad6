"""Headers that declare what no file holds, and damage that a reader met, are a line about that one file."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile

from crosstask.datasets import Cohort
from crosstask.errors import InputError
from crosstask.io import declared
from crosstask.io.declared import check_length, refuse_bomb
from crosstask.io.images import read_image
from crosstask.io.volumes import read_volume

SIDE = 400
BYTES = 2 * SIDE**3


def meta(values: bytes, compressed: bool, data: str = "LOCAL", side: int = SIDE) -> bytes:
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines += [f"CompressedData = {compressed}", f"DimSize = {side} {side} {side}", "ElementSpacing = 1 1 1"]
    lines += ["ElementType = MET_SHORT", f"ElementDataFile = {data}"]
    return "\n".join(lines).encode() + b"\n" + values


def nrrd(values: bytes, encoding: str) -> bytes:
    sizes = f"sizes: {SIDE} {SIDE} {SIDE}"
    return f"NRRD0004\ntype: short\ndimension: 3\n{sizes}\nencoding: {encoding}\nendian: little\n\n".encode() + values


def nifti() -> bytes:
    head = struct.pack("<i", 348).ljust(40, b"\0") + struct.pack("<8h", 3, SIDE, SIDE, SIDE, 1, 1, 1, 1)
    head = head.ljust(70, b"\0") + struct.pack("<2h", 4, 16) + struct.pack("<h", 0) + struct.pack("<8f", *[1.0] * 8)
    return (head.ljust(108, b"\0") + struct.pack("<f", 352)).ljust(344, b"\0") + b"n+1\0" + bytes(100)


FILES = {
    "raw.mha": meta(b"\0" * 100, compressed=False),
    "packed.mha": meta(zlib.compress(b"\0" * 100), compressed=True),
    "raw.nrrd": nrrd(b"\0" * 100, "raw"),
    "packed.nrrd": nrrd(gzip.compress(b"\0" * 100), "gzip"),
    "a.nii": nifti(),
    "a.nii.gz": gzip.compress(nifti()),
}


@pytest.mark.parametrize("name", FILES)
def test_declared_values_that_a_file_cannot_hold_are_refused_before_memory_is_asked_for(tmp_path, name, monkeypatch):
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", lambda *_: pytest.fail("the values were asked for"))
    path = tmp_path / name
    path.write_bytes(FILES[name])
    with pytest.raises(InputError, match="copy it again") as fault:
        read_volume(path)
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_compressed_mha_that_is_too_short_is_not_filled_up_with_zeros(tmp_path):
    """ITK reads it, says so on the terminal and gives zeros for the rest."""
    whole = np.arange(64**3, dtype="<i2").tobytes()
    (tmp_path / "whole.mha").write_bytes(meta(zlib.compress(whole), compressed=True, side=64))
    assert read_volume(tmp_path / "whole.mha")[0].shape == (64, 64, 64)
    (tmp_path / "short.mha").write_bytes(meta(zlib.compress(whole[:-2]), compressed=True, side=64))
    with pytest.raises(InputError, match="truncated, 524286 bytes"):
        read_volume(tmp_path / "short.mha")


def test_data_in_a_file_of_their_own_are_found(tmp_path):
    (tmp_path / "a.mhd").write_bytes(meta(b"", compressed=False, data="a.raw", side=8))
    (tmp_path / "a.raw").write_bytes(bytes(8**3 * 2))
    assert read_volume(tmp_path / "a.mhd")[0].shape == (8, 8, 8)
    (tmp_path / "a.raw").write_bytes(bytes(8**3 * 2 - 1))
    with pytest.raises(InputError, match="truncated"):
        read_volume(tmp_path / "a.mhd")


def test_sound_data_of_gigabytes_in_a_small_file_are_refused_and_a_mask_of_usual_size_is_not(tmp_path):
    """512 x 512 x 800 voxels of a mask that is nearly empty pack to a thousandth, and are read."""
    path = tmp_path / "a.mha"
    path.write_bytes(b"x" * 300_000)
    refuse_bomb(path, [path], 512 * 512 * 800)
    refuse_bomb(path, [path], declared.MOST_BYTES)
    with pytest.raises(InputError, match=r"declares 8\.0 GB of values and takes up 0\.3 MB.*save it uncompressed"):
        refuse_bomb(path, [path], 8 * 10**9)


def test_unpacking_is_looked_at_piece_by_piece(tmp_path):
    path = tmp_path / "a.mha"
    path.write_bytes(meta(zlib.compress(bytes(BYTES), 1), compressed=True))
    tracemalloc.start()
    check_length(path, BYTES)
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


@pytest.mark.parametrize("size", ["0 10 10", "-5 10 10", "99999999999999999999 10 10"])
def test_sizes_that_no_image_has_are_one_line(tmp_path, size):
    content = meta(bytes(100), compressed=False).replace(b"400 400 400", size.encode())
    (tmp_path / "a.mha").write_bytes(content)
    with pytest.raises(InputError, match="copy it again") as fault:
        read_image(tmp_path / "a.mha")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_key_or_value_in_latin_1_does_not_hide_the_volume(tmp_path, suffix):
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    for key, value in (("KEYx", "1"), ("Station", "Mxnster"), ("PatientAge", "055Y")):
        image.SetMetaData(key, value)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path))
    path.write_bytes(path.read_bytes().replace(b"KEYx", b"KEY\xfc").replace(b"Mxnster", b"M\xfcnster"))
    volume, _, header = read_volume(path)
    assert (volume.ravel() == np.arange(24)).all()
    assert (header["Station"], header["PatientAge"]) == ("Münster", "055Y")


def damaged_tiff(path: Path) -> None:
    """A TIFF whose tag for the width has lost its type, as one flipped byte makes it."""
    tifffile.imwrite(path, np.ones((40, 50), np.uint16), compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages.first.tags["ImageWidth"].offset
    content[place + 2] = 0
    path.write_bytes(content)


def test_a_damaged_tiff_is_an_error_of_its_case_alone(tmp_path, capfd):
    damaged_tiff(tmp_path / "a1.tif")
    with pytest.raises(InputError, match=r"a1\.tif: no readable picture"):
        read_image(tmp_path / "a1.tif")
    for name in ("a2", "a3"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.arange(2000, dtype=np.uint16).reshape(40, 50))
    (tmp_path / "table.csv").write_text("id,x\na1,1\na2,0\na3,1\n")
    (tmp_path / "cohort.yaml").write_text(
        "table: table.csv\ncase: id\nimage: '{id}.tif'\nlabels:\n  x: {kind: binary, column: x}\n"
    )
    errors = [finding for finding in Cohort(tmp_path).check() if finding.severity == "error"]
    assert [finding.case for finding in errors] == ["a1"]
    assert capfd.readouterr().err == "", "not a line for each damaged tag"
