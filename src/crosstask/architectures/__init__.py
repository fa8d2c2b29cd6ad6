"""Architectures: image to one raw output per task. They know tasks only as names, levels and channel counts."""

from crosstask.architectures.base import Architecture
from crosstask.architectures.table import ARCHITECTURES, build

__all__ = ["ARCHITECTURES", "Architecture", "build"]
