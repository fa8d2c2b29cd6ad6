"""Experiment files: read, changed by the command line, and validated whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from crosstask.errors import InputError, InputErrors
from crosstask.experiment.experiment import Experiment, Origins
from crosstask.experiment.faults import message_of, reason_of
from crosstask.io.yaml_lines import parse_yaml, place_of
from crosstask.plugins import is_file
from crosstask.shipped import find_config, hint_for

_log = logging.getLogger(__name__)


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read, override and validate an experiment file.

    Args:
        path: the YAML file, or the name of one that comes with the package.
        overrides: ``key=value`` with dots between levels, e.g. ``training.epochs=3``; values are YAML.

    Raises:
        InputError: one line a fault: file, line, key, value and what would be accepted.
    """
    path = find_config(Path(path))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such experiment file; {hint_for(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    values, lines = parse_yaml(text, Path(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: an experiment is a mapping of keys to values; crosstask configs has examples")
    _log.info("reads the experiment %s%s", path, f", with {', '.join(overrides)}" if overrides else "")
    values = _beside(values, path)
    origins = {tuple(map(str, key)): f"{path}, line {line}" for key, line in lines.items()}
    for override in overrides:
        origins = _with_command_line(origins, _override(values, override))
    return _validate(values, origins, str(path))


def _beside(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The values with the paths of plugins, which begin beside the experiment file."""
    names = values.get("plugins")
    if not isinstance(names, list):
        return values
    here = path.absolute().parent
    return {
        **values,
        "plugins": [str(here / name) if isinstance(name, str) and is_file(name) else name for name in names],
    }


def override_values(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of ``key=value`` arguments, as a mapping.

    Raises:
        InputError: one is no such argument, or its value is no YAML.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        _override(values, override)
    return values


def with_evaluation(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """An experiment with other settings of its evaluation, which may differ from those that its runs were trained with.

    Args:
        experiment: the experiment.
        overrides: ``evaluation.KEY=value``.

    Raises:
        InputError: an override is of another section, or is not accepted.
    """
    values = experiment.model_dump(mode="json")
    origins: Origins = {}
    for override in overrides:
        key = _override(values, override)
        if key[0] != "evaluation":
            raise InputError(f"{override!r} cannot be changed of a trained run; give evaluation.KEY=value")
        origins = _with_command_line(origins, key)
    return _validate(values, origins, "experiment")


def experiment_from(
    values: Mapping[str, Any], name: str = "experiment", *, overrides: Sequence[str] = ()
) -> Experiment:
    """Validate an experiment that is already a mapping (of a run folder, or made in Python).

    Args:
        values: its keys.
        name: what messages call it.
        overrides: ``key=value``, as on the command line.
    """
    whole = deepcopy(dict(values)) if overrides else dict(values)
    origins: Origins = {}
    for override in overrides:
        origins = _with_command_line(origins, _override(whole, override))
    return _validate(whole, origins, name)


def _with_command_line(origins: Origins, key: tuple[str, ...]) -> Origins:
    """The places of keys once one of them, with all that stands below it, was given on the command line."""
    kept = {other: place for other, place in origins.items() if other[: len(key)] != key}
    above = {key[:length]: "command line" for length in range(1, len(key))}
    return {**above, **kept, key: "command line"}


def _override(values: dict[str, Any], override: str) -> tuple[str, ...]:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"{override!r} is no override; write key=value, e.g. training.epochs=3")
    *parents, last = key.split(".")
    level = values
    for parent in parents:
        if level.get(parent) is None:
            level[parent] = {}
        elif not isinstance(level[parent], dict):
            raise InputError(f"command line: {key}: {parent!r} is a value and has no keys below it")
        level = level[parent]
    try:
        level[last], _ = parse_yaml(text, Path(key))
    except InputError:
        raise InputError(f"command line: {key}: {text!r} is not a YAML value") from None
    return tuple(key.split("."))


def _validate(values: dict[str, Any], origins: Origins, name: str) -> Experiment:
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        # a key that is misspelled says more than the one that is missing for it
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        raise InputErrors([_told(fault, origins, name) for fault in faults]) from None
    experiment.remember(origins, name)
    return experiment


def _told(fault: Mapping[str, Any], origins: Origins, name: str) -> str:
    """One fault in one line: where it is, the key, the value and what would be accepted."""
    key = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    if key:
        message = f"{key}: {reason_of(fault, Experiment)}"
    else:  # of the experiment as a whole, which names its keys itself
        message = message_of(fault)
        key = message.partition(":")[0]
    return f"{place_of(tuple(key.split('.')), origins, name)}: {message}"
