"""Files and folders of scores: tables, nnU-Net's summaries, and results of a benchmark. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from crosstask.csv_cells import true_frame
from crosstask.errors import InputError
from crosstask.evaluation.compact import changed, replaced, texts
from crosstask.evaluation.compact import joined as joined_tables
from crosstask.evaluation.foreign.clean import Choice, Scores, clean
from crosstask.evaluation.foreign.columns import with_columns
from crosstask.evaluation.foreign.given import Given, given_of, joined
from crosstask.evaluation.foreign.nnunet import SUMMARY, folds_of, read_summary
from crosstask.evaluation.predictions import read_predictions
from crosstask.evaluation.scores import COLUMNS, read_scores
from crosstask.functional.cohort import LEAST_POSITIVES
from crosstask.io.tables import ENDINGS, Table, read_table
from crosstask.io.yaml_lines import parse_yaml
from crosstask.runs import EXPERIMENT, PREDICTIONS
from crosstask.splits import SPLIT_FILE, SPLIT_FOLDER

_SCORES, _CONSTANT = "scores.csv", "constant.csv"
_FORM = "[METHOD[:SEED]=]TABLE"


@dataclass(frozen=True)
class _Read:
    """What one argument gave: rows, the columns told for it, of a benchmark the tables beside them and its rule."""

    given: Given
    predictions: pd.DataFrame | None = None
    constant: pd.DataFrame | None = None
    told: tuple[str, ...] = ()
    least: int | None = None
    groups: Mapping[str, str] = field(default_factory=dict)


def read_tables(
    tables: Sequence[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
    better: Mapping[str, str] | None = None,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    least_positives: int | None = None,
) -> Scores:
    """The scores of several files or folders, joined.

    Each is ``TABLE``, ``METHOD=TABLE`` or ``METHOD:SEED=TABLE``, the latter where the table does not say so itself. A
    table is a CSV, TSV, Excel or Parquet file; ``summary.json`` of nnU-Net v2, or its folder of trained folds, each of
    which is a seed; or the folder of a benchmark's results or of a run, with its image-level predictions and groups.

    Args:
        tables: the files and folders.
        columns: ``{name: what the tables call it}``.
        metrics: ``{task: metric}`` by which a task is judged; by default its first in the tables.
        better: ``{metric: "higher" or "lower"}`` where the tables do not say.
        tasks: only these.
        methods: only these.
        least_positives: positive cases that a class must have to count in figures of all cases together; None for as
            many as the benchmark asks for that they come from.

    Raises:
        InputError: a file cannot be read, a cell not be used, methods were not scored on the same cells, or benchmarks
            ask for different numbers of positive cases.
    """
    read = [one for table in tables for one in _read(str(table), columns or {})]
    named = {name for one in read for name in one.told}
    for name, theirs in (columns or {}).items():
        if name not in named:
            raise InputError(f"--column {name}={theirs}: no table has a column {theirs!r}; check its spelling")
    predictions = [one.predictions for one in read if one.predictions is not None and len(one.predictions)]
    constants = [one.constant for one in read if one.constant is not None]
    least = _least_positives(read) if least_positives is None else least_positives
    groups = _joint_groups(read)
    given = [joined([one.given for one in read])]
    del read
    scores = clean(
        given.pop(),  # the rows as they were read are not needed beside those that are made of them
        Choice(metrics or {}, better or {}, tasks, methods),
        predictions=joined_tables(predictions) if predictions else None,
        constant=joined_tables(constants).drop_duplicates() if constants else None,
    )
    return replace(scores, least_positives=least, predicted_groups=groups)


def _joint_groups(read: Sequence[_Read]) -> dict[str, str]:
    """Groups of all benchmarks' cases.

    Raises:
        InputError: a case is in two.
    """
    found: dict[str, str] = {}
    for one in read:
        for case, group in one.groups.items():
            if found.setdefault(case, group) != group:
                raise InputError(
                    f"{one.given.tables[0]}: its benchmark has case {case} in group {group!r}, another in "
                    f"{found[case]!r}; compare benchmarks of the same splits"
                )
    return found


def _least_positives(read: Sequence[_Read]) -> int:
    """Positive cases that the benchmarks ask a class for, or as many as are asked for by default."""
    asked = {one.least: one.given for one in read if one.least is not None}
    if len(asked) > 1:
        (first, given), (second, other) = list(asked.items())[:2]
        raise InputError(
            f"{given.tables[0]} is of a benchmark that counts classes of {first} positive cases and more, "
            f"{other.tables[0]} of {second} and more; say which, for instance --least-positives {min(first, second)}"
        )
    return next(iter(asked), LEAST_POSITIVES)


def _read(argument: str, columns: Mapping[str, str]) -> Iterator[_Read]:
    """What one argument names."""
    constants, path = _parse(argument)
    if path.is_dir():
        yield from _of_folder(path, constants)
    elif path.suffix.lower() == ".json":
        yield _Read(_of_nnunet(path, constants))
    elif path.suffix.lower() not in ENDINGS and path.exists():
        raise InputError(f"{path}: no table of scores; give a file that ends in {', '.join(ENDINGS)} or {SUMMARY}")
    else:
        table = read_table(path)
        if set(COLUMNS) <= set(table.columns) and (path.parent / PREDICTIONS).is_file() and path.name == _SCORES:
            yield _of_results(path.parent, constants)
        else:
            own = {ours: theirs for ours, theirs in columns.items() if theirs in table.columns}
            yield _Read(_of_table(table, own, constants), told=tuple(own))


def _parse(argument: str) -> tuple[dict[str, object], Path]:
    """Method and seed that are told before ``=``, and the path; a path may hold ``=`` itself."""
    if Path(argument).exists() or "=" not in argument:
        return {}, Path(argument)
    before, _, path = argument.partition("=")
    method, colon, seed = before.rpartition(":")
    if not colon:
        method, seed = before, ""
    if not method.strip() or (colon and not seed.strip()) or not path:
        raise InputError(f"{argument}: cannot be understood; write {_FORM}, for instance stl:0=fold_0/{SUMMARY}")
    told: dict[str, object] = {"method": method.strip()}
    return (told | {"seed": seed.strip()} if colon else told), Path(path)


def _of_folder(folder: Path, constants: Mapping[str, object]) -> Iterator[_Read]:
    """A benchmark's results, a run, or nnU-Net's folds."""
    summaries = (folder / SUMMARY, folder / "validation" / SUMMARY)
    if (folder / _SCORES).is_file():
        yield _of_results(folder, constants)
    elif folds := folds_of(folder):
        if "seed" in constants:
            raise InputError(
                f"{folder}: has folds {', '.join(folds)}, each a seed; leave the seed {constants['seed']!r} out"
            )
        if "method" not in constants:
            raise InputError(f"{folder}: does not say its method; write METHOD={folder}, for instance stl={folder}")
        for fold, path in folds.items():
            yield _Read(_of_nnunet(path, {**constants, "seed": fold}))
    elif found := next((each for each in summaries if each.is_file()), None):
        yield _Read(_of_nnunet(found, constants))
    else:
        raise InputError(
            f"{folder}: holds no scores; give a table, a benchmark's folder (with {_SCORES}), or one of nnU-Net (with "
            f"{SUMMARY}, or fold_0, fold_1, ...)"
        )


def _of_nnunet(path: Path, constants: Mapping[str, object]) -> Given:
    given = read_summary(path)
    lacking = [name for name in ("method", "seed") if name not in constants]
    if lacking:
        form = f"METHOD:SEED={path}" if "method" in lacking else f"{constants['method']}:SEED={path}"
        raise InputError(f"{path}: does not say its {' and '.join(lacking)}; write {form}, the fold being a seed")
    return with_columns(given, {}, constants)


def _of_table(table: Table, columns: Mapping[str, str], constants: Mapping[str, object]) -> Given:
    """The rows of a table, as text."""
    frame = pd.DataFrame([row.cells for row in table.rows], columns=list(table.columns), dtype=object)
    if set(COLUMNS) <= set(table.columns):
        frame = true_frame(frame)
    name = str(table.path)
    given = with_columns(given_of(frame, name, [row.number for row in table.rows]), columns, constants)
    return replace(given, remarks=(*(f"{name}: {note}." for note in table.notes), *given.remarks))


def _of_results(folder: Path, constants: Mapping[str, object]) -> _Read:
    """What a benchmark, or a run, has written."""
    path = folder / _SCORES
    frame = read_scores(path, remedy="run the benchmark again", compact=True)
    groups = _groups(folder)
    if groups:
        group = texts(changed(frame["case"], lambda case: groups.get(case, "")))
        frame = replaced(frame, {"group": group})
    given = with_columns(given_of(frame, str(path), range(2, len(frame) + 2)), {}, constants)
    constant = folder / _CONSTANT
    return _Read(
        given,
        read_predictions(folder / PREDICTIONS, remedy="run the benchmark again", compact=True),
        read_scores(constant, remedy="run the benchmark again", compact=True) if constant.is_file() else None,
        least=_asked_in(folder / EXPERIMENT),
        groups=groups,
    )


def _asked_in(path: Path) -> int | None:
    """``evaluation.least_positives`` of the experiment of a benchmark or a run; None where there is none.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return None
    settings, _ = parse_yaml(path.read_text(encoding="utf-8"), path)
    section = settings.get("evaluation") if isinstance(settings, dict) else None
    asked = section.get("least_positives", LEAST_POSITIVES) if isinstance(section, dict) else LEAST_POSITIVES
    if not isinstance(asked, int) or asked < 1:
        raise InputError(
            f"{path}: evaluation.least_positives is {asked!r}, no number of cases; run the benchmark again"
        )
    return asked


def _groups(folder: Path) -> dict[str, str]:
    """``{case: group}`` by the splits that a benchmark writes."""
    files = [folder / SPLIT_FILE, *sorted((folder / SPLIT_FOLDER).glob("seed*.csv"))]
    return {
        row["case"]: row["group"]
        for path in files
        if path.is_file()
        for row in read_table(path).rows
        if {"case", "group"} <= set(row.cells)
    }
