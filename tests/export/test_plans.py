"""From a trained run and a folder of DICOM to files of a planning system, as ``predict`` writes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread

from crosstask.assembly import Assembly, assemble
from crosstask.datasets import CaseData, DicomRT, Phantom
from crosstask.errors import InputError
from crosstask.export.cases import UNCERTAINTY
from crosstask.export.formats import FORMATS, writers
from crosstask.export.plans import NIFTI, RTDOSE, RTPLAN, RTSTRUCT, SEG, DicomWriter
from crosstask.io.dicom.ct import read_ct
from crosstask.io.dicom.rt import read_dose
from crosstask.io.dicom.structures import mask_of, read_structures
from crosstask.prediction.predictor import Prediction
from dicom_fakes import PATIENT_NAME, FakePatient, write_patient

NAMES = {"rectum": [], "bladder": [], "left": ["femoral head l"], "ctv": []}
TRUE = {"rectum": "Rectum", "bladder": "Bladder", "left": "Femoral_Head_L", "ctv": "CTV"}
TASKS = {"segmentation": {}, "dose": {}}


def opened(root: Path, **options: object) -> tuple[DicomRT, CaseData, Assembly, str]:
    data = DicomRT(root, structures=NAMES, **options)  # type: ignore[arg-type]
    (case,) = data.cases()
    return data, data.read(case), assemble(data, TASKS, [(-200, 300)]), case.id


def perfect(case: CaseData, name: str) -> Prediction:
    """What a network that knows the plan would say."""
    values = {"segmentation": case.arrays["structures"].astype(np.float32), "dose": case.arrays["dose"]}
    return Prediction(name, values, case.geometry)


@pytest.fixture(scope="module", params=["supine", "feet first", "oblique"])
def patient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FakePatient:
    return write_patient(tmp_path_factory.mktemp("raw"), seed=3, orientation=request.param)


def test_a_perfect_prediction_comes_back_on_the_ct_s_own_grid(patient: FakePatient, tmp_path: Path):
    data, case, assembly, name = opened(patient.folder, margin=None)
    (writer,) = writers(None, tmp_path / "out", assembly, data, "a model")
    assert isinstance(writer, DicomWriter)
    writer.write(perfect(case, name), case)
    folder = tmp_path / "out" / name
    ct = read_ct(patient.files["CT"])
    found = {one.name: one for one in read_structures(folder / RTSTRUCT).structures}
    assert list(found) == list(NAMES)
    truth = read_structures(patient.files["RTSTRUCT"][0])
    for label, one in found.items():
        planned = mask_of(truth.named(TRUE[label]), ct.geometry)
        assert np.array_equal(mask_of(one, ct.geometry, frame_of_reference=ct.frame_of_reference), planned)
    dose, planned_dose = read_dose(folder / RTDOSE), read_dose(patient.files["RTDOSE"][0])
    assert dose.geometry.shape == ct.geometry.shape
    assert dose.geometry.points([[0, 0, 0], [3, 4, 5]]) == pytest.approx(
        ct.geometry.points([[0, 0, 0], [3, 4, 5]]), abs=0.01
    )
    hottest = np.unravel_index(dose.dose.argmax(), dose.dose.shape)
    assert dose.dose.max() == pytest.approx(planned_dose.dose.max(), rel=0.02)
    assert patient.masks["CTV"][hottest]
    assert not dose.dose[~patient.masks["Body"] & (patient.hu < -900)].any()


def test_what_is_drawn_is_what_the_files_hold(patient: FakePatient, tmp_path: Path):
    data, case, assembly, name = opened(patient.folder, spacing=[10, 9, 9])
    (writer,) = writers(None, tmp_path, assembly, data, "a model")
    drawn = []
    assert isinstance(writer, DicomWriter)
    writer.draw = lambda *given: drawn.append(given)
    prediction = perfect(case, name)
    writer.write(prediction, case)
    ((folder, case_id, placed, of),) = drawn
    assert (folder.name, case_id, of) == (name, name, case)
    folder = tmp_path / name  # where it is moved to
    ct = read_ct(patient.files["CT"])
    found = read_structures(folder / RTSTRUCT).structures
    assert [one.name for one in found] == list(placed.masks)
    for one, judged in zip(found, prediction.values["segmentation"], strict=True):
        mask = mask_of(one, ct.geometry, frame_of_reference=ct.frame_of_reference)
        assert np.array_equal(mask, placed.masks[one.name])
        volume = judged.sum() * case.geometry.voxel_volume
        assert mask.sum() * ct.geometry.voxel_volume == pytest.approx(volume, rel=0.02)
    assert read_dose(folder / RTDOSE).dose == pytest.approx(placed.dose, abs=1e-3)


@pytest.mark.filterwarnings("error")
def test_whose_they_are_and_what_they_say(patient: FakePatient, tmp_path: Path):
    data, case, assembly, name = opened(patient.folder, spacing=[6, 8, 8])
    writers("dicom", tmp_path, assembly, data, "some experiment ctan/seed0 (best)")[0].write(perfect(case, name), case)
    source = dcmread(patient.files["CT"][0])
    files = {kind: dcmread(tmp_path / name / kind) for kind in (RTSTRUCT, RTPLAN, RTDOSE, SEG)}
    for file in files.values():
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert getattr(file, keyword) == getattr(source, keyword)
        assert file.PatientName == PATIENT_NAME
        assert "not for clinical use" in file.SeriesDescription
        assert any("some experiment" in str(part) for part in np.atleast_1d(file.SoftwareVersions))
        assert file.SOPInstanceUID != source.SOPInstanceUID and file.SeriesInstanceUID != source.SeriesInstanceUID
    assert len({file.SOPInstanceUID for file in files.values()}) == 4
    images = {path.name for path in (tmp_path / name / NIFTI).iterdir()}
    assert images == {"dose.nii.gz", *(f"{label}.nii.gz" for label in NAMES)}


def test_the_predicted_dose_belongs_to_a_plan_of_its_own_never_to_the_patient_s(patient: FakePatient, tmp_path: Path):
    """A planning system may show a dose as that of the plan it names, and that one is approved."""
    data, case, assembly, name = opened(patient.folder, spacing=[6, 8, 8])
    writers("dicom", tmp_path, assembly, data, "a model")[0].write(perfect(case, name), case)
    plan, dose, structures = (dcmread(tmp_path / name / kind) for kind in (RTPLAN, RTDOSE, RTSTRUCT))
    (named,) = dose.ReferencedRTPlanSequence
    assert named.ReferencedSOPInstanceUID == plan.SOPInstanceUID != patient.identity.uid("RTPLAN")
    assert (plan.ApprovalStatus, plan.RTPlanLabel, plan.PlanIntent) == ("UNAPPROVED", "PREDICTED", "RESEARCH")
    assert plan.RTPlanName == "Predicted, not for clinical use" and "BeamSequence" not in plan
    assert plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == structures.SOPInstanceUID
    raw = patient.files["RTPLAN"][0].read_bytes()
    for path in (tmp_path / name).glob("*.dcm"):
        assert patient.identity.uid("RTPLAN").encode() not in path.read_bytes(), path
    assert raw == patient.files["RTPLAN"][0].read_bytes()


def test_predictions_are_never_taken_for_plans(patient: FakePatient, tmp_path: Path):
    shutil.copytree(patient.folder, tmp_path / "raw")
    data, case, assembly, name = opened(tmp_path / "raw")
    writers(None, tmp_path / "out", assembly, data)[0].write(perfect(case, name), case)
    chosen = data.choice(name)
    shutil.copytree(tmp_path / "out", tmp_path / "raw" / "beside")
    again = DicomRT(tmp_path / "raw", structures=NAMES)
    again.cases()
    choice = again.choice(name)
    assert choice.files == chosen.files
    assert choice.notes == (
        "1 of 2 structure sets left out: predicted, not planned",
        "1 of 2 doses left out: predicted, not planned",
        "1 of 2 plans left out: predicted, not planned",
    )
    for file in (choice.structures, *choice.doses):
        assert file is not None
        file.unlink()
    alone = DicomRT(tmp_path / "raw", structures=NAMES)
    (only,) = alone.cases()
    assert alone.choice(name).structures is None and alone.choice(name).doses == ()
    assert alone.read(only).channels["structures"] == () == alone.read(only).channels["dose"]


def test_nothing_is_written_among_the_input(patient: FakePatient):
    data, case, assembly, name = opened(patient.folder)
    before = sorted(patient.folder.rglob("*"))
    with pytest.raises(InputError, match="holds the input"):
        writers("dicom", patient.folder / "out", assembly, data)[0].write(perfect(case, name), case)
    assert [path for path in sorted(patient.folder.rglob("*")) if path.is_file() and path not in before] == []


def test_what_has_no_ct_in_dicom_is_refused(tmp_path: Path):
    (tmp_path / "phantom.json").write_text(json.dumps({}))
    phantom = Phantom(tmp_path)
    assembly = assemble(phantom, {"dose": {}}, [(0, 1)])
    with pytest.raises(InputError, match="--format dicom: phantom has no CT in DICOM"):
        FORMATS["dicom"](tmp_path, assembly, phantom)


def test_the_spread_of_an_ensemble_lies_beside_the_plan_on_the_ct_s_grid(patient: FakePatient, tmp_path: Path):
    data, case, assembly, name = opened(patient.folder, margin=None)
    (writer,) = writers(None, tmp_path / "out", assembly, data, "a model")
    prediction = perfect(case, name)
    writer.write(prediction, case)
    assert not (tmp_path / "out" / name / UNCERTAINTY).exists()  # of one run

    shape = case.geometry.shape
    prediction.spread = {
        "segmentation": np.full((len(NAMES), *shape), 0.25, np.float32),
        "dose": np.full((1, *shape), 1.5, np.float32),
    }
    (writer,) = writers(None, tmp_path / "more", assembly, data, "a model")
    writer.write(prediction, case)
    folder = tmp_path / "more" / name / UNCERTAINTY
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{one}.nii.gz" for one in (*NAMES, "dose"))
    ct, body = read_ct(patient.files["CT"]), case.patient.body
    dose = SimpleITK.ReadImage(str(folder / "dose.nii.gz"))
    assert dose.GetSize()[::-1] == ct.geometry.shape
    values = SimpleITK.GetArrayFromImage(dose)
    assert not values[~body].any()
    assert np.median(values[body]) == pytest.approx(1.5)
    assert np.median(
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "ctv.nii.gz")))[body]
    ) == pytest.approx(0.25)
