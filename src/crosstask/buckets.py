"""Files on object storage, at any address that fsspec opens (``s3://``, ``gs://``, ``memory://``, ``file://``).

What a server or a network fails at for a moment is tried again; what is wrong with an address, a package or credentials
is not.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from crosstask.errors import CrosstaskError, InputError
from crosstask.files import write_atomically

DEFAULT_CACHE_GB = 20.0
_TRIES = 5
_FIRST_PAUSE = 0.2
"""Seconds before the second try; doubled for each further one, give or take half of it."""
_SECONDS_TO_ANSWER = 30.0
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_SYSTEMS: dict[tuple[int, str], tuple[Any, str]] = {}
_CREDENTIALS = ("NoCredentials", "PartialCredentials", "TokenRetrieval", "CredentialRetrieval", "ProfileNotFound")
T = TypeVar("T")


def is_address(text: object) -> bool:
    """Whether a text names object storage, and not a folder."""
    return isinstance(text, str) and "://" in text


@dataclass(frozen=True)
class Bucket:
    """All that lies below an address on object storage.

    Attributes:
        url: the address, e.g. ``s3://bucket/prefix``, without a slash at its end.
        cache_gb: GB of this machine's disk that what was read of it may take.
    """

    url: str
    cache_gb: float = DEFAULT_CACHE_GB

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self.url.rpartition("/")[2]

    def at(self, name: str) -> str:
        """Address of a file, for messages."""
        return f"{self.url}/{name}"

    def exists(self) -> bool:
        """Whether anything lies there."""
        return bool(self._do("", lambda system, path: system.exists(path)))

    def read(self, name: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: there is none.
            InputError, CrosstaskError: the storage refuses it, or cannot be reached.
        """
        return bytes(self._do(name, lambda system, path: system.cat_file(path)))

    def read_ranges(self, name: str, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
        """Parts of a file, from the first byte to that before the second; errors as :meth:`read`."""
        wanted = list(ranges)

        def get(system: Any, path: str) -> list[bytes]:
            parts = system.cat_ranges(
                [path] * len(wanted), [start for start, _ in wanted], [stop for _, stop in wanted], on_error="raise"
            )
            for part, (start, stop) in zip(parts, wanted, strict=True):
                if len(part) != stop - start:
                    raise OSError(f"{len(part)} bytes came of {stop - start}")
            return [bytes(part) for part in parts]

        return self._do(name, get)

    def write(self, name: str, data: bytes) -> None:
        """A whole file, in the place of any other; errors as :meth:`read`."""
        self._do(name, partial(_put, data=data))

    def write_new(self, name: str, data: bytes) -> bool:
        """A file, if there is none of the name; whether there was none.

        Storage that can tell this in the same breath (S3, GCS, memory, folders) lets one alone of several succeed.
        """
        try:
            self._do(name, partial(_put, data=data, new=True))
        except FileExistsError:
            return False
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Files, as far as they are there; errors as :meth:`read`."""
        paths = list(names)
        for start in range(0, len(paths), 1000):
            part = paths[start : start + 1000]
            try:
                self._do("", partial(_remove_all, names=part))
            except FileNotFoundError:
                for name in part:
                    self._remove_one(name)

    def _remove_one(self, name: str) -> None:
        try:
            self._do(name, lambda system, path: system.rm_file(path))
        except FileNotFoundError:
            return

    def sizes(self, below: str = "") -> dict[str, int]:
        """Bytes of each file below a folder, by name; errors as :meth:`read`."""

        def find(system: Any, path: str) -> dict[str, int]:
            system.invalidate_cache()
            root = self._path(system)
            found = system.find(path, detail=True)
            return {name[len(root) + 1 :]: int(info["size"]) for name, info in found.items() if len(name) > len(root)}

        try:
            return self._do(below, find)
        except FileNotFoundError:
            return {}

    def names(self) -> set[str]:
        """Names of the files and folders right below the address; errors as :meth:`read`."""

        def ls(system: Any, path: str) -> set[str]:
            system.invalidate_cache()
            return {one.rstrip("/").rpartition("/")[2] for one in system.ls(path, detail=False)}

        try:
            return self._do("", ls)
        except FileNotFoundError:
            return set()

    # --- how ---

    def _path(self, system: Any) -> str:
        return str(system._strip_protocol(self.url)).rstrip("/")

    def _do(self, name: str, what: Callable[[Any, str], T]) -> T:
        """Do something to a file, again where the storage fails for a moment."""
        address = self.at(name) if name else self.url
        for tries in range(_TRIES):
            try:
                system, root = self._system()
                return what(system, f"{root}/{name}" if name else root)
            except (FileNotFoundError, FileExistsError, CrosstaskError):
                raise
            except Exception as error:
                if _status(error) in (409, 412):
                    raise FileExistsError(address) from error
                refusal = _refusal(error, address)
                if refusal is not None:
                    raise refusal from error
                if tries == _TRIES - 1:
                    raise CrosstaskError(
                        f"{address}: cannot be reached after {_TRIES} tries ({_line(error)}); look at the network and "
                        "the storage, then run the same command again: it goes on from there"
                    ) from error
            time.sleep(_FIRST_PAUSE * 2**tries * random.uniform(0.5, 1.5))
        raise AssertionError

    def _system(self) -> tuple[Any, str]:
        """Fsspec's file system, one a process: none of them may be used across a fork."""
        key = (os.getpid(), self.url)
        if key not in _SYSTEMS:
            from fsspec.core import url_to_fs

            protocol = self.url.partition("://")[0]
            try:
                system, root = url_to_fs(self.url, use_listings_cache=False, **_options(protocol))
            except ImportError as error:
                package = _PACKAGES.get(protocol, protocol)
                extra = "pip install 'crosstask[s3]'" if package == "s3fs" else f"pip install {package}"
                raise InputError(f"{self.url}: {package} is needed for {protocol}://; {extra}") from error
            except ValueError as error:
                raise InputError(
                    f"{self.url}: fsspec does not open it ({error}); give an address such as s3://BUCKET/PREFIX"
                ) from error
            if hasattr(system, "retries"):
                system.retries = 1  # tried again here, and nowhere else
            _SYSTEMS[key] = (system, str(root).rstrip("/"))
        return _SYSTEMS[key]


Place = Path | Bucket
"""Where a store lies: a folder, or below an address of object storage."""


def _put(system: Any, path: str, *, data: bytes, new: bool = False) -> None:
    """A file, whole or not at all; if it is to be ``new``, in the place of no other."""
    if getattr(system, "local_file", False):  # fsspec makes no folders there, and writes in place
        _put_in_folder(Path(path), data, new)
    elif new:
        system.pipe_file(path, data, mode="create")
    else:
        system.pipe_file(path, data)


def _put_in_folder(path: Path, data: bytes, new: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not new:
        write_atomically(path, data)
        return
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(data)
        _link(part, path, data)
    finally:
        part.unlink(missing_ok=True)


def _link(part: Path, path: Path, data: bytes) -> None:
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # of a file system without links
        with path.open("xb") as file:
            file.write(data)


def _remove_all(system: Any, path: str, names: list[str]) -> None:
    system.rm([f"{path}/{name}" for name in names])


def store_place(text: str | Path | Bucket, cache_gb: float = DEFAULT_CACHE_GB) -> Place:
    """The place that a user gives: an address, or a folder."""
    if isinstance(text, Bucket):
        return text
    return Bucket(str(text), cache_gb) if is_address(text) else Path(text)


def _options(protocol: str) -> dict[str, Any]:
    """How long to wait for an answer, where that can be said."""
    if protocol not in ("s3", "s3a"):
        return {}
    waits = {"connect_timeout": _SECONDS_TO_ANSWER, "read_timeout": _SECONDS_TO_ANSWER}
    return {"config_kwargs": {"retries": {"max_attempts": 0}, **waits}}


def _status(error: BaseException) -> int | None:
    """HTTP status of an answer, as botocore and aiohttp tell it."""
    for one in (error, error.__cause__, error.__context__):
        answer = getattr(one, "response", None)
        if isinstance(answer, Mapping):
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(one, "status", None)
        if isinstance(status, int):
            return status
    return None


def _refusal(error: BaseException, address: str) -> InputError | None:
    """What another try would not change."""
    if type(error).__name__.startswith(_CREDENTIALS):
        return InputError(
            f"{address}: no credentials were found for it ({_line(error)}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, PermissionError) or _status(error) in (401, 403):
        return InputError(f"{address}: is refused ({_line(error)}); look at the credentials and what they allow")
    if isinstance(error, (ImportError, NotImplementedError, TypeError, ValueError)) and _status(error) is None:
        return InputError(f"{address}: {_line(error)}; give an address that fsspec opens, such as s3://BUCKET/PREFIX")
    return None


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
