"""The methods that a benchmark compares, by name: an architecture, and how its tasks are trained."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from crosstask.errors import InputError


@dataclass(frozen=True)
class Method:
    """An architecture with the experiment's weighting, under a name of the papers' tables.

    Attributes:
        name: key in :data:`METHODS`.
        label: how tables write it.
        architecture: name in :data:`crosstask.architectures.ARCHITECTURES`.
        run_per_task: one run for each task alone, with its own best epoch: what a single-task baseline is.
    """

    name: str
    label: str
    architecture: str
    run_per_task: bool = False


METHODS = {
    method.name: method
    for method in (
        Method("stl", "STL", "stl", run_per_task=True),
        Method("hps", "HPS", "hps"),
        Method("mtan", "MTAN", "mtan"),
        Method("ctan", "CTAN", "ctan"),
    )
}

BASELINE = "stl"


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        InputError: there is none.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(METHODS)}"
        raise InputError(f"methods: {name!r} is not known; {hint}")
    return METHODS[name]
