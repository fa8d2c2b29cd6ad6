"""A trained run, or all seeds of a method, as one folder to give away."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosstask import __version__
from crosstask.decisions import mean_thresholds
from crosstask.errors import InputError
from crosstask.evaluation.ensembles import Resampling, figures_of, mean_predictions
from crosstask.evaluation.predictions import COHORT_CASE, joined_predictions, read_predictions
from crosstask.evaluation.scores import read_scores, score_table
from crosstask.export.output import must_be_new
from crosstask.export.pack import IMAGES, image_digests, packed_intake, with_earlier, write_models
from crosstask.files import write_atomically, writing
from crosstask.methods import label_of
from crosstask.pipeline.given import intake_of
from crosstask.pipeline.listener import Listener
from crosstask.prediction.ensemble import check_alike
from crosstask.prediction.predictor import load_states, recorded_assembly
from crosstask.report.cards import Figure, data_card, model_card
from crosstask.runs import PACK, PREDICTIONS, SCORES, RunSpec, load_spec, read_thresholds, trained_record
from crosstask.runs.packed import FORMAT
from crosstask.seals import SEALS, seal
from crosstask.store import Store
from crosstask.tasks.base import Task

MODEL_CARD, DATA_CARD = "README.md", "DATA.md"
_DRAWS, _LEVEL = 2000, 0.95


@dataclass(frozen=True)
class Packed:
    """A packed model.

    Attributes:
        folder: where it is.
        fingerprint: SHA-256 of its checksums, by which the whole of it is known again.
        models: how many networks are in it.
    """

    folder: Path
    fingerprint: str
    models: int


def pack_runs(
    runs: Path | Sequence[Path],
    output: Path | None = None,
    *,
    licence: str | None = None,
    weights: str | None = None,
    listener: Listener | None = None,
) -> Packed:
    """Write a packed model: weights, settings and cards; nothing of patients, and nothing of this machine.

    Args:
        runs: a run folder, or those of all seeds of one method.
        output: the new folder; None for one in the working folder that is named after experiment and method.
        licence: of the weights; None if it is not known, which the card then says.
        weights: ``best``, ``final`` or ``average``; None for those by which the runs are judged.
        listener: told what happens.

    Raises:
        InputError: a run is not complete, the runs are no seeds of one method, or the folder is there already.
    """
    listener = listener or Listener()
    folders = [runs] if isinstance(runs, Path) else list(runs)
    specs = [load_spec(folder) for folder in folders]
    if len(folders) > 1:
        check_alike(folders, specs, 1)
    first, record = specs[0], trained_record(folders[0])
    if any("assembly" not in trained_record(folder) for folder in folders):
        raise InputError(
            f"{folders[0]}: is of an earlier version, and does not say how it looks at a case; train it anew"
        )
    judged = weights or first.experiment.judged_weights
    output = output or Path(_name_of(specs))
    must_be_new(output)
    intake = intake_of(folders[0], first.experiment)
    with writing(output), tempfile.TemporaryDirectory(prefix=".pack", dir=_made(output.absolute().parent)) as part:
        whole = Path(part) / "whole"
        names = write_models(folders, whole, judged, intake)
        about = _about(folders, specs, record, judged)
        about |= {"models": names, "input": {**about["input"], "files": packed_intake(intake).describe()}}
        about["license"] = licence
        digests = image_digests(with_earlier(folders))
        write_atomically(whole / IMAGES, json.dumps(digests, indent=0))
        write_atomically(whole / PACK, json.dumps(about, indent=1))
        figures = [*_of_benchmark(folders[0], first), *_of_runs(folders, specs)]
        write_atomically(whole / MODEL_CARD, model_card(about, figures))
        write_atomically(whole / DATA_CARD, data_card(about, {split: len(own) for split, own in digests.items()}))
        seal(whole, *sorted(_files(whole)))
        if output.exists():
            output.rmdir()  # it is empty
        shutil.move(str(whole), str(output))
    if licence is None:
        listener.warned(f"{output}: no licence is known, and the card says so; give --license if the weights are yours")
    return Packed(output, fingerprint_of(output), len(names))


def fingerprint_of(folder: Path) -> str:
    """SHA-256 of the checksums of a packed model."""
    return hashlib.sha256((folder / SEALS).read_bytes()).hexdigest()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _name_of(specs: Sequence[RunSpec]) -> str:
    """A name for the folder: experiment and method, and of a single run its seed."""
    first = specs[0]
    alone = [f"seed{first.seed}", *(first.tasks if first.method.run_per_task else ())] if len(specs) == 1 else []
    return "-".join([first.experiment.name, first.key.replace("+", "-"), *alone])


def _about(
    folders: Sequence[Path], specs: Sequence[RunSpec], record: Mapping[str, Any], weights: str
) -> dict[str, Any]:
    """What ``pack.json`` says, but for the files."""
    first, experiment = specs[0], specs[0].experiment
    tasks: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for task in _tasks(folder):
            tasks.setdefault(task.name, _of_task(task, folder, weights, experiment.mirrored))
    data = record["data"]
    described = record["assembly"]
    return {
        "format": FORMAT,
        "name": f"{experiment.name} {first.key}",
        "experiment": experiment.name,
        "method": first.key,
        "label": label_of(first.key),
        "seeds": sorted({spec.seed for spec in specs}),
        "weights": weights,
        "encoder": experiment.encoder.name,
        "parameters": sum(trained_record(folder)["parameters"] for folder in folders),
        "tasks": list(tasks.values()),
        "input": {
            "windows": described["windows"],
            "channels": described["image_channels"],
            "structures": list(described["structures"]),
            "beams": described.get("beams"),
            "earlier": list((described.get("earlier") or {}).get("channels", ())),
            "sample": experiment.sample.kind,
            "size": list(experiment.sample.size),
            "normalisation": record.get("normalisation"),
            "mirrored": list(experiment.mirrored),
        },
        "data": {
            "name": data["dataset"],
            "fingerprint": data["fingerprint"],
            "numbers": {split: len(cases) for split, cases in data.get("cases", {}).items()},
            "licence": data.get("licence") or "not stated",
            "source": data.get("source") or "not stated",
            "citation": data.get("citation") or "not stated",
            "spacing": data.get("spacing"),
        },
        "training": {
            "epochs": record["training"]["epochs"],
            "augmentation": (experiment.training.model_dump(mode="json")["augmentation"]),
            "splits": experiment.dataset.splits.rule,
            "by_seed": len({json.dumps(spec.experiment.dataset.splits.model_dump(mode="json")) for spec in specs}) > 1,
        },
        "versions": {"crosstask": __version__, "trained_with": record["environment"].get("packages", {})},
    }


def _tasks(folder: Path) -> tuple[Task, ...]:
    record = trained_record(folder)
    assembly = recorded_assembly(folder, record, load_spec(folder).experiment.evaluation)
    load_states(assembly, folder, record)
    return assembly.tasks


def _of_task(task: Task, folder: Path, weights: str, mirrored: Sequence[str]) -> dict[str, Any]:
    chosen = read_thresholds(folder, weights, mirrored) or read_thresholds(folder, weights)
    return {
        "name": task.name,
        "kind": task.kind,
        "level": task.level,
        "values": task.values,
        "classes": list(task.classes),
        "unit": task.unit,
        "thresholds": chosen.get(task.name) if task.thresholds is not None else None,
        "exclusive": bool(getattr(task, "exclusive", False)),
    }


def _of_benchmark(folder: Path, spec: RunSpec) -> Iterator[Figure]:
    """What the comparison says of the method, where the run lies in a benchmark whose tables are there."""
    parts = Path("runs", spec.name).parts
    if folder.absolute().parts[-len(parts) :] != parts:
        return
    benchmark = Path(*folder.absolute().parts[: -len(parts)])
    for row in _rows(benchmark / "table.csv"):
        if row.get("method") == spec.key and row.get("value"):
            yield Figure(
                row["task"],
                row["metric"],
                row.get("unit", ""),
                float(row["value"]),
                seeds=int(float(row.get("seeds") or 0)),
                deviation=_number(row.get("seed_deviation")),
                of="benchmark",
            )
    for row in _rows(benchmark / "ensembles.csv"):
        if row.get("method") == spec.key and row.get("ensemble"):
            yield Figure(
                row["task"],
                row["metric"],
                row.get("unit", ""),
                float(row["ensemble"]),
                low=_number(row.get("low")),
                high=_number(row.get("high")),
                seeds=int(float(row.get("seeds") or 0)),
                of="ensemble",
            )
    for row in _rows(benchmark / "verdict.csv"):
        if row.get("method") == spec.key:
            yield Figure(
                row["task"],
                "improvement",
                "%",
                _number(row.get("improvement")),
                low=_number(row.get("low")),
                high=_number(row.get("high")),
                seeds=int(float(row.get("seeds") or 0)),
                of="verdict",
                verdict=row.get("verdict", ""),
                baseline=row.get("baseline", ""),
                covers=row.get("interval_covers", ""),
            )


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _of_runs(folders: Sequence[Path], specs: Sequence[RunSpec]) -> Iterator[Figure]:
    """Mean figures of the runs' own test cases with an interval over these, mean of the seeds in each case."""
    import pandas as pd

    tables = [read_scores(folder / SCORES) for folder in folders if (folder / SCORES).exists()]
    if len(tables) < len(folders):
        return
    yield from _of_whole_cases(folders, specs)
    scores = pd.concat(tables, ignore_index=True)
    for (task, metric), part in scores.groupby(["task", "metric"], sort=False):
        unit, seeds = str(part["unit"].iloc[0]), part["seed"].nunique()
        cases = part[part["case"] != COHORT_CASE].groupby("case")["value"].mean().to_numpy()
        if not len(cases):
            continue
        draws = np.random.default_rng(0).choice(cases, (_DRAWS, len(cases))).mean(1)
        low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]).tolist()
        yield Figure(
            str(task),
            str(metric),
            unit,
            float(cases.mean()),
            low=low,
            high=high,
            seeds=seeds,
            cases=len(cases),
            of="runs",
        )


def _of_whole_cases(folders: Sequence[Path], specs: Sequence[RunSpec]) -> Iterator[Figure]:
    """Figures of image-level tasks, of the mean of what the runs predicted; over groups where these are known."""
    predictions = joined_predictions([read_predictions(folder / PREDICTIONS) for folder in folders])
    tasks = {task.name: task for folder in folders for task in _tasks(folder) if task.level == "image"}
    if predictions.empty or not tasks:
        return
    experiment = specs[0].experiment
    thresholds: dict[str, dict[str, float]] = {}
    for task in tasks.values():
        if task.thresholds is not None:
            chosen = [read_thresholds(one, experiment.judged_weights, experiment.mirrored) for one in folders]
            thresholds[task.name] = mean_thresholds(task, chosen, experiment.evaluation)
    groups = {case: case for case in predictions["case"].unique()}
    with contextlib.suppress(InputError, OSError):
        groups |= {case.id: case.group for case in Store(experiment.store_folder).cases if case.id in groups}
    how = Resampling(groups, _DRAWS, _LEVEL, experiment.evaluation.least_positives)
    try:
        together = mean_predictions(predictions, thresholds)
    except InputError:  # every seed has test cases of its own, and so no mean of them
        return
    nothing = score_table([])
    for figure in figures_of(tasks.values(), (nothing, nothing), (together, predictions), how):
        yield Figure(
            figure.task,
            figure.metric,
            figure.unit,
            figure.together,
            low=figure.low,
            high=figure.high,
            seeds=figure.seeds,
            cases=figure.cases,
            of="runs",
        )
