"""The earlier runs of a cascade on a machine that does not see them: the runs, and what they predicted of the cases.

Predictions go along and are not made again there: another kind of processor would make others in the last bits, and
every machine would spend the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from crosstask.buckets import Place
from crosstask.errors import InputError
from crosstask.experiment import Experiment
from crosstask.files import in_parts, put_files
from crosstask.runs import earlier_runs, files_of
from crosstask.store.derived import Derived

Part = Mapping[str, Mapping[str, bytes]]
"""Files of some cases' predictions, by their names; see :class:`crosstask.store.derived.Derived`."""


@dataclass(frozen=True)
class Earlier:
    """What a job takes of earlier runs.

    Attributes:
        key: of the runs; see :class:`crosstask.runs.EarlierRuns`.
        cases: names under which their predictions are kept.
    """

    key: str
    cases: frozenset[str]


def earlier_of(experiment: Experiment, store: Place) -> tuple[Earlier, tuple[Path, ...]] | None:
    """What an experiment takes of earlier runs, and their folders; None where there are none.

    Raises:
        InputError: see :func:`crosstask.runs.earlier_runs`.
    """
    runs = earlier_runs(experiment)
    return None if runs is None else (Earlier(runs.key, Derived(store, runs.key).names()), runs.folders)


def run_files(folders: Iterable[Path]) -> tuple[dict[str, bytes], ...]:
    """The runs' files, those of the runs before them among them."""
    return tuple(files_of(folder) for folder in folders)


def with_runs(
    experiment: Experiment, earlier: Earlier, runs: Iterable[Mapping[str, bytes]], folder: Path, own_disk: bool
) -> Experiment:
    """The experiment with copies of its earlier runs, unless this machine sees the same ones.

    Args:
        experiment: whose ``input_from`` names them by the paths of the machine that asks.
        earlier: what they are.
        runs: their files.
        folder: where to put copies.
        own_disk: make copies, whatever it sees.
    """
    if experiment.input_from is None or (not own_disk and _sees(experiment, earlier.key)):
        return experiment
    copies = []
    for number, files in enumerate(runs):
        copies.append(folder / str(number))
        put_files(copies[-1], files)
    return experiment.model_copy(update={"input_from": experiment.input_from.model_copy(update={"run": copies})})


def _sees(experiment: Experiment, key: str) -> bool:
    try:
        runs = earlier_runs(experiment)
    except (InputError, OSError):
        return False
    return runs is not None and runs.key == key


def lacks_predictions(store: Place, earlier: Earlier) -> bool:
    """Whether this machine lacks some of the predictions beside its store."""
    return not earlier.cases <= Derived(store, earlier.key).names()


def prediction_parts(store: Place, earlier: Earlier, size: int) -> Iterator[dict[str, dict[str, bytes]]]:
    """All predictions, some whole cases at a time, of about ``size`` bytes."""
    kept = Derived(store, earlier.key)
    cases = ((name, kept.files(name)) for name in sorted(earlier.cases))
    return in_parts(cases, lambda files: sum(map(len, files.values())), size)


def put_predictions(parts: Iterable[Part], store: Place, earlier: Earlier) -> None:
    """Keep predictions beside this machine's store.

    Raises:
        CrosstaskError: the disk is full.
    """
    kept = Derived(store, earlier.key)
    there = kept.names()
    for part in parts:
        for name, files in part.items():
            if name not in there:
                kept.put(name, files)
