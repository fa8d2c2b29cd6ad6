"""The clinic's way as its physicist goes it: plans as DICOM in, a benchmark, and a new CT's plan as DICOM out."""

from __future__ import annotations

import csv
import shutil
import subprocess
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_runner import Call, Outcome, forked, here
from pydicom import dcmread
from scipy.ndimage import map_coordinates

from crosstask.cli.demo import demo_experiment
from crosstask.cli.demo_dicom import EXPERIMENT as DEMO
from crosstask.cli.demo_dicom import PATIENTS, generate_patients
from crosstask.datasets import DicomRT
from crosstask.io.dicom.ct import read_ct
from crosstask.io.dicom.rt import read_dose
from crosstask.io.dicom.structures import read_structures
from crosstask.prediction.predictor import Predictor
from dicom_fakes import BIRTH_DATE, PATIENT_NAME, FakePatient, write_patient

NAMES = {"rectum": [], "bladder": [], "left_femur": ["Femoral Head L"], "right_femur": ["femoral_head_r"], "ctv": []}
EXPERIMENT = {
    "name": "clinic",
    "dataset": {
        "name": "dicom_rt",
        "root": "raw",
        "options": {"structures": NAMES, "spacing": [10, 9, 9]},
        "tasks": {"segmentation": {}, "dose": {}},
        "windows": [[-200, 300]],
        "splits": {"rule": "drawn", "fractions": [0.5, 0.25, 0.25]},
    },
    "sample": {"kind": "slice", "size": [32, 32]},
    "encoder": {"name": "resnet18-narrow"},
    "architecture": {"upsampling_blocks": 5},
    "training": {"epochs": 1, "batch_size": 8, "samples_per_epoch": 24, "foreground": 0.5, "learning_rate": 1e-3},
    "methods": ["stl", "hps"],
    "seeds": [0],
}

PREDICT = ("predict", "runs/clinic/runs/hps/seed0")


@dataclass(frozen=True)
class Clinic:
    """A folder in which everything was run once, and what the commands said."""

    folder: Path
    patients: list[FakePatient]
    new: FakePatient
    check: Outcome
    benchmark: Outcome
    predict: Outcome
    before: dict[Path, bytes]

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "clinic" / "runs" / "hps" / "seed0"


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("clinic")
    patients = [write_patient(folder / "raw" / f"{PATIENT_NAME} {seed}", seed=seed, shape=(12, 32, 32),
                              spacing=(10.0, 9.0, 12.0)) for seed in range(12)]  # fmt: skip
    new = write_patient(folder / "new", seed=99, shape=(12, 32, 32), spacing=(10.0, 9.0, 12.0))
    for kind in ("RTSTRUCT", "RTDOSE", "RTPLAN"):
        new.files[kind][0].unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "clinic.yaml").write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    (folder / "names.yaml").write_text(yaml.safe_dump(NAMES, sort_keys=False))
    check = forked(folder, "check", "dicom_rt", "raw", "structures=names.yaml", "--notes")
    benchmark = here(folder, "benchmark", "clinic.yaml")
    predict = forked(folder, *PREDICT, "new", "-o", "plan")
    yield Clinic(folder, patients, new, check, benchmark, predict, before)
    shutil.rmtree(folder)


def test_check_finds_twelve_patients(clinic: Clinic):
    assert clinic.check.code == 0, clinic.check.err
    assert "12 usable cases; 0 errors" in clinic.check.out


def test_the_benchmark_compares_both_tasks(clinic: Clinic):
    assert clinic.benchmark.code == 0, clinic.benchmark.err
    assert "12 written" in clinic.benchmark.out
    table = (clinic.folder / "runs" / "clinic" / "table.md").read_text(encoding="utf-8")
    assert "| M segmentation: dice % (up) |" in table and "| M dose: mae Gy (down) |" in table
    assert "\nHPS: " in clinic.benchmark.out  # the verdict on it, in words
    scores = (clinic.folder / "runs" / "clinic" / "scores.csv").read_text()
    assert "dvh_error_D_95" in scores and "rectum" in scores


def test_a_new_ct_gets_structures_and_dose_in_its_own_space(clinic: Clinic):
    assert clinic.predict.code == 0, clinic.predict.err
    assert "1 case predicted: plan" in clinic.predict.out
    folder = clinic.folder / "plan" / "patient001"
    files = {"RTSTRUCT.dcm", "RTPLAN.dcm", "RTDOSE.dcm", "SEG.dcm", "plan.png", "nifti"}
    assert {path.name for path in folder.iterdir()} == files
    ct = read_ct(clinic.new.files["CT"])
    structures = read_structures(folder / "RTSTRUCT.dcm")
    assert [one.name for one in structures.structures] == list(NAMES)
    assert structures.series == (ct.series,) and structures.frame_of_reference == ct.frame_of_reference
    dose = read_dose(folder / "RTDOSE.dcm")
    corners = [[0, 0, 0], np.array(dose.geometry.shape) - 1]
    assert dose.geometry.points(corners) == pytest.approx(ct.geometry.points(corners), abs=0.01)
    assert dcmread(folder / "SEG.dcm").PatientID == clinic.new.identity.patient_id
    assert (folder / "plan.png").stat().st_size > 50_000


def test_a_second_prediction_overwrites_nothing(clinic: Clinic, call: Call):
    files = {path: path.read_bytes() for path in (clinic.folder / "plan").rglob("*") if path.is_file()}
    again = call(*PREDICT, "new", "-o", "plan", folder=clinic.folder)
    assert again.code == 0 and "0 cases predicted, 1 were there already: plan" in again.out
    other = call("predict", "runs/clinic/runs/stl/seed0/dose", "new", "-o", "plan", folder=clinic.folder)
    assert other.code == 2 and "plan: holds predictions of clinic hps/seed0 (final)" in other.error
    inside = call(*PREDICT, "new", "-o", "new/plan", folder=clinic.folder)
    assert inside.code == 2 and "holds the input" in inside.error
    assert all(path.read_bytes() == content for path, content in files.items())


def test_the_input_is_as_it_was(clinic: Clinic):
    assert all(path.read_bytes() == content for path, content in clinic.before.items())
    raw = {path for name in ("raw", "new") for path in (clinic.folder / name).rglob("*") if path.is_file()}
    assert raw == set(clinic.before)


def test_nobody_is_known_but_in_the_tables_of_pseudonyms_and_the_dicom_files(clinic: Clinic):
    who = [patient.identity for patient in (*clinic.patients, clinic.new)]
    secrets = [PATIENT_NAME, BIRTH_DATE, *(one.patient_id for one in who), *(one.uid("study") for one in who)]
    tables = {clinic.folder / "raw.pseudonyms.csv", clinic.folder / "plan.pseudonyms.csv"}
    looked = 0
    for path in clinic.folder.rglob("*"):
        if path.is_file() and path not in tables and path not in clinic.before and path.suffix != ".dcm":
            looked += 1
            content = path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    content += b"".join(archive.read(name) for name in archive.namelist())
            found = [secret for secret in secrets if secret.encode() in content]
            assert not found, path
    assert looked > 50
    for shown in (clinic.check, clinic.benchmark, clinic.predict):
        assert not any(secret in shown.out + shown.err for secret in secrets)
    assert tables == set(clinic.folder.glob("*.pseudonyms.csv"))
    assert clinic.new.identity.patient_id in (clinic.folder / "plan.pseudonyms.csv").read_text()


def test_a_damaged_plan_does_not_keep_its_ct_from_being_predicted(clinic: Clinic, call: Call):
    patient = write_patient(clinic.folder / "damaged", seed=77, shape=(12, 32, 32), spacing=(10.0, 9.0, 12.0))
    dose = patient.files["RTDOSE"][0]
    changed = dcmread(dose)
    changed.DoseSummationType = "BEAM"
    changed.SOPInstanceUID = changed.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    changed.save_as(dose.with_name("beam"))
    changed = dcmread(dose)
    changed.DoseGridScaling = "-1"
    changed.save_as(dose)
    shown = call(*PREDICT, "damaged", "-o", "still", folder=clinic.folder)
    shutil.rmtree(clinic.folder / "damaged")
    assert shown.code == 0, shown.err
    choice, line, *others = shown.err.splitlines()
    assert choice == "patient001: 1 of 2 doses left out: not of a whole plan (DoseSummationType)"
    assert line.startswith("patient001: predicted without a label, ") and f"{dose.name}: DoseGridScaling -1" in line
    empty = [one.name for one in read_structures(clinic.folder / "still" / "patient001" / "RTSTRUCT.dcm").structures
             if not one.contours]  # fmt: skip
    assert others == ([f"patient001: no voxel of {', '.join(empty)} is predicted"] if empty else [])
    assert {"RTSTRUCT.dcm", "RTDOSE.dcm", "plan.png"} <= {
        path.name for path in (clinic.folder / "still" / "patient001").iterdir()
    }
    shutil.rmtree(clinic.folder / "still")
    (clinic.folder / "still.pseudonyms.csv").unlink()


def test_one_patient_does_not_end_the_batch(clinic: Clinic, call: Call):
    """A slice is missing of one, another has no CT, the headers of a third are not valid: each is one line."""
    sizes: dict[str, Any] = {"shape": (12, 32, 32), "spacing": (10.0, 9.0, 12.0)}
    batch = clinic.folder / "batch"
    patients = [write_patient(batch / str(seed), seed=seed, **sizes) for seed in (61, 62, 63, 64)]
    patients[0].files["CT"][5].unlink()
    for path in patients[1].files["CT"]:
        path.unlink()
    for path in patients[2].files["CT"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = dcmread(path)
            header.PatientBirthDate, header.StudyTime = "1950-01-17", "10:11:12"
            header.save_as(path)
    for path in patients[3].files["CT"][1:]:
        path.unlink()  # one slice is a CT, too
    shown = call(*PREDICT, "batch", "-o", "several", folder=clinic.folder)
    names = dict(csv.reader((clinic.folder / "several.pseudonyms.csv").open()))
    of = {identity: name for name, identity in names.items()}
    missing, without, broken, thin = (of[patient.identity.patient_id] for patient in patients)
    assert shown.code == 3, shown.err
    assert "2 cases predicted, 2 skipped: several" in shown.out
    lines = [line for line in shown.err.splitlines() if "no voxel of" not in line]
    assert len(lines) == 3
    assert any(line.startswith(f"Skipped {missing}: ") and "mm apart" in line for line in lines)
    assert any(line.startswith(f"Skipped {without}: no CT series") for line in lines)
    assert any(line.startswith(f"{broken}: ") and "PatientBirthDate, StudyTime" in line for line in lines)
    assert "1950" not in shown.err + shown.out and "10:11" not in shown.err + shown.out
    folder = clinic.folder / "several"
    assert {path.name for path in folder.iterdir()} == {broken, thin, ".predicted.jsonl"}
    for path in folder.glob("*/*.dcm"):
        assert b"1950-01-17" not in path.read_bytes()
    shutil.rmtree(batch)
    shutil.rmtree(folder)
    (clinic.folder / "several.pseudonyms.csv").unlink()


def test_a_network_goes_to_onnx_and_predicts_the_same(clinic: Clinic, call: Call):
    pytest.importorskip("onnxruntime")
    exported = call("export", "runs/clinic/runs/hps/seed0", "net.onnx", folder=clinic.folder)
    assert exported.code == 0, exported.err
    assert "net.onnx: differs from PyTorch by" in exported.out
    shown = call(*PREDICT, "new", "-o", "other", "--onnx", "net.onnx", folder=clinic.folder)
    assert shown.code == 0, shown.err
    first, second = (read_dose(clinic.folder / name / "patient001" / "RTDOSE.dcm").dose for name in ("plan", "other"))
    assert first == pytest.approx(second, abs=0.005)
    single = call(
        "predict", "runs/clinic/runs/stl/seed0/dose", "new", "-o", "x", "--onnx", "net.onnx", folder=clinic.folder
    )
    assert single.code == 2 and "net.onnx" in single.error


def test_a_network_that_learned_patches_gives_a_plan_in_the_ct_s_own_space(clinic: Clinic, call: Call):
    """Structures and dose out of a sliding window over the patient: what it predicts, where it predicts it."""
    few = ("training.batch_size=2", "training.samples_per_epoch=4")
    patches = ("sample={kind: patch, size: [16, 16, 16]}", "output=patches", *few)
    trained = call("train", "clinic.yaml", "--method", "hps", *patches, folder=clinic.folder)
    assert trained.code == 0, trained.err
    shown = call("predict", "patches/runs/hps/seed0", "new", "-o", "voxels", folder=clinic.folder)
    assert shown.code == 0, shown.err
    predictor = Predictor(clinic.folder / "patches" / "runs" / "hps" / "seed0", device="cpu")
    data = DicomRT(
        clinic.folder / "new", pseudonyms=str(clinic.folder / "table.csv"), **EXPERIMENT["dataset"]["options"]
    )
    (case,) = data.cases()
    read, _ = data.read_to_predict(case)
    values = predictor.predict(case.id, read, read.geometry).values
    written = clinic.folder / "voxels" / "patient001"
    dose = read_dose(written / "RTDOSE.dcm")
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in dose.geometry.shape), indexing="ij"), axis=-1)
    places = read.geometry.indices(dose.geometry.points(grid.reshape(-1, 3))).T
    lowest = np.maximum(values["dose"][0], 0)
    expected = map_coordinates(lowest, places, order=1, mode="nearest").reshape(dose.geometry.shape)
    np.testing.assert_allclose(dose.dose, expected, atol=0.2)
    (clinic.folder / "table.csv").unlink()


def test_the_demo_s_patients_are_dicom_that_can_be_learned_from(tmp_path: Path):
    generate_patients(tmp_path, patients=3)
    data = DicomRT(tmp_path / "data", **demo_experiment(tmp_path, DEMO).dataset.options)
    cases = data.cases()
    assert len(cases) == 3 < PATIENTS
    case = data.read(cases[0])
    assert "Brainstem" in case.channels["structures"] and case.channels["dose"] == ("dose",)
    assert case.arrays["dose"].max() > 60
    (new,) = DicomRT(tmp_path / "new", pseudonyms=str(tmp_path / "table.csv")).cases()
    assert len(new.files) == 48
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.dcm")}
    if checker := shutil.which("dciodvfy"):
        for path in (next((tmp_path / "new").rglob("*.dcm")), *(tmp_path / "data" / "phantom01").glob("*.dcm")):
            said = subprocess.run([checker, path], capture_output=True, text=True, check=False)
            assert "Error" not in said.stdout + said.stderr, path
    generate_patients(tmp_path, patients=3)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.dcm")}, "what is there is kept"
