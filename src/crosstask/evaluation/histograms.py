"""Dose-volume histograms of test cases, reference and predicted, as scoring sees them: for the report's bands.

They are voxel by voxel, as the scores are: for plans there is :mod:`crosstask.functional.structure_samples`. No torch
here.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosstask.errors import InputError
from crosstask.files import write_atomically
from crosstask.runs.names import HISTOGRAMS
from crosstask.seals import check_seal

UNIT = "Gy"
"""Quantities in it are doses."""
_STEPS = 81


@dataclass(frozen=True, eq=False)
class Histograms:
    """Cumulative histograms of several cases.

    Attributes:
        doses: where the curves are known, in Gy, rising, ``d``.
        structures: names.
        cases: ids.
        reference: percent of the volume that receives at least each dose, ``case structure d``; NaN where a structure
            is not known.
        predicted: likewise.
    """

    doses: np.ndarray
    structures: tuple[str, ...]
    cases: tuple[str, ...]
    reference: np.ndarray
    predicted: np.ndarray

    def of(self, structure: str, *, reference: bool) -> np.ndarray:
        """Curves of the cases that have a structure, ``case d``."""
        curves = (self.reference if reference else self.predicted)[:, self.structures.index(structure)]
        return curves[~np.isnan(self.reference[:, self.structures.index(structure), 0])]

    def cases_with(self, structure: str) -> set[str]:
        """Ids of the cases that have a structure; a case that several runs were scored on counts once."""
        known = ~np.isnan(self.reference[:, self.structures.index(structure), 0])
        return {case for case, there in zip(self.cases, known, strict=True) if there}

    def save(self, folder: Path) -> None:
        """Write them into a run's folder."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            doses=self.doses.astype(np.float32),
            structures=np.array(self.structures),
            cases=np.array(self.cases),
            reference=self.reference.astype(np.float16),
            predicted=self.predicted.astype(np.float16),
        )
        write_atomically(folder / HISTOGRAMS, buffer.getvalue())


def curve(doses: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Percent of some voxels that receive at least each dose.

    Args:
        doses: in Gy, ``d``.
        inside: doses of the voxels of a structure, ``n``.
    """
    rising = np.sort(inside)
    return 100 * (1 - np.searchsorted(rising, doses, side="left") / len(rising))


Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Reference and prediction of each structure of a case."""


class HistogramTable:
    """Histograms case by case; all at the same doses, which the first case's reference sets.

    Attributes:
        doses: these; None before there is a case.
    """

    def __init__(self) -> None:
        self.doses: np.ndarray | None = None
        self._curves: dict[str, Curves] = {}

    def begin(self, reference: np.ndarray) -> None:
        """Set the doses by those of the first case, unless they are."""
        if self.doses is None:
            self.doses = np.linspace(0, 1.2 * max(float(reference.max()), 1.0), _STEPS)

    def take(self, case_id: str, curves: Curves) -> None:
        """A case whose curves are known, at the same doses."""
        self._curves[case_id] = curves

    def curves_of(self, case_id: str) -> Curves | None:
        """Those of a case; None where it has none."""
        return self._curves.get(case_id)

    def add(
        self, case_id: str, reference: np.ndarray, predicted: np.ndarray, structures: Mapping[str, np.ndarray]
    ) -> None:
        """A case.

        Args:
            case_id: its id.
            reference: dose in Gy, any shape.
            predicted: likewise.
            structures: masks of those that are contoured, of the same shape.
        """
        self.begin(reference)
        assert self.doses is not None
        self._curves[case_id] = {
            name: (curve(self.doses, reference[inside]), curve(self.doses, predicted[inside]))
            for name, mask in structures.items()
            if (inside := mask > 0).any()
        }

    def finish(self) -> Histograms | None:
        """All of them; None where there is none."""
        names = tuple(dict.fromkeys(name for own in self._curves.values() for name in own))
        if self.doses is None or not names:
            return None
        curves = np.full((2, len(self._curves), len(names), _STEPS), np.nan)
        for place, own in enumerate(self._curves.values()):
            for name, (reference, predicted) in own.items():
                curves[:, place, names.index(name)] = reference, predicted
        return Histograms(self.doses, names, tuple(self._curves), curves[0], curves[1])


def read_histograms(folder: Path) -> Histograms | None:
    """A run's histograms; None where there are none, or they are damaged, which costs a picture alone."""
    path = folder / HISTOGRAMS
    try:
        check_seal(path, "it is left out")
        with np.load(path) as archive:
            found = Histograms(
                archive["doses"].astype(float),
                tuple(map(str, archive["structures"])),
                tuple(map(str, archive["cases"])),
                archive["reference"].astype(float),
                archive["predicted"].astype(float),
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, InputError):
        return None
    shape = (len(found.cases), len(found.structures), len(found.doses))
    return found if found.reference.shape == shape == found.predicted.shape else None


def joined(several: Sequence[Histograms]) -> Histograms:
    """Histograms of several runs of one method, at the doses of the first."""
    first = several[0]
    return Histograms(
        first.doses,
        first.structures,
        tuple(case for one in several for case in one.cases),
        np.concatenate([_at(one.reference, one, first) for one in several]),
        np.concatenate([_at(one.predicted, one, first) for one in several]),
    )


def _at(curves: np.ndarray, own: Histograms, first: Histograms) -> np.ndarray:
    """Curves at another's doses."""
    if np.array_equal(own.doses, first.doses):
        return curves
    flat = curves.reshape(-1, curves.shape[-1])
    return np.stack([np.interp(first.doses, own.doses, one, right=0.0) for one in flat]).reshape(
        *curves.shape[:-1], len(first.doses)
    )
