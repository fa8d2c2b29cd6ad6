"""Runs as a packed model: what is needed to predict with them, and nothing that says whose they are.

Settings and records are not copied and then cleaned: what may go along is named here, key by key.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from crosstask.datasets import DicomRT
from crosstask.datasets.dicom_rt.options import synonyms_of
from crosstask.datasets.intake import Intake
from crosstask.files import write_atomically, writing
from crosstask.plugins import is_file
from crosstask.runs import (
    EXPERIMENT,
    RECORD,
    THRESHOLDS,
    RunSpec,
    earlier_names,
    earlier_runs,
    load_spec,
    read_images,
    thresholds_key,
    trained_record,
    weights_path,
)
from crosstask.runs.packed import MODELS
from crosstask.seals import SEALS, seal

IMAGES = "images.json"
_OF_A_RECORD = (
    *("method", "variant", "seed", "tasks", "learned", "trained", "parameters", "form", "normalisation"),
    *("assembly", "task_state", "earlier"),
)
_OF_DATA = ("dataset", "fingerprint", "licence", "source", "citation", "spacing")
_OF_TRAINING = (
    *("epochs", "best_epoch", "unscored", "never_predicted", "best_score", "seconds", "device", "precision", "threads"),
)
_OF_ENVIRONMENT = ("crosstask", "revision", "python", "platform", "processor", "cores", "packages")


def write_models(runs: Sequence[Path], folder: Path, weights: str, intake: Intake) -> list[str]:
    """Write runs into the folder of a packed model.

    Args:
        runs: run folders.
        folder: of the packed model.
        weights: name of the weights that go along.
        intake: how their images are read.

    Returns:
        the names of their folders, below that one.
    """
    names = []
    for run in runs:
        spec = load_spec(run)
        name = f"{MODELS}/seed{spec.seed}" + "".join(f"-{task}" for task in spec.tasks if spec.method.run_per_task)
        _write_model(run, spec, folder / name, weights, intake)
        names.append(name)
    return names


def _write_model(run: Path, spec: RunSpec, folder: Path, weights: str, intake: Intake) -> None:
    earlier = _earlier_of(run, spec)
    with writing(folder):
        folder.mkdir(parents=True)
        shutil.copyfile(weights_path(run, weights), folder / weights_path(run, weights).name)
        for name in filter(is_file, spec.experiment.plugins):
            (folder / "plugins").mkdir(exist_ok=True)
            shutil.copyfile(name, folder / "plugins" / Path(name).name)
    for name, before in zip(earlier_names(len(earlier)), earlier, strict=True):
        own = load_spec(before)
        _write_model(before, own, folder / name, own.experiment.judged_weights, intake)
    text = yaml.safe_dump(packed_settings(spec, weights, len(earlier)), sort_keys=False, allow_unicode=True)
    write_atomically(folder / EXPERIMENT, text)
    write_atomically(folder / RECORD, json.dumps(packed_record(trained_record(run), intake), indent=1))
    chosen = _thresholds(run, spec, weights)
    if chosen:
        write_atomically(folder / THRESHOLDS, json.dumps(chosen, indent=1))
    seal(folder, *(path.name for path in folder.iterdir() if path.is_file() and path.name != SEALS))


def _earlier_of(run: Path, spec: RunSpec) -> tuple[Path, ...]:
    """Folders of the runs whose predictions a run takes as input, which go along below it."""
    runs = earlier_runs(spec.experiment, run)
    return () if runs is None else runs.folders


def with_earlier(runs: Sequence[Path]) -> list[Path]:
    """Runs, and all that come before them, each once."""
    found = list(runs)
    for run in found:  # which grows
        found += [before for before in _earlier_of(run, load_spec(run)) if before not in found]
    return found


def _thresholds(run: Path, spec: RunSpec, weights: str) -> dict[str, Any]:
    """Those of the weights that go along, with test-time augmentation and without."""
    path = run / THRESHOLDS
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    keys = (thresholds_key(weights), thresholds_key(weights, spec.experiment.mirrored))
    return {key: whole[key] for key in dict.fromkeys(keys) if key in whole}


def packed_settings(spec: RunSpec, weights: str, earlier: int = 0) -> dict[str, Any]:
    """The resolved experiment of a run, without anything that says where it lay.

    Args:
        spec: the run.
        weights: that go along, by which it predicts.
        earlier: how many runs go along below it, whose predictions are its input.
    """
    values = spec.experiment.model_dump(mode="json")
    section = values["dataset"]
    section["root"] = "not-packed"
    section["options"] = _options(section["name"], section["options"])
    if section["splits"].get("file") is not None:
        section["splits"] |= {"rule": "original", "file": None}
    if _is_path(values["encoder"].get("weights")):
        values["encoder"]["weights"] = None  # the run's own weights go along, and these are in them
    values["plugins"] = [Path(name).name if is_file(name) else name for name in values["plugins"]]
    values["evaluation"]["weights"] = weights
    if weights == "average" and values["training"]["average"] is None:
        values["training"]["average"] = 1.0
    values |= {"external": {}, "variants": {}, "store": None, "output": None}
    if values["input_from"] is not None:
        values["input_from"]["run"] = earlier_names(earlier)
    values |= {"methods": [spec.method.name], "seeds": [spec.seed]}
    return values


def _options(dataset: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a data set's reader that are no paths; a file of synonyms as what it holds."""
    kept = dict(options)
    if dataset == DicomRT.name:
        kept.pop("pseudonyms", None)
        if isinstance(kept.get("structures"), str):
            kept["structures"] = {name: list(others) for name, others in synonyms_of(kept["structures"]).items()}
    kept.pop("folder", None)
    return {name: value for name, value in kept.items() if not _is_path(value)}


def _is_path(value: Any) -> bool:
    """Whether a value is the path of something on this machine, or looks like one."""
    if not isinstance(value, str):
        return False
    looks = value.startswith(("~", ".")) or "/" in value or "\\" in value
    return looks or Path(value).is_absolute() or Path(value).exists()


def packed_record(record: Mapping[str, Any], intake: Intake) -> dict[str, Any]:
    """A run's record without names of cases, paths, or anything that is not known to be neither."""
    data = record["data"]
    kept = {key: record[key] for key in _OF_A_RECORD if key in record}
    kept["intake"] = packed_intake(intake).describe()
    kept["data"] = {key: data[key] for key in _OF_DATA if data.get(key) is not None}
    kept["data"]["numbers"] = {split: len(cases) for split, cases in data.get("cases", {}).items()}
    kept["training"] = {key: record["training"][key] for key in _OF_TRAINING if key in record["training"]}
    kept["environment"] = {key: record["environment"][key] for key in _OF_ENVIRONMENT if key in record["environment"]}
    kept["plugins"] = [
        {**{key: one.get(key, "") for key in ("module", "version", "sha256")}, "name": Path(one.get("name", "")).name}
        for one in record.get("plugins", [])
        if not one.get("fault")
    ]
    return kept


def packed_intake(intake: Intake) -> Intake:
    """How images are read, with the files' own names alone where a table had whole paths."""
    own = tuple(
        text.rpartition("/")[2] if Path(text).is_absolute() or text.startswith(("~", "..")) else text
        for text in intake.patterns
    )
    return replace(intake, patterns=own)


def image_digests(runs: Sequence[Path]) -> dict[str, list[str]]:
    """``{split: sorted digests of the images' pixels}`` of what the runs met, without names; empty of old runs."""
    found: dict[str, set[str]] = {}
    for run in runs:
        known = read_images(run) or {}
        for split, cases in trained_record(run)["data"].get("cases", {}).items():
            found.setdefault(split, set()).update(known[case] for case in cases if case in known)
    return {split: sorted(digests) for split, digests in found.items() if digests}
