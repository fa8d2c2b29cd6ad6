"""YAML with the line of every key, so that a message can say where a fault stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from crosstask.errors import InputError

Key = tuple[Any, ...]
MOST_VALUES = 100_000
"""Values of a document with all aliases written out."""
MOST_LETTERS = 2_000_000
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast, where PyYAML was built with it."""


def parse_yaml(
    text: str, path: Path, *, loader: type[yaml.SafeLoader] = yaml.SafeLoader, hint: str = ""
) -> tuple[Any, dict[Key, int]]:
    """The values of a document, and the line of every key path and list item.

    Args:
        text: the document.
        path: of its file, for messages.
        loader: a safe loader.
        hint: added to the message for a document that is no YAML.

    Raises:
        InputError: it is no YAML, a key is given twice, an alias refers to itself, or its aliases, written out,
            would be longer than anybody writes.
    """
    if len(text) > MOST_LETTERS:
        raise InputError(f"{path}: {len(text)} letters, too long for a description; give the right file")
    try:
        try:
            return _read(text, path, _FAST if loader is yaml.SafeLoader else loader)
        except yaml.YAMLError:  # the loader in Python says better what is wrong
            return _read(text, path, loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{where}: not valid YAML: {reason}{hint}") from None
    except RecursionError:
        raise InputError(f"{path}: an alias refers to itself, or too many levels; write the values out") from None
    except InputError:
        raise
    except ValueError as error:  # of a date or number that there is not, such as 2024-13-45
        raise InputError(f"{path}: not valid YAML: {error}; put the value in quotes") from None


def _read(text: str, path: Path, loader: Any) -> tuple[Any, dict[Key, int]]:
    """Values and lines by a loader, which parses the document once."""
    reader = loader(text)
    try:
        node = reader.get_single_node()
        if _written_out(node, {}) > MOST_VALUES:
            raise InputError(
                f"{path}: its aliases (*name) stand for more than {MOST_VALUES} values; write out what is meant"
            )
        lines = _lines(node)
        return (None if node is None else reader.construct_document(node)), lines
    finally:
        reader.dispose()


def _written_out(node: Any, known: dict[int, int]) -> int:
    """How many values a document has once its aliases are written out, counted without doing so.

    Args:
        node: the document.
        known: counts of the nodes that were met, by identity.

    Raises:
        RecursionError: an alias refers to what it stands in.
    """
    if known.get(id(node)) == 0:
        raise RecursionError
    if id(node) not in known:
        known[id(node)] = 0  # until it is counted
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else []
        parts += node.value if isinstance(node, yaml.SequenceNode) else []
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(node)]


def place_of(key: Key, places: Mapping[Key, str], otherwise: str) -> str:
    """Where a key stands, or else the nearest key above it."""
    for length in range(len(key), 0, -1):
        if key[:length] in places:
            return places[key[:length]]
    return otherwise


def _lines(node: Any, prefix: Key = ()) -> dict[Key, int]:
    found: dict[Key, int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*prefix, key.value)
            if path in found:  # YAML would silently take the last
                raise yaml.MarkedYAMLError(problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark)
            found[path] = key.start_mark.line + 1
            found |= _lines(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            path = (*prefix, index)
            found[path] = value.start_mark.line + 1
            found |= _lines(value, path)
    return found
