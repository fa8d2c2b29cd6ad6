"""Data sets described by COCO's JSON files: outlines of categories as masks, and which categories a picture shows."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from crosstask.datasets.cohort.layouts.base import SPLIT_WORDS, Layout, made_table, one_line_of
from crosstask.datasets.cohort.spec import NOT_STATED, stem
from crosstask.datasets.cohort.text import item_of, text_of
from crosstask.errors import InputError, listed
from crosstask.io.coco import Coco, CocoImage

_MOST_CLASSES = 60
"""So many categories and no more become tasks; further ones can be added by hand."""
_RARE = 5


def coco_layout(files: Sequence[Coco], folder: Path, output: Path, pictures: Sequence[str]) -> Layout:
    """A layout of one or more COCO files, which are the parts of one data set.

    Args:
        files: what they hold.
        folder: of the data set.
        output: the cohort file to be written; the table will stand beside it.
        pictures: image files below the folder, relative.

    Raises:
        InputError: the files do not name their categories alike, or none of their pictures is there.
    """
    categories = dict(files[0].categories)
    for file in files[1:]:
        if file.categories != files[0].categories:
            raise InputError(f"{file.path}: has other categories than {files[0].path}; describe each in a cohort file")
    places = _Places(pictures)
    parts = _parts(files)
    rows: list[dict[str, str]] = []
    absent: list[str] = []
    outlined: Counter[int] = Counter()
    boxed: Counter[int] = Counter()
    for file in files:
        where = os.path.relpath(file.path, folder).replace("\\", "/")
        for image in file.images.values():
            place = places.of(image, where)
            if place is None:
                absent.append(image.name)
                continue
            shown = {annotation["category_id"] for annotation in file.annotations.get(image.id, ())}
            for annotation in file.annotations.get(image.id, ()):
                (outlined if annotation.get("segmentation") else boxed)[annotation["category_id"]] += 1
            row = {"case": stem(image.name), "image": place, "annotations": where, "split": parts.get(file.path, "")}
            row["categories"] = "; ".join(categories[one] for one in categories if one in shown)
            rows.append({**row, **{_column(categories, one): str(int(one in shown)) for one in categories}})
    if not rows:
        raise InputError(
            f"{files[0].path}: none of its {len(absent)} pictures is below {folder}, e.g. {absent[0]}; give the folder "
            "that holds both"
        )
    _tell_apart(rows)
    notes = []
    if absent:
        notes.append(f"{len(absent)} pictures that the annotations name are not there, e.g. {absent[0]}; left out")
    masks = _masks(files, categories, outlined, boxed, rows, notes)
    columns = ["case", "image", *(["annotations"] if len(files) > 1 else []), *(["split"] if parts else [])]
    label_columns = _labels(rows, categories, notes)
    table = made_table(output, [*columns, *label_columns], rows)
    info = files[0].info
    return Layout(
        table,
        folder,
        "; ".join(sorted({file.path.name for file in files})),
        made=True,
        case="case",
        images=("{image}",),
        masks=masks,
        spare=frozenset(columns) - {"case", "split"},
        notes=notes,
        licence=listed(dict.fromkeys(filter(None, files[0].licences)), 3) or NOT_STATED,
        source=one_line_of(info.get("description", info.get("url"))),
        citation=one_line_of(info.get("contributor")),
    )


class _Places:
    """Where the pictures of annotations are.

    Args:
        pictures: all that are there, relative to the folder.
    """

    def __init__(self, pictures: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for picture in pictures:
            self._by_name.setdefault(picture.rpartition("/")[2], []).append(picture)

    def of(self, image: CocoImage, annotations: str) -> str | None:
        """The picture whose path ends as the annotation's name; of several, the one nearest to the annotations."""
        found = [
            picture
            for picture in self._by_name.get(image.name.rpartition("/")[2], ())
            if f"/{picture}".endswith(f"/{image.name}")
        ] or self._by_name.get(image.name.rpartition("/")[2], [])
        words = set(re.split(r"[^a-z0-9]+", annotations.lower()))
        return max(
            found,
            key=lambda picture: (len(words & set(re.split(r"[^a-z0-9]+", picture.lower()))), -len(picture)),
            default=None,
        )


def _parts(files: Sequence[Coco]) -> dict[Path, str]:
    """The split that each file's name or folder tells, where all do and differ."""
    found = {}
    for file in files:
        words = re.split(r"[^a-z]+", f"{file.path.parent.name}/{file.path.stem}".lower())
        splits = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
        if len(splits) == 1:
            found[file.path] = next(iter(splits))
    return found if len(found) == len(files) and len(set(found.values())) > 1 else {}


def _tell_apart(rows: Sequence[dict[str, str]]) -> None:
    """Ids of cases: the names of files, or their paths where names occur twice."""
    counts = Counter(row["case"] for row in rows)
    for row in rows:
        if counts[row["case"]] > 1:
            row["case"] = re.sub(r"\.[A-Za-z0-9]+$", "", row["image"]).replace("/", "_")


def _column(categories: Mapping[int, str], category: int) -> str:
    """The column of a category: its name, unless the table has such a column or another category is called so."""
    name = " ".join(categories[category].translate(dict.fromkeys(map(ord, "{}|"), " ")).split())
    twice = sum(own == categories[category] for own in categories.values()) > 1
    taken = name in ("case", "image", "annotations", "split", "categories", "category", "")
    return f"{name} {category}".strip() if twice or taken else name


def _masks(
    files: Sequence[Coco],
    categories: Mapping[int, str],
    outlined: Counter[int],
    boxed: Counter[int],
    rows: Sequence[Mapping[str, str]],
    notes: list[str],
) -> tuple[str, ...]:
    """Lines of the section ``masks``: a class a category that is outlined anywhere."""
    if boxed:
        names = listed((categories[one] for one in boxed), 3)
        notes.append(
            f"masks: {sum(boxed.values())} annotations are boxes without an outline ({names}); a picture with one "
            "lacks the mask of that class"
        )
    usual = [category for category, _ in outlined.most_common(_MOST_CLASSES)]
    if not usual:
        return ()
    if len(outlined) > len(usual):
        notes.append(f"masks: the {len(usual)} most frequent of {len(outlined)} categories are classes")
    path = "{annotations}" if len(files) > 1 else rows[0]["annotations"]
    lines = ["masks:", "  segmentation:", "    classes:    # values are the ids of COCO's categories"]
    for category in sorted(usual):
        count = sum(row[_column(categories, category)] == "1" for row in rows)
        lines.append(
            f"      {text_of(_column(categories, category))}: {{path: {item_of(path)}, values: [{category}]}}    # "
            f"in {count} of {len(rows)} pictures"
        )
    return tuple(lines)


def _labels(rows: Sequence[dict[str, str]], categories: Mapping[int, str], notes: list[str]) -> list[str]:
    """The columns that say what a picture shows: one, where each shows one category, else one a category."""
    if all(row["categories"] and ";" not in row["categories"] for row in rows):
        for row in rows:
            row["category"] = row["categories"]
        return ["category"]
    columns, rare = [], []
    for category in categories:
        column = _column(categories, category)
        count = sum(row[column] == "1" for row in rows)
        if min(count, len(rows) - count) >= min(_RARE, max(1, len(rows) // 10)):
            columns.append(column)
        elif count > 0:
            rare.append(column)
    if rare:
        notes.append(f"labels: too rare, or in nearly every picture, to be a label: {listed(rare, 5)}")
    return columns[:_MOST_CLASSES]
