"""Which characteristics go with the diagnosis: Table 1 of Fang et al. (2019). No torch here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from crosstask.csv_cells import frame_text
from crosstask.files import write_atomically
from crosstask.report.tables import markdown_table, markdown_text
from crosstask.report.words import mean_and_range


def characteristics_table(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: a row a characteristic; over several seeds means with the lowest and the highest in brackets.

    Seeds with the same training cases have the same figures, which then stand there once.

    Args:
        table: as :func:`crosstask.evaluation.characteristics.collect_characteristics` gives it.
    """
    several = (table["variants"] != "").any()
    titles = [
        *(["Variants"] if several else []),
        "Characteristic",
        "Spearman's r",
        "p",
        "Cases",
        "Kept",
        "w",
        "Left out",
    ]
    rows = []
    for (variants, name), part in table.groupby(["variants", "characteristic"], sort=False):
        kept, number = int(part["kept"].sum()), len(part)
        same = part.drop(columns="seed").drop_duplicates()
        alike = len(same) == 1
        shown = same if alike else part
        rows.append(
            [
                *([str(variants)] if several else []),
                str(name),
                mean_and_range(shown["rho"], "+.2f"),
                _span(shown["p"]),
                _counts(shown["cases"]),
                ("yes" if kept else "no") if alike else f"{kept} of {number} seeds",
                mean_and_range(shown["weight"], ".2f"),
                "; ".join(dict.fromkeys(reason for reason in part["reason"] if reason)),
            ]
        )
    return titles, rows


def _span(values: pd.Series) -> str:
    known = [value for value in values if np.isfinite(value)]
    ends = list(dict.fromkeys(_probability(end) for end in (min(known), max(known)))) if known else []
    return " to ".join(ends)


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _counts(values: pd.Series) -> str:
    return " to ".join(dict.fromkeys(str(end) for end in (int(values.min()), int(values.max()))))


def characteristics_notes(major: str) -> str:
    """What the table is, in one paragraph."""
    return (
        f"r: Spearman's correlation with {major} in the training cases that have both labels; p: two-sided; w: weight "
        "of the characteristic's loss among the auxiliary ones, eq. (3) of Fang et al. (2019), the size of r. What is "
        "left out is not learned. Where splits differ by seed: mean over seeds, in brackets the lowest and the highest."
    )


def write_characteristics(table: pd.DataFrame, major: str, output: Path) -> None:
    """Write ``characteristics.csv``, every figure unrounded of every seed, and the table as ``characteristics.md``."""
    write_atomically(
        output / "characteristics.csv",
        frame_text(table.assign(kept=table["kept"].astype(int))),
    )
    text = f"{markdown_table(*characteristics_table(table))}\n{markdown_text(characteristics_notes(major))}\n"
    write_atomically(output / "characteristics.md", text)
