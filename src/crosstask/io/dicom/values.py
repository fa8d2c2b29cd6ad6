"""Values of DICOM attributes that are copied from file to file: those that the standard allows, and no others."""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from crosstask.errors import InputError
from crosstask.io.dicom.header import UTF8, Header, quiet

if TYPE_CHECKING:
    from pydicom import Dataset

_ENUMERATED = {"PatientSex": ("M", "F", "O"), "PatientIdentityRemoved": ("YES", "NO")}
_LATIN, _REPLACED = "iso8859-1", "\ufffd"
_COMPONENTS = 5
"""Of a group of a person's name."""


def copied(header: Header, keywords: Iterable[str]) -> tuple[Dataset, list[str]]:
    """Attributes of a file that are there and may be copied, as text in UTF-8.

    Args:
        header: the file's.
        keywords: attributes of text, dates, numbers as text and the like.

    Returns:
        the attributes as a pydicom Dataset, and the keywords of those whose values break the rules of their kind (a
        date with dashes, a text that is too long, letters that cannot be told); they are not in it.
    """
    from pydicom import Dataset

    made, broken = Dataset(), []
    made.SpecificCharacterSet = UTF8
    named = header.text("SpecificCharacterSet", "") if header.has("SpecificCharacterSet") else ""
    for keyword in keywords:
        if not header.has(keyword):
            continue
        try:
            values = [_letters(str(value), named) for value in header.values(keyword)]
        except (InputError, TypeError, ValueError, UnicodeError):
            values = [_REPLACED]
        if not is_valid(keyword, values):
            broken.append(keyword)
            continue
        with quiet():
            setattr(made, keyword, values if len(values) > 1 else values[0])
    return made, broken


def is_valid(keyword: str, values: list[str]) -> bool:
    """Whether an attribute may have these values, as text, by its kind (VR), number and list of values."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VM, dictionary_VR
    from pydicom.valuerep import validate_value

    kind = dictionary_VR(keyword)
    if len(values) > 1 and dictionary_VM(keyword) == "1":
        return False
    for value in values:
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Co") for letter in value) or _REPLACED in value:
            return False
        try:
            validate_value(kind, value, RAISE)
        except ValueError:
            return False
        plain = value.strip(" ")
        if kind in ("DA", "TM") and plain and not _is_moment(kind, plain):
            return False
        if kind == "PN" and any(group.count("^") >= _COMPONENTS for group in value.split("=")):
            return False
        if plain and plain not in _ENUMERATED.get(keyword, (plain,)):
            return False
    return True


def _is_moment(kind: str, value: str) -> bool:
    """A day of the calendar; a time that is no range, which the rules of pydicom let through as of a query."""
    if kind == "TM":
        return "-" not in value
    try:
        datetime.datetime.strptime(value, "%Y%m%d")
    except ValueError:
        return False
    return len(value) == len("YYYYMMDD")


def _letters(text: str, character_set: str) -> str:
    """Text of a file that names no character set, which is then read as Latin 1, though many mean UTF-8."""
    if character_set or text.isascii():
        return text
    try:
        return text.encode(_LATIN).decode("utf-8")
    except UnicodeError:
        return text
