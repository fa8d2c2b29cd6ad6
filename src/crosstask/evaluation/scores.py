"""The long table of scores: one row per method, seed, case, task, class and metric. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from crosstask.csv_cells import frame_text, true_frame
from crosstask.errors import InputError
from crosstask.evaluation.compact import read_compact
from crosstask.files import write_atomically

COLUMNS = ("method", "seed", "case", "task", "class", "metric", "value", "unit", "higher_is_better")


def score_table(rows: Iterable[tuple[object, ...]]) -> pd.DataFrame:
    """The table of these rows, in the order of :data:`COLUMNS`."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def write_scores(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV, or as Parquet by the name's ending, whole or not at all."""
    if path.suffix == ".parquet":
        write_atomically(path, table.to_parquet(index=False))
    else:
        write_atomically(path, frame_text(table))


def read_scores(path: Path, *, remedy: str = "run evaluate again", compact: bool = False) -> pd.DataFrame:
    """Read a table of scores.

    Args:
        path: the table, CSV or Parquet.
        remedy: what the error says to do about a damaged one.
        compact: texts as categories: see :mod:`crosstask.evaluation.compact`.

    Raises:
        InputError: the file is missing, or is no such table.
    """
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        elif compact:
            table = read_compact(path, ("method", "case", "task", "class", "metric", "unit"), ("value",))
        else:
            table = pd.read_csv(
                path,
                keep_default_na=False,
                na_values={"value": [""]},
                dtype={"class": str, "case": str, "unit": str, "value": float},
                float_precision="round_trip",
            )
    except FileNotFoundError:
        raise InputError(f"{path}: no such table of scores; run evaluate first") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a table of scores ({reason}); {remedy}") from None
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}; {remedy}")
    return table if path.suffix == ".parquet" else true_frame(table)


def per_case(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over the classes of each case: one row per method, seed, case, task and metric."""
    keys = ["method", "seed", "case", "task", "metric", "unit", "higher_is_better"]
    alike = {key: table[key].iloc[0] for key in keys if len(table) and table[key].nunique(dropna=False) == 1}
    by = [key for key in keys if key not in alike] or keys
    means = table.groupby(by, sort=False, observed=True)["value"].mean().reset_index()
    return means if by == keys else means.assign(**alike)[[*keys, "value"]]


def over_seeds(part: pd.DataFrame) -> dict[str, float]:
    """``{method: mean}`` of the values of each seed, then over seeds, which may have different numbers of cases."""
    means = part.groupby(["method", "seed"], observed=True)["value"].mean().groupby("method", observed=True).mean()
    return {str(method): float(mean) for method, mean in means.items()}
