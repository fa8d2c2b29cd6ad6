"""Labelled cases of another origin: found, prepared in a store of their own, and held against what runs have met."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from crosstask.assembly import Assembly
from crosstask.buckets import Place
from crosstask.csv_cells import csv_text
from crosstask.datasets import Dataset, open_dataset
from crosstask.datasets.cohort.dataset import COHORT_FILE
from crosstask.errors import InputError
from crosstask.evaluation.external import Cases, check_images, choose_cases
from crosstask.evaluation.mapping import LabelMap, map_labels
from crosstask.evaluation.seen import met_by, overlap
from crosstask.evaluation.translated import TranslatedStore, arrays_between
from crosstask.experiment import EvaluationSection, ExternalDataset, ExternalSection, load_experiment
from crosstask.files import write_atomically, writing
from crosstask.io.yaml_lines import parse_yaml
from crosstask.pipeline.context import prepare_cases
from crosstask.pipeline.listener import Listener
from crosstask.registry import DATASETS, did_you_mean
from crosstask.shipped import config_names, find_config, is_shipped
from crosstask.tasks.base import Task

_SOURCE = "source.json"
_MAPPING = ("task", "their_task", "their_class", "class", "cases", "how")
_GUESSED = ("ham10000", "openkbp", "stoic")
"""Data sets that know their own folders; others read any folder of their kind, or none."""


class ExternalSet:
    """External cases by their name.

    Args:
        name: of the cases; names their folder.
        section: which data set, and what its labels are called.
        folder: of all that is made of them.
        listener: told what happens.
    """

    def __init__(self, name: str, section: ExternalSection, folder: Path, listener: Listener) -> None:
        self.name, self.section, self.folder, self.listener = name, section, folder, listener
        self._skipped: list[str] = []

    @cached_property
    def dataset(self) -> Dataset:
        """Their raw data set."""
        source = self.section.dataset
        return open_dataset(source.name, source.root, **source.options)

    @property
    def store_folder(self) -> Path:
        """Where their cases are prepared."""
        return self.folder / "store"

    def mapping(self, tasks: Sequence[Task]) -> LabelMap:
        """Which labels are which.

        Raises:
            InputError: a statement is wrong, or nothing matches.
        """
        try:
            return map_labels(tasks, self.dataset, self.section.tasks, self.section.classes)
        except InputError as error:
            raise InputError(f"external cases {self.name}: {error}") from None

    def prepare(self, *, workers: int | None = None) -> None:
        """Prepare the cases, read as their data set reads them.

        Raises:
            InputError: the folder holds other cases of that name, or none could be prepared.
        """
        source = self.section.dataset
        wanted = {"dataset": source.name, "root": str(_whole(source.root)), "options": source.options}
        path = self.folder / _SOURCE
        known: Any = None
        if path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                known = None
        if isinstance(known, dict) and known.get("root") != wanted["root"]:
            raise InputError(
                f"{self.folder}: holds what was found on {known.get('root')}; give these cases another name (--name, "
                "or their key in external), or remove the folder"
            )
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        done = prepare_cases(self.dataset, self.store_folder, self.listener, workers=workers)
        self._skipped = [case for case, _ in done.failed]
        write_atomically(path, json.dumps(wanted, indent=1, default=str))

    def store(self, assembly: Assembly, dimensions: int) -> TranslatedStore:
        """The prepared cases in our words.

        Raises:
            InputError: their images or labels do not fit.
        """
        mapping = self.mapping(assembly.tasks)
        store = TranslatedStore(self.store_folder, mapping, arrays_between(assembly, self.dataset, mapping))
        check_images(store, assembly, dimensions, self.dataset)
        return store

    def cases(
        self,
        assembly: Assembly,
        dimensions: int,
        runs: Sequence[Path],
        evaluation: EvaluationSection,
        own_store: Place | None = None,
    ) -> Cases:
        """The cases that are scored: labelled, and met by none of the runs.

        Args:
            assembly: how the runs look at a case; all their tasks.
            dimensions: axes of the runs' images.
            runs: the run folders.
            evaluation: how they are scored.
            own_store: the runs' own prepared cases, if not where they were.

        Raises:
            InputError: none can be scored.
        """
        store, mapping = self.store(assembly, dimensions), self.mapping(assembly.tasks)
        seen = overlap(store, met_by(runs, assembly.image_array, own_store), assembly.image_array)
        everyone = [case.id for case in store.cases]
        rest = [case for case in everyone if case not in seen.refused]
        if not rest:
            raise InputError(
                f"{self.dataset.root}: all {len(everyone)} cases have the pixels of cases that trained the runs or "
                "chose their best epoch; give cases that they have never met"
            )
        found = choose_cases(store, mapping, assembly, evaluation, rest)
        source = self.section.dataset
        said = [
            f"External cases {self.name}: {len(found.ids)} cases of {source.name} at {source.root} (licence: "
            f"{self.dataset.licence}).",
            *seen.remarks(len(everyone)),
        ]
        if self._skipped:
            names = ", ".join(self._skipped[:5]) + (", ..." if len(self._skipped) > 5 else "")
            said.append(f"{len(self._skipped)} cases could not be read and are left out: {names}.")
        if assembly.image_array != self.dataset.image_array:
            said.append(f"Their image {self.dataset.image_array!r} is taken as {assembly.image_array!r}.")
        return dataclasses.replace(found, remarks=(*said, *found.remarks))

    def own_scores(self, dataset: str) -> Dataset | None:
        """The data set whose own scores count too: theirs, if it is the runs' as well."""
        return self.dataset if dataset == self.dataset.name else None


def write_mapping(cases: Cases, path: Path) -> None:
    """Write what was taken as what as a table: task, their task, their class, our class, cases, how."""
    write_atomically(path, csv_text([_MAPPING, *cases.rows]))


def find_external(
    on: str | Path | Mapping[str, Any],
    *,
    own: str,
    known: Mapping[str, ExternalSection] | None = None,
    name: str | None = None,
    tasks: Mapping[str, str] | None = None,
    classes: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[str, ExternalSection]:
    """Name and section of external cases from what describes them.

    Args:
        on: an experiment file, a cohort file, a folder, ``DATASET=FOLDER``, the name of a file that comes along, the
            name of external cases that the experiment knows, or a mapping as ``external.NAME.dataset`` has.
        own: name of the runs' data set, as which a folder is read if it can be.
        known: external cases of the experiment.
        name: what they are called; by default after their file or folder.
        tasks: ``{theirs: ours}``, beside what the experiment says.
        classes: ``{task: {theirs: ours}}``, beside what the experiment says.

    Raises:
        InputError: it is none of these, or more than one.
    """
    if isinstance(on, Mapping):
        found, called = on, str(name or Path(str(on.get("root", "cases"))).stem)
        section = _section({"dataset": dict(found)})
    elif str(on) in (known or {}):
        called, section = str(on), (known or {})[str(on)]
        path = Path(on)
        if path.exists() and _whole(path) != _whole(section.dataset.root):
            raise InputError(
                f"--on: {on}: is the name of external cases of the experiment, and a path to others; give ./{on} for "
                "these"
            )
    else:
        called, dataset = _described(str(on), own)
        section = _section({"dataset": dataset.model_dump(mode="json")})
    both = {task: dict(pairs) for task, pairs in section.classes.items()}
    for task, pairs in (classes or {}).items():
        both[task] = {**both.get(task, {}), **pairs}
    stated = _section(
        {
            "dataset": section.dataset.model_dump(mode="json"),
            "tasks": {**section.tasks, **(tasks or {})},
            "classes": both,
        }
    )
    return name or re.sub(r"[^A-Za-z0-9._-]+", "-", called).strip("-._") or "external", stated


def _section(values: Mapping[str, Any]) -> ExternalSection:
    try:
        return ExternalSection.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise InputError(f"on: {key}: {str(fault['msg']).removeprefix('Value error, ')}") from None


def _whole(root: Path) -> Path:
    """The same path for a cohort's folder and its file."""
    inside = root / COHORT_FILE
    return (inside if inside.is_file() else root).resolve()


def _described(text: str, own: str) -> tuple[str, ExternalDataset]:
    """Name and data set of external cases that a text describes."""
    path = Path(text).expanduser()
    before, equals, after = text.partition("=")
    if equals and not path.exists():
        DATASETS.find(before)
        root = Path(after).expanduser()
        return root.name, ExternalDataset(name=before, root=root)
    if path.is_dir():
        return path.resolve().name, _of_folder(path, own)
    if is_shipped(path) or path.is_file():
        return _of_file(path)
    near = did_you_mean(text, config_names())
    raise InputError(
        f"--on: {text}: no such experiment file, cohort file or folder; {near}give one of these, or DATASET=FOLDER"
    )


def _of_folder(path: Path, own: str) -> ExternalDataset:
    """The data set of a folder: the cohort that it describes, or else the one that finds its cases in it."""
    if (path / COHORT_FILE).is_file():
        return ExternalDataset(root=path / COHORT_FILE)
    fitting = [name for name in dict.fromkeys((own, *_GUESSED)) if name in DATASETS and _finds(name, path)]
    if len(fitting) == 1 or own in fitting:
        return ExternalDataset(name=own if own in fitting else fitting[0], root=path)
    found = (
        f"it may be of {' or '.join(fitting)}" if fitting else f"it has no {COHORT_FILE} and is of no known data set"
    )
    raise InputError(
        f"--on: {path}: {found}; give DATASET=FOLDER, or describe a table of images with crosstask cohort init"
    )


def _finds(name: str, path: Path) -> bool:
    try:
        return bool(open_dataset(name, path).cases())
    except InputError:
        return False


def _of_file(path: Path) -> tuple[str, ExternalDataset]:
    """The data set of an experiment file or a cohort file."""
    file = find_config(path)
    if file.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(
            f"--on: {path}: is no YAML file; describe a table of images with crosstask cohort init, and give the "
            "cohort file"
        )
    try:
        values, _ = parse_yaml(file.read_text(encoding="utf-8-sig"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--on: {path}: cannot be read as text ({error})") from None
    if isinstance(values, dict) and "table" in values:
        called = file.resolve().parent.name if file.name == COHORT_FILE else file.stem
        return called, ExternalDataset(root=path if is_shipped(path) else file)
    if isinstance(values, dict) and "dataset" in values:
        experiment = load_experiment(path)
        section = experiment.dataset
        return experiment.name, ExternalDataset(name=section.name, root=section.root, options=section.options)
    raise InputError(f"--on: {path}: is neither an experiment (no key dataset) nor a cohort (no key table)")
