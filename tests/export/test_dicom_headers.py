"""What a CT's header says of the patient, as clinics and anonymisers fill it in, and what of it is copied."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from crosstask.datasets import DicomRT
from crosstask.export.dicom_common import source_of
from crosstask.export.rtdose import write_rtdose
from crosstask.export.rtplan import write_rtplan
from crosstask.export.rtstruct import write_rtstruct
from crosstask.export.segmentation import write_segmentation
from crosstask.io.dicom.ct import CtSeries, read_ct
from crosstask.io.dicom.header import quiet
from dicom_fakes import Identity, Placement, write_ct

BROKEN = {
    "PatientName": b"A" * 80,
    "PatientID": b"7" * 70,
    "IssuerOfPatientID": b"one\\two",
    "PatientBirthDate": b"1950-01-17",
    "PatientSex": b"female",
    "PatientIdentityRemoved": b"maybe",
    "DeidentificationMethod": b"z" * 80,
    "StudyDate": b"17.01.2020",
    "StudyTime": b"10:11:12",
    "StudyID": b"much longer than sixteen",
    "StudyDescription": b"CT\\Thorax",
    "AccessionNumber": b"much longer than sixteen",
    "ReferringPhysicianName": b"one=two=three=four",
    "PatientAge": b"58 years",
    "PatientSize": b"1.80 m",
    "PatientWeight": b"70 kg",
    "PositionReferenceIndicator": b"p" * 70,
}
SHAPE = (4, 16, 16)


def headed(folder: Path, character_set: str | None = None, slices: int = SHAPE[0], **values: bytes) -> CtSeries:
    """A CT whose headers hold these bytes, as no library would write them."""

    def change(_: int, dataset: Dataset) -> None:
        dataset.PatientOrientation = ""
        if character_set is not None:
            dataset.SpecificCharacterSet = character_set
        for keyword, value in values.items():
            padded = value + b" " * (len(value) % 2)
            dataset[Tag(keyword)] = RawDataElement(
                Tag(keyword), dictionary_VR(keyword), len(padded), padded, 0, False, True
            )

    hu = np.random.default_rng(0).integers(-1000, 1000, (slices, *SHAPE[1:]))
    with quiet():  # to write what is wrong is not what is tested
        files = write_ct(folder / "ct", hu, Placement((2.5, 1.0, 1.25), (0.0, 0.0, 0.0)), Identity(7), change=change)
    return read_ct(files)


def written(folder: Path, ct: CtSeries) -> dict[str, Path]:
    mask = np.zeros(ct.geometry.shape, bool)
    mask[:, 4:9, 5:12] = True
    paths = {kind: folder / "out" / f"{kind}.dcm" for kind in ("RTSTRUCT", "RTPLAN", "RTDOSE", "SEG")}
    structures = write_rtstruct(paths["RTSTRUCT"], ct, {"Rectum": mask}, model="m")
    plan = write_rtplan(paths["RTPLAN"], ct, model="m", structures=structures)
    write_rtdose(paths["RTDOSE"], ct, np.ones(ct.geometry.shape, np.float32), ct.geometry, model="m", plan=plan)
    write_segmentation(paths["SEG"], ct, {"Rectum": mask}, model="m")
    return paths


def faults(path: Path) -> list[str]:
    """What dciodvfy finds wrong; nothing where it is not there."""
    if shutil.which("dciodvfy") is None:
        return []
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, errors="replace")
    return [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]


def silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> bool:
    return capfd.readouterr() == ("", "") and not caplog.records


@pytest.mark.filterwarnings("error")
def test_values_that_the_standard_does_not_allow_are_left_out_and_never_shown(tmp_path: Path, capfd, caplog):
    ct = headed(tmp_path, **BROKEN)
    assert set(source_of(ct)[1]) == set(BROKEN)
    for path in written(tmp_path, ct).values():
        assert faults(path) == []
        content = path.read_bytes()
        assert not [value for value in BROKEN.values() if value in content], path
        assert dcmread(path).StudyInstanceUID == ct.study
    assert silent(capfd, caplog)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", b"19500230"),
        ("PatientBirthDate", b"1950.01.17"),
        ("PatientBirthDate", b"195001"),
        ("StudyDate", b"20200101-20200131"),
        ("StudyTime", b"2570"),
        ("StudyTime", b"1011-1012"),
        ("PatientSex", b"W"),
        ("PatientSex", b"M\\F"),
        ("PatientName", b"Bell\x07^Tab\t"),
        ("PatientAge", b"58"),
        ("PatientWeight", b"70,5"),
        ("PatientWeight", b"70.123456789012345678"),
    ],
)
def test_a_value_of_no_meaning_is_left_out(tmp_path: Path, keyword: str, value: bytes):
    made, broken = source_of(headed(tmp_path, slices=1, **{keyword: value}))
    assert broken == [keyword] and not made.get(keyword)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", b"19500117"),
        ("StudyTime", b"101112.123456"),
        ("PatientAge", b"058Y"),
        ("PatientWeight", b"70.5"),
        ("PatientName", b"Secret^Person^van der^Dr.^MSc"),
        ("PatientSex", b""),
        ("DeidentificationMethod", b"one\\two"),
    ],
)
def test_a_value_that_is_allowed_is_copied(tmp_path: Path, keyword: str, value: bytes):
    made, broken = source_of(headed(tmp_path, slices=1, **{keyword: value}))
    assert broken == []
    found = made.get(keyword)
    assert ("\\".join(found) if keyword == "DeidentificationMethod" else str(found or "")) == value.decode()


@pytest.mark.parametrize(
    ("character_set", "name", "expected"),
    [
        ("ISO_IR 100", "Müller^Jörg".encode("latin1"), "Müller^Jörg"),
        ("", "Müller^Jörg".encode("latin1"), "Müller^Jörg"),
        ("", "Müller^Jörg".encode(), "Müller^Jörg"),
        ("ISO_IR 192", "Müller^Jörg".encode("latin1"), ""),  # letters that cannot be told
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
    ],
    ids=["Latin 1", "none, Latin 1", "none, UTF-8", "not what it says", "Japanese"],
)
@pytest.mark.filterwarnings("error")
def test_names_are_written_in_utf_8_or_not_at_all(tmp_path: Path, capfd, caplog, character_set, name, expected):
    ct = headed(tmp_path, character_set, slices=1, PatientName=name)
    path = tmp_path / "out.dcm"
    write_rtplan(path, ct, model="m")
    made = dcmread(path)
    assert str(made.PatientName) == expected and made.SpecificCharacterSet == "ISO_IR 192"
    assert faults(path) == [] and silent(capfd, caplog)


def test_a_ct_of_one_slice_has_all_files(tmp_path: Path):
    for path in written(tmp_path, headed(tmp_path, slices=1)).values():
        assert faults(path) == []


def test_what_is_written_of_such_a_ct_can_be_read_beside_it(tmp_path: Path):
    written(tmp_path, headed(tmp_path, PatientBirthDate=b"1950-01-17", StudyTime=b"10:11:12"))
    (case,) = DicomRT(tmp_path, structures={"Rectum": []}).cases()
    assert len(case.files) == SHAPE[0], "the CT alone: the rest is predicted"
