"""Where data sets come from: licence, citation and page of each, and for public ones what to download.

What the servers answer was taken from their documentation and from the listings that others have published; hashes and
sizes are always those that the server lists at the time of the download.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlencode

from crosstask.errors import CrosstaskError, InputError
from crosstask.fetch.download import Client, Item, Listing, RemoteFile, safe_path

OPENKBP_COMMIT = "7885125147083e485ad45f8626c1ed818986dac1"
"""State of the challenge's repository that is fetched, so that all get the same data."""
HAM10000_DOI = "doi:10.7910/DVN/DBW86T"
HAM10000_ARCHIVES = (
    "HAM10000_images_part_1.zip",
    "HAM10000_images_part_2.zip",
    "HAM10000_segmentations_lesion_tschandl.zip",
)
HAM10000_METADATA = "HAM10000_metadata.csv"

_OPENKBP_FILE = re.compile(r"provided-data/((?:train|validation|test)-pats/pt_\d+/\w+\.csv)")
_GIB = 1 << 30

Lister = Callable[[Client, Mapping[str, str], "int | None"], Listing]


@dataclass(frozen=True)
class Source:
    """One data set: what may be done with it, and how to get it.

    Attributes:
        name: name on the command line; that of the data set's reader where it has one of its own.
        title: one line on what it is.
        licence: its licence or terms.
        citation: what to cite.
        page: its page, or the paper's.
        size: about how much there is to download, and on disk.
        layout: what is in the folder when it is there.
        how: for what no command may download: why, and what to do instead. Empty for what can be downloaded.
        servers: addresses of the servers by role; ``fetch --server`` puts one in the place of all.
        lister: asks the servers what there is.
        partial: a number of cases can be asked for.
    """

    name: str
    title: str
    licence: str
    citation: str
    page: str
    size: str
    layout: str
    how: str = ""
    servers: Mapping[str, str] | None = None
    lister: Lister | None = None
    partial: bool = False

    @property
    def downloadable(self) -> bool:
        """Whether ``crosstask fetch`` can download it."""
        return self.lister is not None

    def listing(self, client: Client, server: str | None = None, limit: int | None = None) -> Listing:
        """Ask the servers what there is.

        Args:
            client: reads from them.
            server: address to ask instead of :attr:`servers`, e.g. of a mirror.
            limit: number of cases; None for all.

        Raises:
            InputError: not to be downloaded, or not in part.
            CrosstaskError: the server cannot be reached, or lists something else than expected.
        """
        if self.lister is None or self.servers is None:
            raise InputError(f"{self.name}: {self.how}")
        if limit is not None and not self.partial:
            raise InputError(f"--limit: {self.name} comes as a whole; leave the option out")
        servers = {role: (server or address).rstrip("/") for role, address in self.servers.items()}
        listing = self.lister(client, servers, limit)
        for item in listing.items:
            if not safe_path(item.path):
                raise InputError(f"{self.name}: refused, the server lists {item.path!r}, which leads out of the folder")
        return listing


def _list_openkbp(client: Client, servers: Mapping[str, str], limit: int | None) -> Listing:
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
        raise CrosstaskError(f"{url}: lists no whole provided-data; download {_OPENKBP_PAGE} by hand")
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


def _list_ham10000(client: Client, servers: Mapping[str, str], limit: int | None) -> Listing:
    """The three archives and the table of the Dataverse entry, by its native API."""
    server = servers["dataverse"]
    url = f"{server}/api/datasets/:persistentId/?{urlencode({'persistentId': HAM10000_DOI})}"
    version = _json(client, url).get("data", {}).get("latestVersion", {})
    files = {file["dataFile"]["filename"]: file["dataFile"] for file in version.get("files", []) if "dataFile" in file}
    items = []
    for name in HAM10000_ARCHIVES:
        if name not in files:
            raise CrosstaskError(f"{url}: lists no {name}; download by hand from {_HAM10000_PAGE}")
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
        raise CrosstaskError(f"{url}: lists no {HAM10000_METADATA}; download by hand from {_HAM10000_PAGE}")
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


def _list_stoic(client: Client, servers: Mapping[str, str], limit: int | None) -> Listing:
    """Objects of the bucket, by the REST interface of S3: the table first, then the volumes by patient number."""
    server = servers["bucket"]
    tables = list(_objects(client, server, "metadata/"))
    volumes = [item for item in _objects(client, server, "data/mha/") if item.path.endswith(".mha")]
    if not any(item.path == "metadata/reference.csv" for item in tables) or not volumes:
        raise CrosstaskError(f"{server}: lists no metadata/reference.csv and data/mha; see {_STOIC_PAGE}")
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


_OPENKBP_PAGE = "https://github.com/ababier/open-kbp"
_HAM10000_PAGE = "https://doi.org/10.7910/DVN/DBW86T"
_STOIC_PAGE = "https://registry.opendata.aws/stoic2021-training/"
_LIDC_PAGE = "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX"
_MTL_CNN = (
    "M. Fang, D. Dong, R. Sun, L. Fan, Y. Sun, S. Liu, J. Tian. Using multi-task learning to improve diagnostic "
    "performance of convolutional neural networks. Proc. SPIE 10950, Medical Imaging 2019, 109501V."
)
_MTL_CNN_PAGE = "https://doi.org/10.1117/12.2512153"
_HOSPITAL = (
    "The paper names no way to get it, and no page to apply at is known to us: ask its authors, at Chinese hospitals. "
    "Data of your own are used by `crosstask cohort init`."
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="openkbp",
            title="OpenKBP: head-and-neck CT, contours and dose of 340 patients",
            licence="MIT (the challenge's repository)",
            citation=(
                "A. Babier, B. Zhang, R. Mahmood, K. L. Moore, T. G. Purdie, A. L. McNiven, T. C. Y. Chan. OpenKBP: "
                "The open-access knowledge-based planning grand challenge and dataset. Medical Physics 48(9), 2021, "
                "5549-5561."
            ),
            page=_OPENKBP_PAGE,
            size="about 0.5 GB, 2 GB on disk",
            layout="train-pats/, validation-pats/, test-pats/ with pt_N/*.csv",
            servers={"api": "https://api.github.com", "archive": "https://github.com"},
            lister=_list_openkbp,
        ),
        Source(
            name="ham10000",
            title="HAM10000: 10,015 dermatoscopic images with lesion masks and diagnoses",
            licence="CC BY-NC 4.0",
            citation=(
                "P. Tschandl, C. Rosendahl, H. Kittler. The HAM10000 dataset, a large collection of multi-source "
                "dermatoscopic images of common pigmented skin lesions. Scientific Data 5, 2018, 180161. Masks: "
                "P. Tschandl et al. Human-computer collaboration for skin cancer recognition. Nature Medicine 26, "
                "2020, 1229-1234."
            ),
            page=_HAM10000_PAGE,
            size="2.8 GB, 3 GB on disk",
            layout=(
                "HAM10000_images_part_1/, HAM10000_images_part_2/, HAM10000_segmentations_lesion_tschandl/, "
                "HAM10000_metadata.csv"
            ),
            servers={"dataverse": "https://dataverse.harvard.edu"},
            lister=_list_ham10000,
        ),
        Source(
            name="stoic",
            title="STOIC2021: chest CT of 2,000 patients with COVID-19 and severity",
            licence="CC BY-NC 4.0",
            citation=(
                "M.-P. Revel, S. Boussouar, C. de Margerie-Mellon, I. Saab, T. Lapotre, D. Mompoint, et al. Study of "
                "thoracic CT in COVID-19: The STOIC project. Radiology 301(1), 2021, E361-E370."
            ),
            page=_STOIC_PAGE,
            size="about 280 GB; --limit N takes N patients",
            layout="data/mha/<PatientID>.mha, metadata/reference.csv",
            servers={"bucket": "https://stoic2021-training.s3.us-west-2.amazonaws.com"},
            lister=_list_stoic,
            partial=True,
        ),
        Source(
            name="prostate",
            title="Prostate: planning CT, contours and dose, the private set of the CTAN paper",
            licence="private",
            citation=(
                "S. Kim, T. G. Purdie, C. McIntosh. Cross-Task Attention Network: Improving Multi-Task Learning for "
                "Medical Imaging Applications. 2023."
            ),
            page="https://arxiv.org/abs/2309.03837",
            size="not published",
            layout="",
            how=(
                "The paper names no way to get it, and no page to apply at is known to us: ask its authors, at the "
                "University Health Network in Toronto. OpenKBP has the same two tasks."
            ),
        ),
        Source(
            name="gastric",
            title="Advanced gastric cancer: CT of 357 patients, a private set of the MTL-CNN paper",
            licence="private",
            citation=_MTL_CNN,
            page=_MTL_CNN_PAGE,
            size="not published",
            layout="",
            how=_HOSPITAL,
        ),
        Source(
            name="lung",
            title="Ground-glass nodules: CT of 236 patients, a private set of the MTL-CNN paper",
            licence="private",
            citation=_MTL_CNN,
            page=_MTL_CNN_PAGE,
            size="not published",
            layout="",
            how=_HOSPITAL + " LIDC-IDRI (`crosstask fetch lidc`) is a public set of lung nodules.",
        ),
        Source(
            name="lidc",
            title="LIDC-IDRI: chest CT of 1,010 patients, nodules with outlines and ratings",
            licence="CC BY 3.0",
            citation=(
                "S. G. Armato III et al. The Lung Image Database Consortium (LIDC) and Image Database Resource "
                "Initiative (IDRI). Medical Physics 38(2), 2011, 915-931. Data: The Cancer Imaging Archive, "
                "doi:10.7937/K9/TCIA.2015.LO9QL9SX."
            ),
            page=_LIDC_PAGE,
            size="about 125 GB",
            layout="",
            how=(
                "The archive gives it out by its own program (NBIA Data Retriever), free and without an application: "
                "download it by hand from its page, cut out the nodules, and describe them by a table for "
                "`crosstask cohort init`."
            ),
        ),
        Source(
            name="covid-ct",
            title="COVID-CT: chest CT slices from publications, with five findings (LA-DNN)",
            licence="none for the images: figures of publications, research use",
            citation=(
                "X. Yang, X. He, J. Zhao, Y. Zhang, S. Zhang, P. Xie. COVID-CT-Dataset: A CT scan dataset about "
                "COVID-19. arXiv:2003.13865, 2020. Findings: B. Liu, X. Gao, M. He, L. Liu, G. Yin. A fast online "
                "COVID-19 diagnostic system with chest CT scans. KDD 2020."
            ),
            page="https://github.com/UCSD-AI4H/COVID-CT",
            size="about 0.1 GB",
            layout="",
            how=(
                "The images belong to the publications that they were taken from: read the terms on its page, and "
                "download by hand from there; the findings are at "
                "https://github.com/xiaoxuegao499/LA-DNN-for-COVID-19-diagnosis. `crosstask cohort init` reads both."
            ),
        ),
    )
}
"""Name on the command line -> source."""
