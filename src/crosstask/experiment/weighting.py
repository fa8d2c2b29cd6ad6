"""How the losses of the tasks become one step."""

from __future__ import annotations

import difflib
from typing import Any, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from crosstask.errors import InputError
from crosstask.experiment.section import Section
from crosstask.weighting import WEIGHTINGS, build_weighting, weighting_options


class WeightingSection(Section):
    """How the losses of the tasks become one step: a weighting, and the options that its class takes."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    name: str = Field(default="dwa", description="dwa, equal, fixed or spearman")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in WEIGHTINGS:
            near = difflib.get_close_matches(name.lower(), WEIGHTINGS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{hint}one of {', '.join(map(repr, WEIGHTINGS))}")
        return name

    @model_validator(mode="after")
    def _accepted(self) -> WeightingSection:
        hints = get_type_hints(WEIGHTINGS[self.name].__init__)
        given = self.model_extra if self.model_extra is not None else {}
        for option in [option for option, value in given.items() if value is None]:
            del given[option]  # a null is no option
        accepted = weighting_options(self.name)
        for option in given:
            if option not in accepted:
                near = difflib.get_close_matches(option.lower(), ("name", *accepted), n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                options = ", ".join(accepted) or "none"
                raise ValueError(f"{self.name} has no option {option!r}; {hint}options: {options}")
        for option, value in given.items():
            adapter: TypeAdapter[Any] = TypeAdapter(hints[option], config=ConfigDict(allow_inf_nan=False))
            try:
                given[option] = adapter.validate_python(value)  # YAML reads 1e1 as text, so the value may change
            except ValidationError as error:
                raise ValueError(f"{option} {value!r}: {error.errors()[0]['msg']}") from None
        try:
            build_weighting(self.name, (), **self.options())
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self) -> dict[str, Any]:
        """The options that were given."""
        return dict(self.model_extra or {})
