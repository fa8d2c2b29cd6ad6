"""RTSTRUCT, RTDOSE and SEG: what is written is what is read, by our reader, by plain pydicom and by highdicom."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon
from pydicom.dataset import Dataset

from crosstask.errors import CrosstaskError, InputError
from crosstask.export.rtdose import quantised, write_rtdose
from crosstask.export.rtplan import write_rtplan
from crosstask.export.rtstruct import colour, without_collinear, write_rtstruct
from crosstask.export.segmentation import codes_of, write_segmentation
from crosstask.functional.contours import fill, outlines
from crosstask.geometry import Geometry
from crosstask.io.dicom.ct import CtSeries, read_ct
from crosstask.io.dicom.rt import read_dose
from crosstask.io.dicom.structures import mask_of, read_structures
from dicom_fakes import ORIENTATIONS, Identity, Placement, write_ct

SHAPE = (6, 18, 22)
MODEL = "ctan/seed0"
LONG_NAME = "Femoral_Head_L (predicted by a network)"
WRITERS: dict[str, Callable[..., None]] = {
    "RTSTRUCT": write_rtstruct,
    "SEG": write_segmentation,
    "RTDOSE": lambda path, ct, masks, model: write_rtdose(path, ct, some_dose(), ct.geometry, model=model),
    "RTPLAN": lambda path, ct, masks, model: write_rtplan(path, ct, model=model),
}
IOD = {"RTSTRUCT": "RTStructureSet", "SEG": "Segmentation", "RTDOSE": "RTDose", "RTPLAN": "RTPlan"}


def some_ct(
    folder: Path, orientation: str = "supine", change: Callable[[int, Dataset], object] | None = None
) -> CtSeries:
    placement = Placement(spacing=(2.5, 0.9375, 1.25), corner=(-188.25, -141.5, -57.125), orientation=orientation)
    hu = np.random.default_rng(0).integers(-1000, 1000, SHAPE)

    def complete(number: int, dataset: Dataset) -> None:
        dataset.PatientOrientation = ""
        if change is not None:
            change(number, dataset)

    return read_ct(write_ct(folder / "ct", hu, placement, Identity(7), change=complete))


def some_masks() -> dict[str, np.ndarray]:
    masks = {name: np.zeros(SHAPE, bool) for name in ("Rectum", LONG_NAME, "Größe 前立腺", "CTV", "empty")}
    masks["Rectum"][1:5, 2:14, 3:17] = True
    masks["Rectum"][2:4, 4:12, 5:15] = False  # a hole
    masks["Rectum"][3, 7:9, 8:12] = True  # an island in it
    masks[LONG_NAME][:, 12:, 14:] = True  # out to the border
    masks[LONG_NAME][2] = np.random.default_rng(1).random(SHAPE[1:]) < 0.4
    masks["Größe 前立腺"][0, 0, 0] = masks["Größe 前立腺"][5, 17, 21] = masks["Größe 前立腺"][5, 16, 20] = True
    masks["CTV"][1:4, 5:15, 5:15] = True  # across the rectum
    return masks


def some_dose(top: float = 70.0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    dose = np.random.default_rng(2).random(shape) * top
    dose[1, 2, 3] = top
    return dose.astype(np.float32)


def written(tmp_path: Path, kind: str, ct: CtSeries, masks: Mapping[str, np.ndarray] | None = None) -> Path:
    path = tmp_path / "out" / f"{kind}.dcm"
    WRITERS[kind](path, ct, masks or some_masks(), model=MODEL)
    return path


def faults(path: Path, kind: str) -> list[str]:
    """What dciodvfy finds wrong; it must have got as far as to say what it found."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode >= 0 and IOD[kind] in said, said
    return [line for line in said if "Error" in line]


needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not there")


@needs_dciodvfy
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_standard_is_kept(tmp_path: Path, orientation: str, kind: str) -> None:
    assert faults(written(tmp_path, kind, some_ct(tmp_path, orientation)), kind) == []


@needs_dciodvfy
@pytest.mark.parametrize("kind", ["RTSTRUCT", "SEG"])
def test_the_standard_is_kept_without_a_voxel(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    nothing = {"Rectum": np.zeros(SHAPE, bool), "CTV": np.zeros(SHAPE, bool)}
    assert faults(written(tmp_path, kind, some_ct(tmp_path), nothing), kind) == []
    said = [record.message for record in caplog.records if record.name.startswith("highdicom")]
    assert not said, "a library's words are none for a user"


@needs_dciodvfy
@pytest.mark.parametrize("kind", WRITERS)
def test_the_standard_is_kept_where_the_ct_does_not(tmp_path: Path, kind: str) -> None:
    def bare(_: int, dataset: Dataset) -> None:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber",
                        "ReferringPhysicianName", "PositionReferenceIndicator", "StudyDate", "StudyTime"):  # fmt: skip
            delattr(dataset, keyword)

    assert faults(written(tmp_path, kind, some_ct(tmp_path, change=bare)), kind) == []


@needs_dciodvfy
def test_the_check_finds_faults(tmp_path: Path) -> None:
    path = written(tmp_path, "RTDOSE", some_ct(tmp_path))
    damaged = pydicom.dcmread(path)
    del damaged.ReferencedRTPlanSequence
    damaged.save_as(path)
    assert any("ReferencedRTPlanSequence" in line for line in faults(path, "RTDOSE"))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_masks_come_back_from_contours(tmp_path: Path, orientation: str) -> None:
    ct, masks = some_ct(tmp_path, orientation), some_masks()
    path = written(tmp_path, "RTSTRUCT", ct, masks)
    structures = read_structures(path)
    assert [structure.name for structure in structures.structures] == list(masks)
    by_hand = masks_by_hand(path, ct.files)
    for structure in structures.structures:
        mask = mask_of(structure, ct.geometry, frame_of_reference=ct.frame_of_reference)
        np.testing.assert_array_equal(mask, masks[structure.name], err_msg=structure.name)
        np.testing.assert_array_equal(by_hand[structure.name], masks[structure.name], err_msg=structure.name)


def test_contours_have_the_areas_of_the_masks(tmp_path: Path) -> None:
    ct, masks = some_ct(tmp_path), some_masks()
    file = pydicom.dcmread(written(tmp_path, "RTSTRUCT", ct, masks))
    for roi, drawn in zip(file.StructureSetROISequence, file.ROIContourSequence, strict=True):
        lines = [np.array(contour.ContourData, float).reshape(-1, 3) for contour in drawn.get("ContourSequence", [])]
        total = 0.0
        for line in lines:
            x, y, _ = line.T
            area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
            around = [other for other in lines if other is not line and other[0, 2] == line[0, 2]]
            depth = sum(Polygon(other[:, :2]).contains_point(line[0, :2]) for other in around)
            total += -area if depth % 2 else area
        voxel = ct.geometry.spacing[1] * ct.geometry.spacing[2]
        assert total == pytest.approx(masks[roi.ROIName].sum() * voxel, rel=1e-4), roi.ROIName


def masks_by_hand(path: Path, slices: tuple[Path, ...]) -> dict[str, np.ndarray]:
    """Masks of an RTSTRUCT on the slices that its contours name: pydicom, matplotlib and the standard's equation."""
    file = pydicom.dcmread(path)
    headers = [pydicom.dcmread(each) for each in slices]
    number_of = {header.SOPInstanceUID: number for number, header in enumerate(headers)}
    rows, columns = headers[0].Rows, headers[0].Columns
    centres = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
    masks = {}
    for roi, drawn in zip(file.StructureSetROISequence, file.ROIContourSequence, strict=True):
        assert roi.ROINumber == drawn.ReferencedROINumber
        mask = masks[roi.ROIName] = np.zeros((len(headers), rows, columns), bool)
        for contour in drawn.get("ContourSequence", []):
            number = number_of[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            header = headers[number]
            cosines = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
            away = np.array(contour.ContourData, float).reshape(-1, 3) - np.array(header.ImagePositionPatient, float)
            assert np.abs(away @ np.cross(*cosines)).max() < 0.01  # in the plane of its slice
            line = away @ cosines.T / np.array(header.PixelSpacing, float)[::-1]
            assert len(line) == contour.NumberOfContourPoints >= 3
            mask[number] ^= Polygon(line).contains_points(centres).reshape(rows, columns)
    return masks


def test_a_voxel_is_a_rhombus_around_its_centre(tmp_path: Path) -> None:
    ct = some_ct(tmp_path)
    mask = np.zeros(SHAPE, bool)
    mask[4, 3, 8] = True
    file = pydicom.dcmread(written(tmp_path, "RTSTRUCT", ct, {"dot": mask}))
    (contour,) = file.ROIContourSequence[0].ContourSequence
    assert contour.ContourGeometricType == "CLOSED_PLANAR"
    x, y, z = -188.25 + 8 * 1.25, -141.5 + 3 * 0.9375, -57.125 + 4 * 2.5
    half = math.sqrt(0.5)  # of a rhombus with the area of the voxel
    across, down = half * 1.25, half * 0.9375
    expected = [(x - across, y, z), (x + across, y, z), (x, y - down, z), (x, y + down, z)]
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    assert {tuple(np.round(point, 3)) for point in points} == {tuple(np.round(point, 3)) for point in expected}


def test_contours_longer_than_64_kilobytes(tmp_path: Path) -> None:
    """A comb with long teeth cut into steps: one ring of several thousand corners."""
    folder = tmp_path / "large"
    shape = (2, 200, 200)
    ct = read_ct(write_ct(folder, np.zeros(shape), Placement((1.0, 0.9, 0.9)), Identity(1)))
    mask = np.zeros(shape, bool)
    mask[0, 2:-2, 2:-2:3] = True
    mask[0, 4:-2:4, 3:-2:3] = True
    mask[0, 2, 2:-2] = True
    path = written(tmp_path, "RTSTRUCT", ct, {"comb": mask})
    contours = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    assert max(len("\\".join(map(str, contour.ContourData))) for contour in contours) > 1 << 16
    np.testing.assert_array_equal(mask_of(read_structures(path).structures[0], ct.geometry), mask)


def test_points_on_straight_lines_are_left_out() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:30] = True
    (ring,) = outlines(mask)
    corners = without_collinear(ring)
    assert len(ring) > 100 and len(corners) == 8  # the corners of pixels are cut
    np.testing.assert_array_equal(fill([corners], mask.shape), mask)


def test_colours_are_distinct() -> None:
    colours = [colour(number) for number in range(40)]
    apart = [np.abs(np.subtract(one, other)).max() for at, one in enumerate(colours) for other in colours[:at]]
    assert min(apart) > 10 and all(0 <= value <= 255 for each in colours for value in each)


GRIDS = {
    "the CT's": None,
    "coarser": Geometry((5, 7, 9), (3.0, 2.5, 2.0), (-50.0, -100.0, -150.0)),
    "left-handed": Geometry((5, 7, 9), (3.0, 2.5, 2.0), (-50.0, -100.0, -150.0), ((-1, 0, 0), (0, 1, 0), (0, 0, 1))),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dose_comes_back(tmp_path: Path, orientation: str, grid: str) -> None:
    ct = some_ct(tmp_path, orientation)
    geometry = GRIDS[grid] or ct.geometry
    dose = some_dose(78.3, geometry.shape)
    path = tmp_path / "out" / "dose.dcm"
    write_rtdose(path, ct, dose, geometry, model=MODEL)
    # by the standard's equation: every voxel's position and value
    file = pydicom.dcmread(path)
    along, down = np.array(file.ImageOrientationPatient, float).reshape(2, 3)
    row_step, column_step = map(float, file.PixelSpacing)
    stored = file.pixel_array * float(file.DoseGridScaling)
    assert file.GridFrameOffsetVector[0] == 0 and len(file.GridFrameOffsetVector) == len(dose)
    for z, y, x in [(0, 0, 0), (1, 2, 3), (4, 6, 8), (2, 0, 7)]:
        position = np.array(file.ImagePositionPatient, float) + x * column_step * along + y * row_step * down
        position += float(file.GridFrameOffsetVector[z]) * np.cross(along, down)
        np.testing.assert_allclose(position[::-1], geometry.points([[z, y, x]])[0], atol=0.01)
        assert abs(stored[z, y, x] - dose[z, y, x]) < 1e-3
    # by our reader
    back = read_dose(path)
    assert back.summation == "PLAN" and back.frame_of_reference == ct.frame_of_reference
    at = np.rint(back.geometry.indices(geometry.points(np.argwhere(dose >= 0)))).astype(int)
    np.testing.assert_allclose(back.geometry.points(at), geometry.points(np.argwhere(dose >= 0)), atol=0.01)
    assert np.abs(back.dose[tuple(at.T)] - dose[dose >= 0]).max() < 1e-3


@given(top=st.floats(0, 4294), seed=st.integers(0, 99))
def test_dose_is_kept_within_1_mgy(top: float, seed: int) -> None:
    dose = np.random.default_rng(seed).uniform(-0.1, 1, (2, 3, 4)) * top
    dose[1, 1, 1] = top
    for given_ in (dose, dose.astype(np.float32)):
        stored, step = quantised(given_)
        assert stored.dtype == (np.uint16 if given_.max() <= 125 else np.uint32)
        assert len(f"{step!r}") <= 20 and float(pydicom.valuerep.DSfloat(step, auto_format=True)) == step
        assert np.abs(stored * step - np.clip(given_, 0, None)).max() < 1e-3


def test_the_highest_doses_keep_their_peak(tmp_path: Path) -> None:
    ct = some_ct(tmp_path)
    dose = some_dose(4293.9)
    write_rtdose(tmp_path / "d.dcm", ct, dose, ct.geometry, model=MODEL)
    file = pydicom.dcmread(tmp_path / "d.dcm")
    assert file.BitsAllocated == 32
    assert np.abs(file.pixel_array * float(file.DoseGridScaling) - dose).max() < 1e-3
    np.testing.assert_allclose(read_dose(tmp_path / "d.dcm").dose, dose, atol=1e-3)


def test_dose_names_its_plan(tmp_path: Path) -> None:
    ct = some_ct(tmp_path)
    plans = []
    for name, plan in (("a", "1.2.3"), ("b", None), ("c", None)):
        write_rtdose(tmp_path / name, ct, some_dose(), ct.geometry, model=MODEL, plan=plan)
        plans.append(read_dose(tmp_path / name).plan)
    assert plans[0] == "1.2.3" and plans[1].startswith("2.25.") and plans[1] != plans[2]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_masks_come_back_from_segments(tmp_path: Path, orientation: str) -> None:
    ct, masks = some_ct(tmp_path, orientation), some_masks()
    path = written(tmp_path, "SEG", ct, masks)
    file = highdicom.seg.segread(path)
    assert [file.get_segment_description(number).segment_label for number in file.segment_numbers] == list(masks)
    frames = file.get_pixels_by_source_instance(ct.sop_instances, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(np.moveaxis(frames, -1, 0), np.stack(list(masks.values())))
    plain = pydicom.dcmread(path)  # positions, as the file itself says them
    bits = plain.pixel_array
    for frame, groups in zip(bits, plain.PerFrameFunctionalGroupsSequence, strict=True):
        name = list(masks)[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)[::-1]
        ((z, y, x),) = ct.geometry.indices([position])
        np.testing.assert_allclose([z, y, x], [round(z), 0, 0], atol=0.005)
        np.testing.assert_array_equal(frame, masks[name][round(z)])


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("Rectum", "34402009", None),
        ("bladder_pred", None, None),
        ("Bladder", "89837001", None),
        ("Femoral_Head_L", "2812003", "Left"),
        ("FemoralHead_R", "2812003", "Right"),
        ("right femoral head", "2812003", "Right"),
        ("Femoral heads", "2812003", None),
        ("LeftParotid", "45289007", "Left"),
        ("SpinalCord", "2748008", None),
        ("Lungs", "39607008", None),
        ("CTV", "228792002", None),
        ("PTV70", "228793007", None),
        ("GTV_primary", "228791009", None),
        ("前立腺", None, None),
    ],
)
def test_codes(name: str, code: str | None, side: str | None) -> None:
    category, kind, modifier = codes_of(name)
    assert kind.value == (code or "91772007")  # Organ
    assert category.value == ("130041" if name[1:3] == "TV" else "91723000")
    assert (modifier.meaning if modifier else None) == side


def test_whose_the_files_are(tmp_path: Path) -> None:
    def japanese(_: int, dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        dataset.PatientName = "Yamada^Tarou=山田^太郎"

    ct = some_ct(tmp_path, change=japanese)
    source = pydicom.dcmread(ct.files[0])
    files = [pydicom.dcmread(written(tmp_path, kind, ct)) for kind in WRITERS]
    for kind, file in zip(WRITERS, files, strict=True):
        assert file.Modality == kind and str(file.PatientName) == "Yamada^Tarou=山田^太郎"
        for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
                        "FrameOfReferenceUID"):  # fmt: skip
            assert file[keyword].value == source[keyword].value, keyword
        assert file.SeriesDescription == "Predicted, not for clinical use"
        assert file.Manufacturer == "Crosstask" and MODEL in file.SoftwareVersions
        assert file.SeriesInstanceUID.startswith("2.25.") and file.SOPInstanceUID.startswith("2.25.")
    assert len({source.SeriesInstanceUID, *(file.SeriesInstanceUID for file in files)}) == 5
    assert len({*ct.sop_instances, *(file.SOPInstanceUID for file in files)}) == len(WRITERS) + len(ct.sop_instances)
    structures = files[0]
    assert structures.ApprovalStatus == "UNAPPROVED" and structures.StructureSetLabel == "PREDICTED"
    assert read_structures(tmp_path / "out" / "RTSTRUCT.dcm").series == (ct.series,)
    assert [each.RTROIInterpretedType for each in structures.RTROIObservationsSequence] == [
        *["ORGAN"] * 3,
        "CTV",
        "ORGAN",
    ]


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    ct = some_ct(tmp_path)
    path = tmp_path / "out" / f"{kind}.dcm"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="is there already"):
        written(tmp_path, kind, ct)
    assert path.read_bytes() == b"mine" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_is_written_among_the_ct(tmp_path: Path, kind: str) -> None:
    ct = some_ct(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "ct")
    before = sorted(tmp_path.rglob("*"))
    for folder in (tmp_path / "ct", tmp_path / "link", tmp_path / "ct" / "deep" / "er", tmp_path / "no" / ".." / "ct"):
        with pytest.raises(InputError, match="holds the input"):
            WRITERS[kind](folder / "x.dcm", ct, some_masks(), model=MODEL)
    assert sorted(tmp_path.rglob("*")) == before


def test_links_to_the_ct_are_seen_through(tmp_path: Path) -> None:
    """A folder of links to files that lie elsewhere: neither is written to."""
    some_ct(tmp_path)
    (tmp_path / "links").mkdir()
    for file in (tmp_path / "ct").iterdir():
        (tmp_path / "links" / file.name).symlink_to(file)
    ct = read_ct(sorted((tmp_path / "links").iterdir()))
    for folder in ("ct", "links"):
        with pytest.raises(InputError, match="holds the input"):
            write_rtstruct(tmp_path / folder / "x.dcm", ct, some_masks(), model=MODEL)
    write_rtstruct(tmp_path / "x.dcm", ct, some_masks(), model=MODEL)  # above it


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_leaves_no_part(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ct = some_ct(tmp_path)

    def full(self: Dataset, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save_as", full)
    with pytest.raises(CrosstaskError, match="No space left on device"):
        written(tmp_path, kind, ct)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", ["RTSTRUCT", "SEG"])
@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({}, "no structure"),
        ({"a": np.zeros((6, 18, 21), bool)}, "on the CT's grid"),
        ({"a": np.zeros(SHAPE, np.uint8)}, "uint8"),
        ({" ": np.zeros(SHAPE, bool)}, "rename"),
        ({"n" * 64 + "1": np.zeros(SHAPE, bool), "n" * 64 + "2": np.zeros(SHAPE, bool)}, "rename"),
    ],
)
def test_masks_that_cannot_be_written(tmp_path: Path, kind: str, masks: dict[str, np.ndarray], words: str) -> None:
    ct = some_ct(tmp_path)
    with pytest.raises(CrosstaskError, match=words) as error:
        WRITERS[kind](tmp_path / "out" / "x.dcm", ct, masks, model=MODEL)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["RTSTRUCT", "SEG"])
def test_names_that_dicom_cannot_hold(tmp_path: Path, kind: str) -> None:
    names = ["a\\b", "line\nbreak", "n" * 70]
    path = written(tmp_path, kind, some_ct(tmp_path), {name: np.zeros(SHAPE, bool) for name in names})
    file = pydicom.dcmread(path)
    found = [item.ROIName for item in file.StructureSetROISequence] if kind == "RTSTRUCT" else []
    found = found or [item.SegmentLabel for item in file.SegmentSequence]
    assert found == ["a_b", "line_break", "n" * 64]


@pytest.mark.parametrize(
    ("dose", "words"),
    [
        (np.full(SHAPE, np.nan), "not finite"),
        (np.full(SHAPE, np.inf), "not finite"),
        (np.full(SHAPE, 4295.0), "check its unit"),
        (np.zeros((6, 18, 21)), "give z y x"),
    ],
)
def test_doses_that_cannot_be_written(tmp_path: Path, dose: np.ndarray, words: str) -> None:
    ct = some_ct(tmp_path)
    with pytest.raises(CrosstaskError, match=words):
        write_rtdose(tmp_path / "out" / "x.dcm", ct, dose, ct.geometry, model=MODEL)
    assert not (tmp_path / "out").exists()


def test_a_damaged_header_is_one_line(tmp_path: Path) -> None:
    ct = some_ct(tmp_path)
    ct.files[0].write_bytes(b"x" * 200)
    for kind in WRITERS:
        with pytest.raises(InputError, match="CT0") as error:
            written(tmp_path, kind, ct)
        assert "\n" not in str(error.value)
