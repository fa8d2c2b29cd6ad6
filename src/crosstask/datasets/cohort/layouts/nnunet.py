"""Data sets of nnU-Net (version 1 and 2) and of the Medical Segmentation Decathlon, described by a dataset.json."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosstask.datasets.cohort.layouts.base import Layout, made_table, one_line_of, read_json
from crosstask.datasets.cohort.spec import stem
from crosstask.datasets.cohort.text import item_of, text_of
from crosstask.datasets.names import natural
from crosstask.errors import InputError, listed
from crosstask.io.headers import read_header

NAME = "dataset.json"
_FOLDS = "splits_final.json"
_IGNORE = "ignore"
_BACKGROUND = "background"
_PARTS = {"Tr": "train", "Ts": "test"}


def is_nnunet(content: Any) -> bool:
    """Whether a JSON file describes such a data set."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("labels"), dict)
        and bool({"channel_names", "modality", "training", "numTraining", "file_ending"} & set(content))
    )


def nnunet_layout(path: Path, output: Path) -> Layout:
    """A layout of a dataset.json.

    Args:
        path: the file.
        output: the cohort file to be written; the table will stand beside it.

    Raises:
        InputError: it describes no such data set, or no case with a label map is there.
    """
    content = read_json(path)
    if not is_nnunet(content):
        raise InputError(
            f"{path}: describes no data set of nnU-Net or the Decathlon: it needs labels and channel_names"
        )
    folder = path.parent
    cases, notes = _cases(path, content)
    columns = ["case", *(column for column in ("part", "label") if column in next(iter(cases.values())))]
    columns += sorted({column for cells in cases.values() for column in cells if column.startswith("image")})
    folds = _folds(folder / _FOLDS, cases, notes)
    columns += folds
    if not folds and any(cells.get("part") == "Ts" for cells in cases.values()):
        for cells in cases.values():
            cells["split"] = _PARTS[cells["part"]]
        columns.append("split")
    table = made_table(output, columns, ({"case": case, **cells} for case, cells in cases.items()))
    names = _channel_names(content)
    images, mask = _patterns(folder, content, cases, len(names))
    stacked = 0
    if len(images) == 1 and len(names) > 1:
        stacked = _stacked(folder, images[0], cases)
    masks, exclusive = _classes(content["labels"], mask, path, notes)
    spare = frozenset(column for column in columns if column not in ("case", *folds[:1], "split"))
    if len(folds) > 1:
        notes.append(
            f"split: fold 0 of {_FOLDS} is taken: its validation cases are {_what_validation_is(cases)}; the table has "
            f"the others too, as columns {folds[1]} to {folds[-1]}"
        )
    return Layout(
        table,
        folder,
        NAME,
        made=True,
        case="case",
        images=images,
        channels=names if len(names) > 1 else (),
        stacked=stacked,
        masks=masks,
        exclusive=exclusive,
        spare=spare,
        notes=notes,
        licence=one_line_of(content.get("licence", content.get("license"))),
        source=one_line_of(content.get("reference", content.get("name"))),
        citation=one_line_of(content.get("citation", content.get("reference"))),
    )


def _what_validation_is(cases: Mapping[str, Mapping[str, str]]) -> str:
    tested = any(cells.get("part") == "Ts" for cells in cases.values())
    return "those of validation, the labelled ones of imagesTs the test set" if tested else "the test set"


def _cases(path: Path, content: Mapping[str, Any]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """``{case: cells}`` of all cases that have a label map, and what is to be said of the others."""
    folder, notes = path.parent, list[str]()
    ending = str(content.get("file_ending", ".nii.gz"))
    if isinstance(content.get("dataset"), dict):
        return _listed_cases(path, content["dataset"]), notes
    cases: dict[str, dict[str, str]] = {}
    for part in _PARTS:
        there = folder / f"labels{part}"
        files = sorted(there.iterdir()) if there.is_dir() else []
        for file in files:
            if file.name.endswith(ending) and not file.name.startswith("."):
                cases[file.name.removesuffix(ending)] = {"part": part}
    if not cases:
        raise InputError(
            f"{path}: no label map *{ending} in {folder / 'labelsTr'}; put imagesTr and labelsTr beside it, or fix "
            "file_ending"
        )
    without = _unlabelled(folder / "imagesTs", ending, cases)
    if without:
        notes.append(
            f"{len(without)} cases of imagesTs have no labels and are not in the table, e.g. {without[0]}; "
            "crosstask predict reads them"
        )
    told = content.get("numTraining")
    trained = sum(cells["part"] == "Tr" for cells in cases.values())
    if isinstance(told, int) and told != trained:
        notes.append(f"{NAME} says {told} training cases, and labelsTr holds {trained}")
    return dict(sorted(cases.items(), key=lambda item: natural(item[0]))), notes


def _unlabelled(folder: Path, ending: str, cases: Mapping[str, Any]) -> list[str]:
    if not folder.is_dir():
        return []
    files = (file.name for file in folder.iterdir() if file.name.endswith(ending) and not file.name.startswith("."))
    return sorted({re.sub(r"_\d{4}$", "", name.removesuffix(ending)) for name in files} - set(cases))


def _listed_cases(path: Path, listing: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Cases of the key ``dataset``, which names every file."""
    cases = {}
    for case, files in listing.items():
        try:
            images = [files["images"]] if isinstance(files["images"], str) else list(files["images"])
            cells = {f"image_{channel}": str(image) for channel, image in enumerate(images)}
            cases[str(case)] = {"label": str(files["label"]), **cells}
        except (KeyError, TypeError):
            raise InputError(f"{path}: dataset.{case}: needs images, a list of files, and label, a file") from None
    if not cases:
        raise InputError(f"{path}: dataset is empty; list the cases, or leave it out")
    return cases


def _channel_names(content: Mapping[str, Any]) -> tuple[str, ...]:
    given = content.get("channel_names", content.get("modality"))
    if not isinstance(given, dict) or not given:
        return ("image",)
    return tuple(str(given[key]) for key in sorted(given, key=lambda key: natural(str(key))))


def _patterns(
    folder: Path, content: Mapping[str, Any], cases: Mapping[str, Mapping[str, str]], channels: int
) -> tuple[tuple[str, ...], str]:
    """Patterns of the images, one a file, and that of the label maps."""
    first = next(iter(cases.values()))
    if "label" in first:
        count = sum(column.startswith("image_") for column in first)
        return tuple(f"{{image_{channel}}}" for channel in range(count)), "{label}"
    ending = str(content.get("file_ending", ".nii.gz"))
    parts = {cells["part"] for cells in cases.values()}
    part = "{part}" if len(parts) > 1 else next(iter(parts))
    numbered = [f"images{part}/{{case}}_{channel:04}{ending}" for channel in range(channels)]
    plain = f"images{part}/{{case}}{ending}"

    def found(pattern: str) -> int:
        return sum((folder / pattern.format(case=case, **cells)).is_file() for case, cells in cases.items())

    there = [pattern for pattern in numbered if found(pattern)]
    if not there and found(plain):
        there = [plain]
    if not there:
        example = numbered[0].format(case=next(iter(cases)), **first)
        raise InputError(f"{folder / NAME}: no image of its cases is there, e.g. {example}; put them beside labelsTr")
    return tuple(there), f"labels{part}/{{case}}{ending}"


def _stacked(folder: Path, pattern: str, cases: Mapping[str, Mapping[str, str]]) -> int:
    """Volumes in one file, as the first images have them."""
    for case, cells in list(cases.items())[:5]:
        header = read_header(folder / pattern.format(case=case, **cells))
        if header is not None:
            return header.volumes if header.volumes > 1 else 0
    return 0


def _classes(labels: Mapping[str, Any], mask: str, path: Path, notes: list[str]) -> tuple[tuple[str, ...], bool]:
    """Lines of the section ``masks``, and whether the classes never overlap."""
    values: dict[str, list[int]] = {}
    try:
        for key, value in labels.items():
            if str(key).isdigit():  # version 1 and the Decathlon: number: name
                values[str(value)] = [int(key)]
            else:  # version 2: name: number, or the numbers of a region
                values[str(key)] = [int(one) for one in value] if isinstance(value, list | tuple) else [int(value)]
    except (TypeError, ValueError):
        raise InputError(f"{path}: labels: {key!r}: {value!r} is no label; give whole numbers") from None
    ignored = values.pop(_IGNORE, None)
    classes = {name: own for name, own in values.items() if own != [0] and name.casefold() != _BACKGROUND}
    if not classes:
        raise InputError(f"{path}: labels: names nothing but the background; name the classes")
    numbers = [number for own in classes.values() for number in own]
    if ignored is not None:
        notes.append(
            f"masks: label {ignored[0]} means ignore: nobody has judged these voxels, so a case that has any lacks its "
            "masks (unknown), and learns from its other labels alone"
        )
    more = f", unknown: [{ignored[0]}]" if ignored is not None else ""
    lines = ["masks:", "  segmentation:", f"    classes:    # as {NAME} names them"]
    for name, own in classes.items():
        shown = ", ".join(map(str, own))
        lines.append(f"      {text_of(name)}: {{path: {item_of(mask)}, values: [{shown}]{more}}}")
    return tuple(lines), len(numbers) == len(set(numbers)) and len(classes) > 1


def _folds(path: Path, cases: dict[str, dict[str, str]], notes: list[str]) -> list[str]:
    """Adds a column for each fold of nnU-Net's file of splits, and gives their names."""
    if not path.is_file():
        return []
    content = read_json(path)
    columns = []
    for number, fold in enumerate(content if isinstance(content, list) else []):
        parts: Mapping[str, Sequence[str]] = fold if isinstance(fold, dict) else {}
        told = {stem(str(case)): "train" for case in parts.get("train", ())}
        told |= {stem(str(case)): "validation" for case in parts.get("val", ())}
        lacking = [case for case, cells in cases.items() if case not in told and cells.get("part") != "Ts"]
        if not told or lacking:
            notes.append(
                f"split: fold {number} of {path.name} leaves out {listed(lacking, 3) or 'all cases'}; not used"
            )
            continue
        columns.append(f"fold_{number}")
        for case, cells in cases.items():
            cells[columns[-1]] = "test" if cells.get("part") == "Ts" else told[case]
    return columns
