"""What plain image files must be, and what is done to them, so that they become what a data set reads itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Intake:
    """How a data set makes the image of a case out of image files alone, as plain values that a run keeps.

    Attributes:
        channels: of the image.
        dims: axes: 2 for pictures, 3 for volumes.
        files: image files of a case; with several each is a channel.
        converts: whether colour is made grey, and grey colour, as in training.
        spacing: to which volumes are resampled, z y x in mm; None: not at all.
        fill: what takes the place of values that are no numbers; None if nothing may.
        patterns: of the files' names, as the table of the training cases has them; empty where nobody knows.
        case: column, or pattern of columns, of the ids in that table; empty where nobody knows.
        missing: texts that mean a missing value there.
        remark: what is to be known of the values, in a sentence.
        refusal: why no plain image can be predicted from, and what to do; empty if they can.
    """

    channels: int
    dims: int
    files: int = 1
    converts: bool = False
    spacing: tuple[float, ...] | None = None
    fill: float | None = None
    patterns: tuple[str, ...] = ()
    case: str = ""
    missing: tuple[str, ...] = ()
    remark: str = ""
    refusal: str = ""

    def describe(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def described(cls, values: Mapping[str, Any]) -> Intake:
        """What :meth:`describe` gave.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        own: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**own)
