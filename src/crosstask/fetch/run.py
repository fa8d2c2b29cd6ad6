"""All items of a listing to a folder: downloaded, checked, unpacked, recorded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crosstask.errors import CrosstaskError, InputError
from crosstask.fetch.archives import unpack
from crosstask.fetch.checks import fault_of
from crosstask.fetch.client import Client
from crosstask.fetch.folder import (
    WORK,
    check_space,
    install,
    items_there,
    need,
    read_record,
    size_of,
    whole_of,
    write_record,
)
from crosstask.fetch.items import Item, Listing
from crosstask.locks import locked

SLACK = 1 << 30
"""Bytes that an archive may hold beyond four times what is expected of it; more is taken for a zip bomb."""
Progress = Callable[[int, "int | None", str], None]
"""Called with (bytes done, bytes in all if known, what)."""


def fetch(
    listing: Listing,
    folder: Path,
    about: Mapping[str, Any],
    client: Client,
    progress: Progress = lambda *_: None,
) -> int:
    """Bring all items into a folder; what is there already is kept, and nothing is ever replaced.

    Each item is recorded in :data:`RECORD` when it is in place, so an interrupted fetch goes on with the next.

    Args:
        listing: what there is.
        folder: where to; made if it is not there.
        about: what else to record, e.g. the source and its licence.
        client: reads from the servers.
        progress: called with (bytes done, bytes in all or None, what).

    Returns:
        Number of items that were not there before.

    Raises:
        InputError: a file is in the way, or an archive is not safe.
        CrosstaskError: a file cannot be had or is damaged, or another process is fetching into the folder.
    """
    try:
        work = folder / WORK
        work.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: is not a folder; choose another by -o") from None
    with locked(work, "lock", "fetched"):
        left = need(listing.items, folder)
        check_space(left.disk, folder)
        record = read_record(folder)
        there, to_bring = items_there(folder, record), {item.path for item in left.items}
        kept = {name: files for name, files in record.get("items", {}).items() if name in there}
        record = {**about, "version": listing.version, "complete": False, "items": kept}
        sizes = [item.file.size for item in left.items]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        before = 0
        for item in listing.items:
            if item.path in there:
                continue
            if item.path not in to_bring:
                record["items"][item.path] = {item.path: item.file.size}  # the user's own copy
                continue

            def report(done: int, item: Item = item, before: int = before) -> None:
                progress(before + done, total, item.path)

            record["items"][item.path] = _bring(item, folder, client, report)
            write_record(record, folder)
            before += item.file.size or 0
        write_record({**record, "complete": True}, folder)
    shutil.rmtree(work, ignore_errors=True)
    return len(left.items)


def _bring(item: Item, folder: Path, client: Client, progress: Callable[[int], None]) -> dict[str, int]:
    """Download and put in place one item; returns ``{path: bytes}``."""
    target = folder / item.path
    if item.place is None and os.path.lexists(target):
        size = size_of(target)
        if size is None or (fault := fault_of(target, item.file.size, item.file.digest)):
            raise InputError(
                f"{target}: already exists and differs from the published one"
                f"{'' if size is None else f' ({fault})'}; move it away, or choose another folder by -o"
            )
        return {item.path: size}
    whole = whole_of(item, folder)
    client.download(item.file, whole, progress)
    if item.place is None:
        size = whole.stat().st_size
        install(whole, target)
        return {item.path: size}
    unpacked = folder / WORK / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
    unpacked.mkdir()
    try:
        try:
            files = unpack(whole, unpacked, item.place, limit=4 * item.unpacked + SLACK, published=item.published)
        except CrosstaskError:
            whole.unlink()  # damaged or not safe: of no use
            raise
        install(unpacked, folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    whole.unlink()
    return files
