"""A data set laid out as PH2 is: a folder a lesion, BMP pictures, and its table as Excel, as text and as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image

COUNT = 24
COLOURS = ("White", "Red", "Light-Brown", "Dark-Brown", "Blue-Gray", "Black")
DIAGNOSES = ("Common Nevus", "Atypical Nevus", "Melanoma")


def names() -> list[str]:
    return [f"IMD{3 + 7 * number:03}" for number in range(COUNT)]


def diagnosis(number: int) -> int:
    return number % 3


def colours(number: int) -> list[bool]:
    """Two or three of the six, in no regular order."""
    return [(number * (colour + 2) // 3 + colour) % 3 == 0 for colour in range(len(COLOURS))]


def make_pictures(folder: Path, size: int = 24) -> None:
    """Dermoscopic pictures, masks of lesions that touch no edge, and outlines of regions of some lesions."""
    y, x = np.mgrid[:size, :size]
    for number, name in enumerate(names()):
        own = folder / "PH2 Dataset images" / name
        noise = np.random.default_rng(number).integers(60, 250, (size, size, 3)).astype(np.uint8)
        lesion = (y - size // 2) ** 2 + (x - size // 2) ** 2 < (5 + number % 4) ** 2
        noise[lesion] //= 3
        files = {f"{name}_Dermoscopic_Image/{name}.bmp": noise, f"{name}_lesion/{name}_lesion.bmp": lesion}
        if number % 6 == 0:
            files[f"{name}_roi/{name}_R1_Label4.bmp"] = lesion & (x > size // 2)
        for path, values in files.items():
            (own / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(own / path)


def write_excel(path: Path) -> None:
    """Titles and a legend above the names of the columns; marks for the diagnosis and the colours."""
    book = openpyxl.Workbook()
    page = book.active
    page["A1"] = "PH2 Dataset"
    page["A3"], page["B3"] = "Asymmetry", "0 - Fully symmetric"
    page["B4"], page["B5"] = "1 - Asymmetric in one axis", "2 - Fully asymmetric"
    page["A7"], page["B7"] = "Streaks", "A - Absent, P - Present"
    header = ["Image Name", "Histological Diagnosis", *DIAGNOSES, "Asymmetry\n(0/1/2)", "Pigment Network\n(AT/T)"]
    header += ["Streaks\n(A/P)", *COLOURS]
    for column, text in enumerate(header, 1):
        page.cell(13, column, text)
    for number, name in enumerate(names()):
        marks = ["X" if diagnosis(number) == place else None for place in range(3)]
        row = [name, "Melanoma in situ" if number == 5 else None, *marks, number % 3, ("AT", "T")[number // 2 % 2]]
        row += [("A", "P")[number // 5 % 2], *("X" if there else None for there in colours(number))]
        for column, value in enumerate(row, 1):
            page.cell(14 + number, column, value)
    book.save(path)


def write_text(path: Path) -> None:
    """Columns between double bars, and a legend below."""
    lines = [
        "||   Name   ||     Histological Diagnosis     || Clinical Diagnosis || Asymmetry || Streaks ||  Colors  ||"
    ]
    for number, name in enumerate(names()):
        seen = "  ".join(str(place + 1) for place, there in enumerate(colours(number)) if there)
        fields = [name, "", str(diagnosis(number)), str(number % 3), ("A", "P")[number // 5 % 2], seen]
        lines.append("||  " + "  ||  ".join(fields) + "  ||")
    lines += ["", "", "Legends:", "", "Clinical Diagnosis:", "  0 - Common Nevus;", "  1 - Atypical Nevus;"]
    path.write_text("\n".join(lines) + "\n")


def write_csv(path: Path) -> None:
    """A plain table, as others have made of it."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "diagnosis", "asymmetry", "streaks"])
        for number, name in enumerate(names()):
            writer.writerow([name, DIAGNOSES[diagnosis(number)], number % 3, number // 5 % 2])
