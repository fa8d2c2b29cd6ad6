"""The earlier run of a cascade: what it predicts of a case is input to the run that comes after it.

A network predicts the cases that it was trained on better than any other. Where several runs are given that were
trained on other folds, each case is predicted by those that have not learned from it: the later network is then trained
on predictions such as new patients will have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from crosstask.errors import InputError
from crosstask.experiment import EarlierSection, Experiment
from crosstask.inputs import Earlier
from crosstask.registry import TASKS, did_you_mean
from crosstask.runs.code import PLUGINS
from crosstask.runs.images import read_images
from crosstask.runs.names import EXPERIMENT, IMAGES, RECORD
from crosstask.runs.packed import is_packed, unpacked
from crosstask.runs.record import trained_record
from crosstask.runs.settings import differing_settings, load_spec, read_settings
from crosstask.runs.weights import weights_path
from crosstask.store.fingerprint import digest, digest_file

_OF_A_FOLD = ("dataset.splits.seed", "dataset.splits.fold")
_LEARNED = ("train", "validation")
"""Splits from which a run learns: the second chooses its best epoch."""


@dataclass(frozen=True)
class EarlierRuns:
    """The runs whose predictions are input.

    Attributes:
        folders: of the runs.
        inputs: the channels that they give.
        key: digest of all that their predictions depend on: weights, settings, and the runs before them.
        pixels: of each run, digests of the images that it learned from.
        ids: of each run, ids of these cases.
    """

    folders: tuple[Path, ...]
    inputs: Earlier
    key: str
    pixels: tuple[frozenset[str], ...]
    ids: tuple[frozenset[str], ...]

    def unseen_by(self, pixels: str | None) -> list[int]:
        """Which of the runs have not learned from an image, by the digest of its pixels; none, if all have."""
        return [index for index, known in enumerate(self.pixels) if pixels not in known]

    def of(self, pixels: str | None) -> list[int]:
        """Which of the runs predict a case: those that have not learned from it, or all."""
        return self.unseen_by(pixels) or list(range(len(self.folders)))


def earlier_inputs(experiment: Experiment) -> Earlier | None:
    """The input channels that an experiment takes from an earlier run, or None.

    Raises:
        InputError: see :func:`earlier_runs`.
    """
    if experiment.input_from is None:
        return None
    folders, records = _checked(experiment)
    return _inputs(folders[0], records[0], experiment.input_from.tasks)


def earlier_runs(experiment: Experiment, beside: Path | None = None) -> EarlierRuns | None:
    """The runs whose predictions an experiment takes as input, or None.

    Args:
        experiment: the later one.
        beside: folder of a later run, which may have the earlier ones below it, as a packed model does.

    Raises:
        InputError: a run is missing, not complete, of another data set, has no such task, or comes after itself.
    """
    if experiment.input_from is None:
        return None
    folders, records = _checked(experiment, beside)
    inputs = _inputs(folders[0], records[0], experiment.input_from.tasks)
    parts = [_made_by(folder, record) for folder, record in zip(folders, records, strict=True)]
    pixels, ids = zip(*(_learned(folder, record) for folder, record in zip(folders, records, strict=True)), strict=True)
    return EarlierRuns(folders, inputs, digest([inputs.channels, parts]), pixels, ids)


def earlier_names(number: int) -> list[str]:
    """Where the runs before a run lie, below its folder, in a packed model and on another machine."""
    return [f"earlier/{index}" for index in range(number)]


def files_of(folder: Path) -> dict[str, bytes]:
    """What another machine needs of a run to take its predictions, by paths in its folder.

    Settings, record, judged weights, digests of the images, plugins; and the runs before it, below.

    Raises:
        InputError: see :func:`earlier_runs`.
    """
    spec = load_spec(folder)
    settings = read_settings(folder)
    before = earlier_runs(spec.experiment, folder)
    found: dict[str, bytes] = {}
    if before is not None:
        own = earlier_names(len(before.folders))
        for name, one in zip(own, before.folders, strict=True):
            found |= {f"{name}/{path}": data for path, data in files_of(one).items()}
        settings["input_from"] = {**_section(spec.experiment).model_dump(mode="json"), "run": own}
    found[EXPERIMENT] = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).encode()
    paths = [folder / RECORD, folder / IMAGES, weights_path(folder, spec.experiment.judged_weights)]
    for path in (*paths, *sorted((folder / PLUGINS).glob("*"))):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def _checked(experiment: Experiment, beside: Path | None = None) -> tuple[tuple[Path, ...], list[dict[str, Any]]]:
    """Folders and records of the earlier runs, if the experiment can take them.

    Raises:
        InputError: it cannot.
    """
    try:
        folders = [folder for given in _section(experiment).run for folder in _found(given, beside)]
        records = [trained_record(folder) for folder in folders]
        _check_folds(folders, records)
    except InputError as error:
        raise InputError(f"input_from: {error}") from None
    for folder, record in zip(folders, records, strict=True):
        theirs = record["data"].get("dataset") or load_spec(folder).experiment.dataset.name
        if theirs != experiment.dataset.name:
            raise InputError(
                f"input_from: {folder} was trained on {theirs}, and dataset.name is {experiment.dataset.name}; give a "
                "run on the same data set"
            )
        if own := next((one for one in _chain(folder) if _is_below(one, experiment.output_folder)), None):
            raise InputError(
                f"input_from: {own} is a run of this experiment's own output {experiment.output_folder}, which would "
                "come after itself; give another output="
            )
    return tuple(folders), records


def _section(experiment: Experiment) -> EarlierSection:
    assert experiment.input_from is not None
    return experiment.input_from


def _found(given: Path, beside: Path | None) -> list[Path]:
    """The runs at a path: below the later run's folder, if it has one there, and of a packed model all."""
    below = None if beside is None or given.is_absolute() else beside / given
    place = below if below is not None and below.is_dir() else given
    found = unpacked(place) if is_packed(place) else place
    return [found] if isinstance(found, Path) else found


def _check_folds(folders: Sequence[Path], records: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that several runs are of one method, trained alike.

    Raises:
        InputError: they are not, or one is named twice.
    """
    for folder, record in zip(folders[1:], records[1:], strict=True):
        differing = [key for key in differing_settings(folders[0], folder) if key not in _OF_A_FOLD]
        if differing or record["tasks"] != records[0]["tasks"]:
            what = differing[0] if differing else "its tasks"
            raise InputError(f"{folder}: differs from {folders[0]} in {what}; give folds of one method")
    if len(set(map(_place, folders))) < len(folders):
        raise InputError("run names a folder twice; give each once")


def _place(folder: Path) -> Path:
    return folder.expanduser().absolute().resolve()


def _is_below(folder: Path, output: Path) -> bool:
    return _place(output) in _place(folder).parents


def _chain(folder: Path, met: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """A run, and all that come before it.

    Raises:
        InputError: it comes after itself.
    """
    if _place(folder) in met:
        raise InputError(f"input_from: {folder} comes after itself; train it anew without input_from")
    yield folder
    section = load_spec(folder).experiment.input_from
    for given in () if section is None else section.run:
        if given.is_dir() and not is_packed(given):
            yield from _chain(given, met | {_place(folder)})


def _inputs(folder: Path, record: Mapping[str, Any], wanted: Sequence[str]) -> Earlier:
    """The channels that a run gives.

    Raises:
        InputError: it has no such task, or none at pixel level.
    """
    try:
        described = {task["arguments"]["name"]: task for task in record["assembly"]["tasks"]}
        pixel = {name: one for name, one in described.items() if TASKS.find(one["kind"], "task").level == "pixel"}
    except (KeyError, TypeError):
        raise InputError(
            f"input_from: {folder / RECORD} is of an earlier version and does not say what the run predicts; train it "
            "anew"
        ) from None
    if not pixel:
        raise InputError(f"input_from: {folder} predicts no mask and no dose, but {', '.join(described)} alone")
    for name in wanted:
        if name not in pixel:
            near, known = did_you_mean(name, pixel), ", ".join(pixel)
            raise InputError(f"input_from.tasks: {name!r} is no pixel-level task of {folder}; {near}it has {known}")
    channels, scales = [], []
    for name in wanted or pixel:
        scale = float(record["task_state"][name].get("scale", 1.0))
        for label in pixel[name]["arguments"]["classes"]:
            channels.append(f"{name}/{label}")
            scales.append(scale)
    return Earlier(tuple(channels), tuple(scales))


def _made_by(folder: Path, record: Mapping[str, Any]) -> list[Any]:
    """What a run's predictions depend on."""
    spec = load_spec(folder)
    path = weights_path(folder, spec.experiment.judged_weights)
    if not path.is_file():
        raise InputError(f"input_from: {path}: is missing; train the run anew")
    evaluation = spec.experiment.evaluation
    before = earlier_runs(spec.experiment, folder)
    return [
        _digest(path, path.stat().st_mtime_ns),
        record["assembly"],
        record["task_state"],
        spec.experiment.sample.model_dump(mode="json"),
        [evaluation.overlap, list(spec.experiment.mirrored)],
        None if before is None else before.key,
    ]


@lru_cache(maxsize=64)
def _digest(path: Path, changed: int) -> str:
    return digest_file(path)


def _learned(folder: Path, record: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Digests of the images that a run learned from, and the ids of these cases; empty where it does not say."""
    cases = record["data"].get("cases") or {}
    ids = frozenset(case for split in _LEARNED for case in cases.get(split, ()))
    images = read_images(folder) or {}
    return frozenset(images[case] for case in ids if case in images), ids


def check_earlier(folder: Path, record: Mapping[str, Any], key: str) -> None:
    """Make sure that a run has, or goes on with, the predictions of the earlier run that it began with.

    Args:
        folder: of the run.
        record: what it says.
        key: of the earlier runs as they are now.

    Raises:
        InputError: they are of other weights.
    """
    before = record.get("earlier")
    if before is not None and before != key:
        raise InputError(
            f"{folder}: was trained on predictions of input_from as it was then, and its weights or settings have "
            "changed since; put the earlier run back, or give another output="
        )
