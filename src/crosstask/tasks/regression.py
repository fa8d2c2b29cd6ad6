"""Regression: a physical quantity at every voxel, such as dose in Gy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from crosstask import functional
from crosstask.errors import InputError
from crosstask.tasks.base import Head, Metric, Task
from crosstask.tasks.segmentation import SegmentationTask
from crosstask.tasks.structure_terms import dvh_term, moment_term

if TYPE_CHECKING:
    import torch


class RegressionTask(Task):
    """A quantity per voxel. The network gives it in units of the training cases' standard deviation.

    Loss: mean absolute error, in those units (so that its size is comparable with other tasks' losses), and by option
    terms that compare moments or dose-volume histograms within structures. M: mean absolute error over the region where
    the quantity is defined; beside it, named apart, over the whole grid.

    Args:
        name: key of the task.
        array: case array that holds the quantity.
        classes: its channels.
        unit: its unit.
        minimum: smallest value that is physically possible (0 for dose); predictions are clipped to it.
        loss_region: ``grid``: the loss runs over every voxel, as in the papers, so that the network also learns the
            value outside the region; ``region``: only where the quantity is defined.
        moments: weight of the squared difference of generalised moments (Jhanwar et al. 2022), or ``{weight, orders}``.
        dvh: weight of the squared difference of dose-volume histograms (Nguyen et al. 2020), or ``{weight, step,
            highest}``, the two in the quantity's unit.
        structures: in which moments and dvh are taken.
        structure_array: case array that holds their masks.

    Raises:
        InputError: an option of a term that is none, or structures that no term looks at.
    """

    kind = "regression"
    level = "pixel"
    values = "quantity"
    picture = "colours"
    sums_over_batch = True
    loss_options: ClassVar[tuple[str, ...]] = ("moments", "dvh", "structures")

    def __init__(
        self,
        name: str,
        array: str,
        classes: Sequence[str],
        unit: str = "",
        *,
        minimum: float | None = None,
        loss_region: Literal["grid", "region"] = "grid",
        moments: float | Mapping[str, Any] | None = None,
        dvh: float | Mapping[str, Any] | None = None,
        structures: Sequence[str] = (),
        structure_array: str | None = None,
    ) -> None:
        super().__init__(name, array, classes, unit)
        self.minimum = minimum
        self.loss_region = loss_region
        self.moments, self.dvh = moments, dvh
        self.structures, self.structure_array = tuple(structures), structure_array
        self._terms = [term for term in (moment_term(moments), dvh_term(dvh)) if term is not None]
        if self._terms and not (self.structures and structure_array):
            raise InputError("structures: moments and dvh are taken within structures, and there is none; name some")
        if self.structures and not self._terms:
            raise InputError("structures: no term of the loss looks at them; give moments or dvh, or leave them out")
        self._scale = 1.0
        self._constant = (0.0,) * len(self.classes)

    def head(self) -> Head:
        """One channel per quantity, starting at zero."""
        return Head("pixel", len(self.classes))

    def fit(self, statistics: Mapping[str, Any]) -> None:
        """Take the standard deviation over the training cases' region as the unit of the output, and their median."""
        deviations = [statistics[name]["std"] for name in self.classes if statistics[name]["cases"]]
        if not deviations or not max(deviations) > 0:
            raise InputError(
                f"task {self.name!r}: no training case carries a {self.array!r} that varies; "
                f"leave the task out or give cases that have it"
            )
        self._scale = float(max(deviations))
        self._constant = tuple(
            float(statistics[name]["median"]) if statistics[name]["cases"] else 0.0 for name in self.classes
        )

    def state(self) -> dict[str, Any]:
        """The unit of the output, and the median."""
        return {"scale": self._scale, "constant": list(self._constant)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what was learned."""
        self._scale = float(state["scale"])
        self._constant = tuple(state["constant"])

    @property
    def masks(self) -> SegmentationTask | None:
        """The structures within which the loss compares moments or histograms."""
        if not self._terms or self.structure_array is None:
            return None
        return SegmentationTask(f"{self.name} structures", self.structure_array, self.structures)

    def loss(
        self,
        output: torch.Tensor,
        target: torch.Tensor,
        present: torch.Tensor,
        region: torch.Tensor | None,
        *,
        masks: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean absolute error over the labelled voxels, and the terms of structures, mean over the channels.

        Args:
            output: raw.
            target: in its unit.
            present: which samples carry which channel.
            region: where the quantity is defined.
            masks: of the structures, ``b r *s``, 0 or 1; needed where a term looks at them.
            masked: which of them are contoured, ``b r``, bool.
        """
        weight = present.float().reshape(*present.shape, *(1,) * (output.ndim - 2)).expand_as(target)
        if self.loss_region == "region" and region is not None:
            weight = weight * region.float()
        output, target = output.float(), target.float() / self._scale
        error = (output - target).abs()
        loss = functional.batch_mean(error, weight)
        if not self._terms:
            return loss
        if masks is None or masked is None:
            raise ValueError(f"task {self.name!r}: its loss needs the masks of {', '.join(self.structures)}")
        for index in range(len(self.classes)):
            counted = masked & present[:, index, None]
            for term in self._terms:
                added = term.loss(output[:, index], target[:, index], masks, counted, self._scale)
                loss = loss + added / len(self.classes)
        return loss

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """The quantity in its unit."""
        value = output.float() * self._scale
        return value if self.minimum is None else value.clamp(min=self.minimum)

    def tally(
        self, prediction: torch.Tensor, target: torch.Tensor, present: torch.Tensor, region: torch.Tensor | None
    ) -> torch.Tensor:
        """Absolute error of the prediction and of the constant, over the region."""
        space = (1,) * (target.ndim - 2)
        weight = present.double().reshape(*present.shape, *space).expand_as(target)
        if region is not None:
            weight = weight * region
        constant = target.new_tensor(self._constant).reshape(1, -1, *space)
        sums = weight.new_zeros((2, target.shape[1]))
        sums[0] = ((prediction - target).abs() * weight).transpose(0, 1).flatten(1).sum(1)
        sums[1] = ((constant - target).abs() * weight).transpose(0, 1).flatten(1).sum(1)
        return sums

    def skill(self, tally: torch.Tensor) -> float:
        """Share of the constant's error that the prediction saves, mean over channels."""
        error, constant = tally
        seen = constant > 0
        return float((1 - error[seen] / constant[seen]).mean()) if bool(seen.any()) else math.nan

    def constant(self, shape: tuple[int, ...], region: np.ndarray | None) -> np.ndarray:
        """The median over the training cases' region, the constant with the smallest error there; zero outside."""
        inside = np.ones((1, *shape), dtype=bool) if region is None else region > 0
        median = np.asarray(self._constant, dtype=np.float32).reshape(-1, *(1,) * len(shape))
        return np.where(inside, median, np.float32(0))

    def metrics(self) -> tuple[Metric, ...]:
        """Mean absolute error in both conventions."""
        return (
            Metric("mae", self.unit, higher_is_better=False),
            Metric("mae_grid", self.unit, higher_is_better=False),
        )

    def score(
        self, prediction: np.ndarray, target: np.ndarray, present: np.ndarray, region: np.ndarray | None
    ) -> list[tuple[str, str, float]]:
        """Mean absolute error over the region and over the whole grid."""
        rows = []
        for index, name in enumerate(self.classes):
            if not present[index]:
                continue
            error = np.abs(prediction[index].astype(np.float64) - target[index])
            inside = error if region is None else error[region[0] > 0]
            if inside.size:
                rows.append((name, "mae", float(inside.mean())))
            rows.append((name, "mae_grid", float(error.mean())))
        return rows
