"""The methods that a benchmark compares, by name: an architecture, and how its tasks are trained.

A benchmark may train each method in several variants (random initialisation and transfer learning, say). The *key* of a
method in tables and folders is its name, or ``name+variant``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crosstask.registry import METHODS, Registry


@dataclass(frozen=True)
class Method:
    """An architecture with the experiment's weighting, under a name of the papers' tables.

    Attributes:
        name: key in :data:`crosstask.registry.METHODS`.
        label: how tables write it.
        architecture: name in :data:`crosstask.registry.ARCHITECTURES`.
        run_per_task: one run for each task alone, with its own best epoch: what a single-task baseline is.
    """

    name: str
    label: str
    architecture: str
    run_per_task: bool = False
    registry: ClassVar[Registry[Any]] = METHODS


STL = Method("stl", "STL", "stl", run_per_task=True)
HPS = Method("hps", "HPS", "hps")
MTAN = Method("mtan", "MTAN", "mtan")
CTAN = Method("ctan", "CTAN", "ctan")
AUXILIARY = Method("auxiliary", "MTL", "auxiliary")

BASELINE = "stl"
_JOINT = "+"


def method_key(name: str, variant: str = "") -> str:
    """Key of a method in tables and folders."""
    return f"{name}{_JOINT}{variant}" if variant else name


def name_of(key: str) -> str:
    """Name of a method without its variant."""
    return key.partition(_JOINT)[0]


def baseline_of(key: str) -> str:
    """Key of the single-task baseline that a method is compared with: that of the same variant."""
    return method_key(BASELINE, key.partition(_JOINT)[2])


def label_of(key: str) -> str:
    """How tables write a method: ``MTL + TL``; a key that is no method's stays as it is."""
    name, _, variant = key.partition(_JOINT)
    label = METHODS[name].label if name in METHODS else name
    return f"{label} {_JOINT} {variant}" if variant else label


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        InputError: there is none.
    """
    method: Method = METHODS.find(name, "methods")
    return method
