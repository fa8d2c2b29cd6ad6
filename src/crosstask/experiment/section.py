"""What all sections of an experiment file have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section takes the keys that it knows, and no others; numbers are finite."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class NamesFile:
    """Marks a key whose text is, or begins with, the path of a file, beside other words that it may be."""
