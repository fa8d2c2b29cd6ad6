"""The folder of a run: made, or made sure that it belongs to the run; nothing that was learned is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from crosstask.errors import InputError, listed
from crosstask.files import write_atomically, writing
from crosstask.runs.code import keep_plugins, plugins_at
from crosstask.runs.epochs import OTHER_RULES
from crosstask.runs.names import (
    AVERAGE,
    BEST,
    CANDIDATES,
    CHARACTERISTICS,
    EPOCHS,
    EXAMPLES,
    EXPERIMENT,
    FINAL,
    HISTORY,
    LAST,
    PREDICTIONS,
    PREVIOUS,
    RECORD,
    SCORES,
    SNAPSHOTS,
    predictions_under,
    scores_under,
)
from crosstask.runs.record import is_trained, read_record, trained_record
from crosstask.runs.settings import changed_keys, read_settings, relevant_settings, settings_of, with_defaults
from crosstask.runs.spec import RunSpec

_OF_A_TRAINING = (
    *(LAST, PREVIOUS, BEST, FINAL, AVERAGE, CANDIDATES, SNAPSHOTS, HISTORY, SCORES, PREDICTIONS, EXAMPLES, EPOCHS),
    *(name(rule) for rule in OTHER_RULES for name in (scores_under, predictions_under)),
)


def open_run(spec: RunSpec) -> None:
    """Make the run folder, or make sure that an existing one belongs to this spec.

    Where no epoch was ever trained, as after a start that failed, the spec's settings take the place of those before.
    Whoever may not be alone on the folder holds its lock.

    Raises:
        InputError: the folder holds a run with other settings; nothing is touched.
        CrosstaskError: the folder cannot be written.
    """
    check_settings(spec)
    if (spec.folder / EXPERIMENT).exists() and has_learned(spec.folder):
        _check_begun(spec.folder)
        return
    with writing(spec.folder):
        spec.folder.mkdir(parents=True, exist_ok=True)
        for left in (RECORD, CHARACTERISTICS):  # by the start that failed
            (spec.folder / left).unlink(missing_ok=True)
    write_settings(spec)


def write_settings(spec: RunSpec) -> None:
    """Write a run's settings into its folder, which is there, and copies of its plugins."""
    settings = yaml.safe_dump(settings_of(spec), sort_keys=False, allow_unicode=True)
    keep_plugins(spec.experiment.plugins, spec.folder)
    write_atomically(spec.folder / EXPERIMENT, settings)


def has_learned(folder: Path) -> bool:
    """Whether a run folder holds anything of a training: what a start that failed leaves behind is no loss."""
    if any((folder / name).exists() for name in _OF_A_TRAINING):
        return True
    try:
        return bool(read_record(folder).get("trained"))
    except InputError:
        return False


def check_settings(spec: RunSpec) -> None:
    """Make sure that the run folder, if there is one, belongs to this spec; nothing is touched.

    One in which no epoch was ever trained belongs to any spec.

    Raises:
        InputError: it holds a run with other settings, or its experiment file is damaged.
    """
    learned = has_learned(spec.folder)
    if not (spec.folder / EXPERIMENT).exists():
        if learned:
            read_settings(spec.folder)  # says that it is missing: nobody knows what the run is of
        return
    if not learned:
        return
    before = read_settings(spec.folder)
    if _before_normalisation(before) and spec.experiment.encoder.normalisation == "none":
        before["encoder"]["normalisation"] = "none"
    before["plugins"] = plugins_at(spec.folder, before.get("plugins") or ())
    before = with_defaults(before)
    _pass_average(before, spec)
    changed = sorted(changed_keys(relevant_settings(before, spec), relevant_settings(settings_of(spec), spec)))
    if changed:
        raise InputError(
            f"{spec.folder}: was trained with other settings ({listed(changed, 4)}); "
            "give another output=, or remove the folder to train anew"
        )


def _pass_average(before: dict[str, Any], spec: RunSpec) -> None:
    """Let a complete run do that was trained with another average of its weights, or without, where nobody asks for it.

    The average changes nothing in training, but a complete run cannot get one.

    Raises:
        InputError: the run is to be judged by an average that it does not have.
    """
    wanted, had = spec.experiment.training.average, before["training"].get("average")
    if had == wanted or not is_trained(spec):
        return
    if spec.experiment.judged_weights == "average":
        what = "without training.average" if had is None else f"with training.average={had:g}, now {wanted:g}"
        raise InputError(
            f"{spec.folder}: was trained {what}, and a complete run cannot get another average of its weights; set "
            "evaluation.weights=final, or give another output="
        )
    before["training"]["average"] = wanted


def runs_without_normalisation(spec: RunSpec) -> list[Path]:
    """Other run folders of the benchmark whose encoder has these weights, from before inputs could be normalised.

    A new run would not be comparable with them, unless it leaves its inputs as they are too.
    """
    if has_learned(spec.folder) or spec.experiment.encoder.weights is None:
        return []
    found = []
    for path in sorted((spec.experiment.output_folder / "runs").rglob(EXPERIMENT)):
        try:
            settings = read_settings(path.parent)
        except InputError:
            continue  # told where the run itself is opened
        same = (settings.get("encoder") or {}).get("weights") == spec.experiment.encoder.weights
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


def check_data(spec: RunSpec, fingerprint: str) -> None:
    """Make sure that a run that is trained, or is on the way, learned from these data; nothing is touched.

    Args:
        spec: the run.
        fingerprint: of the cases that it would be trained on now; see :meth:`crosstask.store.Store.fingerprint_of`.

    Raises:
        InputError: it learned from other data, or its record is damaged.
    """
    try:
        record = read_record(spec.folder)
    except InputError:
        _check_begun(spec.folder)
        return
    if record.get("trained"):
        trained_record(spec.folder)
    before = record.get("data", {}).get("fingerprint")
    if before is None or before == fingerprint or not (record.get("trained") or has_checkpoint(spec.folder)):
        return
    raise InputError(
        f"{spec.folder}: was trained on other data (fingerprint {before[:12]}, now {fingerprint[:12]}); "
        "give another output=, or remove the folder to train anew"
    )


def _check_begun(folder: Path) -> None:
    """Make sure that a run which has weights has a record: without one, nobody knows what it learned from.

    Raises:
        InputError: the record is damaged, or missing beside weights, which training anew would replace.
    """
    if not any((folder / name).exists() for name in (BEST, FINAL, AVERAGE, LAST, PREVIOUS)):
        return
    if not (folder / RECORD).exists():
        raise InputError(f"{folder / RECORD}: is missing; remove the folder and train the run anew")
    read_record(folder)
