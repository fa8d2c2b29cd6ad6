"""Damaged DICOM files: each gives a valid result or one line that names it, and the rest of the folder is still read."""

from __future__ import annotations

import io
import resource
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_fakes import (
    BIRTH_DATE,
    PATIENT_NAME,
    Identity,
    Placement,
    write_ct,
    write_dose,
    write_plan,
    write_structures,
)
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLossless

from crosstask.errors import InputError
from crosstask.io.dicom import Header
from crosstask.io.dicom_ct import read_ct
from crosstask.io.dicom_index import index_folder
from crosstask.io.dicom_rt import read_dose, read_plan
from crosstask.io.dicom_structures import mask_of, read_structures

WHO = Identity(7)
PLACE = Placement((3.0, 2.0, 2.5), (-7.0, -8.0, 4.0))
GRID = PLACE.geometry((1, 8, 8))
FILES = 2000
WITHIN = 200 * 2**20
"""Bytes by which this process may grow over all files: none is larger than 4 KB."""


def write_small(folder: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    square = PLACE.points([[0, 1.5, 1.5], [0, 1.5, 6.5], [0, 6.5, 6.5], [0, 6.5, 1.5]])
    return {
        "CT": write_ct([folder / "ct"], rng.integers(-900, 900, (1, 8, 8)), PLACE, WHO)[0],
        "RTSTRUCT": write_structures(
            folder / "rs", {"Organ": [square, square + [1, 1, 0]], "Empty": []}, WHO, slices=1
        ),
        "RTDOSE": write_dose(folder / "rd", rng.uniform(0, 60, (3, 6, 5)), PLACE, WHO),
        "RTPLAN": write_plan(folder / "rp", WHO),
    }


def read_any(kind: str, path: Path) -> None:
    """Read a file and hold the result against what every valid one fulfils."""
    if kind == "CT":
        series = read_ct([path])
        assert series.hu.shape == series.geometry.shape and np.isfinite(series.hu).all()
    elif kind == "RTSTRUCT":
        for structure in read_structures(path).structures:
            assert mask_of(structure, GRID).shape == GRID.shape
    elif kind == "RTDOSE":
        dose = read_dose(path)
        assert dose.dose.shape == dose.geometry.shape and np.isfinite(dose.dose).all()
    else:
        read_plan(path)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A copy with one to three faults."""
    raw = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if len(raw) < 300:
            break
        fault = rng.choice(["cut", "bits", "type", "size", "zeros", "doubled"])
        at = int(rng.integers(132, len(raw) - 8))
        if fault == "cut":
            del raw[at:]
        elif fault == "bits":
            for place in rng.integers(132, len(raw), int(rng.integers(1, 12))):
                raw[place] ^= 1 << int(rng.integers(8))
        elif fault == "type":  # another type of value in the place of the next one
            kinds = [b"DS", b"US", b"UI", b"SQ", b"OW", b"CS", b"IS", b"FD", b"UN", b"AT", b"UT", b"ZZ"]
            found = min((where for kind in kinds if (where := raw.find(kind, at)) >= 0), default=-1)
            if found >= 0:
                raw[found : found + 2] = kinds[int(rng.integers(len(kinds)))]
        elif fault == "size":
            width = int(rng.choice([2, 4]))
            raw[at : at + width] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00"])[
                :width
            ].ljust(width, b"\0")
        elif fault == "zeros":
            raw[at : at + 64] = bytes(len(raw[at : at + 64]))
        else:
            raw[at:at] = raw[max(132, at - 200) : at]
    return bytes(raw)


def check_message(error: InputError, path: Path) -> None:
    message = str(error)
    assert str(path) in message and "\n" not in message and len(message) < 600
    assert not any(secret in message for secret in (*PATIENT_NAME.split("^"), BIRTH_DATE, WHO.patient_id))


def test_two_thousand_damaged_files(tmp_path, recwarn, caplog, capfd):
    good = write_small(tmp_path / "a good patient")
    for kind, path in good.items():
        read_any(kind, path)
    rng = np.random.default_rng(20240607)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = dict.fromkeys(("valid", "refused"), 0)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    originals = {kind: path.read_bytes() for kind, path in good.items()}
    for number in range(FILES):
        kind = list(originals)[number % 4]
        path = damaged / f"{kind}{number:04d}"
        path.write_bytes(mutated(originals[kind], rng))
        try:
            read_any(kind, path)
            outcomes["valid"] += 1
        except InputError as error:
            outcomes["refused"] += 1
            check_message(error, path)
    assert min(outcomes.values()) > FILES / 10, outcomes
    index = index_folder(tmp_path)
    assert {file.path for file in index.files} >= set(good.values())
    told = len(index.files) + len(index.duplicates) + len(index.unreadable) + index.ignored
    assert told == FILES + len(good)
    for path, reason in index.unreadable:
        check_message(InputError(reason), path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < WITHIN
    assert not recwarn.list and not caplog.records
    assert capfd.readouterr() == ("", "")
