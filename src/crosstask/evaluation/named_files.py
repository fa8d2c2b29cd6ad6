"""The files that a run of an experiment reads beside its store: found on one machine, put in place on another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crosstask.experiment import Experiment, experiment_from
from crosstask.experiment.file_keys import Key, file_keys
from crosstask.plugins import digest_of
from crosstask.plugins import is_file as is_plugin_file

Files = Mapping[str, bytes]
_NOT_OF_A_RUN = ("output", "store", "external")
_WEIGHTS, _PLUGINS = ("encoder", "weights"), ("plugins",)


def named_files(experiment: Experiment) -> dict[str, Path]:
    """The files that a run of an experiment reads beside its store, by what the experiment calls them.

    That is a cohort's description, a table of splits, weights, plugins. Raw data are not among them.
    """
    found: dict[str, Path] = {}

    def look(key: Key, text: str) -> str:
        for name in _names(key, text):
            if _is_file(name):
                found[name] = Path(name).expanduser()
                break
        return text

    _changed(experiment, look)
    return found


def with_files(experiment: Experiment, files: Files, folder: Path, own_disk: bool) -> Experiment:
    """The experiment with copies of the files that this machine does not see.

    Args:
        experiment: with the paths of the machine that asks.
        files: contents by :func:`named_files` of it.
        folder: for the copies.
        own_disk: copy whatever this machine sees.
    """
    copies: dict[str, str] = {}
    for number, (name, data) in enumerate(files.items()):
        path = Path(name).expanduser()
        if not own_disk and _is_file(name) and digest_of(path) == hashlib.sha256(data).hexdigest():
            continue
        copy = folder / str(number) / path.name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(data)
        copies[name] = str(copy)
    if not copies:
        return experiment

    def copied(key: Key, text: str) -> str:
        for name in _names(key, text):
            if name in files:
                return copies.get(name, name) + text[len(name) :]
        return text

    places = experiment.model_dump(mode="json", include={"output", "store"})
    return experiment_from({**_changed(experiment, copied), **places})


def _names(key: Key, text: str) -> tuple[str, ...]:
    """What may be the file in a value of a key: all of it, or what stands before ``#TASK``."""
    if key == _PLUGINS:
        return (text,) if is_plugin_file(text) else ()
    if key != _WEIGHTS:
        return (text,)
    file, mark, _ = text.rpartition("#")
    return () if text == "imagenet" else (text, file) if mark else (text,)


def _changed(experiment: Experiment, change: Callable[[Key, str], str]) -> dict[str, Any]:
    """The settings of a run as plain values, with what names a file as ``change`` has it."""
    settings = {key: value for key, value in experiment.model_dump(mode="json").items() if key not in _NOT_OF_A_RUN}
    for key in file_keys(experiment):
        level: Any = settings
        for part in key[:-1]:
            level = level.get(part, {})
        value = level.get(key[-1])
        if isinstance(value, str):
            level[key[-1]] = change(key, value)
        elif isinstance(value, list):
            level[key[-1]] = [change(key, one) if isinstance(one, str) else one for one in value]
    return settings


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False
