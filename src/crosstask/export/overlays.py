"""Predicted masks of pictures, drawn over the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crosstask.assembly import Assembly
from crosstask.csv_cells import csv_text
from crosstask.datasets import Dataset
from crosstask.datasets.base import CaseData
from crosstask.export.cases import CaseWriter, PngWriter, write_png, write_text
from crosstask.files import file_name
from crosstask.prediction.predictor import Prediction
from crosstask.tasks.segmentation import SegmentationTask

FOLDER = "overlays"
COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Okabe and Ito (2008): told apart with any kind of colour vision. With more classes they come again."""
_FILL = 0.2
"""Share of the colour inside; the outline is all of it."""


class OverlayWriter(CaseWriter):
    """Each picture with the outlines of what is predicted, as ``overlays/<task>/<case>.png`` of its own size.

    ``overlays/<task>/colours.csv`` says which class has which colour. The picture is as the network saw it, its lowest
    window black and the highest white.
    """

    name = "overlay"

    @classmethod
    def misfit(cls, assembly: Assembly, dataset: Dataset) -> str:
        """As of masks: volumes, or no masks."""
        return PngWriter.misfit(assembly, dataset)

    def _write(self, folder: Path, prediction: Prediction, case: CaseData) -> None:
        picture = self._picture(case)
        for task in self.assembly.tasks:
            if not isinstance(task, SegmentationTask):
                continue
            place = folder / FOLDER / file_name(task.name)
            masks = task.to_masks(prediction.values[task.name]).astype(bool)
            write_png(place / f"{file_name(prediction.case)}.png", drawn_over(picture, masks))
            rows = [(label, "#{:02x}{:02x}{:02x}".format(*colour_of(at))) for at, label in enumerate(task.classes)]
            write_text(place / "colours.csv", csv_text([("class", "colour"), *rows]))

    def _picture(self, case: CaseData) -> np.ndarray:
        """``y x 3``, 0 to 255, of the first one or three channels."""
        values = case.read(self.assembly.image_array)
        low = min(window[0] for window in self.assembly.windows)
        high = max(window[1] for window in self.assembly.windows)
        seen = np.clip((values[: 3 if len(values) >= 3 else 1].astype(np.float32) - low) / (high - low), 0, 1) * 255
        return np.moveaxis(np.broadcast_to(seen, (3, *seen.shape[1:])), 0, -1).astype(np.uint8)


def colour_of(index: int) -> tuple[int, int, int]:
    """The colour of a class."""
    return COLOURS[index % len(COLOURS)]


def drawn_over(picture: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """A picture ``y x 3`` with masks ``c y x`` (bool): a hint of colour inside, and the outline in full."""
    drawn = picture.astype(np.float32)
    width = max(1, round(max(picture.shape[:2]) / 400))
    for index, mask in enumerate(masks):
        colour = np.array(colour_of(index), np.float32)
        drawn[mask] = (1 - _FILL) * drawn[mask] + _FILL * colour
        drawn[mask & ~_shrunk(mask, width)] = colour
    return np.rint(drawn).astype(np.uint8)


def _shrunk(mask: np.ndarray, width: int) -> np.ndarray:
    """The mask without its outermost pixels; what lies at the picture's edge is not outermost."""
    inner = mask
    for _ in range(width):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inner
