"""Checksums of the files of a folder, so that damage which can still be read is not taken for what was written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from crosstask.errors import InputError
from crosstask.files import write_atomically

SEALS = "checksums.json"


def seal(folder: Path, *names: str) -> None:
    """Keep the SHA-256 of files of a folder as they are now; those that are not there have none."""
    digests = {name: _digest(folder / name) for name in names if (folder / name).exists()}
    kept = {name: digest for name, digest in seals_of(folder).items() if name not in names}
    write_atomically(folder / SEALS, json.dumps({**kept, **digests}, indent=1))


def seals_of(folder: Path) -> dict[str, str]:
    """``{name: SHA-256}``; empty in a folder from before there were any.

    Raises:
        InputError: they are damaged.
    """
    path = folder / SEALS
    try:
        digests = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        digests = None
    if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
        raise InputError(f"{path}: is damaged; remove it if you trust the other files, or else the folder")
    return digests


def check_seal(path: Path, remedy: str) -> None:
    """Make sure that a file is as it was written; one that has no checksum, or is not there, is not looked at.

    Raises:
        InputError: it is another; the message ends in the remedy.
    """
    digest = seals_of(path.parent).get(path.name)
    if digest is not None and path.exists() and _digest(path) != digest:
        raise InputError(f"{path}: is damaged, it is not what was written; {remedy}")


def check_all(folder: Path, remedy: str) -> None:
    """Make sure that every sealed file of a folder is there, as it was written.

    Raises:
        InputError: one is another or is missing, or there are no checksums; the message ends in the remedy.
    """
    digests = seals_of(folder)
    if not digests:
        raise InputError(f"{folder / SEALS}: is missing or empty; {remedy}")
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: is missing; {remedy}")
        if _digest(path) != digest:
            raise InputError(f"{path}: is damaged or was changed, it is not what was written; {remedy}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
