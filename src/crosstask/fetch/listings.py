"""What the servers of public data sets have to give, each asked in its own way.

What they answer was taken from their documentation and from the listings that others have published; hashes and sizes
are always those that the server lists at the time of the download.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlencode

from crosstask.errors import CrosstaskError
from crosstask.fetch.client import Client
from crosstask.fetch.items import Item, Listing, RemoteFile

OPENKBP_COMMIT = "7885125147083e485ad45f8626c1ed818986dac1"
"""State of the challenge's repository that is fetched, so that all get the same data."""
HAM10000_DOI = "doi:10.7910/DVN/DBW86T"
HAM10000_ARCHIVES = (
    "HAM10000_images_part_1.zip",
    "HAM10000_images_part_2.zip",
    "HAM10000_segmentations_lesion_tschandl.zip",
)
HAM10000_METADATA = "HAM10000_metadata.csv"
OPENKBP_PAGE = "https://github.com/ababier/open-kbp"
HAM10000_PAGE = "https://doi.org/10.7910/DVN/DBW86T"
STOIC_PAGE = "https://registry.opendata.aws/stoic2021-training/"
_OPENKBP_FILE = re.compile(r"provided-data/((?:train|validation|test)-pats/pt_\d+/\w+\.csv)")


def list_openkbp(client: Client, servers: Mapping[str, str], limit: int | None) -> Listing:
    """The repository's archive, with the published SHA-1 of each file in it.

    The archive is packed at each request, so it has no size and hash of its own, and usually takes no ranges; the files
    one by one would be thousands of requests, more than GitHub allows without an account.
    """
    url = f"{servers['api']}/repos/ababier/open-kbp/git/trees/{OPENKBP_COMMIT}?recursive=1"
    tree = _json(client, url)
    entries = tree.get("tree", [])
    published = {}
    for entry in entries:
        path = _openkbp_path(entry.get("path", ""))
        if path and entry.get("type") == "blob":
            published[path] = (int(entry["size"]), f"git:{entry['sha']}")
    if tree.get("truncated") or not published:
        raise CrosstaskError(f"{url}: lists no whole provided-data; download {OPENKBP_PAGE} by hand")
    archive = Item(
        file=RemoteFile(f"{servers['archive']}/ababier/open-kbp/archive/{OPENKBP_COMMIT}.zip"),
        path="open-kbp.zip",
        place=lambda member: _openkbp_path(member.partition("/")[2]),
        unpacked=sum(size for size, _ in published.values()),
        published=published,
    )
    return Listing([archive], f"commit {OPENKBP_COMMIT}")


def _openkbp_path(path: str) -> str | None:
    """Path in the repository -> path in the layout of the reader."""
    match = _OPENKBP_FILE.fullmatch(path)
    return match[1] if match else None


def list_ham10000(client: Client, servers: Mapping[str, str], limit: int | None) -> Listing:
    """The three archives and the table of the Dataverse entry, by its native API."""
    server = servers["dataverse"]
    url = f"{server}/api/datasets/:persistentId/?{urlencode({'persistentId': HAM10000_DOI})}"
    version = _json(client, url).get("data", {}).get("latestVersion", {})
    files = {file["dataFile"]["filename"]: file["dataFile"] for file in version.get("files", []) if "dataFile" in file}
    items = []
    for name in HAM10000_ARCHIVES:
        if name not in files:
            raise CrosstaskError(f"{url}: lists no {name}; download by hand from {HAM10000_PAGE}")
        size = int(files[name]["filesize"])
        items.append(
            Item(
                file=RemoteFile(_datafile(server, files[name]), size, _dataverse_digest(files[name])),
                path=name,
                place=_into_folder(name.removesuffix(".zip")),
                unpacked=size,  # JPEG and PNG do not shrink in a zip file
            )
        )
    stem = HAM10000_METADATA.removesuffix(".csv")
    table = next((files[name] for name in (stem, HAM10000_METADATA, f"{stem}.tab") if name in files), None)
    if table is None:
        raise CrosstaskError(f"{url}: lists no {HAM10000_METADATA}; download by hand from {HAM10000_PAGE}")
    if table.get("originalFileFormat"):
        # The server has converted the table; the original is wanted. Its size is listed; of which of the two files the
        # listed hash is, differs from entry to entry.
        size = table.get("originalFileSize")
        remote = RemoteFile(
            f"{_datafile(server, table)}?format=original",
            None if size is None else int(size),
            version=_dataverse_digest(table) or "",
        )
    else:
        remote = RemoteFile(_datafile(server, table), int(table["filesize"]), _dataverse_digest(table))
    items.append(Item(file=remote, path=HAM10000_METADATA))
    number = f"{version.get('versionNumber', '?')}.{version.get('versionMinorNumber', '?')}"
    return Listing(items, f"version {number}")


def _datafile(server: str, file: Mapping[str, Any]) -> str:
    return f"{server}/api/access/datafile/{int(file['id'])}"


def _dataverse_digest(file: Mapping[str, Any]) -> str | None:
    if checksum := file.get("checksum"):
        return f"{checksum['type'].lower().replace('-', '')}:{checksum['value']}"
    return f"md5:{file['md5']}" if file.get("md5") else None


def _into_folder(folder: str) -> Callable[[str], str | None]:
    """Images of an archive go straight into one folder, whatever folders the archive has itself."""

    def place(member: str) -> str | None:
        path = PurePosixPath(member)
        if path.parts[0] == "__MACOSX" or path.name.startswith(".") or path.suffix.lower() not in (".jpg", ".png"):
            return None
        return f"{folder}/{path.name}"

    return place


def list_stoic(client: Client, servers: Mapping[str, str], limit: int | None) -> Listing:
    """Objects of the bucket, by the REST interface of S3: the table first, then the volumes by patient number."""
    server = servers["bucket"]
    tables = list(_objects(client, server, "metadata/"))
    volumes = [item for item in _objects(client, server, "data/mha/") if item.path.endswith(".mha")]
    if not any(item.path == "metadata/reference.csv" for item in tables) or not volumes:
        raise CrosstaskError(f"{server}: lists no metadata/reference.csv and data/mha; see {STOIC_PAGE}")
    volumes.sort(key=lambda item: [int(part) for part in re.findall(r"\d+", item.path)] or [0])
    return Listing([*tables, *volumes[:limit]])


def _objects(client: Client, server: str, prefix: str) -> Iterator[Item]:
    token = ""
    while True:
        query = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
        url = f"{server}/?{urlencode(query)}"
        try:
            page = ElementTree.fromstring(client.read(url))
        except ElementTree.ParseError:
            raise CrosstaskError(f"{url}: does not answer with a listing; is that the bucket's address?") from None
        for entry in page.findall("{*}Contents"):
            key = entry.findtext("{*}Key", "")
            tag = entry.findtext("{*}ETag", "").strip('"')
            if key.endswith("/"):
                continue
            # The tag of an object is its MD5, except where it was uploaded in parts ("...-17").
            digest = f"md5:{tag}" if re.fullmatch("[0-9a-f]{32}", tag) else None
            yield Item(RemoteFile(f"{server}/{quote(key)}", int(entry.findtext("{*}Size", "0")), digest, tag), key)
        token = page.findtext("{*}NextContinuationToken", "")
        if page.findtext("{*}IsTruncated") != "true" or not token:
            return


def _json(client: Client, url: str) -> dict[str, Any]:
    try:
        answer = json.loads(client.read(url))
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CrosstaskError(f"{url}: does not answer as expected; try later, or download by hand")
    return answer
