"""Labels of a cohort: from the text of a table's cells to the values of a case, missing ones left out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from crosstask.datasets.cohort.spelling import folded, near

MISSING = ("", "NA", "N/A", "NaN", "nan", "None", "unknown")
"""Texts that mean a missing value, unless the cohort's file says otherwise; ``none`` may well be a class."""
POSITIVE = ("1", "true", "yes", "positive")
NEGATIVE = ("0", "false", "no", "negative")
Decimal = Literal[".", ","]
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?")
_LARGEST = float(np.finfo(np.float32).max)
_AGE = re.compile(r"(?<![A-Za-z])[Aa][Gg][Ee](?![a-z])|(?<=[a-z])Age(?![a-z])")
"""In the name of a column or a label: an age, which is not negative."""
_OLDEST = 130.0
"""Years, as ages of people go; more is a code that stands for a missing value, or a birth date gone wrong."""


class Section(BaseModel):
    """A part of the cohort's file; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class LabelError(ValueError):
    """A cell holds what a label does not accept.

    Attributes:
        column, value: the cell.
        accepted: what would be, and what to do.
    """

    def __init__(self, column: str, value: str, accepted: str) -> None:
        super().__init__(f"column {column!r} holds {value!r}: {accepted}")
        self.column, self.value, self.accepted = column, value, accepted


def is_missing(value: str, missing: Sequence[str]) -> bool:
    """Whether a cell is one of the texts that mean a missing value."""
    return value in missing


def plain(value: str) -> str:
    """A cell for comparison: ``1.0`` and ``01`` are ``1``, all else is itself."""
    number = as_number(value)
    return str(int(number)) if number is not None and number.is_integer() and abs(number) < 2**53 else value


def as_number(value: str) -> float | None:
    """A finite number, or None if the text is none."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in value else None


def with_decimals(value: str, mark: Decimal) -> float | None:
    """A finite number whose decimals a comma may set off, or None if the text is none.

    With a comma, points between groups of three digits are taken out: ``1.234,5`` is 1234.5, and ``30.5`` is 30.5.
    """
    if mark == ",":
        if _GROUPED.fullmatch(value):
            value = value.replace(".", "")
        value = value.replace(",", ".")
    return as_number(value)


class _Label(Section):
    missing: list[str] | None = Field(default=None, description="texts that mean missing here, e.g. ['', '9']")

    def columns_used(self) -> list[tuple[tuple[str | int, ...], str]]:
        """(place of the key in this section, column) of every column that the label reads."""
        raise NotImplementedError

    def channels(self, name: str) -> tuple[str, ...]:
        """Names of all channels that the array ``name`` can have."""
        raise NotImplementedError

    def values(self, name: str, cells: Mapping[str, str], missing: Sequence[str]) -> dict[str, float]:
        """``{channel: value}`` of a row, without what is missing.

        Raises:
            LabelError: a cell holds what is not accepted.
        """
        raise NotImplementedError

    def _known(self, column: str, cells: Mapping[str, str], missing: Sequence[str]) -> str | None:
        value = cells[column]
        return None if is_missing(value, missing if self.missing is None else self.missing) else value


class _YesNo(_Label):
    positive: list[str] | None = Field(
        default=None, min_length=1, description="values that count as positive; by default 1, true, yes, positive"
    )
    negative: list[str] | None = Field(
        default=None, description="values that count as negative; any other is then an error"
    )

    @model_validator(mode="after")
    def _apart(self) -> _YesNo:
        both = {plain(value) for value in self.positive or ()} & {plain(value) for value in self.negative or ()}
        if both:
            raise ValueError(f"{sorted(both)[0]!r} cannot be both positive and negative")
        return self

    def _sign(self, column: str, value: str) -> float:
        given = plain(value)
        if self.positive is None and self.negative is None:
            if given.casefold() in POSITIVE or given.casefold() in NEGATIVE:
                return float(given.casefold() in POSITIVE)
            raise LabelError(column, value, "neither 0 nor 1 (nor true, false, yes, no); list the positive values")
        positive = [plain(text) for text in (POSITIVE if self.positive is None else self.positive)]
        negative = [plain(text) for text in (self.negative or ())]
        if given in positive:
            return 1.0
        if given in negative:
            return 0.0
        meant = near(given, (*positive, *negative))
        if meant is not None and folded(meant) == folded(given):
            raise LabelError(column, value, f"differs from {meant!r} only in upper and lower case; list both")
        if meant is not None:
            raise LabelError(column, value, f"nearly {meant!r}; list it too, or the other way if it is something else")
        if self.negative is not None:
            raise LabelError(column, value, "neither among the positive nor the negative values; add it or fix it")
        return 0.0


class BinaryLabel(_YesNo):
    """Yes or no, from one column: by its values, or by a threshold on a number."""

    kind: Literal["binary"]
    column: str = Field(description="the column")
    at_least: float | None = Field(default=None, description="a number from which on the label is positive")
    at_most: float | None = Field(default=None, description="a number up to which the label is positive")
    decimal: Decimal = Field(default=".", description="what sets off the decimals of a number, '.' or ','")

    @model_validator(mode="after")
    def _one_rule(self) -> BinaryLabel:
        rules = [key for key in ("at_least", "at_most") if getattr(self, key) is not None]
        if len(rules) > 1 or (rules and (self.positive is not None or self.negative is not None)):
            raise ValueError("give values (positive, negative) or one threshold (at_least, at_most), not both")
        return self

    def columns_used(self) -> list[tuple[tuple[str | int, ...], str]]:
        return [(("column",), self.column)]

    def channels(self, name: str) -> tuple[str, ...]:
        return (name,)

    def values(self, name: str, cells: Mapping[str, str], missing: Sequence[str]) -> dict[str, float]:
        value = self._known(self.column, cells, missing)
        if value is None:
            return {}
        if self.at_least is not None:
            return {name: float(_number(self.column, value, self.decimal) >= self.at_least)}
        if self.at_most is not None:
            return {name: float(_number(self.column, value, self.decimal) <= self.at_most)}
        return {name: self._sign(self.column, value)}


class ClassesLabel(_Label):
    """One of several classes that exclude each other, from one column."""

    kind: Literal["classes"]
    column: str = Field(description="the column")
    classes: dict[str, list[str]] = Field(
        min_length=2, description="the values in order, e.g. [mild, severe], or {name: [values]} to rename or join them"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _named(cls, classes: object) -> object:
        if isinstance(classes, list):
            named = {str(name): [name] for name in classes}
            if len(named) < len(classes):
                raise ValueError("duplicate class")
            return named
        if isinstance(classes, dict):
            return {name: values if isinstance(values, list) else [values] for name, values in classes.items()}
        return classes

    @model_validator(mode="after")
    def _apart(self) -> ClassesLabel:
        seen: dict[str, str] = {}
        for first, second in combinations(self.classes, 2):
            if folded(first) == folded(second):
                raise ValueError(
                    f"{first!r} and {second!r} differ only in capital letters or spaces; join them as "
                    f"{{{first}: [{first}, {second}]}}, or rename one by synonyms if they are two"
                )
        for name, values in self.classes.items():
            for value in values:
                if seen.setdefault(plain(value), name) != name:
                    raise ValueError(f"{value!r} belongs to both {seen[plain(value)]!r} and {name!r}")
        return self

    def columns_used(self) -> list[tuple[tuple[str | int, ...], str]]:
        return [(("column",), self.column)]

    def channels(self, name: str) -> tuple[str, ...]:
        return tuple(self.classes)

    def values(self, name: str, cells: Mapping[str, str], missing: Sequence[str]) -> dict[str, float]:
        value = self._known(self.column, cells, missing)
        if value is None:
            return {}
        true = next((own for own, texts in self.classes.items() if plain(value) in map(plain, texts)), None)
        if true is None:
            meant = near(value, (text for texts in self.classes.values() for text in texts))
            hint = (
                f"; did you mean {meant!r}? Then write synonyms: {{{self.column}: {{{meant}: [{value}]}}}}"
                if meant
                else ""
            )
            raise LabelError(
                self.column, value, f"none of {', '.join(self.classes)}; fix it, or add it to classes{hint}"
            )
        return {own: float(own == true) for own in self.classes}


class FindingsLabel(_YesNo):
    """Several findings that may occur together, one yes-or-no column each; each may be missing alone."""

    kind: Literal["findings"]
    columns: dict[str, str] = Field(
        min_length=1, description="the columns, e.g. [edema, nodule], or {name: column} to rename them"
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _named(cls, columns: object) -> object:
        if not isinstance(columns, list):
            return columns
        if len(set(map(str, columns))) < len(columns):
            raise ValueError("duplicate column")
        return {str(column): column for column in columns}

    def columns_used(self) -> list[tuple[tuple[str | int, ...], str]]:
        return [
            (("columns", place if name == column else name), column)
            for place, (name, column) in enumerate(self.columns.items())
        ]

    def channels(self, name: str) -> tuple[str, ...]:
        return tuple(self.columns)

    def values(self, name: str, cells: Mapping[str, str], missing: Sequence[str]) -> dict[str, float]:
        known = {own: self._known(column, cells, missing) for own, column in self.columns.items()}
        return {own: self._sign(self.columns[own], value) for own, value in known.items() if value is not None}


class OneHotLabel(FindingsLabel):
    """One of several classes that exclude each other, from a yes-or-no column each."""

    kind: Literal["one_hot"]  # type: ignore[assignment]

    def values(self, name: str, cells: Mapping[str, str], missing: Sequence[str]) -> dict[str, float]:
        known = super().values(name, cells, missing)
        true = [own for own, value in known.items() if value]
        if len(true) > 1:
            column = self.columns[true[1]]
            raise LabelError(column, cells[column], f"positive, as {true[0]!r} is; of these columns one alone may be")
        if not true and len(known) == len(self.columns):
            column = next(iter(self.columns.values()))
            raise LabelError(column, cells[column], f"none of {', '.join(self.columns)} is positive; fix the row")
        return {own: float(own in true) for own in self.columns} if true else {}


class NumberLabel(_Label):
    """A quantity, such as age or a score."""

    kind: Literal["number"]
    column: str = Field(description="the column")
    unit: str = Field(default="", description="its unit, e.g. years")
    decimal: Decimal = Field(default=".", description="what sets off the decimals, '.' or ','")
    minimum: float | None = Field(default=None, description="the lowest possible value; a lower one is an error")
    maximum: float | None = Field(default=None, description="the highest possible value; a higher one is an error")

    def columns_used(self) -> list[tuple[tuple[str | int, ...], str]]:
        return [(("column",), self.column)]

    def channels(self, name: str) -> tuple[str, ...]:
        return (name,)

    def values(self, name: str, cells: Mapping[str, str], missing: Sequence[str]) -> dict[str, float]:
        value = self._known(self.column, cells, missing)
        if value is None:
            return {}
        number = _number(self.column, value, self.decimal)
        if self.minimum is not None and number < self.minimum:
            raise LabelError(self.column, value, f"below the minimum {self.minimum:g}; fix it or the minimum")
        if self.maximum is not None and number > self.maximum:
            raise LabelError(self.column, value, f"above the maximum {self.maximum:g}; fix it or the maximum")
        if _AGE.search(self.column) or _AGE.search(name):
            if self.minimum is None and number < 0:
                raise LabelError(self.column, value, "no age is below 0; fix it, add it to missing, or give a minimum")
            years = self.unit.casefold() in ("years", "year", "y", "yr", "yrs", "a")
            if years and self.maximum is None and number > _OLDEST:
                raise LabelError(
                    self.column,
                    value,
                    f"no age is above {_OLDEST:g} years; fix it, add it to missing, or give a maximum",
                )
        return {name: number}


Label = Annotated[BinaryLabel | ClassesLabel | FindingsLabel | OneHotLabel | NumberLabel, Field(discriminator="kind")]
LABELS: dict[str, type[Section]] = {
    "binary": BinaryLabel,
    "classes": ClassesLabel,
    "findings": FindingsLabel,
    "one_hot": OneHotLabel,
    "number": NumberLabel,
}
"""Kind in the cohort's file -> section."""


def _number(column: str, value: str, decimal: Decimal) -> float:
    number = with_decimals(value, decimal)
    if number is not None and abs(number) > _LARGEST:
        raise LabelError(column, value, "too large for a number of 32 bits; fix it, or add it to missing")
    if number is None:
        comma = with_decimals(value, ",") is not None
        hint = "write a decimal point, or decimal: ',' for this label" if comma else "fix it, or add it to missing"
        raise LabelError(column, value, f"not a number; {hint}")
    return number
