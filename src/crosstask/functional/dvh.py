"""Dose-volume histograms (DVH) and their figures.

:func:`dvh_metrics` gives the figures of the OpenKBP challenge, voxel by voxel, as the challenge defines them.
:class:`Dvh` is for plans: its samples have volumes of their own, so that a structure may fill a part of a voxel only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crosstask.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

MM3_IN_CC = 1000.0
"""Cubic millimetres in a cubic centimetre."""

DVH_METRICS = ("D_0.1cc", "mean", "D_99", "D_95", "D_1")
"""Keys of :func:`dvh_metrics`, in its order."""


def dvh_metrics(dose: ArrayLike | Tensor, mask: ArrayLike | Tensor, voxel_volume: float) -> dict[str, float]:
    r"""The DVH figures of the OpenKBP challenge for one structure (Babier et al., Medical Physics 2021).

    ``D_x`` is the dose that at least x % of the structure receives, so the percentile 100 - x of the dose in it.
    ``D_0.1cc`` is the dose that the hottest 0.1 cm^3 receives at least: with n voxels in 0.1 cm^3,
    :math:`n = \max(1, \mathrm{round}(100 / v))`, and N voxels in the structure, it is the percentile
    :math:`100 - 100\, n / N`. A structure smaller than 0.1 cm^3 gets its minimum. Percentiles are interpolated
    linearly. A dose that is not finite makes the figures not finite.

    Args:
        dose: dose in Gy, any shape; an array or a tensor.
        mask: the structure, of the same shape; nonzero inside.
        voxel_volume: volume of one voxel, in mm^3.

    Returns:
        ``D_0.1cc``, ``mean``, ``D_99``, ``D_95`` and ``D_1``, in Gy.

    Raises:
        ValueError: the shapes differ, the mask is empty, or the voxel volume is not positive and finite.
    """
    doses, inside = _array(dose), _array(mask).astype(bool)
    if doses.shape != inside.shape:
        raise ValueError(f"dose has shape {doses.shape}, mask {inside.shape}")
    if not (np.isfinite(voxel_volume) and voxel_volume > 0):
        raise ValueError(f"voxel volume must be positive and finite, not {voxel_volume}")
    values = doses[inside].astype(np.float64)
    if values.size == 0:
        raise ValueError("the mask is empty: a DVH of no voxel is not defined")
    hottest = max(1.0, float(np.round(100.0 / voxel_volume)))
    percents = [max(0.0, 100.0 - hottest / values.size * 100.0), 1.0, 5.0, 99.0]
    d_01cc, d_99, d_95, d_1 = np.percentile(values, percents).tolist()
    return dict(zip(DVH_METRICS, (d_01cc, float(values.mean()), d_99, d_95, d_1), strict=True))


@dataclass(frozen=True, eq=False)
class Dvh:
    """A dose-volume histogram: samples of the dose in a structure, each with the volume that it stands for.

    The rule between samples is that there is none: the curve is the staircase of the samples themselves. ``V_x`` is the
    volume of all samples of at least x Gy, and ``D_x`` the highest dose that samples of at least x % of the volume
    reach, so ``V`` of ``D_x`` is never below x. Interpolation belongs in space, where the dose is smooth: take samples
    so fine that a step is small (:mod:`crosstask.functional.structure_samples`).

    All figures are of the part of the structure that has a dose.

    Attributes:
        doses: of the samples, in Gy, rising, ``n``.
        volumes: of the samples, in mm^3, ``n``.
        outside: volume of the structure where there is no dose, such as beyond the dose grid, in cm^3.
    """

    doses: np.ndarray
    volumes: np.ndarray
    outside: float = 0.0

    @property
    def volume(self) -> float:
        """The volume that has a dose, in cm^3."""
        return float(self.volumes.sum()) / MM3_IN_CC

    @property
    def share_outside(self) -> float:
        """The share of the whole structure that has no dose, 0 to 1."""
        return self.outside / (self.volume + self.outside)

    @property
    def mean(self) -> float:
        """Mean dose, in Gy."""
        return float(self.doses @ self.volumes / self.volumes.sum())

    @property
    def minimum(self) -> float:
        """Lowest dose, in Gy."""
        return float(self.doses[0])

    @property
    def maximum(self) -> float:
        """Highest dose, in Gy."""
        return float(self.doses[-1])

    def dose_at(self, percent: float) -> float:
        """``D_x``: the dose that at least so many percent of the volume receive, in Gy.

        Raises:
            ValueError: the percentage is not one, 0 to 100.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a share of the volume is 0 to 100 %, not {percent}")
        return self._dose_of_hottest(percent / 100 * float(self.volumes.sum()))

    def dose_at_volume(self, cc: float) -> float:
        """``D_x`` of an absolute volume: the dose that at least so many cm^3 receive, in Gy.

        A structure that is smaller gets its lowest dose.

        Raises:
            ValueError: the volume is negative or not a number.
        """
        if not cc >= 0:
            raise ValueError(f"a volume is at least 0 cm^3, not {cc}")
        return self._dose_of_hottest(min(cc * MM3_IN_CC, float(self.volumes.sum())))

    def volume_at(self, gy: float, *, unit: Literal["%", "cc"] = "%") -> float:
        """``V_x``: the volume that receives at least this dose, in percent or in cm^3."""
        share = float(self.curve(np.array([gy]))[0])
        return share if unit == "%" else share / 100 * self.volume

    def curve(self, doses: ArrayLike) -> np.ndarray:
        """The cumulative histogram: percent of the volume that receives at least each of these doses.

        Args:
            doses: in Gy, any shape.

        Returns:
            0 to 100, of the same shape.
        """
        received = np.append(self._from_above()[::-1], 0.0)  # by the sample and all above it
        first = np.searchsorted(self.doses, np.asarray(doses, dtype=float), side="left")
        return 100 * (received[first] / received[0])

    def _from_above(self) -> np.ndarray:
        """Volume of the hottest sample, of the two hottest, and so on, in mm^3."""
        return np.cumsum(self.volumes[::-1])

    def _dose_of_hottest(self, volume: float) -> float:
        """The lowest dose in the hottest so many mm^3."""
        received = self._from_above()
        wanted = volume * (1 - 1e-9)  # sums are rounded: the hottest 5 % of 100 samples are 5, not 6
        place = min(int(np.searchsorted(received, wanted, side="left")), len(received) - 1)
        return float(self.doses[len(received) - 1 - place])


def dvh_of(dose: ArrayLike, occupancy: ArrayLike, volume: ArrayLike, *, outside: float = 0.0) -> Dvh:
    """The histogram of a structure from samples of the dose.

    Args:
        dose: in Gy, any shape. Where it is not finite there is no dose: that volume is added to ``outside``.
        occupancy: the share of each sample that belongs to the structure, 0 to 1 or bool, of the same shape.
        volume: of one whole sample, in mm^3; a number, or one for each.
        outside: volume of the structure that no sample stands for, in mm^3.

    Raises:
        ValueError: shapes differ, an occupancy is not 0 to 1, a volume is not positive, or no sample with a dose
            belongs to the structure.
    """
    doses, shares = np.asarray(dose, dtype=float), np.asarray(occupancy, dtype=float)
    if doses.shape != shares.shape:
        raise ValueError(f"dose has shape {doses.shape}, occupancy {shares.shape}")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("an occupancy is 0 to 1")
    sizes = np.broadcast_to(np.asarray(volume, dtype=float), doses.shape)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError("the volume of a sample must be positive and finite")
    known = np.isfinite(doses)
    volumes = shares * sizes
    missing = float(volumes[~known].sum()) + outside
    used = known & (volumes > 0)
    if not used.any():
        raise ValueError("no sample with a dose belongs to the structure: its DVH is not defined")
    order = np.argsort(doses[used], kind="stable")
    return Dvh(doses[used][order], volumes[used][order], missing / MM3_IN_CC)


@dataclass(frozen=True)
class Metric:
    """One figure of a DVH, as :func:`parse_metric` reads it.

    Attributes:
        name: how it is written in tables, e.g. ``D95%``.
        unit: of its value: ``Gy``, ``%`` or ``cc``.
        kind: ``D%``, ``Dcc``, ``VGy``, ``V%``, or the name of an attribute of :class:`Dvh`.
        level: x of ``D_x`` or ``V_x``.
    """

    name: str
    unit: Literal["Gy", "%", "cc"]
    kind: Literal["D%", "Dcc", "VGy", "V%", "mean", "minimum", "maximum"]
    level: float = math.nan

    @property
    def needs_prescription(self) -> bool:
        """Whether its dose is given as a percentage of the prescribed one."""
        return self.kind == "V%"

    def of(self, dvh: Dvh, prescription: float | None = None) -> float:
        """Its value.

        Args:
            dvh: of a structure.
            prescription: the prescribed dose, in Gy.

        Raises:
            InputError: it is of a prescription, and there is none.
        """
        if self.kind == "D%":
            return dvh.dose_at(self.level)
        if self.kind == "Dcc":
            return dvh.dose_at_volume(self.level)
        if self.kind in ("VGy", "V%"):
            unit: Literal["%", "cc"] = "cc" if self.unit == "cc" else "%"
            return dvh.volume_at(self._dose(prescription), unit=unit)
        return float(getattr(dvh, self.kind))

    def _dose(self, prescription: float | None) -> float:
        if self.kind == "VGy":
            return self.level
        if prescription is None:
            raise InputError(f"{self.name} is of a prescribed dose, and none is given; give it in Gy")
        return self.level / 100 * prescription


_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_DOSE_METRIC = re.compile(rf"d_?{_NUMBER}(%|cc|cm3|cm\^3)?")
_VOLUME_METRIC = re.compile(rf"v_?{_NUMBER}(gy|%)(cc|cm3|cm\^3|%)?")
_WORDS: Mapping[str, Literal["mean", "minimum", "maximum"]] = {"mean": "mean", "max": "maximum", "min": "minimum"}


def parse_metric(text: str) -> Metric:
    """A figure of a DVH from its usual name.

    ``D95`` or ``D95%``: the dose that 95 % of the volume receive at least. ``D0.1cc``: that 0.1 cm^3 receive at least.
    ``V20Gy``: percent of the volume with at least 20 Gy. ``V95%``: with at least 95 % of the prescribed dose. ``cc``
    behind either asks for cm^3: ``V20Gycc``. ``mean``, ``min`` and ``max``, also as ``Dmean``. Letters may be of either
    case, and an underscore may follow D and V.

    Raises:
        InputError: it is none of these.
    """
    short = re.sub(r"\s", "", text).lower()
    word = short.removeprefix("d").removeprefix("_")
    if word in _WORDS:
        return Metric(word, "Gy", _WORDS[word])
    if found := _DOSE_METRIC.fullmatch(short):
        level, of_volume = found[1], found[2] not in (None, "%")
        if of_volume:
            return Metric(f"D{level}cc", "Gy", "Dcc", float(level))
        if float(level) <= 100:
            return Metric(f"D{level}%", "Gy", "D%", float(level))
    if found := _VOLUME_METRIC.fullmatch(short):
        level, absolute = found[1], found[3] not in (None, "%")
        of = "Gy" if found[2] == "gy" else "%"
        name = f"V{level}{of}{'cc' if absolute else ''}"
        return Metric(name, "cc" if absolute else "%", "VGy" if of == "Gy" else "V%", float(level))
    raise InputError(
        f"{text!r} is no figure of a DVH; write D95% (95 % of the volume), D0.1cc, V20Gy, V20Gycc, V95% (of the "
        "prescribed dose), mean, min or max"
    )


def _array(values: Any) -> np.ndarray:
    """A NumPy view of an array or of a tensor, with or without gradient."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return np.asarray(values.double() if values.is_floating_point() else values)
    return np.asarray(values)
