"""Which columns of a table hold what a comparison needs; names that are only near are told, never taken. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from crosstask.errors import InputError, listed
from crosstask.evaluation.foreign.given import COLUMNS, REQUIRED, Given
from crosstask.registry import closest

_OTHERS = {
    "method": ("model", "algorithm", "architecture", "network", "net", "approach", "trainer"),
    "seed": ("fold", "run", "repeat", "repetition", "replicate", "trial", "split"),
    "case": ("case_id", "id", "image", "image_id", "scan", "exam", "sample", "file", "filename", "patient", "subject"),
    "task": ("target", "problem", "objective"),
    "metric": ("measure", "score_name", "criterion"),
    "value": ("score", "result", "val", "dice", "auc", "mae"),
    "higher_is_better": ("direction", "better", "higher", "maximize", "maximise"),
    "class": ("organ", "structure", "label", "roi", "region"),
    "group": ("patient", "patient_id", "subject", "subject_id", "lesion", "lesion_id", "cluster"),
    "unit": ("units",),
}
"""What others call these columns, most likely first."""
_MOST_NAMES = 8


def with_columns(given: Given, columns: Mapping[str, str], constants: Mapping[str, object]) -> Given:
    """The rows with the columns of :data:`~crosstask.evaluation.foreign.given.COLUMNS`, in their order.

    A name that differs in case, spaces and underscores alone is the same name. ``class``, ``unit`` and ``group`` are
    empty where there is no such column, and so is ``higher_is_better``, which may be told otherwise.

    Args:
        given: the rows of one table.
        columns: ``{name: what the table calls it}``.
        constants: ``{name: value of all rows}``, told beside the table.

    Raises:
        InputError: a column is missing, two could be meant, or a name or value is told twice.
    """
    table = given.tables[0]
    names = [str(name) for name in given.frame.columns]
    frame = _called(given.frame, names)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(f"{_head(table)}{twice[0]!r} names {names.count(twice[0])} columns; rename all but one")
    found = _found(names, columns, table)
    taken = _without_constants(found, frame, constants, table)
    told = set(found.values()) - set(taken.values())
    missing = [name for name in REQUIRED if name not in taken and name not in constants and name != "higher_is_better"]
    if missing:
        raise InputError(_head(table) + _what_is_missing(missing, names, taken, frame))
    other = {name: theirs for name, theirs in taken.items() if theirs != name and name not in columns}
    remarks = []
    if other:
        said = ", ".join(f"{theirs!r} as {name!r}" for name, theirs in other.items())
        remarks.append(f"{_head(table)}taken for the columns meant: {said}.")
    whole = pd.DataFrame(
        {name: frame[taken[name]] if name in taken else constants.get(name, "") for name in COLUMNS},
        index=frame.index,
        copy=False,
    )
    unused = tuple(name for name in names if name not in {*taken.values(), *told})
    if unused:
        remarks.append(f"{_head(table)}not used: {listed(unused, _MOST_NAMES)}.{_group_hint(unused, taken)}")
    return Given(whole, given.tables, given.table, given.number, (*given.remarks, *remarks), unused)


def _called(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The frame with these names of columns; not copied where it has them."""
    return frame if list(frame.columns) == names else frame.set_axis(names, axis=1)


def _found(names: Sequence[str], columns: Mapping[str, str], table: str) -> dict[str, str]:
    """``{name: the table's column}`` by what was told and by the names themselves."""
    taken = {}
    for name, theirs in columns.items():
        if name not in COLUMNS:
            raise InputError(f"--column {name}={theirs}: there is no {name!r} to be told; one of {', '.join(COLUMNS)}")
        if theirs in names:
            taken[name] = theirs
    for name in COLUMNS:
        same = [theirs for theirs in names if _plain(theirs) == _plain(name) and theirs not in taken.values()]
        if name in taken or not same:
            continue
        if len(same) > 1 and name not in same:
            raise InputError(f"{_head(table)}{same[0]!r} and {same[1]!r} could both be {name!r}; rename one of them")
        taken[name] = name if name in same else same[0]
    return taken


def _without_constants(
    taken: Mapping[str, str], frame: pd.DataFrame, constants: Mapping[str, object], table: str
) -> dict[str, str]:
    """The columns that are not told beside the table; where one is told too, it has to say the same."""
    for name, value in constants.items():
        if name in taken:
            own = frame[taken[name]].astype(str).str.strip()
            if (own != str(value)).any():
                raise InputError(
                    f"{_head(table)}{name} is {value!r} by the command line, and there is a column {taken[name]!r} "
                    f"with {own[own != str(value)].iloc[0]!r}; leave {str(value)!r} out there, or the column out here"
                )
    return {name: theirs for name, theirs in taken.items() if name not in constants}


def _what_is_missing(
    missing: Sequence[str], names: Sequence[str], taken: Mapping[str, str], frame: pd.DataFrame
) -> str:
    free = [name for name in names if name not in taken.values()]
    if wide := _wide(missing, taken, free, frame):
        return wide
    near = {name: found for name in missing if (found := _near(name, free))}
    what = f"has no column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"
    if near:
        proposed = "; ".join(f"if {theirs!r} is the {name}: --column {name}={theirs}" for name, theirs in near.items())
        renamed = ", ".join(f"{name!r}: {theirs!r}" for name, theirs in near.items())
        return f"{what}; {proposed} (in Python columns={{{renamed}}}), or rename it"
    if missing == ["case"]:
        return (
            f"{what}; values of single cases are needed, since means do not say how far the test cases carry: give one "
            f"row a case (columns here: {listed(names, _MOST_NAMES)})"
        )
    prefix = [name for name in missing if name in ("method", "seed")]
    advice = "or give METHOD:SEED=TABLE on the command line" if prefix == missing else "or --column NAME=YOURS"
    return f"{what}; add it, {advice} (columns here: {listed(names, _MOST_NAMES)})"


def _wide(missing: Sequence[str], taken: Mapping[str, str], free: Sequence[str], frame: pd.DataFrame) -> str:
    """What makes a table long that has a column for each metric or task; empty where it is none."""
    if "value" not in missing or "case" in missing or not {"metric", "task"} & set(missing):
        return ""
    figures = [name for name in free if _are_numbers(frame[name])]
    if not figures or (len(figures) == 1 and _near("value", figures)):
        return ""
    keys = [theirs for name, theirs in taken.items() if name != "higher_is_better"]
    name = "metric" if "metric" in missing else "task"
    other = " and add a column 'task'" if {"metric", "task"} <= set(missing) else ""
    return (
        f"has a column for each figure ({listed(figures, _MOST_NAMES)}), and one row a value is needed; in pandas: "
        f"long = table.melt(id_vars={keys}, value_vars={figures}, var_name={name!r}, value_name='value'){other}"
    )


def _are_numbers(column: pd.Series) -> bool:
    values = pd.to_numeric(column, errors="coerce")
    return bool(values.notna().mean() > 0.5)


def _near(name: str, free: Sequence[str]) -> str | None:
    """The column that a name may be meant by."""
    plain = {_plain(theirs): theirs for theirs in reversed(free)}
    for other in (name + "s", *_OTHERS.get(name, ())):
        if _plain(other) in plain:
            return plain[_plain(other)]
    near = closest(_plain(name), plain)
    return plain[near] if near else None


def _group_hint(unused: Sequence[str], taken: Mapping[str, str]) -> str:
    plain = {_plain(theirs): theirs for theirs in unused}
    near = next((plain[_plain(other)] for other in _OTHERS["group"] if _plain(other) in plain), None)
    if "group" in taken or near is None:
        return ""
    return f" If cases of one {near} belong together, say so: --column group={near}."


def _plain(name: str) -> str:
    return re.sub(r"[\s_.\-]+", "", name).casefold()


def _head(table: str) -> str:
    return f"{table}: " if table else ""
