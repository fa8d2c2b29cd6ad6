"""A run's settings: the resolved experiment in its folder, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from crosstask.errors import InputError
from crosstask.experiment import EvaluationSection, Experiment, experiment_from
from crosstask.experiment.weighting import options_in
from crosstask.files import write_atomically
from crosstask.io.yaml_lines import parse_yaml
from crosstask.registry import ARCHITECTURES
from crosstask.runs.code import content_of, plugins_at
from crosstask.runs.names import EXPERIMENT, RECORD
from crosstask.runs.record import read_record
from crosstask.runs.spec import RunSpec, method_of

# Options of architectures whose default was another one, {architecture: {option: (before, now)}}. A run's settings name
# them, so that a run from before is read, compared and predicted with as what it is.
CHANGED_DEFAULTS = {"ctan": {"scaled_bottleneck": (False, True), "open_masks": (False, True)}}
# What of a training changes none of its numbers.
_NOT_OF_A_TRAINING = (
    *("threads", "loader_workers", "tensorboard", "loggers", "device", "devices", "num_nodes", "strategy"),
    *("transfer_every", "activation_checkpointing"),
)
_NOT_OF_A_RUN = ("name", "methods", "seeds", "output", "store", "store_cache", "external")


def settings_of(spec: RunSpec) -> dict[str, Any]:
    """The resolved experiment of one run, as plain values."""
    settings = spec.experiment.model_dump(mode="json")
    settings["methods"], settings["seeds"] = [spec.method.name], [spec.seed]
    return _with_options(settings, spec.method.architecture, now=True)


def _with_options(settings: dict[str, Any], architecture: str, *, now: bool) -> dict[str, Any]:
    """Settings that name the options of :data:`CHANGED_DEFAULTS`, with today's default or that from before."""
    changed = CHANGED_DEFAULTS.get(architecture)
    sections = settings.get("architecture") or {}
    given = sections.get(architecture) or {} if isinstance(sections, dict) else None
    if changed is None or not isinstance(given, dict):
        return settings
    defaults = {option: values[now] for option, values in changed.items()}
    return {**settings, "architecture": {**sections, architecture: {**defaults, **given}}}


def read_settings(folder: Path) -> dict[str, Any]:
    """The resolved experiment of a run folder, as plain values.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / EXPERIMENT
    try:
        settings, _ = parse_yaml(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; remove the folder and train the run anew") from None
    except (OSError, UnicodeDecodeError, InputError):
        settings = None
    sections = ("dataset", "training")
    if not isinstance(settings, dict) or not all(isinstance(settings.get(key), dict) for key in sections):
        raise InputError(f"{path}: is damaged; remove the folder and train the run anew")
    methods = settings.get("methods")
    return _with_options(_with_weights(settings), _architecture_of(methods), now=False)


def _with_weights(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that name the weights by which the run was judged: those of the best epoch, before one could choose."""
    section = settings.get("evaluation") or {}
    if not isinstance(section, dict) or "weights" in section:
        return settings
    return {**settings, "evaluation": {**section, "weights": "best"}}


def _architecture_of(methods: Any) -> str:
    """Name of the architecture in a run's settings: what stands before the weighting in that of its one method."""
    return str(methods[0]).partition("+")[0] if isinstance(methods, list) and methods else ""


def _experiment_of(folder: Path) -> Experiment:
    """The experiment of a run folder.

    Raises:
        InputError: the file is missing, damaged, or of another version.
    """
    try:
        settings = read_settings(folder)
        return experiment_from(
            {**settings, "plugins": plugins_at(folder, settings.get("plugins") or ())}, str(folder / EXPERIMENT)
        )
    except InputError as error:
        if "remove the folder" in str(error):
            raise
        raise InputError(f"{error}; fix the file, or remove the folder and train the run anew") from None


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the defaults of options that were not there yet when they were written."""
    try:
        return experiment_from(settings).model_dump(mode="json")
    except InputError:  # of another version; the comparison will name what differs
        return settings


def relevant_settings(settings: Mapping[str, Any], spec: RunSpec) -> dict[str, Any]:
    """What of the settings a run depends on: nothing of other methods, nor where things lie, nor how fast it is."""
    kept = {key: value for key, value in settings.items() if key not in _NOT_OF_A_RUN}
    if not spec.method.run_per_task:
        kept.pop("stl_network", None)
    weighting = kept.pop("weighting", None)
    if not spec.method.run_per_task:
        kept["weighting"] = _weighting_of(weighting, spec.method.weighting)
    kept["plugins"] = content_of(kept.get("plugins") or ())
    kept["dataset"] = {key: value for key, value in kept["dataset"].items() if key != "root"}
    if isinstance(kept.get("architecture"), dict):
        others = set(ARCHITECTURES) - {spec.method.architecture}
        kept["architecture"] = {key: value for key, value in kept["architecture"].items() if key not in others}
    if isinstance(kept.get("input_from"), dict):  # where the earlier run lies does not matter, but its weights: record
        kept["input_from"] = {key: value for key, value in kept["input_from"].items() if key != "run"}
    kept.pop("evaluation", None)
    kept["training"] = {key: value for key, value in kept["training"].items() if key not in _NOT_OF_A_TRAINING}
    return kept


def _weighting_of(section: Any, name: str | None) -> dict[str, Any]:
    """A weighting with its options, out of a section of several; None for the one that it names."""
    values: dict[str, Any] = dict(section) if isinstance(section, dict) else {}
    name = name or str(values.get("name"))
    return {**options_in(values, name), "name": name}


def changed_keys(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Keys that differ between two settings, with dots between levels."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return [] if before == after else [prefix]
    found: list[str] = []
    for key in {**before, **after}:
        found += changed_keys(before.get(key), after.get(key), f"{prefix}.{key}".lstrip("."))
    return found


def differing_settings(one: Path, other: Path) -> list[str]:
    """Keys of the settings that two runs depend on, of one method, in which these differ.

    Raises:
        InputError: settings are missing or damaged.
    """
    first, second = (relevant_settings(with_defaults(read_settings(at)), load_spec(at)) for at in (one, other))
    return changed_keys(first, second)


def evaluation_of(folder: Path) -> EvaluationSection:
    """How a run's scores are made: the section of its settings, brought up to date whenever it is scored anew.

    It names the weights that were scored.

    Raises:
        InputError: the settings are missing or damaged.
    """
    return _evaluation_at(folder, (folder / EXPERIMENT).stat().st_mtime_ns if (folder / EXPERIMENT).exists() else 0)


@lru_cache(maxsize=1024)
def _evaluation_at(folder: Path, changed: int) -> EvaluationSection:
    """The section as the file had it when it was changed last: whoever follows many runs asks again and again."""
    return _experiment_of(folder).scoring


def keep_evaluation(spec: RunSpec) -> None:
    """Say in the run's settings how its scores were made, where that is not what they said before."""
    settings = read_settings(spec.folder)
    evaluation = spec.experiment.evaluation.model_dump(mode="json")
    if settings.get("evaluation") != evaluation:
        text = yaml.safe_dump({**settings, "evaluation": evaluation}, sort_keys=False, allow_unicode=True)
        write_atomically(spec.folder / EXPERIMENT, text)


def load_spec(folder: Path) -> RunSpec:
    """The spec of an existing run folder.

    Raises:
        InputError: the folder is no run, or a file of it is damaged.
    """
    record = read_record(folder)
    experiment = _experiment_of(folder)
    if set(record["tasks"]) - set(experiment.dataset.tasks):
        raise InputError(f"{folder / RECORD}: names tasks that {EXPERIMENT} has not; remove the folder and train anew")
    return RunSpec(
        experiment,
        method_of(experiment, record["method"]),
        record["seed"],
        tuple(record["tasks"]),
        record.get("variant", ""),
    )
