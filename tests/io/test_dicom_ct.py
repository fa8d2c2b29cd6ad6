"""CT series to volumes: values, geometry, faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from crosstask.errors import InputError
from crosstask.io.dicom.ct import read_ct
from dicom_fakes import ORIENTATIONS, RTDOSE, Identity, Placement, compress_losslessly, write_ct

WHO = Identity(1)
SHAPE = (5, 6, 8)
CORNERS = np.array([[0, 0, 0], [4, 5, 7], [4, 0, 0], [0, 5, 0], [0, 0, 7]])


def hounsfield(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, shape)


def written(folder: Path, placement: Placement = Placement(), **options) -> list[Path]:  # noqa: B008
    return write_ct(folder, options.pop("hu", hounsfield()), placement, WHO, **options)


def fault(files: list[Path]) -> str:
    with pytest.raises(InputError) as caught:
        read_ct(files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("spacing", [(5.0, 6.0, 8.0), (0.75, 0.976562, 0.976562), (2.5, 1.0, 0.4)])
def test_every_voxel_lies_where_it_was_written(tmp_path, orientation, spacing):
    placement = Placement(spacing, (-101.5, 33.25, 740.125), orientation)
    files = written(tmp_path, placement)
    series = read_ct(np.random.default_rng(1).permutation(files).tolist())
    np.testing.assert_array_equal(series.hu, hounsfield())
    assert series.hu.dtype == np.int16
    np.testing.assert_allclose(series.geometry.points(CORNERS)[:, ::-1], placement.points(CORNERS), atol=0.01)
    assert series.geometry.shape == SHAPE
    # Right-handed in x y z, so also in z y x with its axes in that order.
    assert np.linalg.det(np.array(series.geometry.direction)) == pytest.approx(1, abs=1e-6)
    assert list(series.files) == files
    assert series.sop_instances == tuple(WHO.uid("CT", number) for number in range(len(files)))
    assert (series.study, series.series) == (WHO.uid("study"), WHO.uid("series", "CT"))
    assert (series.frame_of_reference, series.patient_id) == (WHO.uid("frame"), WHO.patient_id)
    assert series.patient_position == ORIENTATIONS[orientation][2]


@pytest.mark.parametrize("orientation", ["supine", "sagittal", "oblique"])
def test_another_reader_finds_the_same_places(tmp_path, orientation):
    placement = Placement((2.5, 1.0, 0.4), (-101.5, 33.25, 740.125), orientation)
    files = written(tmp_path, placement)
    image = sitk.ReadImage([str(path) for path in files])
    geometry = read_ct(files).geometry
    for corner in CORNERS.tolist():
        expected = image.TransformIndexToPhysicalPoint(corner[::-1])
        np.testing.assert_allclose(geometry.points([corner])[0, ::-1], expected, atol=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), hounsfield())


@pytest.mark.parametrize("slope", [1.0, 2.0])
@pytest.mark.parametrize("signed", [True, False])
def test_whole_values_are_int16(tmp_path, slope, signed):
    hu = hounsfield() // 2 * 2
    series = read_ct(written(tmp_path, hu=hu, slope=slope, signed=signed))
    assert series.hu.dtype == np.int16
    np.testing.assert_array_equal(series.hu, hu)


def test_values_that_are_no_int16_are_float32(tmp_path):
    halves = hounsfield() + 0.5
    series = read_ct(written(tmp_path / "halves", hu=halves, slope=0.5, intercept=-1024.5))
    assert series.hu.dtype == np.float32
    np.testing.assert_array_equal(series.hu, halves)
    metal = hounsfield()
    metal[3, 2, 2] = 50_000
    series = read_ct(written(tmp_path / "metal", hu=metal))
    assert series.hu.dtype == np.float32
    np.testing.assert_array_equal(series.hu, metal)


def test_each_slice_has_its_own_rescale(tmp_path):
    def change(number, dataset):
        dataset.RescaleIntercept = -1024 + number

    expected = hounsfield() + np.arange(5)[:, None, None]
    np.testing.assert_array_equal(read_ct(written(tmp_path, change=change)).hu, expected)


def test_compressed_pixels(tmp_path):
    series = read_ct(written(tmp_path, change=lambda number, dataset: dataset.compress(RLELossless)))
    np.testing.assert_array_equal(series.hu, hounsfield())


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [True, False])
def test_lossless_jpeg(tmp_path, bits, signed):
    def change(number, dataset):
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        compress_losslessly(dataset, tmp_path)

    hu = hounsfield() // 2 * 2
    series = read_ct(written(tmp_path / "ct", hu=hu, signed=signed, slope=2.0, intercept=-24.0 if signed else -1024.0,
                             change=change))  # fmt: skip
    np.testing.assert_array_equal(series.hu, hu)


def test_lossless_jpeg_that_is_damaged_names_its_file_and_the_next_is_read(tmp_path):
    files = written(tmp_path / "ct", change=lambda number, dataset: compress_losslessly(dataset, tmp_path))
    whole = {path: path.read_bytes() for path in files}
    rng = np.random.default_rng(3)
    for _ in range(12):
        content = bytearray(whole[files[2]])
        start = content.index(b"\xff\xd8\xff")  # of the stream
        for place in rng.integers(start + 2, start + 60, 4):
            content[place] ^= 1 << int(rng.integers(8))
        files[2].write_bytes(content)
        try:
            read_ct(files)
        except InputError as error:
            assert str(files[2]) in str(error) and "\n" not in str(error)
    files[2].write_bytes(whole[files[2]])
    np.testing.assert_array_equal(read_ct(files).hu, hounsfield())


def test_lossless_jpeg_of_another_size_than_the_header_says_takes_no_memory(tmp_path):
    def change(number, dataset):
        compress_losslessly(dataset, tmp_path)
        stream = bytearray(dataset.PixelData)
        at = stream.index(b"\xff\xc3") + 5
        stream[at : at + 4] = b"\xff\xff\xff\xff"
        dataset.PixelData = bytes(stream)

    assert "CT000.dcm: PixelData is damaged" in fault(written(tmp_path / "ct", change=change)[:1])


@pytest.mark.parametrize("spacing", [1.25, 0.625, 2.75, 0.75])
@pytest.mark.parametrize("orientation", ["supine", "prone", "oblique"])
def test_positions_rounded_to_a_tenth_of_a_millimetre(tmp_path, spacing, orientation):
    placement = Placement((spacing, 0.5, 0.5), (-188.04, -141.02, -57.52), orientation)

    def change(number, dataset):
        dataset.ImagePositionPatient = [f"{value:.1f}" for value in placement.points([[number, 0, 0]])[0]]

    shape = (40, 4, 4)
    series = read_ct(written(tmp_path, placement, hu=hounsfield(shape), change=change))
    corners = np.array([[0, 0, 0], [39, 3, 3]])
    off = series.geometry.points(corners) - placement.geometry(shape).points(corners)
    assert np.abs(off).max() < 0.12
    np.testing.assert_array_equal(series.hu, hounsfield(shape))


def test_a_missing_slice_is_none_that_was_rounded(tmp_path):
    placement = Placement((0.625, 0.5, 0.5), (0.0, 0.0, -57.52))

    def change(number, dataset):
        dataset.ImagePositionPatient = [f"{value:.1f}" for value in placement.points([[number, 0, 0]])[0]]

    files = written(tmp_path, placement, hu=hounsfield((30, 4, 4)), change=change)
    assert "add the missing slice" in fault([*files[:12], *files[13:]])
    assert "two slices at one position" in fault([*files, _copy(files[4])])


def _copy(file: Path) -> Path:
    dataset = dcmread(file)
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.save_as(file.with_name("copy.dcm"))
    return file.with_name("copy.dcm")


def test_localizers_are_left_out(tmp_path):
    def change(number, dataset):
        if number == 0:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.SeriesInstanceUID = "1.2.3"

    files = written(tmp_path, change=change)
    series = read_ct(files)
    np.testing.assert_array_equal(series.hu, hounsfield()[1:])
    assert "no CT slice" in fault(files[:1])


def test_a_single_slice_is_as_thick_as_it_says(tmp_path):
    files = written(tmp_path, Placement((3.5, 1.0, 1.0)))
    series = read_ct(files[2:3])
    assert series.geometry.spacing == (3.5, 1.0, 1.0)
    np.testing.assert_array_equal(series.hu, hounsfield()[2:3])
    thin = written(tmp_path / "thin", change=lambda number, dataset: dataset.__delattr__("SliceThickness"))
    assert "SliceThickness" in fault(thin[:1])


def changed(keyword: str, value, only: int = 2):
    def change(number, dataset):
        if number == only:
            setattr(dataset, keyword, value(dataset) if callable(value) else value)

    return change


def test_a_missing_slice_and_one_too_many_are_named(tmp_path):
    files = written(tmp_path)
    message = fault(files[:2] + files[3:])
    assert "CT001.dcm" in message and "CT003.dcm" in message and "10.000 mm apart, others 5.000" in message
    again = write_ct([tmp_path / "again.dcm"], hounsfield()[:1], Placement(), Identity(2))
    other = written(
        tmp_path / "b", change=changed("ImagePositionPatient", lambda ds: [ds.ImagePositionPatient[0], -141, -52.5])
    )
    assert "at one position" in fault(other)
    assert "2 CT series" in fault(files + again)


def test_uneven_slices_within_a_hundredth_are_rounding(tmp_path):
    def moved(by):
        return changed(
            "ImagePositionPatient", lambda ds: [*ds.ImagePositionPatient[:2], ds.ImagePositionPatient[2] + by]
        )

    assert read_ct(written(tmp_path / "a", change=moved(0.04))).geometry.spacing[0] == pytest.approx(5)
    assert "CT001.dcm" in fault(written(tmp_path / "b", change=moved(0.06)))


def test_a_tilted_gantry_is_refused(tmp_path):
    def tilted(number, dataset):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + 0.2 * number, z]

    message = fault(written(tmp_path, change=tilted))
    assert "tilted gantry" in message and "CT004.dcm" in message


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("FrameOfReferenceUID", "1.2.3", "another frame of reference"),
        ("StudyInstanceUID", "1.2.3", "another patient or study"),
        ("PatientID", "someone-else", "another patient or study"),
        ("PixelSpacing", [6, 8.1], "another pixel spacing"),
        ("ImageOrientationPatient", [0.999, 0.0447, 0, -0.0447, 0.999, 0], "another orientation"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "no pair of unit vectors"),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1], "ImageOrientationPatient is damaged"),
        ("ImagePositionPatient", [0, 0, 1e9], "over 100 m"),
        ("ImagePositionPatient", None, "no ImagePositionPatient"),
        ("RescaleSlope", None, "no RescaleSlope"),
        ("PixelSpacing", [0, 0], "none of a CT"),
        ("Rows", 5, "another size"),
        ("SOPClassUID", RTDOSE, "no CT image"),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2.1", "enhanced multi-frame CT"),
        ("PhotometricInterpretation", "MONOCHROME1", "not a grey image"),
        ("NumberOfFrames", 7, "7 frames"),
    ],
)
def test_one_slice_unlike_the_others_is_named(tmp_path, keyword, value, words):
    message = fault(written(tmp_path, change=changed(keyword, value)))
    assert words in message and "CT002.dcm" in message
    assert "someone-else" not in message and WHO.patient_id not in message


def test_a_real_file():
    series = read_ct([Path(get_testdata_file("CT_small.dcm"))])
    assert series.hu.shape == (1, 128, 128)
    assert series.geometry.spacing == (5.0, 0.661468, 0.661468)
    np.testing.assert_allclose(series.geometry.origin, (-75.699997, -179.035797, -158.135803))
    independent = sitk.GetArrayFromImage(sitk.ReadImage(get_testdata_file("CT_small.dcm")))
    np.testing.assert_array_equal(series.hu, independent)
