"""What a benchmark gives: tables as pandas has them, pictures, and itself in a notebook."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from crosstask.evaluation.comparison import Cell
from crosstask.evaluation.comparison import Comparison as ComparisonTable
from crosstask.evaluation.diagnosis import Diagnosis
from crosstask.evaluation.epoch_rules import EpochRules
from crosstask.evaluation.transfer import Transfer
from crosstask.experiment import Experiment
from crosstask.report.benchmark_page import Benchmark, Findings, example_cases, figures_of
from crosstask.report.charts.files import as_png
from crosstask.report.example_picture import example_picture
from crosstask.report.forms import as_html, as_text, remarks
from crosstask.report.tables import csv_table, floor_of
from crosstask.runs import RunSpec, run_specs


@dataclass(frozen=True)
class Picture:
    """A picture of a comparison; a notebook shows it.

    Attributes:
        title: what it shows.
        png: the picture as a PNG file has it.
    """

    title: str
    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: str | Path) -> Path:
        """Write it to a file; its name ends in ``.png``."""
        Path(path).write_bytes(self.png)
        return Path(path)


@dataclass(frozen=True)
class Comparison:
    """The methods of a benchmark compared.

    Attributes:
        experiment: what was compared.
        inner: every figure, as plain values.
        scores: the long table: one row per method, seed, case, task, class and metric.
        predictions: image-level predictions of each case; empty where no task has any.
        constant: scores of the constant predictor.
        diagnosis: figures of a major classification, or None.
        epochs: improvements under other rules for the epoch, or None where the runs were not scored so.
        external: the same methods on external cases, by the name of these.
        folder: where tables and page are; None for the experiment's output.
        transfer: what the tasks did to each other in training, or None where nobody looked.
    """

    experiment: Experiment
    inner: ComparisonTable
    scores: pd.DataFrame
    predictions: pd.DataFrame
    constant: pd.DataFrame
    diagnosis: Diagnosis | None = None
    epochs: EpochRules | None = None
    external: Mapping[str, Comparison] = field(default_factory=dict)
    folder: Path | None = None
    transfer: Transfer | None = None

    @cached_property
    def floor(self) -> Mapping[str, Cell]:
        """M of the constant predictor, per task."""
        return floor_of(self.constant, self.inner)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per method and task, with M, its spread over seeds, improvement, interval, verdict and ranks."""
        return pd.read_csv(io.StringIO(csv_table([self.inner], [self.floor])))

    def to_frame(self) -> pd.DataFrame:
        """The verdicts, one row per method and task, and one for the mean.

        Its columns are those of :meth:`crosstask.evaluation.comparison.Comparison.to_frame`.
        """
        return self.inner.to_frame()

    @property
    def remarks(self) -> tuple[str, ...]:
        """The verdict on each method, and what a reader of the figures must know; a sentence each."""
        return tuple(remarks([self.inner]))

    @property
    def page(self) -> Path:
        """The report, one HTML file."""
        return (self.folder or self.experiment.output_folder) / "index.html"

    @cached_property
    def runs(self) -> dict[str, Path]:
        """Folder of each run, by its name (``ctan/seed0``, ``stl/seed0/dose``), for :func:`crosstask.load_run`."""
        return {spec.name: spec.folder for spec in self._specs}

    @cached_property
    def _specs(self) -> list[RunSpec]:
        return run_specs(self.experiment)

    def pictures(self) -> list[Picture]:
        """The pictures of the report: improvements with intervals, cases, curves; drawn anew."""
        kept = None if self.folder is None else self.folder / "runs"
        found = Findings(transfer=self.transfer, examples=kept)
        tables = (self.scores, self.predictions, self.constant)
        whole = Benchmark(self.experiment, self._specs, *tables, self.inner, found)
        drawn = [Picture(figure.title, as_png(figure)) for figure in figures_of(whole)]
        return drawn + [Picture(f"Case {case.case}", example_picture(case)) for case in example_cases(whole)]

    def __str__(self) -> str:
        return as_text([self.inner], [self.floor])

    def _repr_html_(self) -> str:
        return as_html(self.inner, self.floor)
