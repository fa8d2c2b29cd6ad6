"""Options of architectures as an experiment gives them: which there are, who takes them, and what they may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from crosstask.architectures.table import ARCHITECTURES, own_options
from crosstask.errors import InputError
from crosstask.nn.parts import Parts
from crosstask.registry import did_you_mean

# Arguments of architectures that other keys of an experiment say.
ELSEWHERE = {
    "tasks": "dataset.tasks",
    "encoder": "encoder.name",
    "weights": "encoder.weights",
    "learning_rate": "encoder.learning_rate",
    "normalisation": "encoder.normalisation",
    "spatial_dims": "sample.size",
    "in_channels": "dataset.windows",
    "major": "major",
    "name": "methods",
}

_OF_ALL = ("upsampling_blocks",)
"""Options of all architectures, which their parts have."""


def options_of(section: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The options of one architecture, those of all and its own.

    Args:
        section: ``{option: value}`` of all, and ``{architecture: {option: value}}``.
        name: the architecture.

    Raises:
        InputError: see :func:`check_options`.
    """
    checked = check_options(section, [name])
    return {**{key: value for key, value in checked.items() if key not in ARCHITECTURES}, **checked.get(name, {})}


def check_options(section: Any, used: Iterable[str], *, key: str = "architecture") -> dict[str, Any]:
    """The section with its values in their types; also of architectures that are not used.

    Args:
        section: ``{option: value}`` of all architectures, and ``{architecture: {option: value}}`` of one.
        used: architectures that all take the options that stand outside of the sections.
        key: of the section, for messages.

    Raises:
        InputError: a key that no architecture has, or not the one that it is given to, or a value that it cannot have.
    """
    if not isinstance(section, Mapping):
        raise InputError(f"{key}: {section!r} is not accepted; give a mapping, {_accepted(_common())}")
    checked: dict[str, Any] = {}
    for name, value in section.items():
        if name in ARCHITECTURES:
            checked[name] = _checked_section(value, name, f"{key}.{name}")
        elif all(name in accepted_options(one) for one in used) and name in _anywhere():
            if value is not None:  # a null is no option
                checked[name] = _checked(value, name, next(one for one in used if name in accepted_options(one)), key)
        else:
            raise InputError(f"{key}.{name}: {_unknown(str(name), key)}")
    return checked


def accepted_options(name: str) -> tuple[str, ...]:
    """Names of the options of an architecture that an experiment's section may set."""
    return tuple(option for option in (*_OF_ALL, *own_options(ARCHITECTURES[name])) if option not in ELSEWHERE)


def _checked_section(section: Any, name: str, key: str) -> dict[str, Any]:
    accepted = accepted_options(name)
    if section is None:  # a section whose lines were all taken out
        return {}
    if not isinstance(section, Mapping):
        raise InputError(f"{key}: {section!r} is not accepted; give a mapping of its options, {', '.join(accepted)}")
    for option in section:
        if option not in accepted:
            raise InputError(f"{key}.{option}: {_nearest(str(option), accepted, f'{name} has')}")
    return {option: _checked(value, option, name, key) for option, value in section.items() if value is not None}


def _checked(value: Any, option: str, name: str, key: str) -> Any:
    """A value in the type that the architecture gives the option, within its range."""
    architecture = ARCHITECTURES[name]
    hint = get_type_hints(Parts if option in _OF_ALL else architecture.__init__).get(option, Any)  # a plugin's may lack
    try:
        if isinstance(value, bool) and hint not in (bool, Any):
            raise TypeError
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))
        found = adapter.validate_python(value)
    except (ValidationError, TypeError):
        raise InputError(f"{key}.{option}: {value!r} is not accepted; give {_wanted(hint)}") from None
    for wrong, message in architecture.faults({option: found}):
        raise InputError(f"{key}.{wrong}: {message}")
    return found


def _wanted(hint: Any) -> str:
    """What an option may be, in words."""
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    plain = [kind for kind in get_args(hint) if kind is not type(None)] or [hint]  # None is said by leaving it out
    names = {bool: "true or false", int: "a whole number", float: "a number", Sequence[str]: "a list of names"}
    return " or ".join(names.get(kind, str(kind)) for kind in plain)


def _common() -> tuple[str, ...]:
    """Options that all architectures take."""
    first, *others = (accepted_options(name) for name in ARCHITECTURES)
    return tuple(option for option in first if all(option in other for other in others))


def _anywhere() -> set[str]:
    return {option for name in ARCHITECTURES for option in accepted_options(name)}


def _accepted(common: Iterable[str]) -> str:
    return f"of {', '.join(common)} and the sections {', '.join(ARCHITECTURES)}"


def _unknown(name: str, key: str) -> str:
    """Why a key outside of the sections is not accepted, and what to write."""
    owners = [one for one in ARCHITECTURES if name in accepted_options(one)]
    if owners:
        return f"is an option of {', '.join(owners)} alone; write {key}.{owners[0]}.{name}"
    return _nearest(name, (*_common(), *ARCHITECTURES), "the section has")


def _nearest(name: str, accepted: Iterable[str], who: str) -> str:
    if name in ELSEWHERE:
        return f"is no option here; the key {ELSEWHERE[name]} says it"
    known = list(accepted)
    return f"no such option; {did_you_mean(name, known)}{who} {', '.join(known)}"
