"""Small HAM10000 folders in the official layout: painted lesions whose labels can be learned from the pixels."""

from __future__ import annotations

import colorsys
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

DIAGNOSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
SITES = ("abdomen", "back", "face", "foot")
METADATA = "HAM10000_metadata.csv"
PARTS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
MASKS = "HAM10000_segmentations_lesion_tschandl"
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")


def make_ham10000(
    root: Path,
    lesions: int = 20,
    seed: int = 0,
    size: tuple[int, int] = (32, 40),
    *,
    diagnoses: Sequence[str] = DIAGNOSES,
) -> Path:
    """Write a data set of 1 to 3 images a lesion, two on average, and return its root.

    The colour and the slenderness of a lesion say its diagnosis (every class as often), its size the age, the shade of
    the skin the site. Every seventh lesion has no age, every ninth no site, every eighth no sex.

    Args:
        root: folder to make.
        lesions: number of lesions.
        seed: of everything drawn.
        size: height and width of the images.
        diagnoses: the classes that occur.
    """
    rng = np.random.default_rng(seed)
    for folder in (*PARTS, MASKS):
        (root / folder).mkdir(parents=True)
    rows = []
    for lesion in range(lesions):
        diagnosis = diagnoses[lesion % len(diagnoses)]
        age, site = 5 * int(rng.integers(4, 18)), int(rng.integers(len(SITES)))
        for _ in range(1 + (lesion + lesion // len(diagnoses)) % 3):
            number = 24306 + len(rows)
            image, mask = paint(DIAGNOSES.index(diagnosis), age, site, size, rng)
            folder = root / PARTS[len(rows) % 2]
            Image.fromarray(image).save(folder / f"ISIC_{number:07d}.jpg", quality=95, subsampling=0)
            Image.fromarray(mask).save(root / MASKS / f"ISIC_{number:07d}_segmentation.png")
            rows.append(
                {
                    "lesion_id": f"HAM_{lesion:07d}",
                    "image_id": f"ISIC_{number:07d}",
                    "dx": diagnosis,
                    "dx_type": "histo" if diagnosis == "mel" else "follow_up",
                    "age": "" if lesion % 7 == 6 else f"{age:.1f}",
                    "sex": "unknown" if lesion % 8 == 7 else ("male", "female")[lesion % 2],
                    "localization": "unknown" if lesion % 9 == 8 else SITES[site],
                }
            )
    write_metadata(root, rows)
    return root


def paint(
    diagnosis: int, age: int, site: int, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Image ``y x 3`` and mask ``y x`` (0 and 255), uint8, of one lesion, an ellipse."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    radius = min(size) * (0.18 + 0.15 * age / 85)
    centre = np.array(size) / 2 + rng.uniform(-0.08, 0.08, 2) * min(size)
    angle, slender = rng.uniform(0, np.pi), 1 + 0.08 * diagnosis
    along = (y - centre[0]) * np.sin(angle) + (x - centre[1]) * np.cos(angle)
    across = (y - centre[0]) * np.cos(angle) - (x - centre[1]) * np.sin(angle)
    inside = (along / (radius * slender)) ** 2 + (across * slender / radius) ** 2 <= 1
    skin = np.array([225, 180, 160]) - 18 * site
    lesion = np.array(colorsys.hsv_to_rgb(diagnosis / 7, 0.8, 0.5)) * 255
    image = np.where(inside[..., None], lesion, skin) + rng.normal(0, 6, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), np.where(inside, 255, 0).astype(np.uint8)


def read_metadata(root: Path) -> list[dict[str, str]]:
    """Rows of the metadata."""
    with (root / METADATA).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_metadata(
    root: Path, rows: Sequence[dict[str, str]], *, name: str = METADATA, delimiter: str = ",", encoding: str = "utf-8"
) -> None:
    """Write rows of metadata, as they come."""
    with (root / name).open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
