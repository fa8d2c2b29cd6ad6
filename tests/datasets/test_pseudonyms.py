"""Pseudonyms of patients."""

from pathlib import Path

import pytest

from crosstask.datasets.dicom_rt.pseudonyms import pseudonyms
from crosstask.errors import CrosstaskError, InputError

IDS = ["7", "Doe^John", "a,b", "", "ünïcode", "=1+2"]


def test_every_patient_has_one_of_its_own_that_says_nothing(tmp_path: Path):
    names = pseudonyms(IDS, tmp_path / "table.csv")
    assert list(names) == IDS
    assert sorted(names.values()) == [f"patient{number:03}" for number in range(1, 7)]
    ordered = [names[patient] for patient in sorted(IDS)]
    assert ordered != sorted(ordered), "the numbers do not follow the ids"


def test_they_stay_when_patients_come_and_go(tmp_path: Path):
    table = tmp_path / "new" / "table.csv"
    first = pseudonyms(IDS[:3], table)
    assert pseudonyms(IDS[1:2], table) == {"Doe^John": first["Doe^John"]}
    later = pseudonyms([*IDS[3:], *IDS[:3]], table)
    assert {patient: later[patient] for patient in IDS[:3]} == first
    assert len(set(later.values())) == len(IDS)


def test_a_table_that_was_deleted_is_made_again(tmp_path: Path):
    table = tmp_path / "table.csv"
    first = pseudonyms(IDS, table)
    text = table.read_bytes()
    table.unlink()
    assert pseudonyms(IDS[::-1], table) == first and table.read_bytes() == text


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n", "pseudonym,patient_id\np1\n", "pseudonym,patient_id\np1,a\np1,b\n", "pseudonym,patient_id\n,a\n"],
)
def test_a_damaged_table_is_refused_and_kept(tmp_path: Path, text: str):
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=r"table\.csv: is no table of pseudonym and patient_id"):
        pseudonyms(["a"], table)
    assert table.read_text() == text


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CrosstaskError, match="cannot be written"):
        pseudonyms(["a"], tmp_path / "file" / "table.csv")
