"""A packed model: a folder with one run, or the runs of several seeds, and nothing of their data or their machine.

``models`` has a run folder of each, with weights, settings and record; ``pack.json`` says what they are, and
``checksums.json`` what every file must be.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crosstask.errors import InputError
from crosstask.seals import SEALS, check_all, seals_of

PACK = "pack.json"
MODELS = "models"
FORMAT = 1
_REMEDY = "copy or download the packed model again"


def is_packed(folder: Path) -> bool:
    """Whether a folder is a packed model."""
    return (folder / PACK).is_file()


def read_pack(folder: Path) -> dict[str, Any]:
    """What a packed model says of itself, every file of it checked against its checksum.

    Raises:
        InputError: a file is missing, damaged or changed, there is code that has no checksum, or it was packed by a
            later version.
    """
    check_all(folder, _REMEDY)
    known = seals_of(folder)
    strange = [path for path in sorted(folder.rglob("*.py")) if path.relative_to(folder).as_posix() not in known]
    if strange:
        raise InputError(f"{strange[0]}: is none of the packed model's files; remove it, or {_REMEDY}")
    try:
        whole = json.loads((folder / PACK).read_text(encoding="utf-8"))
        number, models = whole["format"], whole["models"]
        if not all((folder / name).is_dir() and name in _parents(known) for name in models):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder / PACK}: is damaged; {_REMEDY}") from None
    if number != FORMAT:
        raise InputError(f"{folder / PACK}: was packed by a later version of crosstask; install that")
    return dict(whole)


def _parents(names: dict[str, str]) -> set[str]:
    return {parent.as_posix() for name in names for parent in Path(name).parents}


def unpacked(folder: Path) -> Path | list[Path]:
    """The run folder of a packed model, or those of its seeds, every file checked; see :func:`read_pack`."""
    runs = [folder / name for name in read_pack(folder)["models"]]
    return runs[0] if len(runs) == 1 else runs


__all__ = ["FORMAT", "MODELS", "PACK", "SEALS", "is_packed", "read_pack", "unpacked"]
