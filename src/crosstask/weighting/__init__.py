"""Loss weightings, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crosstask.errors import InputError
from crosstask.weighting.base import Weighting
from crosstask.weighting.dwa import DynamicWeightAverage
from crosstask.weighting.fixed import Equal, Fixed

WEIGHTINGS: dict[str, type[Weighting]] = {"equal": Equal, "fixed": Fixed, "dwa": DynamicWeightAverage}

__all__ = ["WEIGHTINGS", "DynamicWeightAverage", "Equal", "Fixed", "Weighting", "build_weighting"]


def build_weighting(name: str, tasks: Sequence[str], **options: Any) -> Weighting:
    """The weighting of that name for these tasks.

    Raises:
        InputError: no such weighting, or an option that it does not take.
    """
    if name not in WEIGHTINGS:
        raise InputError(f"weighting.name: {name!r} is not known; one of {', '.join(WEIGHTINGS)}")
    try:
        return WEIGHTINGS[name](tasks, **options)
    except TypeError as error:
        raise InputError(f"weighting: {name!r} does not take these options ({error})") from error
