"""Structure sets: contours to masks, and their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from crosstask.datasets import DicomRT
from crosstask.errors import InputError
from crosstask.functional.contours import outlines
from crosstask.geometry import Geometry
from crosstask.io.dicom.ct import read_ct
from crosstask.io.dicom.rt import read_dose, read_plan
from crosstask.io.dicom.structures import (
    Contour,
    Structure,
    mask_of,
    match_names,
    rasterise,
    read_structures,
    shares_of,
)
from dicom_fakes import ORIENTATIONS, STRUCTURES, Identity, Placement, write_patient, write_structures

WHO = Identity(3)
SHAPE = (12, 16, 18)
PLACE = Placement((3.0, 2.0, 2.5), (-20.0, -15.0, 40.0))
GRID = PLACE.geometry(SHAPE)


def block(places: list[float], low: float = 3.5, high: float = 9.5) -> list[np.ndarray]:
    """A square from low to high (exclusive, in voxels) on each plane, x y z in mm."""
    corners = ((low, low), (low, high), (high, high), (high, low))
    return [PLACE.points([[place, *corner] for corner in corners]) for place in places]


def structure(lines: list[np.ndarray], kind: str = "CLOSED_PLANAR", frame: str = "") -> Structure:
    contours = tuple(Contour(line[:, ::-1], kind) for line in lines)
    return Structure(Path("set.dcm"), 1, "Organ", None, "ORGAN", frame, contours)


def slices_of(places: list[float], grid: Geometry = GRID) -> list[int]:
    """Which slices a structure drawn on some planes has."""
    mask = mask_of(structure(block(places)), grid)
    filled = np.flatnonzero(mask.any((1, 2)))
    assert all(mask[number, 4:10, 4:10].all() and mask[number].sum() == 36 for number in filled)
    return filled.tolist()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_patient_comes_back_as_it_was_written(tmp_path, orientation):
    seed = list(ORIENTATIONS).index(orientation)
    patient = write_patient(tmp_path, seed=seed, orientation=orientation, shape=(10, 36, 40))
    ct = read_ct(patient.files["CT"])
    np.testing.assert_array_equal(ct.hu, patient.hu)
    found = read_structures(patient.files["RTSTRUCT"][0])
    assert [each.name for each in found.structures] == list(STRUCTURES)
    for each in found.structures:
        mask, true = mask_of(each, ct.geometry, frame_of_reference=ct.frame_of_reference), patient.masks[each.name]
        assert true.any()
        np.testing.assert_array_equal(mask, true)
    dose = read_dose(patient.files["RTDOSE"][0])
    np.testing.assert_allclose(dose.dose, patient.dose, atol=1e-3)
    corners = [[0, 0, 0], [5, 6, 7]]
    np.testing.assert_allclose(dose.geometry.points(corners), patient.dose_geometry.points(corners), atol=0.01)
    np.testing.assert_allclose(ct.geometry.points(corners), patient.geometry.points(corners), atol=0.01)
    plan = read_plan(patient.files["RTPLAN"][0])
    assert (plan.prescription, plan.fractions) == (patient.prescription, patient.fractions)
    assert plan.structure_set == found.sop_instance and dose.plan == plan.sop_instance
    assert found.series == (ct.series,) and found.frame_of_reference == dose.frame_of_reference == ct.frame_of_reference
    assert found.study == dose.study == plan.study == ct.study


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_any_mask_survives_its_outlines(tmp_path, orientation):
    """Holes, islands, single voxels and voxels that touch at a corner, through a file and back, exactly."""
    placement = Placement((2.5, 0.976562, 1.3), (-211.37, 96.4, -612.25), orientation)
    mask = np.random.default_rng(0).random((4, 9, 11)) > 0.5
    mask[2] = False
    lines = [
        placement.points(np.insert(line, 0, number, axis=1)) for number in range(4) for line in outlines(mask[number])
    ]
    found = read_structures(write_structures(tmp_path / "rs", {"Noise": lines}, WHO))
    np.testing.assert_array_equal(mask_of(found.structures[0], placement.geometry(mask.shape)), mask)


def test_what_a_file_says(tmp_path):
    contours = {"Prostata äöü": block([1, 2]), "Empty": [], "Mark": [PLACE.points([[1, 2, 3]])]}
    found = read_structures(write_structures(tmp_path / "rs", contours, WHO, kinds={"Prostata äöü": "CTV"}, slices=4))
    assert [each.name for each in found.structures] == list(contours)
    assert [each.number for each in found.structures] == [1, 2, 3]
    assert [each.kind for each in found.structures] == ["CTV", "ORGAN", "ORGAN"]
    assert found.structures[0].colour == (40, 100, 254)
    assert [len(each.contours) for each in found.structures] == [2, 0, 1]
    np.testing.assert_allclose(found.structures[0].contours[1].points[:, ::-1], contours["Prostata äöü"][1], atol=1e-6)
    assert found.structures[2].contours[0].kind == "POINT"
    assert (found.label, found.patient_id, found.study) == ("Fake", WHO.patient_id, WHO.uid("study"))
    assert (found.series, found.frame_of_reference) == ((WHO.uid("series", "CT"),), WHO.uid("frame"))
    assert {each.frame_of_reference for each in found.structures} == {WHO.uid("frame")}
    assert found.named("Empty") is found.structures[1]
    with pytest.raises(InputError, match=r"0 structures are named 'CTV'.*Prostata äöü, Empty, Mark"):
        found.named("CTV")


def test_files_may_leave_out_what_is_not_needed(tmp_path):
    def bare(dataset):
        del dataset.RTROIObservationsSequence, dataset.ReferencedFrameOfReferenceSequence, dataset.StructureSetLabel
        for item in dataset.StructureSetROISequence:
            del item.ReferencedFrameOfReferenceUID
        for item in dataset.ROIContourSequence:
            del item.ROIDisplayColor
            for contour in item.ContourSequence:
                del contour.NumberOfContourPoints

    found = read_structures(write_structures(tmp_path / "rs", {"Organ": block([1])}, WHO, change=bare))
    organ = found.structures[0]
    assert (found.label, found.series, found.frame_of_reference) == ("", (), "")
    assert (organ.kind, organ.colour, organ.frame_of_reference) == ("", None, "")
    assert mask_of(organ, GRID, frame_of_reference="1.2.3").sum() == 36


def test_a_contour_longer_than_a_short_value_can_be(tmp_path):
    """Beyond 64 KB a writer has to give the numbers as a value of unknown type."""
    angles = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    circle = PLACE.points(np.stack([np.full(4000, 2), 7.3 + 5 * np.sin(angles), 8.1 + 5 * np.cos(angles)], 1))
    text = [f"{number:.6f}" for number in circle.ravel()]
    change = change_contour(ContourData=text, NumberOfContourPoints="4000")
    with pytest.warns(UserWarning, match="changed from 'DS' to 'UN'"):
        path = write_structures(tmp_path / "rs", {"Organ": block([1])}, WHO, change=change)
    found = read_structures(path)
    np.testing.assert_allclose(found.structures[0].contours[0].points[:, ::-1], circle, atol=1e-6)


def change_contour(**values):
    def change(dataset):
        contour = dataset.ROIContourSequence[0].ContourSequence[0]
        for keyword, value in values.items():
            setattr(contour, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_contour(NumberOfContourPoints="5"), "another number of points"),
        (change_contour(ContourData=["1"] * 11), "no list of points"),
        (change_contour(ContourData=["1e8"] * 12), "within 100 m"),
        (change_contour(ContourGeometricType=None), "no ContourGeometricType"),
        (lambda dataset: setattr(dataset, "Modality", "RTPLAN"), "no RTSTRUCT"),
        (lambda dataset: setattr(dataset, "ROIContourSequence", []), "no ROIContourSequence"),
        (lambda dataset: delattr(dataset.ROIContourSequence[0], "ReferencedROINumber"), "no ReferencedROINumber"),
    ],
)
def test_faults_name_the_file(tmp_path, change, words):
    path = write_structures(tmp_path / "rs", {"Organ": block([1])}, WHO, change=change)
    with pytest.raises(InputError, match=words) as caught:
        read_structures(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_contour_belongs_to_the_nearest_slice():
    assert slices_of([2, 3, 4]) == [2, 3, 4]
    assert slices_of([2.3, 3.3, 3.9]) == [2, 3, 4]
    assert slices_of([5.5]) == [5]
    assert slices_of([2.5, 3.5, 4.5]) == [2, 3, 4], "shifted by half a slice there are as many as before"


def test_contours_within_contours_and_outside_of_the_grid():
    lines = block([4]) + block([4], 5.5, 7.5) + block([-0.4]) + block([-2, 11.8])
    raster = rasterise(structure(lines), GRID)
    assert raster.mask[4].sum() == 36 - 4 and raster.mask[0].sum() == 36
    assert np.flatnonzero(raster.mask.any((1, 2))).tolist() == [0, 4]
    assert (raster.skipped, raster.outside) == (0, 2)


def test_what_encloses_nothing_is_skipped_and_counted():
    lines = [*block([4]), PLACE.points([[5, 4, 4]]), PLACE.points([[6, 4, 4], [6, 8, 8]])]
    raster = rasterise(structure(lines), GRID)
    assert (raster.skipped, raster.outside, int(raster.mask.sum())) == (2, 0, 36)
    assert not rasterise(structure(block([4]), "OPEN_PLANAR"), GRID).mask.any()
    assert rasterise(structure(block([4]), "OPEN_PLANAR"), GRID).skipped == 1
    assert rasterise(structure([]), GRID).mask.shape == SHAPE


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([2, 4, 6], [2, 3, 4, 5, 6]),  # every second slice: the gaps are filled, the ends stay
        ([2, 5, 8], [1, 2, 3, 4, 5, 6, 7, 8, 9]),  # every third: each plane counts for three slices
        ([1, 3, 5, 9, 11], [1, 2, 3, 4, 5, 9, 10, 11]),  # a gap of four is one between two parts of the structure
        ([2, 3, 5, 7, 9], [2, 3, 5, 7, 9]),  # two neighbours: drawn on every slice, with gaps that are meant
        ([2, 4], [2, 4]),  # two planes are too few to tell
        ([2, 6, 7], [2, 6, 7]),
        ([2.4, 4.4, 6.4], [2, 3, 4, 5, 6]),
        ([5], [5]),
    ],
)
def test_structures_that_are_drawn_on_every_mth_slice(places, expected):
    assert slices_of(places) == expected


def test_the_slice_half_way_takes_the_plane_of_higher_z():
    lines = block([2], 3.5, 9.5) + block([4], 4.5, 8.5) + block([6], 5.5, 7.5)
    assert [int(each.sum()) for each in mask_of(structure(lines), GRID)[2:7]] == [36, 16, 16, 4, 4]


def test_more_planes_than_slices():
    places = np.arange(1, 6, 0.5).tolist()
    assert slices_of(places) == [1, 2, 3, 4, 5], "no two planes are joined by exclusive or"
    thin = block([3]) + block([3.4], 4.5, 6.5)
    assert mask_of(structure(thin), GRID)[3].sum() == 36


def test_rounded_coordinates_lie_in_one_plane():
    outer, inner = block([4])[0], block([4], 5.5, 7.5)[0]
    inner[:, 2] += [0.05, 0, -0.05, 0.02]
    assert mask_of(structure([outer, inner]), GRID)[4].sum() == 32


def test_contours_across_the_slices_are_refused():
    upright = PLACE.points([[2, 4, 4], [2, 4, 9], [6, 4, 9], [6, 4, 4]])
    with pytest.raises(InputError, match=r"set\.dcm: structure 'Organ': a contour reaches over 12\.0 mm along"):
        mask_of(structure([upright]), GRID)


def test_another_frame_of_reference_is_refused():
    with pytest.raises(InputError, match="another frame of reference"):
        mask_of(structure(block([1]), frame="1.2.3"), GRID, frame_of_reference="1.2.4")
    assert mask_of(structure(block([1]), frame="1.2.3"), GRID, frame_of_reference="1.2.3").any()


def test_a_real_file():
    found = read_structures(Path(get_testdata_file("rtstruct.dcm")))
    assert [(each.name, each.kind, len(each.contours)) for each in found.structures] == [
        ("patient", "EXTERNAL", 3),
        ("Isocenter 1", "ISOCENTER", 1),
        ("Isocenter 2", "ISOCENTER", 1),
    ]
    np.testing.assert_allclose(found.structures[0].contours[0].points[0], [-200.0, 150.0, -200.0])


class TestNames:
    SYNONYMS = {  # noqa: RUF012
        "CTV": ["CTV_60", "ctv prostate"],
        "Femoral_Head_L": ["Fem Head Left", "Lt Fem"],
        "Bladder": [],
    }

    def test_case_and_punctuation_do_not_count(self):
        names = ["fem-head.LEFT", "BLADDER ", "CTV-Prostate", "Couch"]
        assert match_names(names, self.SYNONYMS) == {
            "CTV": "CTV-Prostate",
            "Femoral_Head_L": "fem-head.LEFT",
            "Bladder": "BLADDER ",
        }

    def test_what_is_not_there_is_left_out(self):
        assert match_names(["Rectum", "Bladder_2", ""], self.SYNONYMS) == {}
        assert match_names([], self.SYNONYMS) == {}

    def test_several_that_fit_are_listed(self):
        with pytest.raises(InputError, match=r"structure 'CTV': 'ctv', 'CTV 60' all fit"):
            match_names(["ctv", "Bladder", "CTV 60"], self.SYNONYMS)
        with pytest.raises(InputError, match="'Bladder', 'Bladder' all fit"):
            match_names(["Bladder", "Bladder"], self.SYNONYMS)

    def test_one_that_is_written_exactly_is_taken(self):
        assert match_names(["ctv", "CTV_60", "CTV 60"], self.SYNONYMS)["CTV"] == "CTV_60"
        assert match_names(["CTV_60", "CTV"], self.SYNONYMS)["CTV"] == "CTV"

    def test_a_name_for_two_is_refused(self):
        with pytest.raises(InputError, match="'Target' fits 'CTV' and 'PTV'"):
            match_names(["Target"], {"CTV": ["target"], "PTV": ["Target"]})

    @given(st.permutations(["ctv prostate", "Lt Fem", "BLADDER", "Rectum", "Skin"]))
    def test_the_order_of_names_does_not_matter(self, names):
        assert match_names(names, self.SYNONYMS) == {
            "CTV": "ctv prostate",
            "Femoral_Head_L": "Lt Fem",
            "Bladder": "BLADDER",
        }


@pytest.mark.parametrize(
    ("places", "half", "none"),
    [
        ([3, 4, 5, 6], {3: 1, 4: 1, 5: 1, 6: 1}, {3: 0.5, 4: 1, 5: 1, 6: 0.5}),
        ([3], {3: 1}, {3: 1}),
        ([1, 4, 7], {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1},
         {1: 0.5, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 0.5}),
        ([2, 3, 4, 8, 9, 10], {number: 1 for number in (2, 3, 4, 8, 9, 10)},
         {2: 0.5, 3: 1, 4: 0.5, 8: 0.5, 9: 1, 10: 0.5}),
    ],
    ids=["every slice", "one slice", "every third slice", "two parts"],
)  # fmt: skip
def test_a_mask_ends_at_the_outermost_contours_if_asked(places, half, none):
    for ends, expected in (("half", half), ("none", none)):
        shares = shares_of(structure(block(places)), GRID, ends=ends)
        found = {int(number): float(shares[number, 6, 6]) for number in np.flatnonzero(shares.any(axis=(1, 2)))}
        assert found == expected, ends


def test_a_case_has_the_volume_that_its_ends_say(tmp_path):
    """On a grid of half the CT's slice distance the half slices at the ends are there."""
    patient = write_patient(tmp_path / "raw", seed=1)
    planes = np.flatnonzero(patient.masks["Bladder"].any(axis=(1, 2)))
    areas = patient.masks["Bladder"].sum(axis=(1, 2)) * 6.0 * 8.0
    true = {"half": areas.sum() * 5.0}
    true["none"] = true["half"] - (areas[planes[0]] + areas[planes[-1]]) * 2.5
    for ends, volume in true.items():
        data = DicomRT(tmp_path / "raw", structures={"Bladder": []}, spacing=[2.5, 3, 4], ends=ends)
        case = data.read(data.cases()[0])
        assert case.arrays["structures"].sum() * case.geometry.voxel_volume == pytest.approx(volume, rel=0.02), ends
