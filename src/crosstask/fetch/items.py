"""What a server has to give: files, archives, and the listing of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


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
