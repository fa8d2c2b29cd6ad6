"""Options of weightings: which there are, in which types, and within which range; no torch here."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from crosstask.errors import InputError
from crosstask.registry import WEIGHTINGS, did_you_mean
from crosstask.weighting.base import Weighting


def weighting_options(name: str) -> tuple[str, ...]:
    """Names of the options that a weighting takes."""
    return tuple(option for option in inspect.signature(WEIGHTINGS[name]).parameters if option != "tasks")


def checked_options(
    name: str, options: Mapping[str, Any], key: str = "weighting", *, whole: bool = True
) -> dict[str, Any]:
    """The options in their types; those that are null are left out.

    Args:
        name: of the weighting.
        options: as an experiment gives them.
        key: where they stand, for messages.
        whole: they are all; one that the weighting needs must be among them.

    Raises:
        InputError: one that it does not take or cannot have, or one that it needs is missing.
    """
    kind: type[Weighting] = WEIGHTINGS.find(name, f"{key}.name")
    parameters = inspect.signature(kind).parameters
    hints = get_type_hints(kind.__init__)
    accepted = weighting_options(name)
    found: dict[str, Any] = {}
    for option, value in options.items():
        if value is None:  # a null is no option
            continue
        if option not in accepted:
            near = did_you_mean(option, ("name", *accepted))
            raise InputError(f"{key}: {name} has no option {option!r}; {near}options: {', '.join(accepted) or 'none'}")
        adapter: TypeAdapter[Any] = TypeAdapter(hints[option], config=ConfigDict(allow_inf_nan=False))
        try:
            found[option] = adapter.validate_python(value)  # YAML reads 1e1 as text, so the value may change
        except ValidationError as error:
            raise InputError(f"{key}.{option}: {value!r} is not accepted: {error.errors()[0]['msg']}") from None
    for option in accepted if whole else ():
        if parameters[option].default is inspect.Parameter.empty and option not in found:
            raise InputError(f"{key}.{option}: is missing; {name!r} needs it")
    for option, reason in kind.faults(found):
        raise InputError(f"{key}.{option}: {reason}")
    return found


def build_weighting(name: str, tasks: Sequence[str], key: str = "weighting", /, **options: Any) -> Weighting:
    """The weighting of that name for these tasks.

    Args:
        name: of the weighting.
        tasks: their names.
        key: where the options stand, for messages.
        **options: as an experiment gives them.

    Raises:
        InputError: no such weighting, or an option that it does not take or cannot have.
    """
    kind: type[Weighting] = WEIGHTINGS.find(name, "weighting.name")
    found = checked_options(name, options, key)
    for option, reason in kind.faults_for(tasks, found):
        raise InputError(f"{key}.{option}: {reason}")
    return kind(tasks, **found)


def check_installed(name: str) -> None:
    """Make sure that what a weighting computes with is there, before hours of work.

    Raises:
        InputError: a package is missing.
    """
    kind: type[Weighting] = WEIGHTINGS.find(name, "weighting.name")
    missing = [package for package in kind.needs if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f"weighting: {name!r} needs {' and '.join(missing)}; run pip install 'crosstask[gradients]'")
