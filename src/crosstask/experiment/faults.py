"""What a fault of validation says: what was found, and what would be accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from crosstask.registry import did_you_mean


def message_of(fault: Mapping[str, Any]) -> str:
    """What a validator says, without what pydantic sets before it."""
    return str(fault["msg"]).removeprefix("Value error, ")


def no_mapping(value: Any, section: str, keys: Sequence[str] = ()) -> str:
    """What to write where a mapping is wanted."""
    known = f" of {', '.join(keys)}" if keys else ""
    named = "name" in keys or section in ("encoder", "weighting")
    hint = f", such as {{name: {value}}}" if named and isinstance(value, str) else ""
    return f"{value!r} is not accepted; give a mapping{known}{hint}"


def reason_of(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    """What was found and what would be accepted.

    Args:
        fault: one of the errors of pydantic.
        model: what was validated.
    """
    kind, value, *_ = fault["type"], fault["input"]
    section = section_at(model, fault["loc"][:-1])
    last = fault["loc"][-1] if fault["loc"] else ""
    if kind == "extra_forbidden" and section is not None:
        known = list(section.model_fields)
        return f"no such key; {did_you_mean(last, known).strip() or 'accepted: ' + ', '.join(known)}"
    if kind == "missing":
        described = _described(model, fault["loc"])
        return f"is missing; give {described}" if described else "is missing"
    if kind in ("model_type", "dict_type"):
        inner = section_at(model, fault["loc"])
        keys = () if inner is None else tuple(inner.model_fields)
        described = _described(model, fault["loc"]) if inner is None else ""
        if value is None:
            return "is empty; give its keys or leave it out"
        return no_mapping(value, str(last), keys) + (f": {described}" if described else "")
    message = message_of(fault)
    if kind == "value_error" and isinstance(value, Mapping):  # of a section as a whole, which names its key itself
        return message
    return f"{value!r} is not accepted: {message[0].lower()}{message[1:]}"


def section_at(model: type[BaseModel], keys: Sequence[Any]) -> type[BaseModel] | None:
    """The section that stands at these keys of a model, or None if no section does."""
    section = model
    named = False  # by a name of the user's own, as external cases are
    for key in keys:
        if named:
            named = False
            continue
        annotation = section.model_fields[key].annotation if key in section.model_fields else None
        named = get_origin(annotation) is dict
        found = [kind for kind in (annotation, *get_args(annotation)) if _is_section(kind)]  # some may be None instead
        if not found:
            return None
        section = found[0]
    return None if named else section


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _described(model: type[BaseModel], keys: Sequence[Any]) -> str:
    """What the description of a key says."""
    section = section_at(model, keys[:-1])
    field = section.model_fields.get(str(keys[-1])) if section is not None else None
    return (field.description or "") if field is not None else ""
