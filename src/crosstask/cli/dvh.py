"""``crosstask dvh``: dose-volume histograms of the structures of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from crosstask.cli.answering import answer
from crosstask.cli.options import Json
from crosstask.cli.terminal import out
from crosstask.errors import InputError

if TYPE_CHECKING:
    from crosstask.functional.dvh import Dvh, Metric
    from crosstask.functional.structure_samples import Ends

FIGURES = ("min", "mean", "max", "D99%", "D95%", "D50%", "D2%", "D0.1cc")
"""Figures that are always given."""
_LONGEST_NAME = 24
"""Longer ones are broken into lines."""
_FRAME = 3
"""Characters of a table's column besides its text."""


def dvh(
    dose: Annotated[
        Path, typer.Argument(help="RTDOSE file, or a dose in Gy as .nii, .nii.gz, .mha, .mhd or .nrrd.", metavar="DOSE")
    ],
    structures: Annotated[
        Path, typer.Argument(help="RTSTRUCT file, or a folder of masks, one volume a structure.", metavar="STRUCT")
    ],
    structure: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Option(help="Only this structure, by its name; may be repeated."),
    ] = None,
    metric: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Also this figure: D98%, D2cc, V20Gy, V20Gycc, V95% (of the prescription); may be repeated."),
    ] = None,
    prescription: Annotated[Optional[float], typer.Option(help="Prescribed dose, in Gy.", metavar="GY")] = None,  # noqa: UP045
    ends: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Where contoured structures end: half (a plane spacing, beyond their outermost contours; default) or "
            "none (at them).",
            metavar="half|none",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Folder for curves, figures and a picture; must be new or empty."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Dose-volume histograms of structures: volumes, doses, and the figures that are asked for."""
    from crosstask.cli.listening import Terminal
    from crosstask.export.output import must_be_new
    from crosstask.functional.dvh import parse_metric
    from crosstask.pipeline.histograms import histograms_of, read_plan, structures_of, write_histograms

    if prescription is not None and not 0 < prescription < float("inf"):
        raise InputError(f"--prescription: {prescription:g} is no dose; give it in Gy, more than 0")
    figures = {found.name: found for found in map(parse_metric, (*FIGURES, *(metric or ())))}
    for figure in figures.values():
        if figure.needs_prescription and prescription is None:
            raise InputError(f"--metric {figure.name}: is of a prescribed dose; give that with --prescription, in Gy")
    if output is not None:
        must_be_new(output)
    plan = read_plan(dose)
    chosen = structures_of(structures, plan, structure or (), _ends(ends))
    histograms, notes = histograms_of(plan, chosen, Terminal())
    if not histograms:
        raise InputError(f"{structures}: no structure has a DVH; {notes[0]}")
    if not as_json:
        _print(histograms, list(figures.values()), prescription)
    for note in (*plan.notes, *notes):
        out.print(f"Note: {note}", markup=False)
    if output is not None:
        write_histograms(output, histograms, list(figures.values()), prescription)
        out.print(f"Curves, figures and picture: {output}", markup=False)
    if as_json:
        answer(
            {
                "structures": _figures(histograms, list(figures.values()), prescription),
                "notes": [*plan.notes, *notes],
                "folder": output,
            }
        )


def _figures(
    histograms: Mapping[str, Dvh], figures: Sequence[Metric], prescription: float | None
) -> dict[str, dict[str, dict[str, float | str]]]:
    """``{structure: {figure: {"value": number, "unit": text}}}``."""
    return {
        name: {
            "Volume": {"value": one.volume + one.outside, "unit": "cc"},
            **{figure.name: {"value": figure.of(one, prescription), "unit": figure.unit} for figure in figures},
        }
        for name, one in histograms.items()
    }


def _ends(given: str | None) -> Ends | None:
    """What ``--ends`` says; None without it."""
    from crosstask.functional.structure_samples import ENDS

    found = next((ends for ends in ENDS if ends == given), None)
    if given is not None and found is None:
        raise InputError(f"--ends: {given!r} is not accepted; one of {', '.join(ENDS)}")
    return found


@dataclass(frozen=True)
class _Column:
    """One figure of all structures."""

    title: str
    unit: str
    values: list[str]

    @property
    def width(self) -> int:
        return max(map(len, (self.title, self.unit, *self.values))) + _FRAME


def _print(histograms: Mapping[str, Dvh], figures: Sequence[Metric], prescription: float | None) -> None:
    """One table, or several below each other where a terminal is too narrow for all figures."""
    volumes = [histogram.volume + histogram.outside for histogram in histograms.values()]
    columns = [_Column("Volume", "cc", [f"{cc:.3g}" if cc < 1 else f"{cc:.2f}" for cc in volumes])]
    for figure in figures:
        values = [f"{figure.of(histogram, prescription):.2f}" for histogram in histograms.values()]
        columns.append(_Column(figure.name, figure.unit, values))
    longest = max(len("Structure"), min(max(map(len, histograms)), _LONGEST_NAME))
    for batch in _batches(columns, out.width - longest - _FRAME - 1):
        table = Table()
        table.add_column("Structure", overflow="fold", max_width=longest)
        for column in batch:
            table.add_column(f"{column.title}\n{column.unit}", justify="right", no_wrap=True)
        for name, *values in zip(histograms, *(column.values for column in batch), strict=True):
            table.add_row(escape(name), *values)
        out.print(table)


def _batches(columns: Sequence[_Column], room: int) -> list[list[_Column]]:
    """Columns that fit beside each other, at least one at a time."""
    batches: list[list[_Column]] = [[]]
    for column in columns:
        if batches[-1] and sum(each.width for each in (*batches[-1], column)) > room:
            batches.append([])
        batches[-1].append(column)
    return batches
