"""Options of the DICOM-RT data set, as experiment files and commands give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosstask.errors import InputError
from crosstask.io.yaml_lines import parse_yaml


def synonyms_of(structures: Mapping[str, Sequence[str]] | str | Path | None) -> dict[str, tuple[str, ...]]:
    """Names of structures and what files may call them, given so or as a YAML file that holds it.

    Raises:
        InputError: it is neither.
    """
    given: Any = structures
    if isinstance(structures, str | Path):
        path = Path(structures).expanduser()
        try:
            given, _ = parse_yaml(path.read_text(encoding="utf-8"), path)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); see dataset.options.structures") from None
    remedy = "give {name: [synonyms], ...}, or a YAML file that holds it"
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"dataset.options.structures: {remedy}")
    table: dict[str, tuple[str, ...]] = {}
    for name, others in given.items():
        names = [others] if isinstance(others, str) else list(others or ())
        if not isinstance(name, str) or not name or not all(isinstance(other, str) and other for other in names):
            raise InputError(f"dataset.options.structures.{name}: {remedy}")
        table[name] = tuple(names)
    return table


def three_lengths(values: Sequence[float]) -> tuple[float, float, float]:
    """A spacing z y x in mm.

    Raises:
        InputError: it is none.
    """
    if isinstance(values, str) or len(values) != 3:
        raise InputError(f"dataset.options.spacing: {values!r} is not three lengths z y x in mm")
    z, y, x = (length_of("spacing", value) for value in values)
    return z, y, x


def length_of(option: str, value: Any) -> float:
    """A length in mm.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1000:
        raise InputError(f"dataset.options.{option}: {value!r} is no length in mm above 0")
    return float(value)


def names_of(option: str, values: Any) -> tuple[str, ...]:
    """Names to choose by: one or several, and numbers as text.

    Raises:
        InputError: there is anything else.
    """
    given = values if isinstance(values, list | tuple) else [] if values is None else [values]
    if not all(isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip() for value in given):
        raise InputError(f"dataset.options.{option}: {values!r} is no name; give one or a list, in quotes")
    return tuple(str(value) for value in given)
