"""A run: one method trained once, and the folder that holds all that is needed to repeat, resume or use it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from crosstask import __version__
from crosstask.errors import InputError
from crosstask.experiment import EvaluationSection, Experiment, experiment_from
from crosstask.files import write_atomically, writing
from crosstask.io.yaml_lines import parse_yaml
from crosstask.methods import Method, get_method, method_key
from crosstask.records import is_complete, is_record
from crosstask.registry import ARCHITECTURES, WEIGHTINGS
from crosstask.seals import check_seal

EXPERIMENT = "experiment.yaml"
RECORD = "run.json"
HISTORY = "history.csv"
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
BEST = "best.safetensors"
FINAL = "final.safetensors"
CANDIDATES = "candidates"
SCORES = "scores.csv"
PREDICTIONS = "predictions.csv"
THRESHOLDS = "thresholds.json"
EXAMPLES = "examples.npz"
CHARACTERISTICS = "characteristics.csv"

_OF_A_TRAINING = (LAST, PREVIOUS, BEST, FINAL, CANDIDATES, HISTORY, SCORES, PREDICTIONS, EXAMPLES)
# Options of architectures whose default was another one, {architecture: {option: (before, now)}}. A run's settings name
# them, so that a run from before is read, compared and predicted with as what it is.
CHANGED_DEFAULTS = {"ctan": {"scaled_bottleneck": (False, True), "open_masks": (False, True)}}
UNWEIGHTED = "equal"
_NOT_OF_A_RUN = ("name", "methods", "seeds", "output", "store")
_PACKAGES = ("torch", "lightning", "monai", "numpy", "pandas", "blosc2", "safetensors", "pydantic")


@dataclass(frozen=True)
class RunPlan:
    """What one run trains.

    Attributes:
        experiment: the whole experiment, as it is for this variant and seed.
        method: the method.
        seed: of initial weights, sample order and validation split.
        tasks: the tasks that it learns: all, or one for a single-task run.
        variant: name of the experiment's variant, or empty.
    """

    experiment: Experiment
    method: Method
    seed: int
    tasks: tuple[str, ...]
    variant: str = ""

    @property
    def key(self) -> str:
        """The method in tables and folders: its name, with the variant if there is one."""
        return method_key(self.method.name, self.variant)

    @property
    def weighting(self) -> str:
        """Name of the weighting of its losses: the method's own or the experiment's; of a single task there is none."""
        if self.method.run_per_task:
            return UNWEIGHTED
        return self.method.weighting or self.experiment.weighting.name

    @property
    def name(self) -> str:
        """Short name for a person, and the folder's path below the output."""
        parts = [self.key, f"seed{self.seed}"]
        return "/".join([*parts, *self.tasks] if self.method.run_per_task else parts)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.experiment.output_folder / "runs" / self.name


def plan_runs(experiment: Experiment) -> list[RunPlan]:
    """All runs of a benchmark: seeds x variants x methods, and for single-task methods x tasks.

    With a major task, single-task learning learns that alone: the others are there to help it.
    """
    tasks = tuple(experiment.dataset.tasks)
    single = tasks if experiment.major is None else (experiment.major,)
    plans: dict[str, RunPlan] = {}
    for seed in experiment.seeds:
        for variant in experiment.variants or ("",):
            for name in experiment.methods:
                method = method_of(experiment, name)
                seen = _seen_by(method, variant, experiment)
                own = experiment.resolved(seen, seed)
                sets = [(task,) for task in single] if method.run_per_task else [tasks]
                for plan in (RunPlan(own, method, seed, chosen, seen) for chosen in sets):
                    plans.setdefault(plan.name, plan)
    return list(plans.values())


def keys_of(experiment: Experiment) -> list[str]:
    """Keys of the methods of a benchmark, in the order of its tables: each method with all its variants."""
    methods = [method_of(experiment, name) for name in experiment.methods]
    variants = list(experiment.variants) or [""]
    keys = [method_key(one.name, _seen_by(one, variant, experiment)) for one in methods for variant in variants]
    return list(dict.fromkeys(keys))


def _seen_by(method: Method, variant: str, experiment: Experiment) -> str:
    """The variant as a method has it, or none: to who learns each task alone, another weighting changes nothing.

    Where variants differ by the weighting, one that changes nothing at all is the same to it as those.
    """
    changes = experiment.variants
    by_weighting = any(set(own) == {"weighting"} for own in changes.values())
    same = by_weighting and set(changes.get(variant, {})) <= {"weighting"}
    return "" if method.run_per_task and same else variant


def method_of(experiment: Experiment, name: str) -> Method:
    """The method of that name, as the experiment has it.

    Raises:
        InputError: there is none.
    """
    method = get_method(name)
    if method.run_per_task and experiment.stl_network is not None:
        return replace(method, architecture=experiment.stl_network)
    return method


def open_run(plan: RunPlan) -> None:
    """Make the run folder, or make sure that an existing one belongs to this plan.

    Where no epoch was ever trained, as after a start that failed, the plan's settings take the place of those before.
    Whoever may not be alone on the folder holds its lock.

    Raises:
        InputError: the folder holds a run with other settings; nothing is touched.
        CrosstaskError: the folder cannot be written.
    """
    check_settings(plan)
    if (plan.folder / EXPERIMENT).exists() and has_learned(plan.folder):
        _check_begun(plan.folder)
        return
    with writing(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
        for left in (RECORD, CHARACTERISTICS):  # by the start that failed
            (plan.folder / left).unlink(missing_ok=True)
    settings = yaml.safe_dump(_settings(plan), sort_keys=False, allow_unicode=True)
    write_atomically(plan.folder / EXPERIMENT, settings)


def has_learned(folder: Path) -> bool:
    """Whether a run folder holds anything of a training: what a start that failed leaves behind is no loss."""
    if any((folder / name).exists() for name in _OF_A_TRAINING):
        return True
    try:
        return bool(read_record(folder).get("trained"))
    except InputError:
        return False


def check_settings(plan: RunPlan) -> None:
    """Make sure that the run folder, if there is one, belongs to this plan; nothing is touched.

    One in which no epoch was ever trained belongs to any plan.

    Raises:
        InputError: it holds a run with other settings, or its experiment file is damaged.
    """
    learned = has_learned(plan.folder)
    if not (plan.folder / EXPERIMENT).exists():
        if learned:
            _read_settings(plan.folder)  # says that it is missing: nobody knows what the run is of
        return
    if not learned:
        return
    before = _read_settings(plan.folder)
    if _before_normalisation(before) and plan.experiment.encoder.normalisation == "none":
        before["encoder"]["normalisation"] = "none"
    before = _with_defaults(before)
    changed = sorted(_changes(_relevant(before, plan), _relevant(_settings(plan), plan)))
    if changed:
        more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise InputError(
            f"{plan.folder}: was trained with other settings ({', '.join(changed[:4])}{more}); "
            "give another output=, or remove the folder to train anew"
        )


def evaluation_of(folder: Path) -> EvaluationSection:
    """How a run's scores are made: the section of its settings, brought up to date whenever it is scored anew.

    Raises:
        InputError: the settings are missing or damaged.
    """
    return _evaluation_at(folder, (folder / EXPERIMENT).stat().st_mtime_ns if (folder / EXPERIMENT).exists() else 0)


@lru_cache(maxsize=1024)
def _evaluation_at(folder: Path, changed: int) -> EvaluationSection:
    """The section as the file had it when it was changed last: whoever follows many runs asks again and again."""
    return _experiment_of(folder).evaluation


def keep_evaluation(plan: RunPlan) -> None:
    """Say in the run's settings how its scores were made, where that is not what they said before."""
    settings = _read_settings(plan.folder)
    evaluation = plan.experiment.evaluation.model_dump(mode="json")
    if settings.get("evaluation") != evaluation:
        text = yaml.safe_dump({**settings, "evaluation": evaluation}, sort_keys=False, allow_unicode=True)
        write_atomically(plan.folder / EXPERIMENT, text)


def runs_without_normalisation(plan: RunPlan) -> list[Path]:
    """Other run folders of the benchmark whose encoder has these weights, from before inputs could be normalised.

    A new run would not be comparable with them, unless it leaves its inputs as they are too.
    """
    if has_learned(plan.folder) or plan.experiment.encoder.weights is None:
        return []
    found = []
    for path in sorted((plan.experiment.output_folder / "runs").rglob(EXPERIMENT)):
        try:
            settings = _read_settings(path.parent)
        except InputError:
            continue  # told where the run itself is opened
        same = (settings.get("encoder") or {}).get("weights") == plan.experiment.encoder.weights
        if same and _before_normalisation(settings) and has_learned(path.parent):
            found.append(path.parent)
    return found


def _before_normalisation(settings: Mapping[str, Any]) -> bool:
    """Whether a run's settings are from before inputs could be normalised: it took them as they were."""
    encoder = settings.get("encoder")
    return isinstance(encoder, dict) and "normalisation" not in encoder


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has begun and can go on; a kill between two names leaves the earlier checkpoint alone."""
    return any((folder / name).exists() for name in (LAST, PREVIOUS))


def check_data(plan: RunPlan, fingerprint: str) -> None:
    """Make sure that a run that is trained, or is on the way, learned from these data; nothing is touched.

    Args:
        plan: the run.
        fingerprint: of the cases that it would be trained on now; see :meth:`crosstask.store.Store.fingerprint_of`.

    Raises:
        InputError: it learned from other data, or its record is damaged.
    """
    try:
        record = read_record(plan.folder)
    except InputError:
        _check_begun(plan.folder)
        return
    if record.get("trained"):
        trained_record(plan.folder)
    before = record.get("data", {}).get("fingerprint")
    if before is None or before == fingerprint or not (record.get("trained") or has_checkpoint(plan.folder)):
        return
    raise InputError(
        f"{plan.folder}: was trained on other data (fingerprint {before[:12]}, now {fingerprint[:12]}); "
        "give another output=, or remove the folder to train anew"
    )


def _check_begun(folder: Path) -> None:
    """Make sure that a run which has weights has a record: without one, nobody knows what it learned from.

    Raises:
        InputError: the record is damaged, or missing beside weights, which training anew would replace.
    """
    if not any((folder / name).exists() for name in (BEST, FINAL, LAST, PREVIOUS)):
        return
    if not (folder / RECORD).exists():
        raise InputError(f"{folder / RECORD}: is missing; remove the folder and train the run anew")
    read_record(folder)


def _settings(plan: RunPlan) -> dict[str, Any]:
    """The resolved experiment of one run, as plain values."""
    settings = plan.experiment.model_dump(mode="json")
    settings["methods"], settings["seeds"] = [plan.method.name], [plan.seed]
    return _with_options(settings, plan.method.architecture, now=True)


def _with_options(settings: dict[str, Any], architecture: str, *, now: bool) -> dict[str, Any]:
    """Settings that name the options of :data:`CHANGED_DEFAULTS`, with today's default or that from before."""
    changed = CHANGED_DEFAULTS.get(architecture)
    sections = settings.get("architecture") or {}
    given = sections.get(architecture) or {} if isinstance(sections, dict) else None
    if changed is None or not isinstance(given, dict):
        return settings
    defaults = {option: values[now] for option, values in changed.items()}
    return {**settings, "architecture": {**sections, architecture: {**defaults, **given}}}


def _read_settings(folder: Path) -> dict[str, Any]:
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
    return _with_options(settings, _architecture_of(methods), now=False)


def _architecture_of(methods: Any) -> str:
    """Name of the architecture in a run's settings: what stands before the weighting in that of its one method."""
    return str(methods[0]).partition("+")[0] if isinstance(methods, list) and methods else ""


def _experiment_of(folder: Path) -> Experiment:
    """The experiment of a run folder.

    Raises:
        InputError: the file is missing, damaged, or of another version.
    """
    try:
        return experiment_from(_read_settings(folder), str(folder / EXPERIMENT))
    except InputError as error:
        if "remove the folder" in str(error):
            raise
        raise InputError(f"{error}; mend the file, or remove the folder and train the run anew") from None


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the defaults of options that were not there yet when they were written."""
    try:
        return experiment_from(settings).model_dump(mode="json")
    except InputError:  # of another version; the comparison will name what differs
        return settings


def _relevant(settings: Mapping[str, Any], plan: RunPlan) -> dict[str, Any]:
    kept = {key: value for key, value in settings.items() if key not in _NOT_OF_A_RUN}
    if not plan.method.run_per_task:
        kept.pop("stl_network", None)
    weighting = kept.pop("weighting", None)
    if not plan.method.run_per_task:
        kept["weighting"] = _options_of_weighting(weighting, plan.method.weighting)
    kept["dataset"] = {key: value for key, value in kept["dataset"].items() if key != "root"}
    if isinstance(kept.get("architecture"), dict):
        others = set(ARCHITECTURES) - {plan.method.architecture}
        kept["architecture"] = {key: value for key, value in kept["architecture"].items() if key not in others}
    kept.pop("evaluation", None)
    training = ("threads", "loader_workers", "tensorboard", "device", "devices")
    kept["training"] = {key: value for key, value in kept["training"].items() if key not in training}
    return kept


def _options_of_weighting(section: Any, name: str | None) -> dict[str, Any]:
    """Of a section of weightings what one of them takes; None for the one that it names."""
    values: dict[str, Any] = dict(section) if isinstance(section, dict) else {}
    name = name or str(values.get("name"))
    own = values.get(name)
    outside = {key: value for key, value in values.items() if key not in WEIGHTINGS and key != "name"}
    return {
        "name": name,
        **(outside if values.get("name") == name else {}),
        **(own if isinstance(own, dict) else {}),
    }


def _changes(before: Any, after: Any, prefix: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = {**before, **after}
        return [
            name for key in keys for name in _changes(before.get(key), after.get(key), f"{prefix}.{key}".lstrip("."))
        ]
    return [] if before == after else [prefix]


def read_record(folder: Path) -> dict[str, Any]:
    """The run's record.

    Raises:
        InputError: the folder is no run, or its record is damaged.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            raise InputError(f"{folder}: no such run folder; give a folder that train or benchmark made") from None
        raise InputError(
            f"{folder}: is no run folder (no {RECORD} in it); give a folder that train or benchmark made"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not is_record(record):
        raise InputError(f"{path}: is damaged; remove the folder and train the run anew")
    check_seal(path, "remove the folder and train the run anew")
    return record


def trained_record(folder: Path) -> dict[str, Any]:
    """The record of a complete run, with all that reports show of it.

    Raises:
        InputError: the run is not complete, or its record is damaged.
    """
    record = read_record(folder)
    if not record.get("trained"):
        raise InputError(f"{folder}: the run is not complete; train it to its end first")
    if not is_complete(record):
        raise InputError(f"{folder / RECORD}: is damaged; remove the folder and train the run anew")
    return record


def learned_tasks(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The tasks that a run's network has: those planned, or what its weighting chose of them."""
    return tuple(record.get("learned", record["tasks"]))


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the run's record."""
    write_atomically(folder / RECORD, json.dumps(record, indent=2))


def read_thresholds(folder: Path, weights: str) -> dict[str, list[float]]:
    """Thresholds that were chosen on validation cases, ``{task: one a class}``; empty before that.

    Args:
        folder: the run folder.
        weights: ``best`` or ``final``.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / THRESHOLDS
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        found = {task: [float(value) for value in values] for task, values in whole.get(weights, {}).items()}
        if not all(0 <= value <= 1 for values in found.values() for value in values):
            raise ValueError
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: is damaged; remove it, and evaluate chooses the thresholds again") from None


def is_trained(plan: RunPlan) -> bool:
    """Whether the run is complete."""
    try:
        return bool(read_record(plan.folder).get("trained"))
    except InputError:
        return False


def load_plan(folder: Path) -> RunPlan:
    """The plan of an existing run folder.

    Raises:
        InputError: the folder is no run, or a file of it is damaged.
    """
    record = read_record(folder)
    experiment = _experiment_of(folder)
    if set(record["tasks"]) - set(experiment.dataset.tasks):
        raise InputError(f"{folder / RECORD}: names tasks that {EXPERIMENT} has not; remove the folder and train anew")
    return RunPlan(
        experiment,
        method_of(experiment, record["method"]),
        record["seed"],
        tuple(record["tasks"]),
        record.get("variant", ""),
    )


def environment() -> dict[str, Any]:
    """Versions, revision and hardware that a result depends on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "crosstask": __version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": versions,
    }


def _revision() -> str | None:
    """Git revision of the code, with ``+`` if the tree has changes; None outside a checkout."""
    here = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--", str(here)],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if dirty else "")


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
