"""What there is to say of every key of an experiment file, read from the models and from the entries of the tables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from crosstask.errors import InputError
from crosstask.experiment.experiment import OF_A_VARIANT, Experiment
from crosstask.registry import ARCHITECTURES, DATASETS, ENCODERS, WEIGHTINGS, Registry, did_you_mean

NOT_OPTIONS = ("tasks", "parts", "root", "major", "spatial_dims", "in_channels", "name")
"""Arguments of entries that other keys give."""


@dataclass(frozen=True)
class Key:
    """One key of an experiment file.

    Attributes:
        path: with dots between levels.
        kind: its type, as a person writes it; ``section`` where other keys are below it.
        default: as YAML has it; empty where it must be given, or has keys below.
        text: what it means.
        range: what its value may be, beside its type; empty where nothing more is to be said.
    """

    path: str
    kind: str
    default: str
    text: str
    range: str = ""


def all_keys() -> list[Key]:
    """Every key, sections before what is in them, and the options of tasks, architectures, weightings and data sets."""
    return _with_options(list(keys_of(Experiment, "")), _BELOW)


def _with_options(keys: list[Key], prefixes: Iterable[str]) -> list[Key]:
    """Keys with those that no model has, below or beside the keys that are about them."""
    found = list(keys)
    for prefix in prefixes:
        place = next(index for index, key in enumerate(found) if key.path == prefix) + 1
        while place < len(found) and found[place].path.startswith(f"{prefix}."):
            place += 1
        found[place:place] = _BELOW[prefix]()
    return found


def _entries(registry: Registry[Any], prefix: str) -> list[Key]:
    """What the entries of a table have to say."""
    return [key for name in registry for key in options_of_entry(registry, name, prefix)]


def _architecture_keys() -> list[Key]:
    meaning = "stages of every pixel decoder that double the size; with 5 masks have the full resolution"
    everywhere = Key("architecture.upsampling_blocks", "3 or 4 or 5", "3", meaning)
    return [everywhere, *_entries(ARCHITECTURES, "architecture")]


def _variant_keys() -> list[Key]:
    text = "what the variant called NAME has otherwise; the section's other keys stay as they are"
    return [Key(f"variants.NAME.{section}", "section", "", text) for section in OF_A_VARIANT]


def _task_keys() -> list[Key]:
    """The options that data sets take for their tasks, by the kind of the task."""
    from crosstask.tasks import ClassificationTask, RegressionTask, SegmentationTask

    chosen = "those of the data set's classes that are learned; all of them, or as the data set says"
    kinds: dict[Any, tuple[str, ...]] = {
        SegmentationTask: ("exclusive", *SegmentationTask.loss_options),
        ClassificationTask: ("measure", *ClassificationTask.loss_options),
        RegressionTask: RegressionTask.loss_options,
    }
    choosing = "segmentation and findings of a cohort, segmentation of a plan"
    found: list[tuple[str, Key]] = [(choosing, Key("dataset.tasks.NAME.classes", "list of text", "", chosen))]
    for kind, options in kinds.items():
        texts, hints = arguments_of(kind), get_type_hints(kind.__init__)
        for option in options:
            default = inspect.signature(kind).parameters[option].default
            text = plain_text(texts[option])
            found.append((kind.kind, Key(f"dataset.tasks.NAME.{option}", _kind(hints[option]), _yaml(default), text)))
    masked = "learned and scored among those with the disease, as in the challenge; false: learned from all cases"
    found.append(("severity of stoic", Key("dataset.tasks.NAME.mask_negatives", "true or false", "true", masked)))
    return of_kinds(found)


def of_kinds(keys: Iterable[tuple[str, Key]]) -> list[Key]:
    """Keys that several kinds of a thing have, each once, with the kinds that have it: ``[(kind, key)]``."""
    same: dict[str, dict[Key, list[str]]] = {}
    for kind, key in keys:
        same.setdefault(key.path, {}).setdefault(key, []).append(kind)
    found = []
    for path, meanings in same.items():
        text = "; ".join(f"{', '.join(kinds)}: {key.text.rstrip('.')}" for key, kinds in meanings.items())
        types = dict.fromkeys(key.kind for key in meanings)
        defaults = dict.fromkeys(key.default for key in meanings)
        ranges = dict.fromkeys(key.range for key in meanings)
        found.append(Key(path, " or ".join(types), " or ".join(defaults), text, " or ".join(filter(None, ranges))))
    return found


def keys_of(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    """The keys of a model, and of the models in it, as far as these are sections."""
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        path = f"{prefix}{name}"
        if section is None:
            yield Key(path, _kind(field.annotation), _default(field), field.description or "", _range(field))
        else:
            text = field.description or summary_of(section)
            named = get_origin(field.annotation) is dict
            yield Key(path, "sections by name" if named else "section", "", text)
            yield from keys_of(section, f"{path}.NAME." if named else f"{path}.")


def options_of_entry(registry: Registry[Any], name: str, prefix: str) -> list[Key]:
    """The entry itself, and the options of its constructor, with what its docstring says of each."""
    entry = registry[name]
    here = f"{prefix}={name}" if prefix == "encoder.name" else f"{prefix}.{name}"
    texts, hints = arguments_of(entry), get_type_hints(entry.__init__)
    found = [Key(here, registry.kind, "", summary_of(entry))]
    if registry is ENCODERS:
        return found
    for option, parameter in inspect.signature(entry).parameters.items():
        if option in NOT_OPTIONS or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = "" if parameter.default is parameter.empty else _yaml(parameter.default)
        kind = _kind(hints.get(option, Any))
        found.append(Key(f"{here}.{option}", kind, default, plain_text(texts.get(option, ""))))
    return found


def arguments_of(entry: Any) -> dict[str, str]:
    """``{argument: what the docstring's Args say of it}``; several may share a line (``fc1, fc2: ...``)."""
    lines = (inspect.getdoc(entry) or "").splitlines()
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in lines:
        if not line.startswith(" "):
            inside = line.strip() == "Args:" if line.strip() else inside
            continue
        if not inside:
            continue
        start = re.match(r" {4}(\w+(?:, \w+)*): (.*)", line)
        if start:
            names = start.group(1).split(", ")
        for name in names:
            found[name] = f"{found.get(name, '')} {start.group(2) if start else line.strip()}".strip()
    return found


_BELOW: dict[str, Callable[[], list[Key]]] = {
    "dataset.options": lambda: _entries(DATASETS, "dataset.options"),
    "dataset.tasks": _task_keys,
    "encoder.name": lambda: _entries(ENCODERS, "encoder.name"),
    "architecture": _architecture_keys,
    "weighting": lambda: _entries(WEIGHTINGS, "weighting"),
    "variants": _variant_keys,
}
"""Keys below which, or for which, there is more to say than the models do."""


def explain(key: str) -> list[Key]:
    """A key and all that is below it.

    Raises:
        InputError: there is no such key; the message has the closest.
    """
    # entries are imported only where the key may be theirs, as architectures need torch
    about = [prefix for prefix in _BELOW if f"{prefix}.".startswith(f"{key}.") or key.startswith(prefix)]
    known = _with_options(list(keys_of(Experiment, "")), about)
    found = [one for one in known if one.path == key or one.path.startswith((f"{key}.", f"{key}="))]
    if not found:
        names = [one.path for one in all_keys()]
        last = {path.rpartition(".")[2]: path for path in reversed(names)}
        near = f"did you mean {last[key]!r}? " if key in last else did_you_mean(key, names)
        raise InputError(f"explain: there is no key {key!r}; {near or 'crosstask explain lists all'}".rstrip())
    return found


def schema() -> dict[str, Any]:
    """JSON schema of an experiment file, by which editors complete and check it."""
    found = Experiment.model_json_schema()
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    found["title"] = "Crosstask experiment"
    properties = found["properties"]
    splits = found["$defs"]["DatasetSection"]["properties"]["splits"]
    rules = found["$defs"]["SplitSection"]["properties"]["rule"]["enum"]
    found["$defs"]["DatasetSection"]["properties"]["splits"] = {"anyOf": [splits, {"enum": rules}]}
    tasks = found["$defs"]["DatasetSection"]["properties"]["tasks"]
    options = {key.path.rpartition(".")[2]: {"description": key.text} for key in _task_keys()}
    by_name = {"type": "object", "additionalProperties": {"type": ["object", "null"], "properties": options}}
    tasks["anyOf"] = [by_name, {"type": "array", "items": {"type": "string"}}]
    for name in ("type", "additionalProperties"):
        tasks.pop(name, None)
    external = found["$defs"]["ExternalSection"]["properties"]
    external["dataset"] = {"anyOf": [external["dataset"], {"type": "string"}]}
    names = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
    external["tasks"] = {**external["tasks"], **names}
    external["classes"]["additionalProperties"] = names
    precision = found["$defs"]["TrainingSection"]["properties"]["precision"]
    precision["enum"] = [*precision["enum"], 32]  # as YAML reads it without quotes
    precision.pop("type", None)
    properties["architecture"]["type"] = ["object", "null"]
    loggers = found["$defs"]["LoggersSection"]["properties"]
    training = found["$defs"]["TrainingSection"]["properties"]
    listed: dict[str, Any] = {"type": "array", "items": {"enum": list(loggers)}, "uniqueItems": True}
    section = {"$ref": training["loggers"].pop("$ref")}
    training["loggers"]["anyOf"] = [section, listed, {"enum": list(loggers)}]
    for logger in loggers.values():
        logger["anyOf"].append({"type": "boolean"})
    return found


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _kind(annotation: Any) -> str:
    """A type in a person's words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(one) for one in inner if one is not NoneType))
    if origin in (list, Sequence):
        return f"list of {_kind(inner[0])}"
    if origin is tuple:
        return "[" + ", ".join(_kind(one) for one in inner) + "]"
    if origin in (dict, Mapping):
        return "mapping"
    if origin is not None and inner:  # annotated with a range
        return _kind(inner[0])
    names = {int: "whole number", float: "number", bool: "true or false", str: "text", Any: "anything"}
    return names.get(annotation, "path" if getattr(annotation, "__name__", "") == "Path" else str(annotation))


def plain_text(text: str) -> str:
    """Text of a docstring without its markup, on one line."""
    text = re.sub(r":\w+:`~?([^`]*)`", lambda found: found[1].rpartition(".")[2] or found[1], text)
    return " ".join(text.replace("``", "").split())


def summary_of(entry: Any) -> str:
    """What an entry is, in a sentence or two: its description, or the first paragraph of its docstring."""
    described = getattr(entry, "description", None)
    return described if isinstance(described, str) else plain_text((inspect.getdoc(entry) or "").split("\n\n")[0])


def _default(field: FieldInfo) -> str:
    return "" if field.is_required() else _yaml(field.get_default(call_default_factory=True))


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _range(field: FieldInfo) -> str:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    limits = [
        f"{words[name]} {getattr(limit, name)}"
        for limit in (*field.metadata, *_limits(field.annotation))
        for name in words
        if getattr(limit, name, None) is not None
    ]
    return ", ".join(limits)


def _limits(annotation: Any) -> list[Any]:
    """Limits that an annotated type has, such as those of a positive number."""
    return [one for kind in (annotation, *get_args(annotation)) for one in getattr(kind, "__metadata__", ())]
