"""``crosstask watch``: how far a benchmark is that runs elsewhere, or ran. It reads files, and writes none."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from crosstask.cli.answering import answer
from crosstask.cli.machine import load_now
from crosstask.cli.options import Json
from crosstask.cli.terminal import EVERY, manner, out
from crosstask.errors import InputError
from crosstask.history import duration

if TYPE_CHECKING:
    from crosstask.evaluation.progress import BenchmarkProgress, RunProgress

_BARS = "▁▂▃▄▅▆▇█"
_pause = time.sleep
_WIDTH = 16
"""Letters of a sparkline."""
_FRAME = 7
"""Lines of the view besides those of runs."""
_COLOURS = {
    "training": "cyan",
    "scoring": "cyan",
    "failed": "bold magenta",
    "interrupted": "yellow",
    "scored": "green",
    "trained": "green",
    "waiting": "dim",
}


def watch(
    benchmark: Annotated[
        Path, typer.Argument(help="Output folder of a benchmark, or its experiment file.", metavar="BENCHMARK")
    ],
    once: Annotated[bool, typer.Option("--once", help="Show how far it is now, and end.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Watch a benchmark that another process runs: epochs, losses, scores, time left; ends with it, or by Ctrl-C."""
    look = _Look(benchmark)
    if as_json:
        answer({**look().as_dict(), "machine": load_now().as_dict()})
    elif once:
        out.print(view(look(), room=None))
    elif sys.stdout.isatty():
        _draw(look, every)
    else:
        _tell(look, every)


class _Look:
    """Looks at a benchmark, whose experiment is read anew only when the file was written anew, as for more seeds."""

    def __init__(self, path: Path) -> None:
        self._path, self._changed = path, -1.0
        self._read()

    def _read(self) -> None:
        from crosstask.pipeline.subject import experiment_at, is_run
        from crosstask.runs import EXPERIMENT, run_specs

        if is_run(self._path):
            raise InputError(f"{self._path}: is one run; give the benchmark, its output folder or experiment file")

        file = self._path / EXPERIMENT if self._path.is_dir() else self._path
        changed = file.stat().st_mtime if file.exists() else 0.0
        if changed != self._changed:
            self._experiment = experiment_at(self._path)
            self._specs = run_specs(self._experiment)
            self._changed = changed

    def __call__(self) -> BenchmarkProgress:
        from crosstask.evaluation.progress import benchmark_progress

        self._read()
        return benchmark_progress(self._experiment.name, self._experiment.output_folder, self._specs)


def _draw(look: _Look, every: float) -> None:
    """A view that is drawn over and over, until the benchmark is done."""
    found = look()
    with Live(console=out, auto_refresh=False, transient=False) as live:
        while True:
            live.update(view(found, room=out.height - _FRAME), refresh=True)
            if found.is_done:
                return
            _pause(every)
            found = look()


def _tell(look: _Look, every: float) -> None:
    """A line where something has changed, and now and then, until the benchmark is done."""
    counts: dict[str, int] = {}
    told = -math.inf
    while True:
        found = look()
        if found.counts != counts or time.monotonic() - told >= EVERY or found.is_done:
            out.print(f"{time.strftime('%H:%M:%S')} {summary(found)}", markup=False)
            counts, told = found.counts, time.monotonic()
        if found.is_done or manner.quiet:
            return
        _pause(every)


def summary(found: BenchmarkProgress) -> str:
    """How far all runs are, in a line."""
    counts = ", ".join(f"{number} {state}" for state, number in found.counts.items() if number)
    left = found.seconds_left
    rest = f", about {duration(left)} left" if math.isfinite(left) and left else ""
    busy = found.at_work or any(run.process for run in found.runs)
    doing = "" if busy or found.is_done else "; nobody is at work: the same command goes on"
    if found.at_work and found.counts["scored"] == len(found.runs):
        doing = "; compares and reports"
    return f"{found.name}: {len(found.runs)} runs: {counts}; {found.share:.0%} of the epochs{rest}{doing}"


def view(found: BenchmarkProgress, room: int | None) -> RenderableType:
    """A table of the runs, the worrying ones first where not all have room, and a line of all together."""
    shown, folded = _shown(found.runs, room)
    tasks = list(dict.fromkeys(task for run in found.runs for task in run.spec.tasks))
    table = Table(box=None, pad_edge=False)
    for title in ("Run", "", "Epoch"):
        table.add_column(title, no_wrap=True)
    for task in tasks:
        table.add_column(f"{escape(task)}\nloss    score", no_wrap=True)
    table.add_column("Score", no_wrap=True)
    table.add_column("s/epoch", justify="right", no_wrap=True)
    for run in shown:
        table.add_row(
            escape(run.spec.name),
            f"[{_COLOURS[run.state]}]{run.state}[/]",
            f"{run.epochs} of {run.planned}",
            *(_figures(run, task) for task in tasks),
            f"{sparkline(run.scores)} {_number(run.scores[-1], '.3f')}" if run.scores else "",
            _number(run.seconds, ".1f"),
        )
    below: list[RenderableType] = [Text(f"... and {folded}", style="dim")] if folded else []
    below += [
        Text(f"{run.spec.name}: {run.message}", style="magenta")
        for run in found.runs
        if run.message and run.state == "failed"
    ][:3]
    page = f"Page: {(found.folder / 'index.html').resolve()}"
    lines = [Text(summary(found)), Text(str(load_now()), style="dim"), *([Text(page)] if found.is_done else [])]
    return Group(table, *below, *lines)


def _shown(runs: Sequence[RunProgress], room: int | None) -> tuple[list[RunProgress], str]:
    """The runs that have room, in their order, and what is said of those that have none."""
    from crosstask.evaluation.progress import STATES

    if room is None or len(runs) <= max(1, room):
        return list(runs), ""
    wanted = sorted(range(len(runs)), key=lambda index: (STATES.index(runs[index].state), index))
    kept = set(wanted[: max(1, room - 1)])
    left = [runs[index].state for index in wanted if index not in kept]
    said = ", ".join(f"{left.count(state)} {state}" for state in dict.fromkeys(left))
    return [run for index, run in enumerate(runs) if index in kept], said


def _figures(run: RunProgress, task: str) -> str:
    if task not in run.losses:
        return ""
    return f"{_number(run.losses[task], '.3g'):6} {_number(run.skills.get(task, math.nan), '.3f'):>6}"


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Numbers as bars of eight heights, from their lowest to their highest; means of neighbours where they are many.

    What is no number is a gap. Where the output has no such letters, nothing is drawn.
    """
    try:
        _BARS.encode(out.encoding)
    except (LookupError, UnicodeEncodeError):
        return ""
    count = len(values)
    parts = [values[count * at // width : count * (at + 1) // width] for at in range(width)] if count > width else None
    means = [_mean(part) for part in parts] if parts else list(values)
    known = [value for value in means if math.isfinite(value)]
    if not known:
        return ""
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    return "".join(
        _BARS[round((value - low) / span * (len(_BARS) - 1))] if math.isfinite(value) else " " for value in means
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan
