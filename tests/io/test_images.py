"""Pictures and volumes: axes, spacing, values, faults."""

from __future__ import annotations

import gzip
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io import nifti
from crosstask.io.image_files import ending
from crosstask.io.images import read_image
from crosstask.io.pictures import read_picture
from crosstask.io.resampling import resample
from crosstask.io.volumes import read_volume, write_volume

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
COLOUR = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
DEEP = (np.arange(18).reshape(2, 3, 3) * 3637 + 1).astype(np.uint16)


def fault(call, path: Path) -> str:
    """The message of the InputError that a call raises: one line that names the file."""
    with pytest.raises(InputError) as caught:
        call(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 450
    return message


class TestPictures:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
    def test_grey_and_colour(self, tmp_path, suffix):
        Image.fromarray(GREY).save(tmp_path / f"grey{suffix}")
        Image.fromarray(COLOUR).save(tmp_path / f"colour{suffix}")
        grey, colour = read_picture(tmp_path / f"grey{suffix}"), read_picture(tmp_path / f"colour{suffix}")
        assert (grey.dtype, colour.dtype) == (np.uint8, np.uint8)
        np.testing.assert_array_equal(grey, GREY[None])
        np.testing.assert_array_equal(colour, COLOUR.transpose(2, 0, 1))
        assert colour.flags.c_contiguous

    def test_jpeg(self, tmp_path):
        image = np.zeros((16, 24, 3), np.uint8)
        image[:, 12:] = (200, 100, 50)
        Image.fromarray(image).save(tmp_path / "a.JPG", format="JPEG", quality=95, subsampling=0)
        read, geometry = read_image(tmp_path / "a.JPG")
        assert geometry == Geometry((16, 24), (1.0, 1.0))
        assert read.shape == (3, 16, 24)
        np.testing.assert_allclose(read[:, 8, 20], (200, 100, 50), atol=4)
        np.testing.assert_allclose(read[:, 8, 3], 0, atol=4)

    def test_palette_becomes_rgb(self, tmp_path):
        picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
        picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        picture.save(tmp_path / "p.png", transparency=1)
        expected = np.array([[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]])
        np.testing.assert_array_equal(read_picture(tmp_path / "p.png"), expected.transpose(2, 0, 1))

    def test_alpha_is_dropped(self, tmp_path):
        alpha = np.array([[0, 255, 3], [9, 0, 200]], np.uint8)
        Image.fromarray(np.dstack([COLOUR, alpha])).save(tmp_path / "rgba.png")
        Image.fromarray(np.dstack([GREY, alpha]), mode="LA").save(tmp_path / "la.png")
        np.testing.assert_array_equal(read_picture(tmp_path / "rgba.png"), COLOUR.transpose(2, 0, 1))
        np.testing.assert_array_equal(read_picture(tmp_path / "la.png"), GREY[None])

    def test_one_bit_is_0_and_255(self, tmp_path):
        Image.fromarray(GREY > 100).save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_picture(tmp_path / "m.png")[0], np.where(GREY > 100, 255, 0))

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_16_bit_is_kept(self, tmp_path, suffix):
        grey, colour = tmp_path / f"grey{suffix}", tmp_path / f"colour{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(grey, DEEP[..., 0])
            tifffile.imwrite(colour, DEEP, photometric="rgb")
        else:
            sitk.WriteImage(sitk.GetImageFromArray(DEEP[..., 0]), str(grey))
            sitk.WriteImage(sitk.GetImageFromArray(DEEP, isVector=True), str(colour))
        np.testing.assert_array_equal(read_picture(grey), DEEP[None, ..., 0])
        np.testing.assert_array_equal(read_picture(colour), DEEP.transpose(2, 0, 1))
        assert read_picture(colour).dtype == np.uint16

    def test_16_bit_alpha_is_dropped(self, tmp_path):
        four = np.dstack([DEEP, DEEP[..., 0]])
        sitk.WriteImage(sitk.GetImageFromArray(four, isVector=True), str(tmp_path / "rgba.png"))
        tifffile.imwrite(tmp_path / "rgba.tif", four, photometric="rgb", extrasamples=["unassalpha"])
        tifffile.imwrite(tmp_path / "la.tif", DEEP[..., :2], photometric="minisblack", extrasamples=["unassalpha"])
        np.testing.assert_array_equal(read_picture(tmp_path / "rgba.png"), DEEP.transpose(2, 0, 1))
        np.testing.assert_array_equal(read_picture(tmp_path / "rgba.tif"), DEEP.transpose(2, 0, 1))
        np.testing.assert_array_equal(read_picture(tmp_path / "la.tif"), DEEP[None, ..., 0])

    def test_planes_apart_and_many_channels(self, tmp_path):
        tifffile.imwrite(tmp_path / "p.tif", DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
        np.testing.assert_array_equal(read_picture(tmp_path / "p.tif"), DEEP.transpose(2, 0, 1))
        many = np.zeros((8, 9, 7), np.uint16)
        tifffile.imwrite(tmp_path / "m.tif", many, photometric="minisblack", planarconfig="contig")
        assert "7 channels" in fault(read_picture, tmp_path / "m.tif")

    def test_float_colour_tiff(self, tmp_path):
        tifffile.imwrite(tmp_path / "f.tif", DEEP.astype(np.float32) / 7, photometric="rgb")
        np.testing.assert_array_equal(read_picture(tmp_path / "f.tif"), DEEP.transpose(2, 0, 1) / np.float32(7))

    def test_float_tiff(self, tmp_path):
        values = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
        tifffile.imwrite(tmp_path / "f.tif", values)
        np.testing.assert_array_equal(read_picture(tmp_path / "f.tif"), values[None])

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied(self, tmp_path, orientation):
        upright = COLOUR
        stored = {  # what a camera that is held so stores
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.swapaxes(0, 1),
            6: np.rot90(upright, 1),
            7: upright[::-1, ::-1].swapaxes(0, 1),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "o.png", exif=exif)
        np.testing.assert_array_equal(read_picture(tmp_path / "o.png"), upright.transpose(2, 0, 1))
        tag = (274, "H", 1, orientation, True)
        deep = np.ascontiguousarray(stored).astype(np.uint16) * 257
        for name, values in (("o.tif", np.ascontiguousarray(stored)), ("deep.tif", deep)):
            tifffile.imwrite(tmp_path / name, values, photometric="rgb", extratags=[tag])
            read = read_picture(tmp_path / name)
            scale = 1 if name == "o.tif" else 257
            np.testing.assert_array_equal(read, upright.transpose(2, 0, 1).astype(int) * scale)

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
    @pytest.mark.parametrize("kept", [0.0, 0.1, 0.6])
    def test_truncated(self, tmp_path, suffix, kept):
        path = tmp_path / f"t{suffix}"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
        assert "copy it again" in fault(read_picture, path)

    def test_truncated_16_bit_colour(self, tmp_path):
        deep = np.random.default_rng(0).integers(0, 65535, (64, 64, 3)).astype(np.uint16)
        sitk.WriteImage(sitk.GetImageFromArray(deep, isVector=True), str(tmp_path / "d.png"))
        tifffile.imwrite(tmp_path / "d.tif", deep, photometric="rgb")
        for path in (tmp_path / "d.png", tmp_path / "d.tif"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            fault(read_picture, path)

    @pytest.mark.parametrize("depth", [8, 16])
    def test_decompression_bomb(self, tmp_path, depth):
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        path = tmp_path / "bomb.png"
        head = struct.pack(">IIBBBBB", 100_000, 100_000, depth, 2, 0, 0, 0)
        body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        assert "pixels" in fault(read_picture, path)

    def test_several_pages(self, tmp_path):
        tifffile.imwrite(tmp_path / "pages.tif", np.zeros((4, 32, 32), np.uint8), photometric="minisblack")
        assert "4 pages" in fault(read_picture, tmp_path / "pages.tif")

    def test_no_file_no_picture(self, tmp_path):
        assert "no such file" in fault(read_picture, tmp_path / "a.png")
        assert "no such file" in fault(read_picture, tmp_path)
        (tmp_path / "b.png").write_text("<html>not found</html>")
        assert "no readable picture" in fault(read_picture, tmp_path / "b.png")


class TestVolumes:
    VOLUME = np.arange(24, dtype=np.int16).reshape(2, 3, 4) * 50 - 600
    GRID = Geometry((2, 3, 4), (5.0, 0.75, 0.5), (-310.25, 12.5, -7.0))

    @pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nii", ".nii.gz", ".nrrd"])
    @pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.uint16])
    def test_round_trip(self, tmp_path, suffix, dtype):
        path = tmp_path / f"a{suffix}"
        volume = (self.VOLUME + 600).astype(dtype)
        write_volume(path, volume, self.GRID)
        read, geometry, _ = read_volume(path)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, volume)
        assert geometry.shape == self.GRID.shape
        np.testing.assert_allclose(geometry.spacing, self.GRID.spacing, rtol=1e-6)
        np.testing.assert_allclose(geometry.origin, self.GRID.origin, rtol=1e-6)
        whole, same = read_image(path)
        np.testing.assert_array_equal(whole, volume[None])
        assert same == geometry

    def test_axes_are_those_of_itk_turned_round(self, tmp_path):
        image = sitk.Image(4, 3, 2, sitk.sitkInt16)  # x y z
        image.SetSpacing((0.5, 0.75, 5.0))
        image[1, 2, 0] = 7
        sitk.WriteImage(image, str(tmp_path / "a.mha"))
        volume, geometry, _ = read_volume(tmp_path / "a.mha")
        assert np.argwhere(volume).tolist() == [[0, 2, 1]]
        assert geometry.spacing == (5.0, 0.75, 0.5)

    @pytest.mark.parametrize("orientation", ["LPS", "RAS", "LIP", "PIR", "SAL"])
    @pytest.mark.parametrize("suffix", [".mha", ".nii.gz"])
    def test_axes_are_turned_to_lps(self, tmp_path, orientation, suffix):
        straight = sitk.GetImageFromArray(self.VOLUME)
        straight.SetSpacing(self.GRID.spacing[::-1])
        straight.SetOrigin(self.GRID.origin[::-1])
        sitk.WriteImage(sitk.DICOMOrient(straight, orientation), str(tmp_path / f"a{suffix}"))
        volume, geometry, header = read_volume(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(volume, self.VOLUME)
        np.testing.assert_allclose(geometry.spacing, self.GRID.spacing, rtol=1e-6)
        np.testing.assert_allclose(geometry.origin, self.GRID.origin, rtol=1e-5)
        np.testing.assert_allclose(np.array(header["direction"].split(), float), np.eye(3).ravel(), atol=1e-6)

    def test_header(self, tmp_path):
        write_volume(tmp_path / "a.mha", self.VOLUME, self.GRID, {"PatientAge": "065Y", "PatientSex": "F"})
        _, _, header = read_volume(tmp_path / "a.mha")
        assert (header["PatientAge"], header["PatientSex"]) == ("065Y", "F")
        assert not any(key.startswith("ITK") for key in header)

    def test_two_axes(self, tmp_path):
        for name in ("a.mha", "a.nrrd"):
            write_volume(tmp_path / name, self.VOLUME[0], Geometry((3, 4), (2.0, 3.0), (1.0, -1.0)))
            image, geometry = read_image(tmp_path / name)
            np.testing.assert_array_equal(image, self.VOLUME[:1])
            assert geometry == Geometry((3, 4), (2.0, 3.0), (1.0, -1.0))
            assert "not a volume" in fault(read_volume, tmp_path / name)

    def test_channels_and_time(self, tmp_path):
        rgb = sitk.GetImageFromArray(np.zeros((2, 3, 4, 3), np.uint8), isVector=True)
        sitk.WriteImage(rgb, str(tmp_path / "rgb.mha"))
        assert "3 channels" in fault(read_volume, tmp_path / "rgb.mha")
        assert "3 channels" in fault(read_image, tmp_path / "rgb.mha")
        for points, name in ((1, "one.nii"), (5, "five.nii")):
            sitk.WriteImage(sitk.GetImageFromArray(np.zeros((points, 2, 3, 4)), isVector=False), str(tmp_path / name))
        assert read_volume(tmp_path / "one.nii")[0].shape == (2, 3, 4)
        assert "4 axes" in fault(read_volume, tmp_path / "five.nii")

    @pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nrrd", ".mhd"])
    def test_truncated(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        noise = np.random.default_rng(0).integers(-1000, 1000, (8, 32, 32)).astype(np.int16)
        write_volume(path, noise, Geometry(noise.shape, (1.0, 1.0, 1.0)))
        data = tmp_path / "a.zraw" if suffix == ".mhd" else path
        data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
        assert "copy it again" in fault(read_volume, path)

    @pytest.mark.parametrize("suffix", [".mha", ".nii", ".nrrd"])
    def test_truncated_without_compression(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((8, 32, 32), np.int16)), str(path), useCompression=False)
        path.write_bytes(path.read_bytes()[:-100])
        assert "copy it again" in fault(read_volume, path)

    def test_a_truncated_volume_compressed_anew(self, tmp_path):
        write_volume(tmp_path / "a.nii", np.ones((4, 5, 6), np.int16), Geometry((4, 5, 6), (1.0, 1.0, 1.0)))
        content = (tmp_path / "a.nii").read_bytes()
        (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content))
        assert read_volume(tmp_path / "b.nii.gz")[0].all()
        (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content[:-10]))
        assert "truncated" in fault(read_volume, tmp_path / "b.nii.gz")

    @pytest.mark.parametrize("order", "<>")
    def test_nifti_2_and_big_endian_are_known(self, order):
        second = struct.pack(order + "i8shh8q", 540, b"n+2", 4, 16, 3, 4, 5, 6, 1, 1, 1, 1).ljust(168, b"\0")
        second = (second + struct.pack(order + "q", 544)).ljust(540, b"\0")
        first = struct.pack(order + "i", 348).ljust(40, b"\0") + struct.pack(order + "8h", 3, 4, 5, 6, 1, 1, 1, 1)
        first = first.ljust(72, b"\0") + struct.pack(order + "h", 32)
        first = (first.ljust(108, b"\0") + struct.pack(order + "f", 352)).ljust(348, b"\0")
        layouts = [nifti._layout_of(header) for header in (first, second)]
        assert [layout and layout.length for layout in layouts] == [352 + 480, 544 + 240]
        assert nifti._layout_of(b"nothing of this kind") is None

    def test_absurd_size(self, tmp_path):
        write_volume(tmp_path / "a.mha", self.VOLUME, self.GRID)
        content = (tmp_path / "a.mha").read_bytes()
        (tmp_path / "a.mha").write_bytes(content.replace(b"DimSize = 4 3 2", b"DimSize = 9999 9999 9999"))
        assert "too many" in fault(read_volume, tmp_path / "a.mha")

    def test_no_volume(self, tmp_path):
        (tmp_path / "a.mha").write_bytes(b"nothing of this kind")
        (tmp_path / "a.txt").touch()
        fault(read_volume, tmp_path / "a.mha")
        assert "no such file" in fault(read_volume, tmp_path / "none.mha")
        assert "convert" in fault(read_volume, tmp_path / "a.txt")
        assert ".png" in fault(read_image, tmp_path / "a.txt")
        assert ".mha" in fault(lambda path: write_volume(path, self.VOLUME, self.GRID), tmp_path / "a.xyz")
        fault(lambda path: write_volume(path, self.VOLUME, self.GRID), tmp_path / "nowhere" / "a.mha")

    def test_ending(self):
        assert [ending(Path(name)) for name in ("a.NII.GZ", "b.x.mha", "c")] == [".nii.gz", ".mha", ""]


def write_series(folder: Path, volume: np.ndarray, positions: list[float], uid: str = "1.2.3.4") -> None:
    """One DICOM file a slice; names do not follow positions."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index, place in enumerate(positions):
        image = sitk.GetImageFromArray(volume[index])
        image.SetSpacing((0.5, 0.75))
        tags = {
            "0008|0060": "CT",
            "0020|000e": uid,
            "0020|000d": "1.2.3",
            "0008|0018": f"{uid}.{index}",
            "0020|0013": str(len(positions) - index),
            "0020|0032": f"-100\\-50\\{place}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|0030": "0.75\\0.5",
            "0028|1052": "-1024",
            "0028|1053": "1",
            "0010|1010": "065Y",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{(index * 7) % 10}_{uid}.dcm"))
        writer.Execute(image)


class TestDicomSeries:
    VOLUME = (np.arange(60, dtype=np.int16).reshape(5, 3, 4) * 20) - 1024

    def test_sorted_by_position(self, tmp_path):
        write_series(tmp_path / "s", self.VOLUME, [40.0, 10.0, 30.0, 20.0, 0.0])
        volume, geometry, header = read_volume(tmp_path / "s")
        np.testing.assert_array_equal(volume, self.VOLUME[[4, 1, 3, 2, 0]])
        np.testing.assert_allclose(geometry.spacing, (10.0, 0.75, 0.5))
        np.testing.assert_allclose(geometry.origin, (0.0, -50.0, -100.0))
        assert header["0010|1010"].strip() == "065Y"
        assert read_image(tmp_path / "s")[0].shape == (1, 5, 3, 4)

    @pytest.mark.parametrize("positions", [[0.0, 10.0, 20.0, 40.0, 50.0], [0.0, 10.0, 10.0, 20.0, 30.0]])
    def test_uneven(self, tmp_path, positions):
        write_series(tmp_path / "s", self.VOLUME, positions)
        assert "mm apart" in fault(read_volume, tmp_path / "s")

    def test_several_series_and_none(self, tmp_path):
        write_series(tmp_path / "s", self.VOLUME, [0.0, 1.0])
        write_series(tmp_path / "s", self.VOLUME, [0.0, 1.0], uid="1.2.3.5")
        assert "2 DICOM series" in fault(read_volume, tmp_path / "s")
        (tmp_path / "empty").mkdir()
        assert "no DICOM image" in fault(read_volume, tmp_path / "empty")


class TestResample:
    def test_same_spacing_is_the_same(self):
        volume, grid = np.ones((2, 3, 4), np.int16), Geometry((2, 3, 4), (5.0, 1.0, 1.0), (1.0, 2.0, 3.0))
        same, geometry = resample(volume, grid, [5, 1, 1])
        assert same is volume
        assert geometry == grid

    @given(
        shape=st.tuples(*[st.integers(2, 20)] * 3),
        spacing=st.tuples(*[st.floats(0.4, 6)] * 3),
        new=st.tuples(*[st.floats(0.5, 8)] * 3),
        origin=st.tuples(*[st.floats(-300, 300)] * 3),
    )
    def test_the_new_grid_begins_with_the_old_and_covers_it(self, shape, spacing, new, origin):
        grid = Geometry(shape, spacing, origin)
        volume, geometry = resample(np.full(shape, -777, np.int16), grid, new)
        assert volume.shape == geometry.shape
        assert (volume == -777).all()
        before, after = np.array(grid.origin) - np.array(spacing) / 2, np.array(geometry.origin) - np.array(new) / 2
        np.testing.assert_allclose(after, before, atol=1e-6)
        sticks_out = np.array(geometry.shape) * new - np.array(shape) * spacing
        assert (sticks_out > -2e-3 * np.array(new)).all()
        assert (sticks_out < np.array(new) * (1 + 1e-6)).all()

    @pytest.mark.parametrize("new", [(1.0, 1.0, 1.0), (2.5, 1.3, 0.7), (5.0, 4.0, 3.0), (7.0, 3.1, 4.4)])
    def test_a_ramp_stays_where_it_is(self, new):
        grid = Geometry((20, 30, 40), (2.5, 1.0, 0.8), (-31.0, 4.0, 100.0))

        def ramp(geometry: Geometry) -> np.ndarray:
            places = [
                start + step * np.arange(length)
                for start, step, length in zip(geometry.origin, geometry.spacing, geometry.shape, strict=True)
            ]
            z, y, x = np.meshgrid(*places, indexing="ij")
            return (3 * z - 2 * y + x).astype(np.float32)

        volume, geometry = resample(ramp(grid), grid, new)
        inner = (slice(2, -2),) * 3
        np.testing.assert_allclose(volume[inner], ramp(geometry)[inner], atol=1e-3)

    def test_blocks_are_averaged(self):
        rng = np.random.default_rng(0)
        volume = rng.integers(-1000, 1000, (4, 8, 12)).astype(np.int16)
        coarse, geometry = resample(volume, Geometry((4, 8, 12), (5.0, 1.0, 1.0)), (5.0, 4.0, 3.0))
        means = volume.reshape(4, 2, 4, 4, 3).mean(axis=(2, 4))
        assert geometry.shape == (4, 2, 4)
        np.testing.assert_allclose(geometry.origin, (0.0, 1.5, 1.0))
        np.testing.assert_allclose(coarse, means, atol=0.5001)
        assert coarse.dtype == np.int16

    def test_masks_keep_their_values(self):
        rng = np.random.default_rng(0)
        labels = rng.choice([0, 3, 7], (6, 10, 10)).astype(np.uint8)
        coarse, _ = resample(labels, Geometry((6, 10, 10), (2.0, 1.0, 1.0)), (3.0, 2.7, 0.4), mask=True)
        assert coarse.dtype == np.uint8
        assert set(np.unique(coarse)) == {0, 3, 7}
        fine, geometry = resample(labels > 3, Geometry((6, 10, 10), (2.0, 1.0, 1.0)), (1.0, 0.5, 0.5), mask=True)
        assert fine.dtype == np.bool_
        assert geometry.shape == (12, 20, 20)
        np.testing.assert_array_equal(fine, np.repeat(np.repeat(np.repeat(labels > 3, 2, 0), 2, 1), 2, 2))

    def test_integers_are_rounded(self):
        volume = np.array([[0, 3, 3, 0]], np.int16)
        fine, _ = resample(volume, Geometry((1, 4), (1.0, 1.0)), (1.0, 0.5))
        np.testing.assert_array_equal(fine, [[0, 1, 2, 3, 3, 2, 1, 0]])

    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 1.0, float("nan")), (1e-9, 1e-9, 1e-9)])
    def test_faults(self, spacing):
        with pytest.raises(InputError, match="spacing"):
            resample(np.zeros((2, 3, 4), np.int16), Geometry((2, 3, 4), (1.0, 1.0, 1.0)), spacing)


def test_a_mask_with_other_axes_fits_its_image(tmp_path):
    volume = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    image = sitk.GetImageFromArray(volume)
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    mask = sitk.DICOMOrient(sitk.GetImageFromArray((volume > 0).astype(np.uint8)), "RIA")
    sitk.WriteImage(mask, str(tmp_path / "mask.nrrd"))
    (read, grid), (outline, same) = read_image(tmp_path / "image.nii.gz"), read_image(tmp_path / "mask.nrrd")
    np.testing.assert_array_equal(read > 0, outline == 1)
    assert grid == same
    shutil.rmtree(tmp_path)
