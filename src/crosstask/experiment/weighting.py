"""How the losses of the tasks become one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from crosstask.errors import InputError
from crosstask.experiment.section import Section
from crosstask.registry import WEIGHTINGS, did_you_mean
from crosstask.weighting.options import checked_options

_KEY = "weighting"


class WeightingSection(Section):
    """How the losses of the tasks become one step: a weighting and its options, and options of others by their names.

    ``{name: dwa, temperature: 2.0, cagrad: {c: 0.4}}``: methods that name no weighting have DWA, and ``hps+cagrad`` has
    CAGrad with these options.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    name: str = Field(
        default="dwa",
        description="weighting of methods that name none of their own (hps+cagrad does); other keys are its options, "
        "and sections named after weightings are the options of those",
    )

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in WEIGHTINGS:
            near = did_you_mean(name, WEIGHTINGS)
            raise ValueError(f"{near}one of {', '.join(map(repr, WEIGHTINGS))}")
        return name

    @model_validator(mode="after")
    def _accepted(self) -> WeightingSection:
        """Every option in its type, also of weightings that no method has."""
        given = self.model_extra if self.model_extra is not None else {}
        sections = {key: value for key, value in given.items() if key in WEIGHTINGS}
        options = {key: value for key, value in given.items() if key not in WEIGHTINGS}
        given.clear()
        try:
            for key, section in sections.items():
                if not isinstance(section, Mapping | None):
                    raise InputError(f"{_KEY}.{key}: {section!r} is not accepted; give a mapping of its options")
                given[key] = checked_options(key, section or {}, f"{_KEY}.{key}", whole=False)
            own = {**given.get(self.name, {}), **options}
            given.update({key: value for key, value in checked_options(self.name, own, _KEY).items() if key in options})
        except InputError as error:
            raise ValueError(str(error).removeprefix(f"{_KEY}.").removeprefix(f"{_KEY}: ")) from None
        return self

    def key_of(self, name: str) -> str:
        """Where the options of one weighting stand, for messages."""
        return _KEY if name == self.name else f"{_KEY}.{name}"

    def options_of(self, name: str) -> dict[str, Any]:
        """The options of one weighting: its own section, and what stands outside if it is the one that is named."""
        return options_in({"name": self.name, **(self.model_extra or {})}, name)


def options_in(section: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The options of one weighting in a section, as plain values; see :meth:`WeightingSection.options_of`."""
    own = section.get(name)
    outside = {key: value for key, value in section.items() if key not in WEIGHTINGS and key != "name"}
    return {**(own if isinstance(own, Mapping) else {}), **(outside if name == section.get("name") else {})}
