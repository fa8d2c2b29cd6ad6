"""Loss weightings, by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from crosstask.errors import InputError
from crosstask.registry import WEIGHTINGS
from crosstask.weighting.base import Weighting
from crosstask.weighting.dwa import DynamicWeightAverage
from crosstask.weighting.fixed import Equal, Fixed
from crosstask.weighting.spearman import Spearman

__all__ = [
    "WEIGHTINGS",
    "DynamicWeightAverage",
    "Equal",
    "Fixed",
    "Spearman",
    "Weighting",
    "build_weighting",
    "weighting_options",
]


def weighting_options(name: str) -> tuple[str, ...]:
    """Names of the options that a weighting takes."""
    return tuple(option for option in inspect.signature(WEIGHTINGS[name]).parameters if option != "tasks")


def build_weighting(name: str, tasks: Sequence[str], **options: Any) -> Weighting:
    """The weighting of that name for these tasks.

    Raises:
        InputError: no such weighting, or an option that it does not take.
    """
    kind: type[Weighting] = WEIGHTINGS.find(name, "weighting.name")
    required = [
        key
        for key, parameter in inspect.signature(kind).parameters.items()
        if key != "tasks" and parameter.default is parameter.empty
    ]
    if missing := [key for key in required if key not in options]:
        raise InputError(f"weighting.{missing[0]}: is missing; {name!r} needs it")
    if unknown := [key for key in options if key not in weighting_options(name)]:
        raise InputError(f"weighting.{unknown[0]}: {name!r} has no such option")
    return kind(tasks, **options)
