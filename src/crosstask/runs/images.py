"""Digests of the images that a run met, so that it is never tested on them under another name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from crosstask.errors import InputError
from crosstask.files import write_atomically
from crosstask.runs.names import IMAGES
from crosstask.seals import check_seal, seal


def write_images(folder: Path, digests: Mapping[str, str]) -> None:
    """Keep ``{case: digest of the image's pixels}`` of the cases of all splits in the run folder."""
    write_atomically(folder / IMAGES, json.dumps(dict(digests), indent=0))
    seal(folder, IMAGES)


def read_images(folder: Path) -> dict[str, str] | None:
    """The digests by case; None of a run from before they were kept.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / IMAGES
    remedy = "remove it, and the digests are taken from the run's prepared cases"
    check_seal(path, remedy)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InputError(f"{path}: is damaged; {remedy}")
    return found
