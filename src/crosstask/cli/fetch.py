"""``crosstask fetch``: public data sets to a folder, and for all others the way to get them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from crosstask.cli.answering import answer
from crosstask.cli.terminal import err, manner, on_terminal, out
from crosstask.datasets.names import unknown_name
from crosstask.errors import InputError
from crosstask.fetch.client import Client
from crosstask.fetch.folder import check_space, items_there, need, read_record
from crosstask.fetch.run import fetch
from crosstask.fetch.sources import SOURCES, Source


def list_sources(*, as_json: bool = False) -> None:
    """Print what there is: name, licence, size, and how to get it."""
    if as_json:
        fields = ("name", "title", "licence", "size", "downloadable", "page", "how")
        answer({"sources": [{field: getattr(source, field) for field in fields} for source in SOURCES.values()]})
        return
    table = Table("name", "what", "licence", "size", "how", box=None, pad_edge=False)
    for source in SOURCES.values():
        way = "download" if source.downloadable else "by hand" if source.licence != "private" else "apply"
        table.add_row(*map(escape, (source.name, source.title, source.licence, source.size, way)))
    out.print(table)
    out.print("crosstask fetch NAME downloads one, or says how to get it.")


def fetch_dataset(name: str, folder: Path | None, limit: int | None, yes: bool, server: str | None) -> None:
    """Show the terms, ask, and download a data set into a folder; or say how to get it.

    Args:
        name: key of :data:`crosstask.fetch.sources.SOURCES`.
        folder: where to; by default ``data/NAME``.
        limit: number of cases, where a data set can be had in part.
        yes: do not ask.
        server: address to download from instead of the data set's own.

    Raises:
        InputError: no such data set, it cannot be downloaded, the session is not interactive, or a file is in the way.
        CrosstaskError: a server or the network fails, or the disk has too little room.
    """
    if name not in SOURCES:
        raise unknown_name("data set to fetch", name, SOURCES)
    source = SOURCES[name]
    if manner.quiet and not yes:
        raise InputError("--quiet: the licence must be seen before it is accepted; leave it out, or give --yes")
    _show(source)
    if not source.downloadable:
        raise InputError(f"{name}: cannot be downloaded by a command; get it by hand as said above")
    if limit is not None and not source.partial:
        raise InputError(f"--limit: {name} comes as a whole; leave the option out")
    folder = Path("data") / name if folder is None else folder.expanduser()
    if _complete(source, folder, limit):
        out.print(f"Everything is there already: {folder}", markup=False)
        _next(source, folder)
        return
    if not yes and not _can_ask():
        raise InputError("Not interactive: pass --yes to accept the licence above")
    client = Client(say=lambda line: err.print(f"[dim]{escape(line)}[/]"))
    listing = source.listing(client, server, limit)
    left = need(listing.items, folder)
    size = "unknown size" if left.download is None else decimal(left.download)
    known = "" if left.download is not None else f" ({source.size})"
    out.print(f"To download: {size}{known}; on disk at most {decimal(left.disk)}, into {folder}", markup=False)
    check_space(left.disk, folder)
    if not yes and not typer.confirm("Is the licence accepted, and shall it be downloaded?", err=True):
        out.print("Nothing was downloaded.")
        raise typer.Exit(1)
    about = {
        "source": name,
        "page": source.page,
        "licence": source.licence,
        "citation": source.citation,
        "limit": limit,
    }
    with _progress() as progress:
        brought = fetch(listing, folder, about, client, progress)
    out.print(f"{brought} of {len(listing.items)} parts were fetched; all are in {folder}", markup=False)
    _next(source, folder)


def _show(source: Source) -> None:
    for title, text in (
        ("Data set", source.title),
        ("Licence", source.licence),
        ("Cite", source.citation),
        ("Page", source.page),
        ("Size", source.size),
        ("Layout", source.layout),
        ("How", source.how),
    ):
        if text:
            out.print(f"[bold]{title}:[/] {escape(text)}")


def _next(source: Source, folder: Path) -> None:
    out.print(f"Next: crosstask check {source.name} {folder}", markup=False)


def _complete(source: Source, folder: Path, limit: int | None) -> bool:
    """Whether a former fetch has brought at least as much as is asked for, and all of it is still there."""
    record = read_record(folder)
    if not record:
        return False
    if record.get("source") != source.name:
        raise InputError(f"{folder}: holds {record.get('source')}; choose another folder by -o")
    had = record.get("limit")
    enough = had is None or (limit is not None and limit <= had)
    return bool(record.get("complete")) and enough and items_there(folder, record) == set(record["items"])


def _can_ask() -> bool:
    return sys.stdin.isatty() and on_terminal()


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None, str], None]]:
    """A bar of bytes on a terminal, and nothing elsewhere."""
    if not on_terminal():
        yield lambda *_: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, what: progress.update(task, completed=done, total=total, description=what)
