"""The labels that a cohort file is proposed to have: which columns, of which kind, and what is doubtful about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, takewhile

from crosstask.datasets.cohort.labels import MISSING, NEGATIVE, POSITIVE
from crosstask.datasets.cohort.profile import Column, correlation, determines, implied_by_all, one_hot
from crosstask.datasets.cohort.proposal import Label, Proposal
from crosstask.datasets.cohort.spec import IMAGE
from crosstask.datasets.cohort.text import flow_of, item_of, name_of, text_of

_SENTINELS = ("-1", "-9", "-99", "-999", "99", "999", "9999")
_UNITS = {"age": "years", "weight": "kg", "height": "cm", "days": "days", "months": "months", "years": "years"}
_MU = "\u00b5", "\u03bc", "u"
_KNOWN_UNITS = {"a", "y", "yr", "yrs", "year", "years", "mo", "month", "months", "wk", "weeks", "d", "day", "days"}
_KNOWN_UNITS |= {"h", "hours", "min", "s", "ms", "%", "HU", "T", "K", "U", "IU", "mU", "V", "kV", "mA", "mAs", "Hz"}
_KNOWN_UNITS |= {
    "kHz",
    "mmHg",
    "bpm",
    "deg",
    "degrees",
    "\u00b0",
    "\u00b0C",
    "px",
    "pixel",
    "pixels",
    "voxels",
    "points",
    "cc",
}
_KNOWN_UNITS |= {
    f"{part}m{power}" for part in ("", "c", "m", "n", *_MU) for power in ("", "2", "3", "\u00b2", "\u00b3")
}
_KNOWN_UNITS |= {f"{part}{unit}" for part in ("", "d", "m", "n", "p", "k", *_MU) for unit in ("g", "l", "L", "mol")}
_KNOWN_UNITS |= {f"{part}{unit}" for part in ("", "c", "m", "k", "M", "G") for unit in ("Gy", "Sv", "Bq")}
_BRACKET = re.compile(r"\s*[\[(]([^\[\]()]*)[\])]\s*$")
_MEASURED = re.compile(r"([<>~\u2264\u2265=]+\s*)?[+-]?\d+([.,]\d+)?\s*[^\d\s]{0,8}")
_RARE = 10
_SIGNED = ("yes or no", "marks")


def propose_labels(columns: Sequence[Column], proposal: Proposal) -> list[Label]:
    """Labels of the columns that are left over, and notes on those that cannot be any."""
    labels: list[Label] = []
    signed = [column for column in columns if column.look in _SIGNED]
    for run in one_hot(signed):
        labels.append(_one_hot(run, proposal))
        signed = [column for column in signed if column not in run]
    yes_no = [column for column in signed if column.look == "yes or no"]
    marks = [column for column in signed if column.look == "marks"]
    findings = _findings_of(yes_no, proposal)
    for column in columns:
        if column in signed:
            labels += _of_signs(column, yes_no, findings, marks, proposal)
        elif column.look == "classes":
            labels.append(_classes(column, proposal))
        elif column.look in ("number", "rating"):
            labels.append(_number(column, proposal))
        elif column.look not in _SIGNED:
            proposal.notes.append(_why_not(column))
    names: set[str] = set(proposal.masks)
    for label in labels:
        _rename(label, names)
    return labels


def _findings_of(yes_no: Sequence[Column], proposal: Proposal) -> list[Column]:
    """The columns of yes and no that make one label of findings: three or more, but for one that sums them up."""
    if len(yes_no) <= 2:
        return []
    parent = next((one for one in yes_no if implied_by_all(one, [c for c in yes_no if c is not one])), None)
    if parent is not None:
        proposal.notes.append(
            f"labels: {parent.name!r} is positive wherever a finding is, so the findings are part of it; judge what "
            "learning them together means"
        )
    return [column for column in yes_no if column is not parent]


def _of_signs(
    column: Column, yes_no: Sequence[Column], findings: Sequence[Column], marks: Sequence[Column], proposal: Proposal
) -> list[Label]:
    """The label of a column of yes and no or of marks; of several that are one label, it comes with the first."""
    for together in (findings, marks if len(marks) > 1 else []):
        if column in together:
            return [_findings(together, proposal)] if column is together[0] else []
    label = _binary(column, proposal)
    if len(yes_no) == 2 and column is yes_no[1]:
        label.comment += f"; with {yes_no[0].name!r} it could be one label of kind findings"
    return [label]


def _why_not(column: Column) -> str:
    """Why a column is no label."""
    if column.look == "empty":
        return f"column {column.name!r} is empty: not used"
    if column.look == "constant":
        return f"column {column.name!r} holds only {next(iter(column.counts))!r}: nothing to learn, not used"
    if column.maybe_thousands:
        comma = next(value for value in column.known if "," in value)
        return (
            f"column {column.name!r} holds numbers such as {comma}, thousands or decimals: not used; take the commas "
            "out, or give it a label of kind number with decimal: ','"
        )
    measured = [value for value in column.known if _MEASURED.fullmatch(value)]
    if len(measured) > len(column.known) / 2:
        return (
            f"column {column.name!r} holds numbers with a unit or sign, such as {measured[0]!r}: not used; write the "
            "numbers alone"
        )
    if len(column.counts) > len(column.known) / 2:
        return (
            f"column {column.name!r} is nearly unique text ({len(column.counts)} values): an id or a report, which may "
            "give the answer away; not used"
        )
    return (
        f"column {column.name!r} has {len(column.counts)} different texts, too many for classes: not used; join them "
        "by classes: {name: [values]} if it is a label"
    )


def _rename(label: Label, names: set[str]) -> None:
    """Give a label a name that no other has."""
    plain = label.name
    while label.name in names or label.name == IMAGE:
        label.name += "_label" if label.name == plain else "_"
    names.add(label.name)
    label.lines[0] = label.lines[0].replace("@", text_of(label.name), 1)


def _binary(column: Column, proposal: Proposal) -> Label:
    yes = _yes(column, proposal)
    keys = [f"kind: binary, column: {item_of(column.name)}", *_values([column], proposal)]
    line = f"@: {{{', '.join(keys)}}}"
    comment = f"{yes} of {_said(column)} positive{_gaps(column)}"
    return Label(_title(column.name), "binary", [line], comment, [column.name])


def _findings(columns: Sequence[Column], proposal: Proposal) -> Label:
    lines = [
        "@:",
        "  kind: findings    # several may be positive in one case; each is a yes or no of its own",
        "  columns:",
    ]
    for column in columns:
        yes = _yes(column, proposal)
        lines.append(f"    - {text_of(column.name)}    # {yes} of {_said(column)} positive{_gaps(column)}")
    lines += [f"  {line}" for line in _values(columns, proposal)]
    comment = "one task of several labels; a column that is a question of its own is better a binary label"
    return Label("findings", "findings", lines, comment, [column.name for column in columns])


def _one_hot(columns: Sequence[Column], proposal: Proposal) -> Label:
    """Classes that exclude each other, a column each."""
    names = ", ".join(repr(column.name) for column in columns)
    proposal.notes.append(
        f"labels: of {names} exactly one is positive in every row, so they are one label of {len(columns)} classes"
    )
    lines = [
        "@:",
        "  kind: one_hot    # exactly one is positive in a case: classes that exclude each other",
        "  columns:",
    ]
    lines += [f"    - {text_of(column.name)}    # {_yes(column, proposal)}" for column in columns]
    lines += [f"  {line}" for line in _values(columns, proposal)]
    letters = zip(*(column.name for column in columns), strict=False)
    same = takewhile(lambda these: len(set(these)) == 1, letters)
    common = name_of("".join(first for first, *_ in same).rstrip("_- ."))
    name = common if len(common) > 1 and common != "label" else "classes"
    comment = f"one of {len(columns)} classes, a column each"
    return Label(name, "one_hot", lines, comment, [column.name for column in columns])


def _yes(column: Column, proposal: Proposal) -> int:
    """How many rows are positive, with a note where they are few, or few are not."""
    yes = sum(map(bool, column.signs))
    if min(yes, _said(column) - yes) < _RARE:
        proposal.notes.append(
            f"labels: {column.name!r} has few cases of one kind ({yes} positive); its scores will scatter"
        )
    return yes


def _said(column: Column) -> int:
    return sum(sign is not None for sign in column.signs)


def _values(columns: Sequence[Column], proposal: Proposal) -> list[str]:
    """The keys that say which values are positive, negative and missing."""
    marked = [column for column in columns if column.look == "marks"]
    positive = sorted({cell for column in columns for cell in _plain_values(column) if _is_yes(cell, column)})
    negative = sorted({cell for column in columns for cell in _plain_values(column) if cell.casefold() in NEGATIVE})
    if not marked:
        return [f"positive: {flow_of(positive)}", f"negative: {flow_of(negative)}"]
    empty = sorted({cell for column in marked for cell in column.cells if cell in column.missing})
    names = ", ".join(repr(column.name) for column in marked)
    proposal.notes.append(
        f"labels: {names}: there is nothing but {', '.join(map(repr, positive))} and empty cells, so an empty cell is "
        "read as no; if it means unknown, take the label out"
    )
    rest = [text for text in (*MISSING, *marked[0].missing) if text not in empty]
    return [
        f"positive: {flow_of(positive)}",
        f"negative: {flow_of([*negative, *empty])}",
        f"missing: {flow_of(list(dict.fromkeys(rest)))}",
    ]


def _plain_values(column: Column) -> list[str]:
    return list(column.counts)


def _is_yes(cell: str, column: Column) -> bool:
    return column.look == "marks" or cell.casefold() in POSITIVE


def _title(column: str) -> str:
    """The name of a column's task: what stands in brackets at its end, a unit or the meaning of values, is none."""
    return name_of(_BRACKET.sub("", column) or column)


def _unit(column: Column) -> str:
    """The unit that a column's name has in brackets, or that its words mean; else empty."""
    bracket = _BRACKET.search(column.name)
    if bracket is not None:
        unit = bracket[1].strip()
        parts = [part.strip() for part in unit.split("/")]
        return unit if unit and all(part in _KNOWN_UNITS or part == "1" for part in parts) and unit != "1" else ""
    return next((unit for word, unit in _UNITS.items() if word in column.words), "")


def _classes(column: Column, proposal: Proposal) -> Label:
    counts = ", ".join(f"{count} {value}" for value, count in column.counts.most_common())
    rare = [value for value, count in column.counts.items() if count < _RARE]
    if rare:
        proposal.notes.append(
            f"labels: {column.name!r} has classes of fewer than {_RARE} cases ({', '.join(rare)}); join or drop them"
        )
    line = f"@: {{kind: classes, column: {item_of(column.name)}, classes: {flow_of(sorted(column.counts))}}}"
    return Label(_title(column.name), "classes", [line], f"{counts}{_gaps(column)}", [column.name])


def _number(column: Column, proposal: Proposal) -> Label:
    numbers = [number for value in column.known if (number := column.number(value)) is not None]
    unit = _unit(column)
    if column.decimal == ",":
        comma = next(value for value in column.known if "," in value)
        proposal.notes.append(
            f"labels: {column.name!r} has commas for its decimals: {comma} is read as {column.number(comma):g}"
        )
    comment = f"{min(numbers):g} to {max(numbers):g}{_gaps(column)}"
    others = [number for number in numbers if f"{number:g}" not in _SENTINELS]
    odd = [
        value
        for value in _SENTINELS
        if value in column.counts and others and (float(value) > 2 * max(others) or (float(value) < 0 <= min(others)))
    ]
    if odd:
        proposal.notes.append(
            f"labels: {column.name!r} holds {', '.join(odd)}; if that means missing, add missing: {flow_of(['', *odd])}"
        )
    if column.look == "rating":
        middle = sorted(set(numbers))[len(set(numbers)) // 2]
        comment += f"; whole numbers: or kind: binary with at_least: {middle:g}, or kind: classes"
    parts = [f"kind: number, column: {item_of(column.name)}"]
    if unit:
        parts.append(f"unit: {item_of(unit)}")
    if column.decimal == ",":
        parts.append(f"decimal: {item_of(',')}")
    if min(numbers) >= 0:
        parts.append("minimum: 0")
    return Label(_title(column.name), "number", [f"@: {{{', '.join(parts)}}}"], comment, [column.name])


def warn_of_copies(columns: dict[str, Column], labels: Sequence[Label], proposal: Proposal) -> None:
    """Pairs of labels of which one nearly gives the other."""
    of = {name: label for label in labels for name in label.columns}
    for first, second in combinations(of, 2):
        if of[first] is of[second]:
            continue
        a, b = columns[first], columns[second]
        if all(column.look in ("number", "rating", "yes or no") for column in (a, b)):
            strength = correlation(a, b)
            if abs(strength) > 0.97:
                proposal.notes.append(
                    f"labels: {first!r} and {second!r} are nearly copies (correlation {strength:.2f}); keep one"
                )
                continue
        if "number" in (a.look, b.look):
            continue
        for giver, given in ((a, b), (b, a)):
            if determines(giver, given):
                proposal.notes.append(
                    f"labels: {giver.name!r} nearly always tells {given.name!r}: a copy, or known only with it; keep "
                    "one"
                )
                break


def _gaps(column: Column) -> str:
    missing = 0 if column.look == "marks" else len(column.cells) - len(column.known)
    return f", {missing} missing" if missing else ""
