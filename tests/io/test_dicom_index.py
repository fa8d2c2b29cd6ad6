"""Folders of mixed DICOM files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from crosstask.errors import InputError
from crosstask.io.dicom.index import index_folder
from dicom_fakes import Identity, Placement, write_ct, write_dose, write_patient, write_plan, write_structures

SQUARE = np.array([[0.0, 0, 0], [20, 0, 0], [20, 20, 0]])


def write_tiny(folder: Path, seed: int) -> dict[str, list[Path]]:
    """A patient of a few pixels."""
    who = Identity(seed)
    return {
        "CT": write_ct(folder, np.zeros((3, 4, 4)), Placement(), who),
        "RTSTRUCT": [write_structures(folder / "rs", {"Organ": [SQUARE]}, who, slices=3)],
        "RTDOSE": [write_dose(folder / "rd", np.ones((2, 3, 3)), Placement(), who)],
        "RTPLAN": [write_plan(folder / "rp", who)],
    }


def test_a_patient_in_mixed_folders(tmp_path):
    patient = write_patient(tmp_path / "p", seed=4, shape=(6, 20, 20))
    index = index_folder(tmp_path / "p")
    who = patient.identity
    assert {modality: sorted(file.path for file in index.of(modality)) for modality in patient.files} == {
        modality: sorted(paths) for modality, paths in patient.files.items()
    }
    assert (index.ignored, index.duplicates, index.unreadable) == (2, (), ())
    (plan,), (dose,), (structures,) = index.of("RTPLAN"), index.of("RTDOSE"), index.of("RTSTRUCT")
    assert plan.references == (structures.sop_instance,)
    assert dose.references == (plan.sop_instance,)
    assert structures.references == (who.uid("series", "CT"),)
    for file in index.files:
        assert (file.patient_id, file.study) == (who.patient_id, who.uid("study"))
        assert file.series == who.uid("series", file.modality)
        assert file.frame_of_reference == who.uid("frame")
        assert not file.localizer
    assert {file.sop_instance for file in index.of("CT")} == {who.uid("CT", number) for number in range(6)}


def test_patients_studies_and_series(tmp_path):
    for seed in (1, 2):
        write_tiny(tmp_path / str(seed), seed)
    index = index_folder(tmp_path)
    one, two = Identity(1), Identity(2)
    tree = index.patients()
    assert list(tree) == [one.patient_id, two.patient_id]
    assert list(tree[two.patient_id]) == [two.uid("study")]
    series = tree[two.patient_id][two.uid("study")]
    assert set(series) == {two.uid("series", modality) for modality in ("CT", "RTSTRUCT", "RTDOSE", "RTPLAN")}
    assert len(series[two.uid("series", "CT")]) == 3
    assert len(index.of("CT")) == 6 and len(index.of("CT", patient_id=one.patient_id)) == 3


def test_localizers_are_marked(tmp_path):
    def change(number, dataset):
        if number == 1:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_ct(tmp_path, np.zeros((3, 4, 4)), Placement(), Identity(), change=change)
    index = index_folder(tmp_path)
    assert [file.localizer for file in index.files] == [False, True, False]
    assert len(index.of("CT")) == 2


def test_copies_are_told_apart_from_changed_files(tmp_path):
    files = write_tiny(tmp_path / "a", 1)
    shutil.copy(files["CT"][0], tmp_path / "copy")
    write_plan(tmp_path / "z changed", Identity(1), prescription=20.0)
    index = index_folder(tmp_path)
    assert len(index.files) == 6
    first, second = index.duplicates
    # The first by path is kept: "a" before "copy" and "z changed".
    assert (first.path, first.kept, first.same) == (tmp_path / "copy", files["CT"][0], True)
    assert (second.path, second.kept, second.same) == (tmp_path / "z changed", files["RTPLAN"][0], False)


def test_unreadable_files_are_listed_and_the_rest_is_read(tmp_path):
    files = write_tiny(tmp_path / "good", 1)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "cut").write_bytes(files["CT"][0].read_bytes()[:400])
    (bad / "head").write_bytes(files["CT"][0].read_bytes()[:132])
    (bad / "text.txt").write_text("hello")
    (bad / "empty").touch()
    os.mkfifo(bad / "pipe")
    index = index_folder(tmp_path)
    assert len(index.files) == 6
    assert [path for path, _ in index.unreadable] == [bad / "cut", bad / "head"]
    assert all(str(path) in reason and "\n" not in reason for path, reason in index.unreadable)
    assert index.ignored == 2


def test_a_file_that_may_not_be_opened_is_listed(tmp_path, monkeypatch):
    files = write_tiny(tmp_path, 1)
    original = Path.open

    def guarded(path, *args, **kwargs):
        if path == files["RTPLAN"][0]:
            raise PermissionError(13, "Permission denied")
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", guarded)
    index = index_folder(tmp_path)
    assert len(index.files) == 5
    assert "Permission denied" in index.unreadable[0][1]


def test_a_folder_that_may_not_be_listed_is_told(tmp_path, monkeypatch):
    write_tiny(tmp_path / "open", 1)
    (tmp_path / "closed").mkdir()
    original = os.scandir

    def guarded(path):
        if str(path) == str(tmp_path / "closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", guarded)
    index = index_folder(tmp_path)
    assert len(index.files) == 6
    ((path, reason),) = index.unreadable
    assert path == tmp_path / "closed" and "cannot be looked into (Permission denied)" in reason


def test_links_that_lead_in_circles_end(tmp_path):
    write_tiny(tmp_path / "data" / "deep", 1)
    (tmp_path / "data" / "deep" / "up").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data" / "self").symlink_to(tmp_path / "data" / "self")
    (tmp_path / "data" / "gone").symlink_to(tmp_path / "nothing")
    outside = tmp_path / "elsewhere"
    write_tiny(outside, 2)
    (tmp_path / "data" / "more").symlink_to(outside, target_is_directory=True)
    index = index_folder(tmp_path / "data")
    assert len(index.files) == 12 and not index.duplicates


def test_worker_processes_find_the_same(tmp_path, monkeypatch):
    for seed in (1, 2):
        write_tiny(tmp_path / str(seed), seed)
    (tmp_path / "cut").write_bytes((tmp_path / "1" / "rp").read_bytes()[:500])
    monkeypatch.setattr("crosstask.io.dicom.index._FILES_PER_JOB", 5)
    told: list[tuple[int, int, str]] = []
    parallel = index_folder(tmp_path, workers=2, progress=lambda *args: told.append(args))
    assert parallel == index_folder(tmp_path, workers=1)
    assert len(parallel.unreadable) == 1
    assert len(told) == 3 and told[-1][:2] == (13, 13)
    assert [done for done, _, _ in told] == sorted({done for done, _, _ in told})


def test_progress_and_wrong_calls(tmp_path):
    write_tiny(tmp_path, 1)
    told: list[tuple[int, int, str]] = []
    index_folder(tmp_path, progress=lambda *args: told.append(args))
    assert [(done, total) for done, total, _ in told] == [(number, 6) for number in range(1, 7)]
    with pytest.raises(InputError, match="no such folder"):
        index_folder(tmp_path / "none")
    with pytest.raises(InputError, match="at least 1"):
        index_folder(tmp_path, workers=0)
    (tmp_path / "nothing").mkdir()
    assert index_folder(tmp_path / "nothing").files == ()


def test_a_dicomdir_is_ignored():
    folder = Path(get_testdata_file("DICOMDIR")).parent
    index = index_folder(folder)
    assert not index.unreadable
    assert "DICOMDIR" not in {file.path.name for file in index.files}
    assert len(index.files) > 20
