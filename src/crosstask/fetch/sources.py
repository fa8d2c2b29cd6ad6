"""Where data sets come from: licence, citation and page of each, and for public ones what to download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crosstask.errors import InputError
from crosstask.fetch.checks import safe_path
from crosstask.fetch.client import Client
from crosstask.fetch.items import Listing
from crosstask.fetch.listings import HAM10000_PAGE, OPENKBP_PAGE, STOIC_PAGE, list_ham10000, list_openkbp, list_stoic

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
            page=OPENKBP_PAGE,
            size="about 0.5 GB, 2 GB on disk",
            layout="train-pats/, validation-pats/, test-pats/ with pt_N/*.csv",
            servers={"api": "https://api.github.com", "archive": "https://github.com"},
            lister=list_openkbp,
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
            page=HAM10000_PAGE,
            size="2.8 GB, 3 GB on disk",
            layout=(
                "HAM10000_images_part_1/, HAM10000_images_part_2/, HAM10000_segmentations_lesion_tschandl/, "
                "HAM10000_metadata.csv"
            ),
            servers={"dataverse": "https://dataverse.harvard.edu"},
            lister=list_ham10000,
        ),
        Source(
            name="stoic",
            title="STOIC2021: chest CT of 2,000 patients with COVID-19 and severity",
            licence="CC BY-NC 4.0",
            citation=(
                "M.-P. Revel, S. Boussouar, C. de Margerie-Mellon, I. Saab, T. Lapotre, D. Mompoint, et al. Study of "
                "thoracic CT in COVID-19: The STOIC project. Radiology 301(1), 2021, E361-E370."
            ),
            page=STOIC_PAGE,
            size="about 280 GB; --limit N takes N patients",
            layout="data/mha/<PatientID>.mha, metadata/reference.csv",
            servers={"bucket": "https://stoic2021-training.s3.us-west-2.amazonaws.com"},
            lister=list_stoic,
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
