"""Check the OpenKBP scores on real patients against the figures of the challenge's own code.

    python benchmarks/openkbp_golden.py ROOT

ROOT holds the raw ``validation-pats`` (or ``provided-data``). From the reference dose of pt_201 to pt_204
folders of predictions are written to a temporary folder (times 0.95; plus 1 Gy in every voxel of
possible_dose_mask; zero everywhere), scored, printed and compared. Exit code 1 where one is off by more than 1e-9.

The expected figures of "zero everywhere" are those of 1e-9 Gy in every voxel of the mask: the exact zero scores 1e-9
more in both. Both are printed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from crosstask.datasets.openkbp import split_folders
from crosstask.datasets.openkbp_scoring import score_directory
from crosstask.errors import CrosstaskError, InputError
from crosstask.io import openkbp_csv

PATIENTS = ("pt_201", "pt_202", "pt_203", "pt_204")
TOLERANCE = 1e-9
CHANGES: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], float, float]] = {
    "reference x 0.95": (lambda dose, region: dose * 0.95, 1.4637885668, 2.4332408684),
    "reference + 1 Gy": (lambda dose, region: dose + region, 1.0, 0.9575636705),
    "1e-9 Gy": (lambda dose, region: 1e-9 * region, 29.2757713351, 48.6648173659),
    "zero everywhere": (lambda dose, region: np.zeros_like(dose), 29.2757713351 + 1e-9, 48.6648173659 + 1e-9),
}


def main(root: Path) -> int:
    """Print one line per change; 0 where all agree."""
    folders = split_folders(root)
    if "validation" not in folders:
        raise InputError(f"{root}: no validation-pats in it; give the folder that holds them")
    patients = folders["validation"]
    agree = True
    with tempfile.TemporaryDirectory() as temporary:
        for number, (name, (change, dose, dvh)) in enumerate(CHANGES.items()):
            predictions = Path(temporary, str(number))
            for patient in PATIENTS:
                reference = openkbp_csv.read_dose(patients / patient / openkbp_csv.DOSE_FILE)
                region = openkbp_csv.read_mask(patients / patient / openkbp_csv.REGION_FILE)
                openkbp_csv.write_dose(predictions / f"{patient}.csv", change(reference, region))
            start = time.perf_counter()
            result = score_directory(patients, predictions, partial=True)
            seconds = (time.perf_counter() - start) / len(PATIENTS)
            # The expected figures are printed with ten decimals.
            off = max(abs(result.dose_score - dose), abs(result.dvh_score - dvh))
            agree &= off <= TOLERANCE
            print(
                f"{name:18} dose {result.dose_score:.10f} (expected {dose:.10f})  "
                f"DVH {result.dvh_score:.10f} (expected {dvh:.10f})  off {off:.1e}  {seconds:.2f} s a patient"
            )
    print("all agree" if agree else f"NOT within {TOLERANCE:g}")
    return 0 if agree else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        sys.exit(main(Path(sys.argv[1])))
    except CrosstaskError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
