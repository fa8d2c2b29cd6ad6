"""From what a user names (a table, a JSON file, a folder) to its layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crosstask.datasets.cohort.init_names import label_names
from crosstask.datasets.cohort.layouts.base import Layout, read_json
from crosstask.datasets.cohort.layouts.coco import coco_layout
from crosstask.datasets.cohort.layouts.folders import folder_layout
from crosstask.datasets.cohort.layouts.nnunet import NAME, is_nnunet, nnunet_layout
from crosstask.datasets.cohort.patterns import find_patterns, image_files
from crosstask.datasets.cohort.profile import columns_of
from crosstask.datasets.cohort.proposal import Ask, assume
from crosstask.errors import InputError, listed
from crosstask.io.coco import Coco, read_coco
from crosstask.io.sheets import key_of, read_sheets, stacked
from crosstask.io.table_formats import sheets_of
from crosstask.io.tables import ENDINGS, Table, read_table

_MOST_JSON = 24
"""A folder with more JSON files near its top holds something else than COCO's."""


def find_layout(path: Path, output: Path, sheet: str | None = None, ask: Ask = assume) -> Layout:
    """The layout of a data set.

    Args:
        path: a table; a dataset.json of nnU-Net or the Decathlon; a COCO file; or the folder of one of these or of
            images alone.
        output: the cohort file to be written.
        sheet: of an Excel file.
        ask: asked where there are several.

    Raises:
        InputError: it cannot be read, or holds nothing that a cohort can be made of.
    """
    if path.is_dir():
        return _of_folder(path, output, sheet, ask)
    if path.suffix.lower() == ".json" and path.is_file():
        return _of_json(path, output)
    return _of_table(path, sheet, ask)


def _of_json(path: Path, output: Path) -> Layout:
    coco = read_coco(path)
    if coco is not None:
        folder = path.parent
        while not (files := image_files(folder)) and folder != folder.parent and folder == path.parent:
            folder = folder.parent
        return coco_layout([coco], folder, output, files)
    if is_nnunet(read_json(path)):
        return nnunet_layout(path, output)
    raise InputError(
        f"{path}: is neither a dataset.json of nnU-Net or the Decathlon (labels, channel_names) nor a COCO file "
        "(images, annotations, categories); name a table, or the folder"
    )


def _of_folder(folder: Path, output: Path, sheet: str | None, ask: Ask) -> Layout:
    described = folder / NAME
    if described.is_file() and is_nnunet(read_json(described)):
        return nnunet_layout(described, output)
    files = image_files(folder)
    coco = _coco_files(folder)
    if coco:
        return coco_layout(coco, folder, output, files)
    tables = _tables(folder, files)
    if not tables:
        return folder_layout(folder, output, files, ask)
    named = sorted(tables, key=lambda path: -tables[path])
    best = [path for path in named if tables[path] == tables[named[0]]]
    if len(best) > 1:
        if ask is assume:
            raise InputError(
                f"{folder}: {len(best)} tables name its images: {listed((path.name for path in best), 5)}; name "
                f"the one to read: crosstask cohort init {best[0]}"
            )
        names = [str(path.relative_to(folder)) for path in best]
        best = [folder / ask("Which table says what the images are?", names, names[0])]
    layout = _of_table(best[0], sheet, ask)
    others = [path.name for path in named if path != best[0]]
    notes = [f"table: {best[0].name} is read; there are also: {listed(others, 4)}"] if others else []
    return replace(layout, folder=folder, notes=[*layout.notes, *notes])


def _coco_files(folder: Path) -> list[Coco]:
    """COCO files in a folder, the folders in it, and those in these."""
    found = [path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}.json")]
    if len(found) > _MOST_JSON:
        return []
    held = []
    for path in sorted(found):
        try:
            coco = read_coco(path)
        except InputError:
            continue
        if coco is not None and coco.images and coco.categories:
            held.append(coco)
    # of the files of one data set (captions, keypoints, instances), those with outlines
    instances = [coco for coco in held if "instances" in coco.path.name]
    return instances or held


def _tables(folder: Path, files: Sequence[str]) -> dict[Path, int]:
    """Tables in a folder and the folders in it, and how many rows of each name an image."""
    tables: dict[Path, int] = {}
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix.lower() not in ENDINGS or path.name.startswith((".", "~$")) or not path.is_file():
            continue
        try:
            sheets: list[str | None] = [*sheets_of(path)] if path.suffix.lower() == ".xlsx" else [None]
            found = max((_found(read_table(path, sheet=one), files) for one in sheets), default=0)
        except InputError:
            continue
        if found and not label_names(path):
            tables[path] = found
    return tables


def _found(table: Table, files: Sequence[str]) -> int:
    """Rows that name an image, by the pattern that finds most."""
    patterns = find_patterns(columns_of(table), files)
    return max((pattern.found for pattern in patterns), default=0)


def _of_table(path: Path, sheet: str | None, ask: Ask) -> Layout:
    notes: list[str] = []
    sheets = [] if sheet is not None or path.suffix.lower() != ".xlsx" or not path.is_file() else sheets_of(path)
    if len(sheets) < 2:
        table = read_table(path, sheet=sheet)
        used = (sheet,) if sheet is not None else (table.sheet,) if table.sheet else ()
        return Layout(table, path.parent, path.name, sheets=used, notes=[f"table: {note}" for note in table.notes])
    chosen = _chosen_sheets(path, sheets, ask, notes)
    table = read_sheets(path, chosen) if len(chosen) > 1 else read_table(path, sheet=chosen[0])
    notes += [f"table: {note}" for note in table.notes]
    return Layout(table, path.parent, path.name, sheets=tuple(chosen), notes=notes)


def _chosen_sheets(path: Path, sheets: Sequence[str], ask: Ask, notes: list[str]) -> list[str]:
    """The sheet that names the images, and those that belong to it: with the same columns, or a key in common."""
    files = image_files(path.parent)
    tables = _readable(path, sheets)
    found = {sheet: _found(table, files) for sheet, table in tables.items()}
    first = max(tables, key=lambda sheet: found[sheet], default=sheets[0])
    if not found.get(first):
        return [next(iter(tables), sheets[0])]
    chosen = [first]
    others = [sheet for sheet in tables if sheet != first]
    alike = [sheet for sheet in others if set(tables[sheet].columns) == set(tables[first].columns) and found[sheet]]
    offers = {sheet: f"has the same columns as {first!r}: put below it" for sheet in alike}
    base = stacked([tables[first], *(tables[sheet] for sheet in alike)])
    for sheet in others:
        if sheet not in alike and (key := key_of(base, tables[sheet])) is not None:
            offers[sheet] = f"shares {key!r} with {first!r}: joined"
    for sheet, how in offers.items():
        if ask(f"Sheet {sheet!r} {how}?", ("yes", "no"), "yes") == "yes":
            chosen.append(sheet)
            notes.append(f"table: sheet {sheet!r} {how}")
    left = [sheet for sheet in sheets if sheet not in chosen]
    if left:
        notes.append(f"table: not used: sheet{'s' * (len(left) > 1)} {listed(left, 5)}")
    return chosen


def _readable(path: Path, sheets: Sequence[str]) -> dict[str, Table]:
    """The sheets that are tables."""
    tables: dict[str, Table] = {}
    for sheet in sheets:
        try:
            tables[sheet] = replace(read_table(path, sheet=sheet), sheet=sheet)
        except InputError:
            continue
    return tables
