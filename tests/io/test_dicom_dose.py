"""RTDOSE and RTPLAN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from crosstask.errors import InputError
from crosstask.io.dicom.rt import read_dose, read_plan
from dicom_fakes import ORIENTATIONS, Identity, Placement, write_dose, write_plan

WHO = Identity(2)
CORNERS = np.array([[0, 0, 0], [3, 5, 6], [3, 0, 0], [0, 5, 0], [0, 0, 6]])


def dose(shape: tuple[int, int, int] = (4, 6, 7)) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 78, shape)


def fault(call, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        call(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


TRANSVERSE = ("supine", "prone", "feet first")  # absolute offsets are defined for them alone


@pytest.mark.parametrize(
    ("orientation", "offsets"),
    [
        (orientation, offsets)
        for orientation in ORIENTATIONS
        for offsets in ("relative", "absolute", "falling relative", "falling absolute")
        if orientation in TRANSVERSE or "absolute" not in offsets
    ],
)
@pytest.mark.parametrize("bits", [16, 32])
def test_every_voxel_lies_where_it_was_written(tmp_path, orientation, offsets, bits):
    placement = Placement((3.0, 2.5, 2.0), (-40.25, 12.5, 331.75), orientation)
    read = read_dose(write_dose(tmp_path / "d", dose(), placement, WHO, bits=bits, offsets=offsets))
    np.testing.assert_allclose(read.dose, dose(), atol=1e-3 if bits == 16 else 1e-5)
    assert read.dose.dtype == np.float32
    np.testing.assert_allclose(read.geometry.points(CORNERS)[:, ::-1], placement.points(CORNERS), atol=0.01)
    assert np.linalg.det(np.array(read.geometry.direction)) == pytest.approx(1, abs=1e-6)


def test_what_else_it_says(tmp_path):
    read = read_dose(write_dose(tmp_path / "d", dose(), Placement(), WHO))
    assert (read.units, read.dose_type, read.summation) == ("GY", "PHYSICAL", "PLAN")
    assert (read.plan, read.sop_instance) == (WHO.uid("RTPLAN"), WHO.uid("RTDOSE"))
    assert (read.frame_of_reference, read.study, read.patient_id) == (
        WHO.uid("frame"),
        WHO.uid("study"),
        WHO.patient_id,
    )
    assert read.file == tmp_path / "d"


def test_a_single_plane_is_as_thick_as_it_says(tmp_path):
    def plane(dataset):
        del dataset.NumberOfFrames, dataset.GridFrameOffsetVector, dataset.FrameIncrementPointer

    read = read_dose(write_dose(tmp_path / "d", dose((1, 6, 7)), Placement((3.0, 2.0, 2.5)), WHO, change=plane))
    assert read.geometry.spacing == (3.0, 2.0, 2.5)
    np.testing.assert_allclose(read.dose, dose((1, 6, 7)), atol=1e-3)


def test_doses_of_parts_say_so(tmp_path):
    def beam(dataset):
        dataset.DoseSummationType = "BEAM"
        del dataset.ReferencedRTPlanSequence

    read = read_dose(write_dose(tmp_path / "d", dose(), Placement(), WHO, change=beam))
    assert (read.summation, read.plan) == ("BEAM", "")


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("DoseUnits", "RELATIVE", "DoseUnits is not GY"),
        ("DoseType", "EFFECTIVE", "DoseType is not PHYSICAL"),
        ("DoseType", None, "no DoseType"),
        ("DoseGridScaling", None, "no DoseGridScaling"),
        ("DoseGridScaling", 0, "no scale"),
        ("GridFrameOffsetVector", [0, 5, 10], "GridFrameOffsetVector is damaged"),
        ("GridFrameOffsetVector", [0, 5, 10, 16], "planes 2 and 3 are 6.000 mm apart, others 5.000"),
        ("GridFrameOffsetVector", [0, 0, 0, 0], "planes 0 and 1 are 0.000 mm apart"),
        ("GridFrameOffsetVector", [2, 7, 12, 17], "begins neither with 0"),
        ("GridFrameOffsetVector", None, "no GridFrameOffsetVector"),
        ("Rows", 65535, "truncated"),
        ("NumberOfFrames", 2**31 - 1, "a dose grid of"),
        ("Modality", "CT", "no RTDOSE"),
        ("BitsAllocated", 12, "12 bits"),
    ],
)
def test_faults_of_a_dose(tmp_path, keyword, value, words):
    path = write_dose(tmp_path / "d", dose(), Placement(), WHO, change=lambda dataset: setattr(dataset, keyword, value))
    assert words in fault(read_dose, path)


def test_absolute_offsets_of_tilted_planes_are_refused(tmp_path):
    path = write_dose(tmp_path / "d", dose(), Placement(orientation="oblique"), WHO, offsets="absolute")
    assert "transverse" in fault(read_dose, path)


@pytest.mark.parametrize(
    "name", ["rtdose.dcm", "rtdose_1frame.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm", "rtdose_rle_1frame.dcm"]
)
def test_real_doses(tmp_path, name):
    """Those of pydicom are relative and, of one frame, without thickness: with these fixed they are read."""
    file = Path(get_testdata_file(name))
    assert "DoseUnits is not GY" in fault(read_dose, file)
    dataset = pydicom.dcmread(file)
    dataset.DoseUnits = "GY"
    dataset.SliceThickness = 5
    dataset.save_as(tmp_path / "d")
    read = read_dose(tmp_path / "d")
    pixels = dataset.pixel_array.reshape(read.dose.shape)
    np.testing.assert_allclose(read.dose, pixels * float(dataset.DoseGridScaling), rtol=1e-6)


class TestPlan:
    def test_prescription_and_fractions(self, tmp_path):
        plan = read_plan(write_plan(tmp_path / "p", WHO, prescription=55.25, fractions=17))
        assert (plan.prescription, plan.fractions, plan.label) == (55.25, 17, "Fake")
        assert plan.structure_set == WHO.uid("RTSTRUCT")
        assert (plan.sop_instance, plan.study, plan.patient_id) == (WHO.uid("RTPLAN"), WHO.uid("study"), WHO.patient_id)

    def test_the_highest_prescription_counts_and_all_groups(self, tmp_path):
        def several(dataset):
            for dose in ("70", "63"):
                item = pydicom.Dataset()
                item.DoseReferenceNumber, item.DoseReferenceType, item.TargetPrescriptionDose = "2", "TARGET", dose
                dataset.DoseReferenceSequence.append(item)
            boost = pydicom.Dataset()
            boost.NumberOfFractionsPlanned = "5"
            dataset.FractionGroupSequence.append(boost)

        plan = read_plan(write_plan(tmp_path / "p", WHO, change=several))
        assert (plan.prescription, plan.fractions) == (70.0, 25)

    def test_neither_is_none(self, tmp_path):
        plan = read_plan(write_plan(tmp_path / "p", WHO, prescription=None, fractions=None))
        assert (plan.prescription, plan.fractions) == (None, None)

    def test_a_real_plan(self):
        plan = read_plan(Path(get_testdata_file("rtplan.dcm")))
        assert (plan.label, plan.prescription, plan.fractions) == ("Plan1", 30.826203, 30)

    def test_faults(self, tmp_path):
        path = write_plan(tmp_path / "p", WHO, change=lambda dataset: setattr(dataset, "Modality", "RTDOSE"))
        assert "no RTPLAN" in fault(read_plan, path)
        assert "truncated" in fault(read_plan, Path(get_testdata_file("rtplan_truncated.dcm")))


@pytest.mark.parametrize("offsets", ["relative", "absolute", "falling", "falling absolute"])
def test_planes_rounded_to_a_tenth_of_a_millimetre(tmp_path, offsets):
    placement = Placement((1.25, 3.0, 3.0), (-20.0, -20.0, -57.53))

    def change(dataset):
        dataset.GridFrameOffsetVector = [f"{float(value):.1f}" for value in dataset.GridFrameOffsetVector]

    values = np.random.default_rng(1).uniform(0, 60, (20, 4, 5))
    read = read_dose(write_dose(tmp_path / "d", values, placement, WHO, offsets=offsets, change=change))
    off = read.geometry.points([[0, 0, 0], [19, 3, 4]]) - placement.geometry((20, 4, 5)).points([[0, 0, 0], [19, 3, 4]])
    assert np.abs(off).max() < 0.12
    np.testing.assert_allclose(read.dose, values, atol=1e-3)
