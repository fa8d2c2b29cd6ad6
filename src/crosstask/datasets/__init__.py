"""Data sets: one file each, and the table of their names."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from crosstask.datasets.base import SPLITS, Case, CaseData, Dataset, Finding, Split
from crosstask.datasets.cohort import Cohort
from crosstask.datasets.dicom_rt import DicomRT
from crosstask.datasets.ham10000 import HAM10000
from crosstask.datasets.hidden import HiddenLabels
from crosstask.datasets.names import refuse_options, unknown_name
from crosstask.datasets.openkbp import OpenKBP
from crosstask.datasets.phantom import Phantom
from crosstask.datasets.stoic import STOIC

DATASETS: dict[str, type[Dataset]] = {
    "cohort": Cohort,
    "dicom_rt": DicomRT,
    "ham10000": HAM10000,
    "openkbp": OpenKBP,
    "phantom": Phantom,
    "stoic": STOIC,
}
"""Name in an experiment file -> class."""


def open_dataset(name: str, root: str | Path, **options: Any) -> Dataset:
    """A data set by its name; nothing is read yet.

    Args:
        name: key of :data:`DATASETS`.
        root: folder of the raw data; ``~`` is the user's home.
        options: what the data set's class takes beside the root.

    Raises:
        InputError: no such data set or option; the message names the closest and lists what there is.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    accepted = [option for option in inspect.signature(DATASETS[name]).parameters if option != "root"]
    refuse_options(f"data set {name!r}", options, accepted)
    return DATASETS[name](Path(root).expanduser(), **options)


__all__ = [
    "DATASETS",
    "HAM10000",
    "SPLITS",
    "STOIC",
    "Case",
    "CaseData",
    "Cohort",
    "Dataset",
    "DicomRT",
    "Finding",
    "HiddenLabels",
    "OpenKBP",
    "Phantom",
    "Split",
    "open_dataset",
]
