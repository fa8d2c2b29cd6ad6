"""Damaged DICOM files give a valid result or one line that names them, and the rest of the folder is still read."""

from __future__ import annotations

import gc
import os
import resource
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, HTJ2KLossless, ImplicitVRLittleEndian, RLELossless

from crosstask.errors import InputError
from crosstask.io.dicom.ct import read_ct
from crosstask.io.dicom.header import Header
from crosstask.io.dicom.index import index_folder
from crosstask.io.dicom.rt import read_dose, read_plan
from crosstask.io.dicom.structures import mask_of, read_structures
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

WHO = Identity(7)
PLACE = Placement((3.0, 2.0, 2.5), (-7.0, -8.0, 4.0))
GRID = PLACE.geometry((1, 8, 8))
WITHIN = 200 * 2**20
"""Bytes by which this process may grow over all files: none is larger than 4 KB."""


def write_small(folder: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    square = PLACE.points([[0, 1.5, 1.5], [0, 1.5, 6.5], [0, 6.5, 6.5], [0, 6.5, 1.5]])
    return {
        "CT": write_ct([folder / "ct"], rng.integers(-900, 900, (1, 8, 8)), PLACE, WHO)[0],
        "RTSTRUCT": write_structures(
            folder / "rs", {"Organ": [square, square + np.array([1, 1, 0])], "Empty": []}, WHO, slices=1
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
    """A copy with one or two faults; most of them flipped bits, since lengths that are wrong end the reading early."""
    raw = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        if len(raw) < 300:
            break
        fault = rng.choice(["bits", "bits", "bits", "type", "size", "cut", "zeros", "doubled"])
        at = int(rng.integers(132, len(raw) - 8))
        if fault == "cut":
            del raw[at:]
        elif fault == "bits":
            for place in rng.integers(132, len(raw), int(rng.integers(1, 5))):
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


@pytest.mark.parametrize("files", [400, pytest.param(2000, marks=pytest.mark.long)])
def test_damaged_files(files, tmp_path, recwarn, caplog, capfd):
    gc.collect()  # what earlier tests left open warns here, and not among the warnings of reading
    recwarn.clear()
    good = write_small(tmp_path / "a good patient")
    for kind, path in good.items():
        read_any(kind, path)
    rng = np.random.default_rng(20240607)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = dict.fromkeys(("valid", "refused"), 0)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    originals = {kind: path.read_bytes() for kind, path in good.items()}
    for number in range(files):
        kind = list(originals)[number % 4]
        path = damaged / f"{kind}{number:04d}"
        path.write_bytes(mutated(originals[kind], rng))
        try:
            read_any(kind, path)
            outcomes["valid"] += 1
        except InputError as error:
            outcomes["refused"] += 1
            check_message(error, path)
    assert min(outcomes.values()) > files / 10, outcomes
    index = index_folder(tmp_path)
    assert {file.path for file in index.files} >= set(good.values())
    told = len(index.files) + len(index.duplicates) + len(index.unreadable) + index.ignored
    assert told == files + len(good)
    for path, reason in index.unreadable:
        check_message(InputError(reason), path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < WITHIN
    assert [str(one.message) for one in recwarn] == [] == caplog.records
    assert capfd.readouterr() == ("", "")


def undefined_lengths(dataset: pydicom.Dataset) -> None:
    """Write all sequences without their lengths, as many systems do: their ends are marked instead."""
    for element in dataset.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True


@pytest.mark.parametrize("change", [lambda dataset: None, undefined_lengths], ids=["lengths", "marks"])
def test_no_cut_goes_unseen(tmp_path, change):
    """Wherever a structure set ends too early, no contour is lost without a word."""
    square = PLACE.points([[0, 1.5, 1.5], [0, 1.5, 6.5], [0, 6.5, 6.5], [0, 6.5, 1.5]])
    path = write_structures(tmp_path / "rs", {"Organ": [square, square + 1], "Other": [square]}, WHO, change=change)
    whole, names = path.read_bytes(), [("Organ", [4, 4]), ("Other", [4])]

    def contents() -> list[tuple[str, list[int]]]:
        structures = read_structures(path).structures
        return [(structure.name, [len(contour.points) for contour in structure.contours]) for structure in structures]

    assert contents() == names
    refused = 0
    for end in range(132, len(whole), 7):
        path.write_bytes(whole[:end])
        try:
            assert contents() == names
        except InputError as error:
            refused += 1
            check_message(error, path)
    assert refused > len(whole) / 7 / 2


def saved(path: Path, syntax: str, **options) -> Path:
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, **options)
    return path


@pytest.fixture
def dose(tmp_path) -> Path:
    return write_dose(tmp_path / "d", np.random.default_rng(0).uniform(0, 60, (3, 6, 5)), PLACE, WHO)


def test_other_transfer_syntaxes_and_files_without_preamble(dose):
    expected = read_dose(dose).dose
    np.testing.assert_array_equal(read_dose(saved(dose, ImplicitVRLittleEndian, implicit_vr=True)).dose, expected)
    dose.write_bytes(bare := dose.read_bytes()[132:])
    assert bare[:2] == b"\x02\x00"
    np.testing.assert_array_equal(read_dose(dose).dose, expected)
    dataset = pydicom.dcmread(dose, force=True)
    del dataset.file_meta
    dataset.save_as(dose, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert dose.read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(read_dose(dose).dose, expected)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_dose(path)
    check_message(caught.value, path)
    return str(caught.value)


def test_a_compressed_file_of_any_size_inside_is_not_unpacked(dose):
    dataset = pydicom.dcmread(dose)
    dataset.PixelData = bytes(50_000_000)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(dose)
    assert dose.stat().st_size < 100_000
    assert "deflated" in refusal(dose)


def test_a_compression_without_decoder_is_named(dose):
    dataset = pydicom.dcmread(dose)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"] * 3)
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(dose)
    assert "High-Throughput JPEG 2000" in refusal(dose) and "pylibjpeg" in refusal(dose)


def test_sizes_that_no_file_can_hold(dose):
    dataset = pydicom.dcmread(dose)
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(dose)
    assert "cannot be read" in refusal(dose) or "truncated" in refusal(dose) or "a dose grid" in refusal(dose)
    dataset.Rows = dataset.Columns = 20_000
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(64)] * 3)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.save_as(dose)
    assert "cannot hold 2400000000 bytes" in refusal(dose)


def test_sequences_within_sequences_without_end(dose):
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff"
    dose.write_bytes(dose.read_bytes() + b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + item * 50_000)
    assert "damaged or truncated" in refusal(dose) or "truncated" in refusal(dose)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        assert "not a DICOM file" in refusal(path)
    assert "cannot be read (No such file" in refusal(tmp_path / "none")


def test_a_file_of_absurd_length_is_not_read(dose, monkeypatch):
    monkeypatch.setattr("crosstask.io.dicom.header.LARGEST_FILE", dose.stat().st_size - 1)
    assert "too many for a DICOM image" in refusal(dose)


def test_values_of_other_types_are_damaged(dose):
    header = Header.read(dose)
    for call in (
        lambda: header.whole("DoseUnits"),
        lambda: header.number("DoseUnits"),
        lambda: header.numbers("DoseUnits"),
        lambda: header.items("DoseUnits"),
        lambda: header.uid("GridFrameOffsetVector"),
        lambda: header.numbers("PixelSpacing", 3),
        lambda: header.number("GridFrameOffsetVector"),
        lambda: header.pixels(2),
    ):
        with pytest.raises(InputError) as caught:
            call()
        check_message(caught.value, dose)
    with pytest.raises(InputError, match="PixelData"):
        header.pixels(3)
