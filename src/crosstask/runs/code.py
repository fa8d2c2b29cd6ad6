"""The plugins of a run: their files are kept in its folder, so that it can be used where they are gone or changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosstask.files import write_atomically, writing
from crosstask.plugins import digest_of, is_file

PLUGINS = "plugins"
"""Name of the folder."""


def keep_plugins(names: Sequence[str], folder: Path) -> None:
    """Copy the plugins that are files into a run folder."""
    for name in filter(is_file, names):
        kept = folder / PLUGINS / Path(name).name
        with writing(kept):
            kept.parent.mkdir(exist_ok=True)
        write_atomically(kept, Path(name).read_bytes())


def plugins_at(folder: Path, names: Sequence[str]) -> list[str]:
    """The plugins of a run folder's settings: a file that is gone or was changed since is taken from the folder."""
    found = []
    for name in names:
        kept = folder / PLUGINS / Path(name).name
        changed = is_file(name) and kept.is_file() and digest_of(name) != digest_of(kept)
        found.append(str(kept.resolve()) if changed else name)
    return found


def content_of(names: Sequence[str]) -> dict[str, str]:
    """``{plugin: digest of its file}``, empty for one that is a module: an installed package has a version."""
    return {Path(name).name if is_file(name) else name: digest_of(name) if is_file(name) else "" for name in names}
