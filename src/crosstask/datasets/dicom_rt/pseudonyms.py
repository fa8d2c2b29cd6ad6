"""Names for patients that say nothing of them, and the one table that knows whose they are."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path

from crosstask.csv_cells import csv_text, read_cell
from crosstask.errors import InputError
from crosstask.files import is_only_looking, write_atomically, writing

COLUMNS = ("pseudonym", "patient_id")


def pseudonyms(patients: Iterable[str], table: Path) -> dict[str, str]:
    """The pseudonym of each patient, from the table; patients that it does not know are added to it.

    New patients are numbered in the order of a hash of their ids, so the numbers tell nothing of the ids' order, and a
    table that was deleted is made again as it was as long as no patient has come or gone since.

    Args:
        patients: patient ids, as in the DICOM files.
        table: CSV with the columns pseudonym and patient_id; made if missing. The only place where ids are kept.

    Returns:
        ``{patient id: pseudonym}``, e.g. ``patient001``.

    Raises:
        InputError: the table is damaged.
        CrosstaskError: it cannot be written.
    """
    known = _read(table)
    new = sorted(set(patients) - set(known), key=_hashed)
    if new:
        taken, number = set(known.values()), 0
        for patient in new:
            while (name := f"patient{number + 1:03}") in taken:
                number += 1
            known[patient] = name
            taken.add(name)
        _write(table, known)
    return {patient: known[patient] for patient in patients}


def _hashed(patient: str) -> str:
    return hashlib.sha256(patient.encode("utf-8", "surrogateescape")).hexdigest()


def _read(table: Path) -> dict[str, str]:
    if not table.exists():
        return {}
    try:
        with table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.reader(file))
    except (OSError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read ({error}); fix it, or delete it to begin anew") from None
    known = {read_cell(row[1]): row[0] for row in rows[1:] if len(row) == len(COLUMNS)}
    whole = rows and tuple(rows[0]) == COLUMNS and len(known) == len(set(known.values())) == len(rows) - 1
    if not whole or not all(known.values()):
        raise InputError(f"{table}: is no table of {' and '.join(COLUMNS)}, each once; fix it, or delete it")
    return known


def _write(table: Path, known: dict[str, str]) -> None:
    text = csv_text([COLUMNS, *sorted((name, patient) for patient, name in known.items())])
    with writing(table):
        if not is_only_looking():
            table.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(table, text.encode("utf-8", "surrogateescape"))
