"""Files from a server to a folder: downloads that go on where they stopped, checks, and unpacking that trusts nothing.

Built on urllib of the standard library: it knows proxies and the certificates of the machine, and takes ranges.
pooch begins again at byte 0 after an interruption and unpacks without limits, and fsspec needs aiohttp for the web; so
neither would spare us the parts below.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import stat
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from crosstask import __version__
from crosstask.errors import CrosstaskError, InputError
from crosstask.locks import locked

CHUNK = 1 << 18
SLACK = 1 << 30
"""Bytes that an archive may hold beyond four times what is expected of it; more is taken for a zip bomb."""
RECORD = ".crosstask-fetch.json"
"""File in a fetched folder: what is there, from where, and under which licence."""
WORK = ".crosstask-fetch"
"""Folder below a fetched one for what is not finished; removed in the end."""

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_AGAIN = "run the same command again, it goes on from here"

Progress = Callable[[int, "int | None", str], None]
"""Called with (bytes done, bytes in all if known, what)."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server.

    Attributes:
        url: where it is.
        size: bytes as published, or None.
        digest: hash as published, ``algorithm:hex`` with md5, sha1, sha256, sha512, or ``git`` (the SHA-1 of a blob in
            git, which covers the length too), or None.
        version: what else tells one version of the file from the next, e.g. an ETag that is no hash.
    """

    url: str
    size: int | None = None
    digest: str | None = None
    version: str = ""


@dataclass(frozen=True)
class Item:
    """One step of a fetch: a file that is put in place as it is, or an archive that is unpacked.

    Attributes:
        file: what to download.
        path: where a plain file goes, relative to the folder; of an archive, its name.
        place: of an archive: path of a member -> where it goes, relative to the folder, or None to leave it out.
        unpacked: of an archive: about how many bytes come out of it.
        published: of an archive: ``{path: (bytes, digest)}`` of all that must come out of it, if that is published.
    """

    file: RemoteFile
    path: str
    place: Callable[[str], str | None] | None = None
    unpacked: int = 0
    published: Mapping[str, tuple[int, str]] | None = None


@dataclass(frozen=True)
class Listing:
    """All items of a data set as its server lists them, and the version that they belong to."""

    items: Sequence[Item]
    version: str = ""


class _TransientError(Exception):
    """A fault that may be gone at the next try."""

    def __init__(self, reason: str, *, wait: float | None = None, ranges: bool = True) -> None:
        super().__init__(reason)
        self.wait = wait
        self.ranges = ranges


@dataclass
class Client:
    """Reads from web servers with patience.

    Attributes:
        attempts: tries in a row that bring nothing new before it gives up.
        timeout: seconds without a byte after which a connection counts as lost.
        backoff: seconds before the second try; doubled each time.
        patience: the longest wait in seconds that a server may ask for (Retry-After).
        say: told of each fault that is tried again.
    """

    attempts: int = 6
    timeout: float = 60.0
    backoff: float = 1.0
    patience: float = 120.0
    say: Callable[[str], None] = field(default=lambda _: None)

    def read(self, url: str, limit: int = 1 << 26) -> bytes:
        """A small document, e.g. a listing, whole.

        Raises:
            CrosstaskError: it cannot be had.
        """
        failures = 0
        while True:
            try:
                with self._open(url) as response:
                    _expect(response, (200,))
                    length = _length(response)
                    text = b""
                    while len(text) < limit and (chunk := _receive(response)):
                        text += chunk
                    if length is not None and len(text) < min(length, limit):
                        raise _TransientError(f"the connection was closed after {len(text)} of {length} bytes")
                    return text
            except _TransientError as fault:
                failures += 1
                self._wait(url, fault, failures)

    def download(self, file: RemoteFile, path: Path, progress: Callable[[int], None] = lambda _: None) -> None:
        """Download a file to ``path``, which is there only when it is whole and its hash is right.

        What an interrupted download has left in ``path`` + ``.part`` is continued by a range request where the server
        takes them, and begun again where it does not. Tries are counted from the last one that came further than all
        before, so a long download survives any number of faults, and a server that always stops early does not hang it.

        Args:
            file: what to download.
            path: where to; its folder is there.
            progress: called with the bytes that are there, the former ones included.

        Raises:
            CrosstaskError: it cannot be had, or its hash is wrong; then the damaged download is deleted.
            OSError: the disk is full, or cannot be written.
        """
        if path.exists():
            return
        partial = path.with_name(path.name + ".part")
        ranges, farthest, failures = True, 0, 0
        while True:
            have = partial.stat().st_size if partial.exists() else 0
            if have > farthest:
                farthest, failures = have, 0
            try:
                if not (file.size is not None and have == file.size and partial.exists()):
                    too_long = file.size is not None and have > file.size
                    self._stream(file, partial, have if ranges and not too_long else 0, progress)
                break
            except _TransientError as fault:
                ranges = ranges and fault.ranges
                have = partial.stat().st_size if partial.exists() else 0
                if have > farthest:
                    farthest, failures = have, 0
                failures += 1
                self._wait(file.url, fault, failures)
        if fault_found := _fault(partial, file.size, file.digest):
            partial.unlink()
            raise CrosstaskError(
                f"{file.url}: {fault_found}; the damaged download was deleted, run the same command again"
            )
        partial.replace(path)

    def _stream(self, file: RemoteFile, partial: Path, start: int, progress: Callable[[int], None]) -> None:
        """One try: append to the partial file from byte ``start`` on, or write it anew."""
        with self._open(file.url, start) as response:
            _expect(response, (200, 206))
            length = _length(response)
            if response.status == 206:
                answer = response.headers.get("Content-Range", "")
                if not (match := re.match(r"bytes (\d+)-", answer)) or int(match[1]) != start:
                    raise _TransientError(f"the server sends another part than asked for ({answer!r})", ranges=False)
            ranges = response.status == 206 or not start
            if not ranges:
                start = 0  # the server takes no ranges and sends the whole file
            if None not in (file.size, length) and start + (length or 0) != file.size:
                # An error page, or a part that is not declared as one: nothing that may be put into the file.
                raise _TransientError(
                    f"the server offers {start + (length or 0)} bytes, but {file.size} are published", ranges=False
                )
            total = file.size if file.size is not None else None if length is None else start + length
            done = start
            with partial.open("ab" if start else "wb") as out:
                progress(done)
                while chunk := _receive(response):
                    try:
                        out.write(chunk)
                    except OSError as error:
                        error.filename = error.filename or str(partial)
                        raise
                    done += len(chunk)
                    progress(done)
            if total is not None and done < total:
                raise _TransientError(f"the connection was closed after {done} of {total} bytes", ranges=ranges)

    def _open(self, url: str, start: int = 0) -> http.client.HTTPResponse:
        # A name of our own: some servers (Harvard's Dataverse among them) refuse the default names of Python libraries.
        headers = {"User-Agent": f"crosstask/{__version__}", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            request = urllib.request.Request(url, headers=headers)
            if request.type not in ("http", "https"):
                raise ValueError(f"unknown kind of address {request.type!r}")
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=self.timeout)
            return response
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    raise _TransientError(
                        "the server does not take up the download where it stopped", ranges=False
                    ) from None
                if error.code in _TRANSIENT:
                    after = error.headers.get("Retry-After", "")
                    wait = float(after) if after.isdigit() else None
                    raise _TransientError(f"the server answers {error.code} {error.reason}", wait=wait) from None
                raise CrosstaskError(
                    f"{url}: the server answers {error.code} {error.reason}; try later, or download by hand from the "
                    "data set's page"
                ) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise CrosstaskError(
                    f"{url}: the server's certificate is not trusted ({error.reason.verify_message}); "
                    "see SSL_CERT_FILE for a certificate of your institution"
                ) from None
            raise _TransientError(str(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise _TransientError(_reason(error)) from None
        except ValueError as error:
            raise InputError(f"{url}: is not the address of a web server ({error})") from None

    def _wait(self, url: str, fault: _TransientError, failures: int) -> None:
        """Sleep before the next try.

        Raises:
            CrosstaskError: that was the last one, or the server asks for too long a wait.
        """
        if failures >= self.attempts:
            raise CrosstaskError(f"{url}: {fault}, after {failures} tries; {_AGAIN}") from None
        if fault.wait is not None and fault.wait > self.patience:
            raise CrosstaskError(f"{url}: {fault} and asks to wait {fault.wait:.0f} s; then {_AGAIN}") from None
        seconds = max(self.backoff * 2 ** (failures - 1), fault.wait or 0.0)
        self.say(f"{fault}; next try in {seconds:.0f} s")
        time.sleep(seconds)


def _expect(response: http.client.HTTPResponse, statuses: tuple[int, ...]) -> None:
    if response.status not in statuses:
        raise _TransientError(f"the server answers {response.status} {response.reason}")


def _length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _receive(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK)  # what has come so far; a lost connection takes nothing with it
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def new_hash(digest: str, size: int) -> Any:
    """Hash object for a published digest ``algorithm:hex`` of a file of so many bytes."""
    algorithm = digest.partition(":")[0]
    if algorithm == "git":
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.new(algorithm, usedforsecurity=False)


def _fault(path: Path, size: int | None, digest: str | None) -> str:
    """What a file on disk has against the published size and hash; empty if nothing."""
    actual = path.stat().st_size
    if size is not None and actual != size:
        return f"{actual} bytes, but {size} are published"
    if digest is None:
        return ""
    hasher = new_hash(digest, actual)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    return _wrong_hash(hasher, digest)


def _wrong_hash(hasher: Any, digest: str) -> str:
    algorithm, _, expected = digest.partition(":")
    actual = hasher.hexdigest()
    return "" if actual == expected.lower() else f"its {algorithm} hash is {actual}, but {expected} is published"


def safe_path(name: str) -> bool:
    """Whether a name from outside stays below the folder that it is put in, on any operating system."""
    parts = name.rstrip("/").split("/")
    return not (
        any(part in ("", ".", "..") for part in parts)
        or any(character in name for character in "\\\0:")
        or PurePosixPath(name).is_absolute()
    )


def unpack(
    archive: Path,
    folder: Path,
    place: Callable[[str], str | None],
    *,
    limit: int,
    published: Mapping[str, tuple[int, str]] | None = None,
) -> dict[str, int]:
    """Unpack a zip file that may come from anyone.

    Every member is looked at before the first byte is written.

    Args:
        archive: the zip file.
        folder: where to; new or empty.
        place: path of a member -> where it goes below the folder, or None to leave it out.
        limit: most bytes that may come out of it.
        published: ``{path: (bytes, digest)}`` of all that must come out of it.

    Returns:
        ``{path: bytes}`` of all files that were written.

    Raises:
        InputError: a member leads out of the folder, is a link, a device or encrypted, goes where another does, or
            there is too much of it; the message names the member.
        CrosstaskError: the archive is damaged, or lacks a published file.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            chosen = _choose(archive.name, file.infolist(), place, limit)
            if missing := next((path for path in published or () if path not in chosen), None):
                raise CrosstaskError(f"{archive.name}: lacks {missing}, which is published; run the same command again")
            for path, member in chosen.items():
                _write(archive.name, file, member, folder / path, (published or {}).get(path))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise CrosstaskError(
            f"{archive.name}: the archive is damaged ({_reason(error)}); run the same command again"
        ) from None
    return {path: member.file_size for path, member in chosen.items()}


def _choose(
    archive: str, members: Sequence[zipfile.ZipInfo], place: Callable[[str], str | None], limit: int
) -> dict[str, zipfile.ZipInfo]:
    chosen: dict[str, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    total = 0
    for member in members:
        name = member.filename
        kind = stat.S_IFMT(member.external_attr >> 16)
        total += member.file_size
        path = None if member.is_dir() or not safe_path(name) else place(name)
        reason = ""
        if not safe_path(name):
            reason = "leads out of the folder"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            reason = "is a link" if kind == stat.S_IFLNK else "is a device"
        elif member.flag_bits & 1:
            reason = "is encrypted"
        elif total > limit:
            reason = f"brings the unpacked size to {total} bytes, far more than expected"
        elif path is not None and (path.lower() in taken or not safe_path(path)):
            reason = "goes where another one does" if safe_path(path) else "leads out of the folder"
        if reason:
            raise InputError(f"{archive}: refused, its member {name!r} {reason}; nothing was unpacked")
        if path is not None:
            chosen[path] = member
            taken.add(path.lower())
    return chosen


def _write(
    archive: str, file: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, published: tuple[int, str] | None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hasher = new_hash(published[1], member.file_size) if published else None
    with file.open(member) as source, path.open("xb") as out:
        while chunk := source.read(CHUNK):
            try:
                out.write(chunk)
            except OSError as error:
                error.filename = error.filename or str(path)
                raise
            if hasher:
                hasher.update(chunk)
    if published and (fault := _wrong_hash(hasher, published[1])):
        raise CrosstaskError(f"{archive}: {member.filename}: {fault}; run the same command again")


def install(source: Path, target: Path) -> None:
    """Move a file or a folder into place without replacing anything: what is there already must be the same.

    A folder that is not there yet appears at once and whole.

    Raises:
        InputError: something else is there; nothing has been moved then.
    """
    for file in (source, *source.rglob("*")):
        there = target / file.relative_to(source)
        if os.path.lexists(there) and not _alike(file, there):
            raise InputError(
                f"{there}: is there and differs from the published one; move it away, or choose another folder by -o"
            )
    _merge(source, target)


def _alike(new: Path, old: Path) -> bool:
    if new.is_dir() or old.is_dir():
        return new.is_dir() and old.is_dir()
    if not old.is_file() or new.stat().st_size != old.stat().st_size:
        return False
    with new.open("rb") as one, old.open("rb") as other:
        while chunk := one.read(CHUNK):
            if chunk != other.read(CHUNK):
                return False
    return True


def _merge(source: Path, target: Path) -> None:
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    elif source.is_dir():
        for child in source.iterdir():
            _merge(child, target / child.name)


def read_record(folder: Path) -> dict[str, Any]:
    """What a former fetch has written about a folder; empty if there was none.

    Raises:
        InputError: the record cannot be read.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {**record, "items": {name: dict(files) for name, files in record["items"].items()}}
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        raise InputError(f"{folder}: is not a folder; choose another by -o") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: cannot be read; delete it, files that are there are kept") from None


def items_there(folder: Path, record: Mapping[str, Any]) -> set[str]:
    """Names of the recorded items whose files are all there, with their sizes."""
    return {
        name
        for name, files in record.get("items", {}).items()
        if all(_size(folder / path) == size for path, size in files.items())
    }


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


@dataclass(frozen=True)
class Need:
    """What a fetch has still to do.

    Attributes:
        items: those that are not there yet.
        download: bytes to download; None if a server does not say.
        disk: bytes that the disk must hold at the worst moment, about.
    """

    items: tuple[Item, ...]
    download: int | None
    disk: int


def need(items: Sequence[Item], folder: Path) -> Need:
    """What is not there yet of a list of items, and how much that is."""
    there = items_there(folder, read_record(folder))
    left = tuple(item for item in items if item.path not in there and not _plain_there(item, folder))
    sizes = [item.file.size for item in left]
    begun = sum(_size(_partial(item, folder)) or _size(_whole(item, folder)) or 0 for item in left)
    archives = [item.file.size or item.unpacked // 2 for item in left if item.place]
    files = sum(item.file.size or 0 for item in left if not item.place)
    # Archives are unpacked and removed one by one.
    disk = files + sum(item.unpacked for item in left) + max(archives, default=0) - begun
    return Need(left, None if None in sizes else sum(size or 0 for size in sizes) - begun, max(0, disk))


def _plain_there(item: Item, folder: Path) -> bool:
    """Whether a plain file is there by its size; its hash is looked at when its turn comes."""
    return (
        item.place is None
        and item.file.size is not None
        and item.file.digest is None
        and (_size(folder / item.path) == item.file.size)
    )


def _whole(item: Item, folder: Path) -> Path:
    """Where an item is downloaded to; another for each version of it, so that two are never mixed."""
    file = item.file
    key = hashlib.sha256(f"{file.url} {file.size} {file.digest} {file.version}".encode()).hexdigest()[:12]
    return folder / WORK / f"{key}-{PurePosixPath(item.path).name}"


def _partial(item: Item, folder: Path) -> Path:
    whole = _whole(item, folder)
    return whole.with_name(whole.name + ".part")


def check_space(needed: int, folder: Path) -> None:
    """Refuse what the disk below a folder (that may not be there yet) cannot hold.

    Raises:
        CrosstaskError: too little free space.
    """
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise CrosstaskError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; free space, or choose a "
            "folder on another disk by -o"
        )


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
            _save(record, folder)
            before += item.file.size or 0
        _save({**record, "complete": True}, folder)
    shutil.rmtree(work, ignore_errors=True)
    return len(left.items)


def _bring(item: Item, folder: Path, client: Client, progress: Callable[[int], None]) -> dict[str, int]:
    """Download and put in place one item; returns ``{path: bytes}``."""
    target = folder / item.path
    if item.place is None and os.path.lexists(target):
        size = _size(target)
        if size is None or (fault := _fault(target, item.file.size, item.file.digest)):
            raise InputError(
                f"{target}: is there and differs from the published one"
                f"{'' if size is None else f' ({fault})'}; move it away, or choose another folder by -o"
            )
        return {item.path: size}
    whole = _whole(item, folder)
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


def _save(record: Mapping[str, Any], folder: Path) -> None:
    path = folder / RECORD
    temporary = folder / WORK / RECORD
    temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    temporary.replace(path)
