"""Tables as other programs and tired people leave them: all rows are read, or a line says why not."""

from __future__ import annotations

import re
import tracemalloc
import zipfile
from pathlib import Path

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from crosstask.errors import InputError
from crosstask.io import tables
from crosstask.io.tables import read_table

ROWS = [["id", "age", "x"], *([f"p{number}", number, number % 2] for number in range(6))]


def excel(path: Path, rows, **cells) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for place, value in cells.items():
        book.active[place] = value
    book.save(path)
    return path


def edit(path: Path, change) -> None:
    """Change the XML of the first sheet."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, change(content) if name.endswith("sheet1.xml") else content)


@pytest.mark.parametrize("stated", ["A1:B4", "A1", "A1:XFD1048576"])
def test_all_rows_of_a_sheet_are_read_whatever_size_it_states(tmp_path, stated):
    path = excel(tmp_path / "t.xlsx", ROWS)
    edit(path, lambda xml: re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="%s"' % stated.encode(), xml))
    table = read_table(path)
    assert table.columns == ("id", "age", "x")
    assert table.column("id") == [f"p{number}" for number in range(6)]


def test_a_stray_cell_far_away_is_named_by_its_row_and_column(tmp_path):
    path = excel(tmp_path / "t.xlsx", ROWS, XFD5000="secret")
    with pytest.raises(InputError, match=r"row 5000: there is a cell in column 16384.*clear the cell") as fault:
        read_table(path)
    assert "secret" not in str(fault.value)
    assert len(read_table(excel(tmp_path / "blank.xlsx", ROWS, XFD5000=" ")).rows) == 6


def test_a_cut_or_damaged_excel_file_is_one_line(tmp_path):
    path = excel(tmp_path / "t.xlsx", ROWS * 300)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("xl/worksheets/sheet1.xml").header_offset
    damaged = bytearray(whole)
    for place in range(start + 1500, start + 1520):
        damaged[place] ^= 0x5A
    for content in (whole[: len(whole) // 2], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"t\.xlsx: no readable Excel file .*copy it again") as fault:
            read_table(path)
        assert "\n" not in str(fault.value)


def test_the_sheet_that_is_read_is_not_hidden_nor_empty_and_is_named(tmp_path):
    book = openpyxl.Workbook()
    book.active.title, book.active.sheet_state = "old", "hidden"
    book.active.append(["wrong"])
    book.create_sheet("cover")
    for row in ROWS:
        (book["cases"] if "cases" in book.sheetnames else book.create_sheet("cases")).append(row)
    book.create_sheet("more").append(["other"])
    book.save(tmp_path / "t.xlsx")
    table = read_table(tmp_path / "t.xlsx")
    assert (table.sheet, len(table.rows)) == ("cases", 6)
    assert table.notes == ("sheet 'cases' is read; there are also: old (hidden), cover, more",)


def test_formulas_whose_values_were_never_saved_are_told(tmp_path):
    """A program that does not compute writes the formula alone; the cell then reads as empty."""
    table = read_table(excel(tmp_path / "t.xlsx", [["id", "x", "y"], ["a", 3, "=B2*2"]]))
    assert "row 2: a formula whose value was never saved" in table.notes[0]


def test_titles_and_legends_above_the_names_of_the_columns(tmp_path):
    legend = [["Skin lesions"], [], ["Asymmetry:", "0 none"], [None, "1 of one axis"]]
    header = ["Image\nName", "Diagnosis", "Asymmetry\n(0/1/2)", "Colour", "Melanoma"]
    rows = [[f"I{n}", None, n % 3, "X" if n % 2 else None, None if n % 2 else "X"] for n in range(8)]
    table = read_table(excel(tmp_path / "t.xlsx", [*legend, header, *rows]))
    assert table.columns == ("Image Name", "Diagnosis", "Asymmetry (0/1/2)", "Colour", "Melanoma")
    assert [row.number for row in table.rows] == list(range(6, 14))
    assert table.notes == ("row 5 names the columns; left out above it: rows 1 to 4",)
    (tmp_path / "t.csv").write_text("Export of 2024\n\nid;age\na;3\nb;4\n")
    assert read_table(tmp_path / "t.csv").column("age") == ["3", "4"]


@pytest.mark.parametrize(
    "text",
    [
        "id,note,\na,sound,x\nb,ill,y\nc,sound,z\n",  # a column without a name: no case may become the header
        "id,,\nfirst,second,third\nfirst,other,third\n",  # what could be the header stands among the values, too
        "title,\n1,2\n3,4\n",  # numbers are no names
    ],
)
def test_no_case_is_taken_for_the_names_of_the_columns(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match="the first row"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "id;age\na;30,5\nb;31,5\nc;32,5\n"),
        ("t.csv", "sep=;\nid;age\na;30,5\nb;31,5\nc;32,5\n"),
        (
            "t.txt",
            "||  id  ||  age  ||\n|| a || 30,5 ||\n||  b || 31,5||\n|| c ||  32,5  ||\n\nLegend:\n  age in years\n",
        ),
        ("t.txt", "| id | age |\n|----|----:|\n| a | 30,5 |\n| b | 31,5 |\n| c | 32,5 |\n"),
        ("t.txt", "id|age\na|30,5\nb|31,5\nc|32,5\n"),
        ("t.csv", ',id,age\n0,a,"30,5"\n1,b,"31,5"\n2,c,"32,5"\n'),
    ],
)
def test_separators_of_other_programs(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    table = read_table(tmp_path / name)
    assert table.columns == ("id", "age")
    assert (table.column("id"), table.column("age")) == (["a", "b", "c"], ["30,5", "31,5", "32,5"])


def test_commas_of_a_text_do_not_hide_the_separator(tmp_path):
    (tmp_path / "t.csv").write_text('id,report\na,"x; y; z"\nb,"x; y; z"\nc,"one; two; three"\n')
    assert read_table(tmp_path / "t.csv").columns == ("id", "report")


def test_a_table_too_large_for_memory_is_refused_by_what_it_declares(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROWS", 1000)
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"] * 1001}), path)
    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(InputError, match=r"t\.parquet: more than 1000 rows"):
        read_table(path)
    (tmp_path / "t.csv").write_text("id\n" + "a\n" * 1001)
    with pytest.raises(InputError, match=r"t\.csv: more than 1000 rows"):
        read_table(tmp_path / "t.csv")


def test_a_long_text_for_every_row_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    """Parquet holds it once."""
    monkeypatch.setattr(tables, "MOST_LETTERS", 10**6)
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a" * 10_000] * 5000}), path)
    assert path.stat().st_size < 20_000
    tracemalloc.start()
    with pytest.raises(InputError, match="texts too long for memory"):
        read_table(path)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
