"""What of an experiment may leave the machine, as to a logger's server: no folders, no files of the user's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PLACES = ("root", "file", "folder", "store", "output", "pseudonyms")
"""Keys whose values are places on this machine."""
_NOT_DISCLOSED = ("loggers", "tensorboard", "plugins")
_ABSOLUTE = re.compile(r"(~|[A-Za-z]:)?[/\\].")
_PATH = re.compile(r"(~|[A-Za-z]:)?[/\\]|\.\.?[/\\]|file:")


def without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the keys that name places; of other texts that are paths, the last part is left.

    Args:
        settings: an experiment, as plain values.
    """
    hidden = (*_PLACES, *_NOT_DISCLOSED)
    return {key: _without(value) for key, value in settings.items() if key not in hidden}


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_places(value)
    if isinstance(value, list | tuple):
        return [_without(one) for one in value]
    if isinstance(value, str) and _PATH.match(value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value


def absolute_places(settings: Any) -> list[str]:
    """All texts of settings that are paths from the root or from home, the longest first."""
    if isinstance(settings, Mapping):
        found = [place for value in settings.values() for place in absolute_places(value)]
    elif isinstance(settings, list | tuple):
        found = [place for value in settings for place in absolute_places(value)]
    else:
        found = [settings] if isinstance(settings, str) and _ABSOLUTE.match(settings) else []
    return sorted(set(found), key=len, reverse=True)


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings as ``{"training.epochs": 3}``: one level, keys with dots; empty sections are left out."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= flattened(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
