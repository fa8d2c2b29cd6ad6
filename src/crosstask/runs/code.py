"""The plugins of a run: their files are kept in its folder, so that it can be used where they are gone or changed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from crosstask.files import writing
from crosstask.plugins import is_file

PLUGINS = "plugins"
"""Name of the folder."""


def keep_plugins(names: Sequence[str], folder: Path) -> None:
    """Copy the plugins that are files into a run folder."""
    for name in filter(is_file, names):
        kept = folder / PLUGINS / Path(name).name
        with writing(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_name(f".{kept.name}.part")
            shutil.copyfile(name, part)
            part.replace(kept)


def plugins_at(folder: Path, names: Sequence[str]) -> list[str]:
    """The plugins of a run folder's settings: a file that is gone or was changed since is taken from the folder."""
    found = []
    for name in names:
        kept = folder / PLUGINS / Path(name).name
        changed = is_file(name) and kept.is_file() and _digest(Path(name)) != _digest(kept)
        found.append(str(kept.resolve()) if changed else name)
    return found


def content_of(names: Sequence[str]) -> dict[str, str]:
    """``{plugin: digest of its file}``, empty for one that is a module: an installed package has a version."""
    return {Path(name).name if is_file(name) else name: _digest(Path(name)) if is_file(name) else "" for name in names}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
