"""Downloads that resume where they stopped.

Built on urllib of the standard library: it knows proxies and the certificates of the machine, and takes ranges.
pooch begins again at byte 0 after an interruption, and fsspec needs aiohttp for the web; so neither spares us this.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from crosstask import __version__
from crosstask.errors import CrosstaskError, InputError
from crosstask.fetch.checks import CHUNK, fault_of
from crosstask.fetch.items import RemoteFile

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_AGAIN = "run the same command to resume"


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
        if fault_found := fault_of(partial, file.size, file.digest):
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
