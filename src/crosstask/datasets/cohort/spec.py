"""The YAML file that describes a cohort: its keys, and one-line errors with the line where they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, PositiveFloat, ValidationError, field_validator, model_validator

from crosstask.datasets.cohort.labels import LABELS, MISSING, Label, Section, is_missing
from crosstask.errors import InputError, InputErrors
from crosstask.io.numbers import LARGEST
from crosstask.io.yaml_lines import Key, parse_yaml, place_of
from crosstask.registry import did_you_mean

NOT_STATED = "not stated"
IMAGE = "image"
"""Name of the case array that holds the image; no label may have it."""
_PART = re.compile(r"\{([^{}|]+)(\|stem)?\}")
_RULE = re.compile(r"[<>]\d+(\.\d+)?")
"""What belongs to a class, by a threshold."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")


def pattern_columns(pattern: str) -> list[str]:
    """Columns that a pattern such as ``images/{id}.png`` or ``masks/{image|stem}.png`` names."""
    return [match[1] for match in _PART.finditer(pattern)]


def fill(pattern: str, cells: Mapping[str, str], missing: Sequence[str]) -> str | None:
    """A pattern with a row's values; None where one of them is missing. ``|stem`` takes folders and ending off."""
    values = {column: cells[column] for column in pattern_columns(pattern)}
    if any(is_missing(value, missing) for value in values.values()):
        return None
    return _PART.sub(lambda match: stem(values[match[1]]) if match[2] else values[match[1]], pattern)


def stem(name: str) -> str:
    """A file name without folders and without its ending, ``.nii.gz`` being one."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"(?i)\.nii\.gz$|(?<=.)\.[A-Za-z][A-Za-z0-9]{0,5}$", "", last)


def _pattern(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty; write for example images/{id}.png")
    if re.search(r"[{}]", _PART.sub("", text)):
        raise ValueError("each part is {column} or {column|stem}, with both braces")
    return text


class SplitSection(Section):
    """The split that the table itself gives."""

    column: str = Field(description="the column")
    train: list[str] = Field(default=["train", "training"], description="values that mean training")
    validation: list[str] = Field(default=["validation", "valid", "val", "dev"], description="values: validation")
    test: list[str] = Field(default=["test", "testing"], description="values that mean test")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    def of(self, value: str) -> Literal["train", "validation", "test"] | None:
        """The split that a value means; None if it means none."""
        folded = value.casefold()
        if folded in [text.casefold() for text in self.train]:
            return "train"
        if folded in [text.casefold() for text in self.validation]:
            return "validation"
        return "test" if folded in [text.casefold() for text in self.test] else None


class MaskSource(Section):
    """Where the mask of one class lies."""

    path: str = Field(description="a pattern such as masks/{id}.png")
    values: str | list[int] = Field(
        default=">0",
        description="values of the file that belong to the class, e.g. [1, 2], '>0' for all but zero, '>127' or '<128'",
    )
    fill: float | None = Field(
        default=None, ge=-LARGEST, le=LARGEST, description="what takes the place of values that are no numbers (NaN)"
    )
    unknown: list[int] | None = Field(
        default=None, description="values of what nobody has judged, e.g. [255]; a mask that holds one is missing"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("path")
    @classmethod
    def _is_pattern(cls, path: str) -> str:
        return _pattern(path)

    @field_validator("values", mode="before")
    @classmethod
    def _listed(cls, values: Any) -> Any:
        if isinstance(values, str):
            rule = values.replace(" ", "")
            if _RULE.fullmatch(rule):
                return rule
            values = [values]
        try:
            numbers = [int(value) for value in values]
        except (TypeError, ValueError):
            numbers = []
        if not numbers:
            raise ValueError("whole numbers such as [1, 2], or '>0', or a threshold such as '>127' or '<128'")
        return numbers

    @field_validator("unknown", mode="before")
    @classmethod
    def _one_unknown(cls, unknown: Any) -> Any:
        return [unknown] if isinstance(unknown, str) else unknown


class MaskSection(Section):
    """A segmentation task: its classes, each with its file."""

    classes: dict[str, MaskSource] = Field(min_length=1, description="{class: {path: ..., values: ...}}")


class CropSection(Section):
    """What is kept of large volumes: a box around an outline."""

    masks: str = Field(description="the entry of masks that outlines what is kept")
    margin: float = Field(default=40.0, ge=0, description="kept around it on every side, in mm")


class CohortSpec(Section):
    """A cohort: one table, and the files that its rows name."""

    folder: Path = Field(default=Path(), description="where relative paths begin; itself relative to this file")
    table: Path = Field(description="the table: .csv, .tsv, .xlsx or .parquet; in the folder, or else beside this file")
    sheet: list[str] | None = Field(
        default=None, description="of an .xlsx table; by default the first. Several, as [a, b], become one table"
    )
    synonyms: dict[str, dict[str, list[str]]] = Field(
        default={}, description="what cells mean that are written otherwise: {column: {benign: [Benign, bengin]}}"
    )
    ignore_case: bool = Field(
        default=False, description="true: names of files are the same whatever letters of theirs are capital"
    )
    missing: list[str] = Field(default=list(MISSING), description="texts that mean a missing value")
    case: str = Field(description="the column of unique ids, or a pattern such as {patient}_{exam}")
    group: str | None = Field(
        default=None, description="the column (or pattern) of what no split may divide: the patient"
    )
    split: SplitSection | None = Field(default=None, description="the column of the split, if the table gives one")
    image: list[str] = Field(
        min_length=1, description="a pattern such as images/{id}.png, or a list of patterns, one a channel"
    )
    channels: str | int = Field(
        default="grey", description="grey or colour; or a number: so many volumes in one file, along a fourth axis"
    )
    dimensions: Literal[2, 3] | None = Field(
        default=None, description="2 for pictures, 3 for volumes; by default as the first image is"
    )
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        default=None, description="volumes are resampled to this, z y x in mm"
    )
    fill: float | None = Field(
        default=None,
        ge=-LARGEST,
        le=LARGEST,
        description="what takes the place of image values that are no numbers (NaN), e.g. -1000",
    )
    crop: CropSection | None = Field(
        default=None, description="volumes are cut to a box around an outline: {masks: segmentation, margin: 40}"
    )
    masks: dict[str, MaskSection] = Field(default={}, description="segmentation tasks by name")
    labels: dict[str, Label] = Field(default={}, description="labels of whole cases by name")
    licence: str = Field(default=NOT_STATED, description="of the data, in any words; shown by check, kept in each run")
    source: str = Field(default=NOT_STATED, description="where the data are from, likewise")
    citation: str = Field(default=NOT_STATED, description="what to cite, likewise")

    @field_validator("image", mode="before")
    @classmethod
    def _one(cls, image: Any) -> Any:
        if isinstance(image, dict):
            raise ValueError("a pattern that begins with a brace needs quotes, e.g. '{id}.png'")
        return [image] if isinstance(image, str) else image

    @field_validator("sheet", mode="before")
    @classmethod
    def _sheets(cls, sheet: Any) -> Any:
        return [sheet] if isinstance(sheet, str) else sheet

    @field_validator("synonyms", mode="before")
    @classmethod
    def _lists(cls, synonyms: Any) -> Any:
        if not isinstance(synonyms, dict) or not all(isinstance(own, dict) for own in synonyms.values()):
            return synonyms
        return {
            column: {name: texts if isinstance(texts, list) else [texts] for name, texts in own.items()}
            for column, own in synonyms.items()
        }

    @field_validator("synonyms")
    @classmethod
    def _apart(cls, synonyms: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
        for column, own in synonyms.items():
            seen: dict[str, str] = {}
            for name, texts in own.items():
                for text in texts:
                    if seen.setdefault(text, name) != name:
                        raise ValueError(f"{column}: {text!r} cannot mean both {seen[text]!r} and {name!r}")
        return synonyms

    @field_validator("ignore_case", mode="before")
    @classmethod
    def _truth(cls, value: Any) -> Any:
        if value not in ("true", "false", True, False):
            raise ValueError("true or false")
        return value in ("true", True)

    @field_validator("channels")
    @classmethod
    def _counted(cls, value: str | int) -> str | int:
        count = int(value) if str(value).isdigit() else 0
        if value not in ("grey", "colour") and count < 2:
            raise ValueError("grey, colour, or how many volumes each file holds, from 2 on")
        return count or value

    @field_validator("dimensions", mode="before")
    @classmethod
    def _digit(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.isdigit() else value

    @field_validator("image")
    @classmethod
    def _patterns(cls, image: list[str]) -> list[str]:
        return [_pattern(text) for text in image]

    @field_validator("case", "group")
    @classmethod
    def _column_or_pattern(cls, text: str | None) -> str | None:
        return text if text is None else _pattern(text)

    @field_validator("masks", "labels")
    @classmethod
    def _names(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if name == IMAGE or not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot be the name of a task; choose one of letters and digits, not 'image'"
                )
        return named

    @model_validator(mode="after")
    def _whole(self) -> CohortSpec:
        both = sorted(set(self.masks) & set(self.labels))
        if both:
            raise ValueError(f"{both[0]!r} is the name of masks and of a label; rename one of them")
        if self.channels == "colour" and len(self.image) > 1:
            raise ValueError("channels: colour pictures come from one file each; give one image pattern, or grey")
        if isinstance(self.channels, int) and len(self.image) > 1:
            raise ValueError("channels: a number is for one file of several volumes; give one image pattern, or grey")
        if isinstance(self.channels, int) and self.dimensions == 2:
            raise ValueError("channels: a number is for volumes (dimensions: 3); give grey or colour")
        if self.spacing is not None and self.dimensions == 2:
            raise ValueError("spacing is for volumes (dimensions: 3); leave it out")
        if self.crop is not None and self.dimensions == 2:
            raise ValueError("crop is for volumes (dimensions: 3); leave it out")
        if self.crop is not None and self.crop.masks not in self.masks:
            known = ", ".join(self.masks) or "none"
            raise ValueError(f"crop: {self.crop.masks!r} is no entry of masks; there are: {known}")
        return self

    def columns_used(self) -> list[tuple[Key, str]]:
        """(key, column) of every column of the table that is read."""
        patterns: list[tuple[Key, str]] = [(("image", place), pattern) for place, pattern in enumerate(self.image)]
        for task, section in self.masks.items():
            patterns += [
                (("masks", task, "classes", name, "path"), mask.path) for name, mask in section.classes.items()
            ]
        found = [(key, column) for key, pattern in patterns for column in pattern_columns(pattern)]
        found += [(("case",), column) for column in pattern_columns(self.case) or [self.case]]
        if self.group is not None:
            found += [(("group",), column) for column in pattern_columns(self.group) or [self.group]]
        if self.split is not None:
            found.append((("split", "column"), self.split.column))
        found += [(("synonyms", column), column) for column in self.synonyms]
        for name, label in self.labels.items():
            found += [(("labels", name, *rest), column) for rest, column in label.columns_used()]
        return found

    def reading(self) -> dict[str, Any]:
        """All that changes what is read of a case."""
        keys = {"missing", "case", "image", "channels", "spacing", "masks", "labels"}
        # what is not given leaves stores good that are of before there was such a key
        keys |= {key for key in ("crop", "fill") if getattr(self, key) is not None}
        keys |= {key for key in ("synonyms", "ignore_case") if getattr(self, key)}
        settings = self.model_dump(mode="json", include=keys)
        for label in settings["labels"].values():
            if label.get("decimal") == ".":
                del label["decimal"]
        for section in settings["masks"].values():
            for mask in section["classes"].values():
                for key in ("fill", "unknown"):
                    if mask[key] is None:
                        del mask[key]
        return settings


@dataclass(frozen=True)
class CohortFile:
    """A validated cohort file, and where each of its keys stands."""

    path: Path
    spec: CohortSpec
    lines: Mapping[Key, str]

    def fault(self, key: Key, message: str) -> InputError:
        """The error for what is wrong with a key."""
        return InputError(f"{place_of(key, self.lines, str(self.path))}: {'.'.join(map(str, key))}: {message}")


class _Loader(yaml.SafeLoader):
    """YAML whose plain values are text, so that ``yes``, ``007`` and ``1.0`` stay what the table holds."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_cohort(path: Path) -> CohortFile:
    """Read and validate a cohort file.

    Raises:
        InputError: one line a fault: file, line, key, value and what would be accepted.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such cohort file; `crosstask cohort init TABLE` proposes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); give a YAML file") from None
    return parse_cohort(text, path)


def parse_cohort(text: str, path: Path) -> CohortFile:
    """Validate the text of a cohort file.

    Args:
        text: YAML.
        path: where it stands or shall stand, for messages.

    Raises:
        InputError: as :func:`load_cohort`.
    """
    hint = "; a value that begins with { needs quotes" if "{" in text else ""
    values, numbers = parse_yaml(text, path, loader=_Loader, hint=hint)
    lines = {key: f"{path}, line {number}" for key, number in numbers.items()}
    if not isinstance(values, dict):
        raise InputError(f"{path}: a cohort is a mapping of keys to values; `crosstask cohort init TABLE` proposes one")
    try:
        return CohortFile(path, CohortSpec.model_validate(values), lines)
    except ValidationError as error:
        # a key that is misspelled says more than the one that is missing for it
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        raise InputErrors([_told(fault, lines, path) for fault in faults]) from None


def _told(fault: Mapping[str, Any], lines: Mapping[Key, str], path: Path) -> str:
    """One fault in one line: file, line, key, value and what would be accepted."""
    key = _key(fault["loc"])
    name = f"{'.'.join(map(str, key))}: " if key else ""
    return f"{place_of(key, lines, str(path))}: {name}{_reason(fault)}"


def _key(place: Sequence[Any]) -> Key:
    """The key of a fault as it stands in the file: without the kind that pydantic puts between label and key."""
    if len(place) > 2 and place[0] == "labels" and place[2] in LABELS:
        place = (*place[:2], *place[3:])
    return tuple(place)


def _reason(fault: Mapping[str, Any]) -> str:
    """What was found and what would be accepted."""
    kind, value, place = fault["type"], fault["input"], fault["loc"]
    section = _section(place[:-1])
    last = str(place[-1]) if place else ""
    if kind == "extra_forbidden":
        known = list(section.model_fields) if section is not None else []
        return f"no such key; {did_you_mean(last, known).strip() or 'accepted: ' + ', '.join(known)}"
    if kind == "missing":
        field = section.model_fields.get(last) if section is not None else None
        return f"is missing; give {field.description}" if field is not None and field.description else "is missing"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        kinds = ", ".join(LABELS)
        given = value.get("kind") if isinstance(value, dict) else None
        if given is None:
            return f"needs a kind; accepted: {kinds}"
        return f"kind {given!r} is not accepted: {did_you_mean(given, LABELS).strip() or f'one of {kinds}'}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return message if isinstance(value, dict) else f"{value!r} is not accepted: {message}"


def _section(place: Sequence[Any]) -> type[BaseModel] | None:
    """The section in which a fault's key stands."""
    if not place:
        return CohortSpec
    if place[0] == "labels":
        return LABELS[place[2]] if len(place) == 3 and place[2] in LABELS else None
    if place[0] == "masks":
        return MaskSection if len(place) == 2 else MaskSource if len(place) == 4 else None
    if tuple(place) == ("crop",):
        return CropSection
    return SplitSection if tuple(place) == ("split",) else None
