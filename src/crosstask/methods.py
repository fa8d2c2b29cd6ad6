"""The methods that a benchmark compares, by name: an architecture with a weighting, and how its tasks are trained.

A name is that of an architecture, with the experiment's weighting (``ctan``), or with one of its own behind a plus
(``ctan+uncertainty``, ``hps+pcgrad``). A benchmark may train each method in several variants (random initialisation and
transfer learning, say). The *key* of a method in tables and folders is its name, or ``name+variant``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from crosstask.errors import InputError
from crosstask.registry import ARCHITECTURES, METHODS, WEIGHTINGS, Registry

BASELINE = "stl"
_JOINT = "+"


@dataclass(frozen=True)
class Method:
    """An architecture and a weighting, under a name of the papers' tables.

    Attributes:
        name: name in :data:`crosstask.registry.METHODS`, with the weighting's behind a plus if it has one of its own.
        label: how tables write it.
        architecture: name in :data:`crosstask.registry.ARCHITECTURES`.
        run_per_task: one run for each task alone, with its own best epoch: what a single-task baseline is. It has no
            losses to weigh.
        needs_major: one of the tasks must be named as the one that the others help (``major``).
        single: the architecture that single-task learning has where this method is among those compared.
        weighting: name in :data:`crosstask.registry.WEIGHTINGS`; None for the experiment's.
        shares: tasks have parameters in common, on which weights of losses and gradients of tasks bear.
    """

    registry: ClassVar[Registry[Any]] = METHODS

    name: str
    label: str
    architecture: str
    run_per_task: bool = False
    needs_major: bool = False
    single: str = BASELINE
    weighting: str | None = None
    shares: bool = True


STL = Method(BASELINE, "STL", "stl", run_per_task=True)
HPS = Method("hps", "HPS", "hps")
MTAN = Method("mtan", "MTAN", "mtan")
CTAN = Method("ctan", "CTAN", "ctan")
CTAN_GATED = Method("ctan-gated", "Gated CTAN", "ctan-gated")
CROSS_STITCH = Method("cross_stitch", "Cross-stitch", "cross_stitch")
NDDR = Method("nddr", "NDDR-CNN", "nddr")
SEQUENTIAL = Method("sequential", "Sequential", "sequential", shares=False)
AUXILIARY = Method("auxiliary", "MTL", "auxiliary", needs_major=True, single="auxiliary")


def method_names() -> list[str]:
    """Names of all methods without weightings of their own: those of the table, and every other architecture."""
    return list(dict.fromkeys([*METHODS, *ARCHITECTURES]))


def get_method(name: str) -> Method:
    """The method of that name: of the table, or an architecture that is not in it; ``NAME+WEIGHTING`` is one, too.

    Raises:
        InputError: there is no such method or weighting, or a weighting for single tasks.
    """
    base, joint, weighting = str(name).partition(_JOINT)
    if base not in METHODS and base in ARCHITECTURES:
        method = _of_architecture(base)
    else:
        method = METHODS.find(base, "methods")
    if not joint:
        return method
    kind = WEIGHTINGS.find(weighting, f"methods: {name!r}")
    if method.run_per_task:
        raise InputError(f"methods: {name!r} learns each task alone, so there is nothing to weigh; write {base!r}")
    if not method.shares:
        raise InputError(
            f"methods: the tasks of {name!r} share no parameter, so there is nothing to weigh; write {base!r}"
        )
    return replace(
        method,
        name=name,
        label=f"{method.label} {_JOINT} {label_of_weighting(weighting)}",
        weighting=weighting,
        needs_major=method.needs_major or getattr(kind, "needs_major", False),
    )


def _of_architecture(name: str) -> Method:
    """The method that an architecture is, where nobody has said more of it."""
    kind = ARCHITECTURES[name]
    return Method(name, getattr(kind, "label", name), name, needs_major=getattr(kind, "needs_major", False))


def label_of_weighting(name: str) -> str:
    """How tables write a weighting: its ``label``, or its name."""
    return str(getattr(WEIGHTINGS[name], "label", name)) if name in WEIGHTINGS else name


def method_key(name: str, variant: str = "") -> str:
    """Key of a method in tables and folders."""
    return f"{name}{_JOINT}{variant}" if variant else name


def split_key(key: str) -> tuple[str, str]:
    """Name of a method, with its weighting, and its variant, which may be empty.

    What stands behind the first plus is a weighting if there is one of that name: no variant may be called like one.
    """
    base, *rest = key.split(_JOINT)
    if rest and rest[0] in WEIGHTINGS:
        base = f"{base}{_JOINT}{rest.pop(0)}"
    return base, _JOINT.join(rest)


def name_of(key: str) -> str:
    """Name of a method without its variant."""
    return split_key(key)[0]


def variant_of(key: str) -> str:
    """Variant of a method, or empty."""
    return split_key(key)[1]


def baseline_of(key: str, keys: Iterable[str]) -> str:
    """Key of the single-task baseline that a method is compared with.

    It is that of the same variant; where there is none among the keys, since the variant changes nothing that a single
    task sees, the one without a variant.
    """
    own = method_key(BASELINE, variant_of(key))
    return own if own in keys else BASELINE


def label_of(key: str) -> str:
    """How tables write a method: ``MTL + TL``; a key that is no method's stays as it is."""
    name, variant = split_key(key)
    base, joint, weighting = name.partition(_JOINT)
    if base not in METHODS and base not in ARCHITECTURES:
        return key
    label = METHODS[base].label if base in METHODS else _of_architecture(base).label
    if joint:
        label = f"{label} {_JOINT} {label_of_weighting(weighting)}"
    return f"{label} {_JOINT} {variant}" if variant else label
