"""Data sets: one file each."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from crosstask.datasets.base import SPLITS, Case, CaseData, Dataset, Issue, Split
from crosstask.datasets.cohort import Cohort
from crosstask.datasets.dicom_rt import DicomRT
from crosstask.datasets.ham10000 import HAM10000
from crosstask.datasets.hidden import HiddenLabels
from crosstask.datasets.names import refuse_options
from crosstask.datasets.openkbp import OpenKBP
from crosstask.datasets.phantom import Phantom
from crosstask.datasets.stoic import STOIC
from crosstask.registry import DATASETS


def open_dataset(name: str, root: str | Path, **options: Any) -> Dataset:
    """A data set by its name; nothing is read yet.

    Args:
        name: of :data:`crosstask.registry.DATASETS`.
        root: folder of the raw data; ``~`` is the user's home.
        options: what the data set's class takes beside the root.

    Raises:
        InputError: no such data set or option; the message names the closest and lists what there is.
    """
    kind: type[Dataset] = DATASETS.find(name)
    accepted = [option for option in inspect.signature(kind).parameters if option != "root"]
    refuse_options(f"data set {name!r}", options, accepted)
    return kind(Path(root).expanduser(), **options)


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
    "HiddenLabels",
    "Issue",
    "OpenKBP",
    "Phantom",
    "Split",
    "open_dataset",
]
