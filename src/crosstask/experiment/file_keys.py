"""Which keys of an experiment name files, as its sections and the entries that it names declare it.

A text that is no path may be called as a file is that lies about; so what a value is follows from its key.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from crosstask.experiment.section import NamesFile, Section
from crosstask.registry import ARCHITECTURES, DATASETS, WEIGHTINGS, Registry

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from crosstask.experiment.experiment import Experiment

Key = tuple[str, ...]
_PATH = re.compile(r"\bPath\b")


def file_keys(experiment: Experiment) -> list[Key]:
    """The keys whose values are paths, or lists of paths.

    Those are the keys of type ``Path``, those that are marked with :class:`crosstask.experiment.section.NamesFile`, and
    the options of data sets, architectures and weightings whose argument has ``Path`` among its types.
    """
    dataset = experiment.dataset
    options: dict[Key, tuple[Registry[Any], str, Any]] = {
        ("dataset", "options"): (DATASETS, dataset.name, dataset.options)
    }
    for name, section in experiment.architecture.items():
        options["architecture", name] = (ARCHITECTURES, name, section)
    weighting = experiment.weighting
    options["weighting",] = (WEIGHTINGS, weighting.name, weighting.model_extra)
    for name, section in (weighting.model_extra or {}).items():
        options["weighting", name] = (WEIGHTINGS, name, section)
    found = list(_of_section(experiment))
    for prefix, (registry, name, section) in options.items():
        found += [(*prefix, option) for option in _of_entry(registry, name, section)]
    return found


def _of_section(section: Section) -> Iterator[Key]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from ((name, *key) for key in _of_section(value))
        elif _names_file(field):
            yield (name,)


def _names_file(field: FieldInfo) -> bool:
    marked = any(isinstance(one, NamesFile) for one in field.metadata)
    return marked or _has_path(field.annotation)


def _has_path(annotation: Any) -> bool:
    return annotation is Path or any(_has_path(one) for one in get_args(annotation))


def _of_entry(registry: Registry[Any], name: str, options: Any) -> list[str]:
    """Of the options that are given to an entry, those whose argument takes a ``Path``."""
    given = [key for key, value in options.items() if isinstance(value, str)] if isinstance(options, Mapping) else []
    if not given or name not in registry:
        return []
    parameters = inspect.signature(registry.find(name)).parameters
    return [key for key in given if key in parameters and _PATH.search(str(parameters[key].annotation))]
