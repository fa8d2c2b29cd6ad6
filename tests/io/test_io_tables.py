"""Tables of every kind give the same text, and what is wrong with one is said in a line."""

from __future__ import annotations

import codecs
import datetime

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from crosstask.errors import InputError
from crosstask.io.tables import read_table

COLUMNS = ("id", "age", "note")
ROWS = [("007", "63", "a, b"), ("008", "", 'says "no"'), ("009", "41.5", "ä")]


def excel(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def write(path, rows=ROWS, encoding="utf-8"):
    quoted = [
        [f'"{cell.replace(chr(34), chr(34) * 2)}"' if set(cell) & set(',;\t"') else cell for cell in row]
        for row in rows
    ]
    if path.suffix == ".xlsx":
        excel(path, [COLUMNS, *rows])
    elif path.suffix == ".parquet":
        columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    else:
        separator = "\t" if path.suffix == ".tsv" else ";" if "semicolon" in path.name else ","
        text = "\r\n".join(separator.join(row) for row in [COLUMNS, *quoted])
        path.write_bytes((text + "\r\n").encode(encoding))
    return path


@pytest.mark.parametrize("name", ["t.csv", "semicolon.csv", "t.tsv", "t.txt", "t.xlsx", "t.parquet", "T.CSV"])
def test_every_kind_gives_the_same_text(tmp_path, name):
    table = read_table(write(tmp_path / name))
    assert table.columns == COLUMNS
    assert [tuple(row.cells.values()) for row in table.rows] == ROWS
    assert [row.number for row in table.rows] == [2, 3, 4]
    assert table.column("id") == ["007", "008", "009"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert read_table(write(tmp_path / "t.csv", encoding="utf-8-sig")).columns == COLUMNS


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_by_its_byte_order_mark(tmp_path, encoding):
    path = write(tmp_path / "t.tsv", encoding=encoding)
    if encoding == "utf-16-be":
        path.write_bytes(codecs.BOM_UTF16_BE + path.read_bytes())
    if encoding == "utf-16-le":
        with pytest.raises(InputError, match="save it as CSV UTF-8"):  # without a mark it may be anything
            read_table(path)
        return
    table = read_table(path)
    assert table.columns == COLUMNS
    assert [row["note"] for row in table.rows] == [note for *_, note in ROWS]


def test_utf_16_that_ends_within_a_letter(tmp_path):
    path = write(tmp_path / "t.tsv", encoding="utf-16")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not UTF-16 text"):
        read_table(path)


def test_typed_cells_become_their_shortest_text(tmp_path):
    day, moment = datetime.datetime(2024, 1, 31), datetime.datetime(2024, 1, 31, 12, 30)
    row = [7, 7.0, 0.1, True, False, None, day, moment, " x "]
    excel(tmp_path / "t.xlsx", [list("abcdefghi"), row])
    expected = ["7", "7", "0.1", "true", "false", "", "2024-01-31", "2024-01-31T12:30:00", "x"]
    assert list(read_table(tmp_path / "t.xlsx").rows[0].cells.values()) == expected
    columns = {name: [value] for name, value in zip("abcdefghi", row, strict=True)}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet").rows[0].cells.values()) == expected


def test_empty_rows_are_left_out_and_keep_their_number(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n\n,\n3,4\n")
    assert [(row.number, row["a"]) for row in read_table(tmp_path / "t.csv").rows] == [(2, "1"), (5, "3")]


def test_an_empty_column_at_the_end_is_left_out(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,\n1,2,\n3,4,\n")
    assert read_table(tmp_path / "t.csv").columns == ("a", "b")


def test_a_sheet_by_name(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["wrong"])
    book.create_sheet("cases").append(["id"])
    book["cases"].append(["1"])
    book.save(tmp_path / "t.xlsx")
    assert read_table(tmp_path / "t.xlsx", sheet="cases").columns == ("id",)
    with pytest.raises(InputError, match="no sheet 'case'; it has Sheet, cases"):
        read_table(tmp_path / "t.xlsx", sheet="case")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.ods", b"", "accepted endings: .csv"),
        ("t.csv", None, "no such table"),
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a,b\n", "no row below"),
        ("t.csv", b"a,a\n1,2\n", "'a' names 2 columns"),
        ("t.csv", b"a,,c\n1,2,3\n", "column 2 has no name"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "row 3: has 3 cells, the first row 2"),
        ("t.csv", b"a,b\n1,\xff\n", "is not UTF-8"),
        ("t.csv", b'a,b\n1,"2\n', "quotation mark"),
        ("t.csv", b"a,b\n1,\x002\n", "zero bytes"),
        ("t.xlsx", b"a,b\n", "no readable Excel file"),
        ("t.parquet", b"a,b\n", "no readable Parquet file"),
    ],
)
def test_faults_are_one_line_that_names_the_file(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as fault:
        read_table(tmp_path / name)
    assert words in str(fault.value)
    assert str(tmp_path / name) in str(fault.value)
    assert "\n" not in str(fault.value)


def test_only_excel_has_sheets(tmp_path):
    with pytest.raises(InputError, match=r"only \.xlsx files have sheets"):
        read_table(write(tmp_path / "t.csv"), sheet="cases")
