"""What there is to say of every key of a cohort file."""

from __future__ import annotations

from collections.abc import Iterable

from crosstask.datasets.cohort.labels import LABELS
from crosstask.datasets.cohort.spec import CohortSpec
from crosstask.errors import InputError
from crosstask.experiment.reference import Key, keys_of, of_kinds
from crosstask.registry import did_you_mean


def cohort_keys() -> list[Key]:
    """Every key of a cohort file, with those of its kinds of labels."""
    found = []
    for key in keys_of(CohortSpec, ""):
        found.append(key)
        if key.path == "labels":
            found.extend(_label_keys())
    return found


def _label_keys() -> Iterable[Key]:
    yield Key("labels.NAME.kind", " or ".join(LABELS), "", "what the label is")
    fields = [(kind, key) for kind, model in LABELS.items() for key in keys_of(model, "labels.NAME.")]
    yield from of_kinds((kind, key) for kind, key in fields if key.path != "labels.NAME.kind")


def explain_cohort(key: str) -> list[Key]:
    """A key of a cohort file and all that is below it.

    Raises:
        InputError: there is no such key; the message has the closest.
    """
    keys = cohort_keys()
    found = [one for one in keys if one.path == key or one.path.startswith(f"{key}.")]
    if not found:
        near = did_you_mean(key, [one.path for one in keys]) or "crosstask explain --cohort lists all"
        raise InputError(f"explain: a cohort file has no key {key!r}; {near}".rstrip())
    return found
