"""What the runs found of each characteristic: Table 1 of Fang et al. (2019), of every split. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from crosstask.csv_cells import true_frame
from crosstask.errors import InputError
from crosstask.runs import CHARACTERISTICS, RunSpec

COLUMNS = ("variants", "seed", "characteristic", "rho", "p", "cases", "kept", "weight", "reason")
_OF_A_RUN = COLUMNS[2:]


def collect_characteristics(specs: Sequence[RunSpec]) -> pd.DataFrame:
    """One row per seed and characteristic; empty where no weighting looked at any.

    The choice follows from the training cases and the weighting's options, so all methods of a variant have the same,
    and variants too unless they differ in weighting: ``variants`` names those a row is of, or is empty for all.

    Raises:
        InputError: a run's table is damaged.
    """
    tables: dict[tuple[str, int], pd.DataFrame] = {}
    for spec in specs:
        path = spec.folder / CHARACTERISTICS
        if (spec.variant, spec.seed) in tables or not path.exists():
            continue
        try:
            table = pd.read_csv(
                path,
                keep_default_na=False,  # a characteristic may be called NA
                na_values={"rho": [""], "p": [""]},
                dtype={"characteristic": str, "rho": float, "p": float, "reason": str},
                float_precision="round_trip",
            )
        except (OSError, ValueError):
            table = pd.DataFrame()
        if tuple(table.columns) != _OF_A_RUN:
            raise InputError(f"{path}: is damaged; remove the folder and train the run anew")
        table["kept"] = table["kept"].astype(bool)
        tables[spec.variant, spec.seed] = true_frame(table)
    variants = list(dict.fromkeys(spec.variant for spec in specs))
    by_variant = {
        variant: pd.concat([table.assign(seed=seed) for (one, seed), table in tables.items() if one == variant])
        for variant in variants
        if any(one == variant for one, _ in tables)
    }
    alike: list[tuple[list[str], pd.DataFrame]] = []
    for variant, table in by_variant.items():
        same = next((names for names, other in alike if other.equals(table)), None)
        if same is None:
            alike.append(([variant], table))
        else:
            same.append(variant)
    if not alike:
        return pd.DataFrame(columns=list(COLUMNS))
    whose = [" ".join(names) if len(names) < len(variants) else "" for names, _ in alike]
    parts = [table.assign(variants=name) for name, (_, table) in zip(whose, alike, strict=True)]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]
