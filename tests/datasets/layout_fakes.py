"""Small made-up data sets laid out as nnU-Net, the Decathlon, COCO and people's own folders are."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from crosstask.geometry import Geometry
from crosstask.io.volumes import write_volume

GRID = Geometry((6, 24, 28), (3.0, 1.5, 1.5), (-10.0, -20.0, 5.0))
SIDE = 40
TRAINED = [f"la_{number:03}" for number in range(1, 11)]
HELD_OUT = ["la_101", "la_102"]


def disc(number: int, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """A disc that moves and grows with the number, touching no edge."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    centre = shape[0] // 2 - number % 3, shape[1] // 2 + number % 4 - 2
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < (4 + number % 3) ** 2


def photo(number: int, colour: bool = False) -> np.ndarray:
    """Noise with a bright disc."""
    shape = (SIDE, SIDE, 3) if colour else (SIDE, SIDE)
    values = np.random.default_rng(number).integers(20, 120, shape).astype(np.uint8)
    values[disc(number)] += 100
    return values


def scan(number: int) -> np.ndarray:
    """A volume of noise with a bright ball's slices."""
    values = np.random.default_rng(number).normal(-100, 60, GRID.shape)
    values[labels(number) > 0] += 400
    return values.astype(np.int16)


def labels(number: int) -> np.ndarray:
    """A map of two labels: 1 around 2."""
    values = np.zeros(GRID.shape, np.uint8)
    outer = disc(number, GRID.shape[1:])
    values[1:5, outer] = 1
    values[2:4, outer & (np.arange(GRID.shape[2]) > GRID.shape[2] // 2)] = 2
    return values


def save(path: Path, values: np.ndarray) -> None:
    """A picture, or a volume by its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".png", ".bmp", ".jpg", ".PNG", ".JPG"):
        Image.fromarray(values).save(path)
    else:
        write_volume(path, values, GRID)


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def nnunet(folder: Path, *, channels: int = 2, tested: bool = False, folds: bool = True, **changes: Any) -> Path:
    """An nnU-Net v2 data set: two channels a case as files, label maps, regions if asked for, folds."""
    for number, case in enumerate([*TRAINED, *HELD_OUT]):
        part = "Ts" if case in HELD_OUT else "Tr"
        for channel in range(channels):
            save(folder / f"images{part}" / f"{case}_{channel:04}.nii.gz", scan(number) + 10 * np.int16(channel))
        if part == "Tr" or tested:
            save(folder / f"labels{part}" / f"{case}.nii.gz", labels(number))
    if folds:
        parts = [TRAINED[place::5] for place in range(5)]
        written = [{"train": [c for c in TRAINED if c not in part], "val": part} for part in parts]
        write_json(folder / "splits_final.json", written)
    content = {
        "channel_names": {str(channel): f"T{channel + 1}" for channel in range(channels)},
        "labels": {"background": 0, "edema": 1, "core": 2},
        "numTraining": len(TRAINED),
        "file_ending": ".nii.gz",
        **changes,
    }
    return write_json(folder / "dataset.json", content)


def decathlon(folder: Path, channels: int = 1) -> Path:
    """A task of the Medical Segmentation Decathlon: lists of files, several channels as a fourth axis."""
    for number, case in enumerate([*TRAINED, *HELD_OUT]):
        part = "Ts" if case in HELD_OUT else "Tr"
        if channels == 1:
            save(folder / f"images{part}" / f"{case}.nii.gz", scan(number))
        else:
            stack = [sitk.GetImageFromArray(scan(number) + 10 * np.int16(channel)) for channel in range(channels)]
            (folder / f"images{part}").mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.JoinSeries(stack), str(folder / f"images{part}" / f"{case}.nii.gz"))
        if part == "Tr":
            values = labels(number)
            if channels == 1:
                save(folder / "labelsTr" / f"{case}.nii.gz", values)
            else:
                (folder / "labelsTr").mkdir(exist_ok=True)
                sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / "labelsTr" / f"{case}.nii.gz"))
    content = {
        "name": "LeftAtrium",
        "description": "Left atrium segmentation",
        "reference": "King's College London",
        "licence": "CC-BY-SA 4.0",
        "tensorImageSize": "3D" if channels == 1 else "4D",
        "modality": {str(channel): f"MRI{channel}" for channel in range(channels)},
        "labels": {"0": "background", "1": "left atrium", "2": "appendage"},
        "numTraining": len(TRAINED),
        "numTest": len(HELD_OUT),
        "training": [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in TRAINED],
        "test": [f"./imagesTs/{case}.nii.gz" for case in HELD_OUT],
    }
    return write_json(folder / "dataset.json", content)


def rle(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed counts: runs down the columns, the first of zeros."""
    flat = mask.T.reshape(-1).astype(np.int8)
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *changes, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def packed(counts: Sequence[int]) -> str:
    """COCO's compressed counts: five bits a letter, from the third on as differences to the one before the last."""
    letters = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            letters += chr((bits | 0x20 if more else bits) + 48)
    return letters


def coco(folder: Path, *, count: int = 20, splits: Sequence[str] = ("train", "val")) -> list[Path]:
    """COCO instances: polygons, both forms of RLE, crowds, several annotations an image, images without any."""
    files = []
    for place, split in enumerate(splits):
        images, annotations = [], []
        for number in range(place * 100, place * 100 + count):
            name = f"{number:012}.jpg"
            save(folder / f"{split}2017" / name, photo(number, colour=True))
            images.append({"id": number, "file_name": name, "height": SIDE, "width": SIDE})
            for category, segmentation in _outlines(number):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": category,
                        "segmentation": segmentation,
                        "iscrowd": int(isinstance(segmentation, dict)),
                        "bbox": [4, 4, 8, 8],
                        "area": 64,
                    }
                )
        categories = [{"id": 3, "name": "polyp", "supercategory": "finding"}, {"id": 7, "name": "stool"}]
        content = {
            "info": {"description": "made up"},
            "licenses": [{"id": 1, "name": "CC0"}],
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        files.append(write_json(folder / "annotations" / f"instances_{split}2017.json", content))
    return files


def _outlines(number: int) -> list[tuple[int, Any]]:
    """(category, segmentation) of an image: none of every fifth."""
    left = 5 + number % 4
    square: list[float] = [left, 6, left + 8, 6, left + 8, 16, left, 16]
    counts = rle(disc(number))
    if number % 5 == 0:
        return []
    found: list[tuple[int, Any]] = [(3, [square])] if number % 2 else []
    if number % 3 == 0:
        found.append((3, {"size": [SIDE, SIDE], "counts": counts}))
    if number % 5 > 2:
        found.append((7, {"size": [SIDE, SIDE], "counts": packed(counts)}))
    return found


def class_folders(folder: Path, *, split: bool = True, count: int = 10) -> None:
    """Classification by folder: ``train/benign/x.png``."""
    number = 0
    for part in ("train", "val", "test") if split else ("",):
        for name in ("benign", "malignant"):
            for _ in range(count):
                save(folder / part / name / f"img{number:03}.png", photo(number, colour=True))
                number += 1


def two_folders(folder: Path, *, suffix: str = "_mask", count: int = 12) -> None:
    """Pictures in one folder and masks in another, without a table."""
    for number in range(count):
        save(folder / "images" / f"p{number:02}.png", photo(number))
        save(folder / "masks" / f"p{number:02}{suffix}.png", 255 * disc(number).astype(np.uint8))


def case_folders(folder: Path, *, count: int = 8, table: bool = False) -> None:
    """One folder a case with the same names in each: an image, a mask a structure."""
    for number in range(count):
        own = folder / f"case_{number:02}"
        save(own / "image.nii.gz", scan(number))
        save(own / "liver.nii.gz", (labels(number) > 0).astype(np.uint8))
        save(own / "spleen.nii.gz", (labels(number) == 2).astype(np.uint8))
    if table:
        rows = [[f"case_{number:02}", 40 + number, ("m", "f")[number % 2]] for number in range(count)]
        write_csv(folder / "cases.csv", [["case", "Age [years]", "sex"], *rows])


def a_file_a_class(folder: Path, count: int = 8) -> None:
    """Masks ``case_liver.png`` and ``case_spleen.png`` beside each other, with a table."""
    for number in range(count):
        save(folder / "images" / f"c{number}.png", photo(number))
        save(folder / "masks" / f"c{number}_liver.png", 255 * disc(number).astype(np.uint8))
        if number % 4:
            save(folder / "masks" / f"c{number}_spleen.png", 255 * np.roll(disc(number), 6, 0).astype(np.uint8))
    write_csv(folder / "t.csv", [["id", "Dose (Gy)"], *([f"c{n}", 50 + n / 2] for n in range(count))])


def label_maps(folder: Path, count: int = 8) -> None:
    """Multi-label NIfTI, with a table of the labels' names."""
    for number in range(count):
        save(folder / "ct" / f"s{number}.nii.gz", scan(number))
        save(folder / "seg" / f"s{number}.nii.gz", labels(number))
    write_csv(folder / "labels.csv", [["value", "name"], [0, "background"], [1, "Kidney"], [2, "Tumour"]])
    write_csv(folder / "patients.csv", [["id", "stage"], *([f"s{n}", ("I", "II")[n % 2]] for n in range(count))])


def series_and_masks(folder: Path, count: int = 4, *, ending: str = ".dcm") -> None:
    """DICOM series, a folder each, beside masks in NIfTI on the same grid."""
    from dicom_fakes import Identity, Placement, write_ct

    for number in range(count):
        own = folder / f"pat{number}"
        places = [own / "CT" / f"IM{slice_:03}{ending}" for slice_ in range(GRID.shape[0])]
        (own / "CT").mkdir(parents=True)
        write_ct(places, scan(number), Placement(GRID.spacing, GRID.origin[::-1]), Identity(number))
        save(own / "liver.nii.gz", (labels(number) > 0).astype(np.uint8))


def workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[object]]]) -> Path:
    """An Excel file of these sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        page = book.create_sheet(name)
        for row in rows:
            page.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path
