"""Results as one JSON document, for scripts; errors too."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def answer(document: Any) -> None:
    """Print a result; see :func:`plain`."""
    sys.stdout.write(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def answer_error(message: str, exit_code: int) -> None:
    """Print an error in the place of a result."""
    answer({"error": message, "exit_code": exit_code})


def plain(value: Any) -> Any:
    """A value as JSON has it: paths as text, numbers of numpy as numbers, and those that are none as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, Sequence | set | frozenset):
        return [plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def rows_of(table: Any) -> list[dict[str, Any]]:
    """The rows of a table of pandas as mappings."""
    return plain(table.to_dict(orient="records"))
