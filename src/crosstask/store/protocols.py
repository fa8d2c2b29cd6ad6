"""What the store needs of a data set, by shape: the store lies below the data sets and cannot name their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from crosstask.geometry import Geometry


class RawCase(Protocol):
    """A case before it is prepared: see :class:`crosstask.datasets.base.Case`."""

    @property
    def id(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def split(self) -> Any: ...

    @property
    def files(self) -> tuple[Path, ...]: ...


class RawData(Protocol):
    """All arrays of a case: see :class:`crosstask.datasets.base.CaseData`."""

    arrays: dict[str, np.ndarray]
    channels: dict[str, tuple[str, ...]]
    geometry: Geometry
    information: dict[str, Any]


CaseT = TypeVar("CaseT", bound=RawCase)


class Source(Protocol[CaseT]):
    """A data set: it lists cases and reads them. It must pickle, since other processes read."""

    name: str

    def cases(self) -> Sequence[CaseT]: ...

    def read(self, case: CaseT, /) -> RawData: ...

    def read_settings(self) -> Mapping[str, Any]: ...
