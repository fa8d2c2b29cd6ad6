"""A clinic's folder of DICOM-RT as a data set: what is read, what is chosen, and what is kept to itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset as DicomDataset

from crosstask.datasets import CaseData, DicomRT
from crosstask.errors import InputError
from crosstask.functional.dvh import dvh_metrics
from crosstask.geometry import Geometry
from crosstask.store import Store, prepare
from dicom_builder import Builder
from dicom_fakes import (
    BIRTH_DATE,
    ORIENTATIONS,
    PATIENT_NAME,
    FakePatient,
    Identity,
    Placement,
    write_ct,
    write_patient,
)

NAMES = {
    "rectum": ["Rectum"],
    "bladder": [],
    "left_femur": ["femoral head l"],
    "right_femur": ["FemoralHead_R"],
    "ctv": [],
}
TRUE = {"rectum": "Rectum", "bladder": "Bladder", "left_femur": "Femoral_Head_L", "right_femur": "Femoral_Head_R"}
TRUE["ctv"] = "CTV"


def dataset(root: Path, **options: Any) -> DicomRT:
    return DicomRT(root, **{"structures": NAMES, **options})


def only_case(data: DicomRT) -> CaseData:
    (case,) = data.cases()
    return data.read(case)


def grid_points(grid: Geometry) -> np.ndarray:
    return grid.points(np.stack(np.indices(grid.shape), -1).reshape(-1, 3))


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FakePatient]:
    root = tmp_path_factory.mktemp("patients")
    return {name: write_patient(root / name, seed=index, orientation=name) for index, name in enumerate(ORIENTATIONS)}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_voxel_of_ct_and_masks_is_where_it_was(patients: dict[str, FakePatient], orientation: str):
    patient = patients[orientation]
    case = only_case(dataset(patient.folder, margin=None))
    grid = case.geometry
    matrix = np.asarray(grid.direction)
    assert (matrix.diagonal() > 0.7).all(), "z to the head, y to the back, x to the left"
    places = patient.geometry.indices(grid_points(grid))
    assert places == pytest.approx(np.rint(places), abs=1e-4)
    z, y, x = np.rint(places).astype(int).T
    assert np.array_equal(case.arrays["ct"][0].ravel(), patient.hu[z, y, x])
    assert case.channels["structures"] == tuple(NAMES)
    for name, mask in zip(case.channels["structures"], case.arrays["structures"], strict=True):
        truth = patient.masks[TRUE[name]][z, y, x]
        assert (mask.ravel() != truth).sum() <= 0.004 * truth.sum(), "contours are polygons, the truth is round"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_dose_is_interpolated_from_its_own_grid(patients: dict[str, FakePatient], orientation: str):
    from scipy.interpolate import RegularGridInterpolator

    patient = patients[orientation]
    case = only_case(dataset(patient.folder, margin=None))
    places = patient.dose_geometry.indices(grid_points(case.geometry))
    axes = [np.arange(length) for length in patient.dose.shape]
    expected = RegularGridInterpolator(axes, patient.dose, bounds_error=False, fill_value=np.nan)(places)
    inside = np.isfinite(expected)
    assert inside.sum() > 5000
    assert case.arrays["dose"][0].ravel()[inside] == pytest.approx(expected[inside], abs=1e-3)
    region = case.arrays["region"][0].ravel().astype(bool)
    beyond = (places < -0.5 - 1e-6).any(1) | (places > np.array(patient.dose.shape) - 0.5 + 1e-6).any(1)
    assert not region[beyond].any(), "beyond its grid the dose is not known"
    assert region[inside].any()


def test_a_case_is_a_box_around_the_body_at_the_spacing_asked_for(patients: dict[str, FakePatient]):
    patient = patients["oblique"]
    data = dataset(patient.folder, spacing=[4, 5, 6], margin=12)
    case = only_case(data)
    assert case.geometry.spacing == (4, 5, 6) and not case.geometry.aligned
    body = np.argwhere(patient.masks["Body"])
    places = case.geometry.indices(patient.geometry.points(body))
    shape = np.array(case.geometry.shape)
    assert (places > -0.5).all() and (places < shape - 0.5).all()
    room = np.minimum(places.min(0), shape - 1 - places.max(0)) * case.geometry.spacing
    assert (room[1:] > 6).all() and (room[1:] < 30).all(), "the body reaches the ends of the scan along z"
    volumes = {name: patient.masks[TRUE[name]].sum() * patient.geometry.voxel_volume for name in NAMES}
    for name, mask in zip(case.channels["structures"], case.arrays["structures"], strict=True):
        assert mask.sum() * case.geometry.voxel_volume == pytest.approx(volumes[name], rel=0.08)
    region = case.arrays["region"].sum() * case.geometry.voxel_volume
    assert region < patient.masks["Body"].sum() * patient.geometry.voxel_volume


def test_what_is_not_there_is_a_missing_label(patients: dict[str, FakePatient], tmp_path: Path):
    patient = patients["supine"]
    shutil.copytree(patient.folder, tmp_path / "p")
    for kind in ("RTDOSE", "RTPLAN", "RTSTRUCT"):
        (tmp_path / "p" / patient.files[kind][0].relative_to(patient.folder)).unlink()
    case = only_case(dataset(tmp_path / "p"))
    assert case.channels == {"ct": ("ct",), "structures": (), "dose": (), "region": ("region",)}
    assert case.information["prescription_gy"] is None and case.information["not_contoured"] == list(NAMES)
    whole = only_case(dataset(patient.folder))
    assert (whole.information["prescription_gy"], whole.information["fractions"]) == (60, 20)
    assert only_case(dataset(patient.folder, structures={"prostate": ["gland"]})).channels["structures"] == ()


def test_labels_that_cannot_be_read_do_not_keep_a_ct_from_being_predicted(
    patients: dict[str, FakePatient], tmp_path: Path
):
    patient = patients["supine"]
    shutil.copytree(patient.folder, tmp_path / "p")
    plan, dose, structures = (
        tmp_path / "p" / patient.files[kind][0].relative_to(patient.folder) for kind in ("RTPLAN", "RTDOSE", "RTSTRUCT")
    )
    whole = dataset(tmp_path / "p")
    (case,) = whole.cases()
    data, lost = whole.read_to_predict(case)
    assert lost == [] and data.channels == whole.read(case).channels and data.information["prescription_gy"] == 60

    changed = dcmread(dose)
    changed.DoseGridScaling = "-1"
    changed.save_as(dose)
    changed = dcmread(structures)
    number = next(one.ROINumber for one in changed.StructureSetROISequence if one.ROIName == "Rectum")
    drawn = next(one for one in changed.ROIContourSequence if one.ReferencedROINumber == number)
    points = list(drawn.ContourSequence[0].ContourData)
    points[2] += 30  # one point of a contour far out of its plane
    drawn.ContourSequence[0].ContourData = points
    changed.save_as(structures)
    damaged = dataset(tmp_path / "p")
    with pytest.raises(InputError, match="DoseGridScaling"):
        damaged.read(case)
    data, lost = damaged.read_to_predict(case)
    assert [sum(str(file) in line for line in lost) for file in (dose, structures)] == [1, 1] and len(lost) == 2
    assert data.channels["dose"] == () and data.information["prescription_gy"] == 60
    assert data.channels["structures"] == tuple(name for name in NAMES if name != "rectum")
    assert np.array_equal(data.arrays["ct"], whole.read_to_predict(case)[0].arrays["ct"])

    changed = dcmread(plan)
    changed.DoseReferenceSequence[0].TargetPrescriptionDose = "1e999"
    changed.save_as(plan)
    data, lost = dataset(tmp_path / "p").read_to_predict(case)
    assert sum(str(plan) in line for line in lost) == 1
    assert data.information["prescription_gy"] is None


def test_structures_may_be_a_file(patients: dict[str, FakePatient], tmp_path: Path):
    (tmp_path / "names.yaml").write_text("blase: [bladder]\nctv:\n")
    data = dataset(patients["supine"].folder, structures=str(tmp_path / "names.yaml"))
    assert data.structures == ("blase", "ctv")
    assert only_case(data).channels["structures"] == ("blase", "ctv")
    with pytest.raises(InputError, match=r"no\.yaml: cannot be read"):
        dataset(tmp_path, structures=str(tmp_path / "no.yaml"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structures": ["rectum"]}, r"options\.structures: give \{name"),
        ({"structures": {"rectum": [3]}}, r"options\.structures\.rectum: give"),
        ({"spacing": [1, 2]}, r"options\.spacing: \[1, 2\] is not three lengths"),
        ({"spacing": [1, 2, 0]}, r"options\.spacing: 0 is no length"),
        ({"margin": -1}, r"options\.margin: -1 is no length"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(tmp_path: Path, options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        dataset(tmp_path, **options)


def test_folders_without_a_patient_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        dataset(tmp_path / "none").cases()
    (tmp_path / "notes.txt").write_text("x" * 200)
    with pytest.raises(InputError, match=r"no patient with a CT .* \(0 DICOM files, 0 unreadable, 1 others\)"):
        dataset(tmp_path).cases()


def test_tasks_and_their_options(tmp_path: Path):
    data = dataset(tmp_path)
    assert data.task("segmentation").classes == tuple(NAMES)
    assert data.task("segmentation", classes=["ctv", "rectum"]).classes == ("ctv", "rectum")
    assert data.task("dose").unit == "Gy"
    with pytest.raises(InputError, match="no structure 'rectun': did you mean 'rectum'"):
        data.task("segmentation", classes=["rectun"])
    with pytest.raises(InputError, match="no structure to segment"):
        DicomRT(tmp_path).task("segmentation")


def test_dvh_errors_of_a_predicted_dose(patients: dict[str, FakePatient]):
    data = dataset(patients["supine"].folder)
    case = only_case(data)
    rows = data.scores(case, {"dose": case.arrays["dose"] + 2}, {"dose": ("dose",)})
    assert {(task, structure) for task, structure, _, _ in rows} == {("dose", name) for name in NAMES}
    assert all(value == pytest.approx(2, abs=1e-4) for *_, value in rows)
    assert {metric for *_, metric, _ in rows} == {
        f"dvh_error_{key}" for key in dvh_metrics(np.ones(3), np.ones(3), 1.0)
    }


# --- choice -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def build(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "patient")


def test_one_of_each_needs_no_note(build: Builder):
    build.ct()
    build.plan("plan")
    build.dose("dose", plan="plan")
    build.structures("set")
    assert build.chosen() == ({"CT"}, "set", "dose", "plan", ())


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (
            {"RTPlanDate": "20200101", "ApprovalStatus": "APPROVED"},
            {"RTPlanDate": "20210101", "ApprovalStatus": "UNAPPROVED"},
            "the approved one",
        ),
        (
            {"RTPlanDate": "20210102", "RTPlanTime": "080000"},
            {"RTPlanDate": "20210101", "RTPlanTime": "090000"},
            "the latest",
        ),
    ],
)
def test_of_several_plans_the_approved_or_the_latest_with_a_dose(
    build: Builder, first: dict[str, str], second: dict[str, str], reason: str
):
    build.ct()
    build.plan("wanted", **first)
    build.plan("other", **second)
    build.plan("without dose", RTPlanDate="20250101", ApprovalStatus="APPROVED")
    build.dose("dose of other", plan="other")
    build.dose("dose of wanted", plan="wanted")
    _, _, dose, plan, notes = build.chosen()
    assert (dose, plan) == ("dose of wanted", "wanted")
    assert notes == (f"the plan is one of 2: {reason}",)


def test_doses_of_single_beams_are_not_taken_for_the_plan_s(build: Builder):
    build.ct()
    build.plan("plan")
    for number in range(2):
        build.dose(f"beam {number}", plan="plan", DoseSummationType="BEAM")
    _, _, dose, plan, notes = build.chosen()
    assert dose is None and plan == "plan"
    assert notes == ("2 of 2 doses left out: not of a whole plan (DoseSummationType)",)


BEAMS = {1: "TREATMENT", 2: "TREATMENT", 3: "", 4: "SETUP"}


def test_doses_of_all_beams_are_added_up(build: Builder):
    build.ct()
    build.plan("plan", BEAMS)
    build.plan("later, without dose", BEAMS, RTPlanDate="20260101")
    build.dose("a", "plan", beams=[1, 3], gy=20, DoseSummationType="BEAM")
    build.dose("b", "plan", beams=[2], gy=11.5, DoseSummationType="BEAM")
    _, _, dose, plan, notes = build.chosen()
    assert (dose, plan) == ("a + b", "plan")
    assert notes == ("the dose is the sum of 2, of single beams or fraction groups",)
    case = only_case(dataset(build.folder, structures={"ctv": []}, margin=None))
    assert case.arrays["dose"][0] == pytest.approx(31.5, abs=1e-3)
    build.dose("whole", "plan", DoseSummationType="PLAN")
    assert build.chosen()[2] == "whole"


def test_a_fraction_group_s_dose_is_the_plan_s_if_there_is_one_group(build: Builder):
    build.ct()
    build.plan("plan", BEAMS)
    build.dose("group", "plan", DoseSummationType="FRACTION")
    assert build.chosen()[2] == "group"


@pytest.mark.parametrize(
    "beams", [([1, 2],), ([1, 2], [2, 3]), ([1], [2], [3], [7]), ([], [])], ids=["missing", "twice", "more", "unsaid"]
)
def test_doses_of_some_beams_or_of_one_twice_are_not(build: Builder, beams: tuple[list[int], ...]):
    build.ct()
    build.plan("plan", BEAMS)
    for number, numbers in enumerate(beams):
        build.dose(f"dose {number}", "plan", beams=numbers, DoseSummationType="BEAM")
    _, _, dose, plan, notes = build.chosen()
    assert dose is None and plan == "plan"
    assert notes == (f"{len(beams)} of {len(beams)} doses left out: not of a whole plan (DoseSummationType)",)


def test_of_a_beam_that_was_computed_again_the_latest_dose(build: Builder):
    build.ct()
    build.plan("plan", {1: "TREATMENT", 2: "TREATMENT"})
    build.dose("first", "plan", beams=[1], DoseSummationType="BEAM")
    for name, date in (("old", "20240101"), ("new", "20240301")):
        build.dose(name, "plan", beams=[2], DoseSummationType="BEAM", InstanceCreationDate=date)
    _, _, dose, _, notes = build.chosen()
    assert dose == "first + new"
    assert notes[0] == "the dose of some beams is one of 2: the latest"
    assert notes[-1] == "1 of 3 doses left out: not of a whole plan (DoseSummationType)"


def test_doses_of_beams_on_different_grids_are_refused(build: Builder):
    build.ct()
    build.plan("plan", {1: "TREATMENT", 2: "TREATMENT"})
    build.dose("first", "plan", beams=[1], DoseSummationType="BEAM")
    build.dose("second", "plan", beams=[2], DoseSummationType="BEAM", ImagePositionPatient=["-21", "-21", "-6.5"])
    with pytest.raises(InputError, match="second: lies on another grid than first, so they cannot be added up"):
        only_case(dataset(build.folder, structures={"ctv": []}))


def test_the_ct_that_was_drawn_on_is_taken_before_a_longer_one(build: Builder):
    build.ct("Drawn", slices=3)
    build.ct("Longer", slices=6)
    build.structures("set", series="Drawn")
    ct, *_, notes = build.chosen()
    assert ct == {"Drawn"} and notes == ("the CT is one of 2 series: the structures were drawn on it",)


def test_without_structures_the_longest_ct_in_the_dose_s_space(build: Builder):
    build.ct("Other", slices=7, frame="elsewhere")
    build.ct("Short", slices=3)
    build.ct("Long", slices=5)
    build.dose("dose")
    assert build.chosen()[0] == {"Long"}


def test_what_lies_in_another_space_is_left_out(build: Builder):
    build.ct()
    build.dose("dose", frame="elsewhere")
    _, _, dose, _, notes = build.chosen()
    assert dose is None and notes == ("the dose left out: it lies in another frame of reference than the CT",)


def test_a_patient_without_a_ct_is_an_error_that_check_shows(build: Builder, tmp_path: Path):
    build.dose("dose")
    with pytest.raises(InputError, match="no CT series; add the planning CT"):
        build.chosen()
    findings = list(dataset(build.folder).check())
    assert [(finding.case, finding.severity) for finding in findings] == [("patient001", "error")]


# --- many patients ----------------------------------------------------------------------------------------------------


def test_check_names_what_is_wrong_and_goes_on(tmp_path: Path):
    patients = [write_patient(tmp_path / "raw" / str(seed), seed=seed) for seed in range(3)]
    broken = patients[0].files["CT"][3]
    broken.write_bytes(broken.read_bytes()[:700])
    copied = tmp_path / "raw" / "copy of it"
    shutil.copy(patients[1].files["RTPLAN"][0], copied)
    dose = patients[2].files["RTDOSE"][0]
    dose.write_bytes(dose.read_bytes()[:-3000])
    data = dataset(tmp_path / "raw")
    findings = list(data.check())
    errors = {finding.message.split(": ")[0] for finding in findings if finding.severity == "error"}
    assert {Path(error).name for error in errors} >= {broken.name, dose.name}
    assert any("is a copy of" in finding.message for finding in findings)
    text = "\n".join(f"{finding.case} {finding.message}" for finding in findings)
    assert not any(secret in text for secret in secrets(patients))
    assert len(data.cases()) == 3


def secrets(patients: list[FakePatient]) -> list[str]:
    """What must not leave the DICOM files."""
    who = [patient.identity for patient in patients]
    uids = [one.uid(*parts) for one in who for parts in (("study",), ("frame",), ("RTPLAN",), ("CT", 0), ("RTSTRUCT",))]
    return [PATIENT_NAME, BIRTH_DATE, *(one.patient_id for one in who), *uids]


def test_nothing_of_a_header_reaches_the_store(tmp_path: Path):
    patients = [write_patient(tmp_path / "raw" / f"Secret^Person {seed}", seed=seed) for seed in range(2)]
    data = dataset(tmp_path / "raw", spacing=[8, 9, 9])
    report = prepare(data, tmp_path / "store", workers=1)
    assert len(report.written) == 2 and not report.failed
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in secrets(patients)), path
    table = tmp_path / "raw.pseudonyms.csv"
    assert [row.split(",")[0] for row in table.read_text().splitlines()] == ["pseudonym", "patient001", "patient002"]
    table.unlink()
    assert len(prepare(dataset(tmp_path / "raw", spacing=[8, 9, 9]), tmp_path / "store", workers=1).kept) == 2
    store = Store(tmp_path / "store")
    assert store.open("patient001").channels["dose"] == ("dose",)


def test_files_without_a_patient_id_belong_to_their_dicom_study(tmp_path: Path):
    def nameless(number: int, file: DicomDataset) -> None:
        file.PatientID = ""

    for seed in range(2):
        write_ct(
            [tmp_path / "raw" / f"{seed}-{number}" for number in range(3)],
            np.full((3, 8, 8), 40, np.int16),
            Placement(),
            Identity(seed),
            change=nameless,
        )
    assert len(dataset(tmp_path / "raw").cases()) == 2
