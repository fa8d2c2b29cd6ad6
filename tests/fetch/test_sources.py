"""What each data set's servers list, and the layout that comes out of it."""

import json
import random

import pytest

from crosstask.datasets import DATASETS
from crosstask.errors import CrosstaskError, InputError
from crosstask.fetch.client import Client
from crosstask.fetch.items import RemoteFile
from crosstask.fetch.listings import HAM10000_ARCHIVES, HAM10000_DOI, OPENKBP_COMMIT
from crosstask.fetch.run import fetch
from crosstask.fetch.sources import SOURCES
from fake_web import dataverse, github, s3, serve, zipped

OPENKBP = {
    "README.md": b"read me",
    "provided-data/train-pats/pt_1/ct.csv": b",data\n5,1000.0\n",
    "provided-data/train-pats/pt_1/PTV70.csv": b",data\n5,\n",
    "provided-data/validation-pats/pt_201/ct.csv": b",data\n6,1000.0\n",
    "provided-data/test-pats/pt_241/ct.csv": b",data\n7,1000.0\n",
    "provided-code/train-pats/pt_1/evil.py": b"",
}
TABLE = b"lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\nHAM_0,ISIC_0,nv,histo,,male,back,x\n"
VOLUMES = {f"data/mha/{number}.mha": random.Random(number).randbytes(2000 + number) for number in (2, 10, 30, 4, 1000)}
STOIC = {"metadata/reference.csv": b"PatientID,probCOVID,probSevere\n2,1,0\n", **VOLUMES}


def ham10000(folder):
    """The three archives, with or without a folder at the top."""
    top = ["HAM10000_images_part_1/", "", "HAM10000_segmentations_lesion_tschandl/"] if folder else ["", "", ""]
    return {
        HAM10000_ARCHIVES[0]: zipped({f"{top[0]}ISIC_0.jpg": b"image 0", f"__MACOSX/{top[0]}._ISIC_0.jpg": b"mac"}),
        HAM10000_ARCHIVES[1]: zipped({f"{top[1]}ISIC_1.jpg": b"image 1"}),
        HAM10000_ARCHIVES[2]: zipped({f"{top[2]}ISIC_{n}_segmentation.png": b"mask %d" % n for n in (0, 1)}),
    }


@pytest.fixture
def web():
    with serve() as server:
        yield server


@pytest.fixture
def client():
    return Client(attempts=2, timeout=5, backoff=0.001)


def fetched(name, web, client, folder, **options):
    fetch(SOURCES[name].listing(client, web.url, **options), folder, {"source": name}, client)
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files.pop(".crosstask-fetch.json")
    return files


def test_openkbp_in_the_layout_of_the_reader(web, client, tmp_path):
    github(web, OPENKBP_COMMIT, OPENKBP)
    expected = {
        path.removeprefix("provided-data/"): text for path, text in OPENKBP.items() if path.startswith("provided-data")
    }
    assert fetched("openkbp", web, client, tmp_path) == expected


def test_openkbp_files_are_checked_by_the_hashes_of_the_tree(web, client, tmp_path):
    github(web, OPENKBP_COMMIT, OPENKBP)
    tree = web.pages[f"/repos/ababier/open-kbp/git/trees/{OPENKBP_COMMIT}?recursive=1"]
    _, archive = github(web, OPENKBP_COMMIT, {**OPENKBP, "provided-data/train-pats/pt_1/ct.csv": b",data\n5,1001.0\n"})
    web.pages[f"/repos/ababier/open-kbp/git/trees/{OPENKBP_COMMIT}?recursive=1"] = tree
    with pytest.raises(CrosstaskError, match=r"pt_1/ct\.csv: its git hash is .* is published"):
        fetched("openkbp", web, client, tmp_path)
    assert not list(tmp_path.rglob("*.csv"))
    whole = {path: text for path, text in OPENKBP.items() if "pt_241" not in path}
    web.pages[archive] = zipped({f"open-kbp-x/{path}": text for path, text in whole.items()})
    with pytest.raises(CrosstaskError, match=r"lacks test-pats/pt_241/ct\.csv"):
        fetched("openkbp", web, client, tmp_path)


def test_openkbp_without_length_and_ranges_as_its_server_is(web, client, tmp_path):
    _, archive = github(web, OPENKBP_COMMIT, OPENKBP)
    web.lengths = web.ranges = False
    web.faults[archive] = [{"status": 503}]
    assert len(fetched("openkbp", web, client, tmp_path)) == 4


@pytest.mark.parametrize("answer", [b"[]", b"<html>", b'{"tree": []}', b'{"truncated": true, "tree": []}'])
def test_openkbp_listing_that_is_none(web, client, answer):
    web.pages[f"/repos/ababier/open-kbp/git/trees/{OPENKBP_COMMIT}?recursive=1"] = answer
    with pytest.raises(CrosstaskError, match="by hand"):
        SOURCES["openkbp"].listing(client, web.url)


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("table", ["HAM10000_metadata", "HAM10000_metadata.csv", "HAM10000_metadata.tab"])
def test_ham10000_in_the_official_layout(web, client, tmp_path, folder, table):
    other = {"ISIC2018_Task3_Test_Images.zip": b"not wanted"}
    if table.endswith(".tab"):
        paths = dataverse(
            web, HAM10000_DOI.replace(":", "%3A").replace("/", "%2F"), ham10000(folder) | other, {table: TABLE}
        )
    else:
        paths = dataverse(
            web, HAM10000_DOI.replace(":", "%3A").replace("/", "%2F"), ham10000(folder) | other | {table: TABLE}
        )
    assert fetched("ham10000", web, client, tmp_path) == {
        "HAM10000_images_part_1/ISIC_0.jpg": b"image 0",
        "HAM10000_images_part_2/ISIC_1.jpg": b"image 1",
        "HAM10000_segmentations_lesion_tschandl/ISIC_0_segmentation.png": b"mask 0",
        "HAM10000_segmentations_lesion_tschandl/ISIC_1_segmentation.png": b"mask 1",
        "HAM10000_metadata.csv": TABLE,
    }
    assert web.sent(paths["ISIC2018_Task3_Test_Images.zip"]) == []


def test_ham10000_hash_and_listing(web, client, tmp_path):
    doi = HAM10000_DOI.replace(":", "%3A").replace("/", "%2F")
    paths = dataverse(web, doi, ham10000(True) | {"HAM10000_metadata": TABLE})
    content = web.pages[paths[HAM10000_ARCHIVES[1]]]
    web.pages[paths[HAM10000_ARCHIVES[1]]] = content[:-1] + b"x"
    with pytest.raises(CrosstaskError, match="md5 hash"):
        fetched("ham10000", web, client, tmp_path)
    web.pages[paths[HAM10000_ARCHIVES[1]]] = content
    assert len(fetched("ham10000", web, client, tmp_path)) == 5
    assert len(web.sent(paths[HAM10000_ARCHIVES[0]])) == 1, "what was whole before is not downloaded again"
    dataverse(web, doi, {"HAM10000_metadata": TABLE})
    with pytest.raises(CrosstaskError, match=r"lists no HAM10000_images_part_1\.zip; download by hand from https://"):
        SOURCES["ham10000"].listing(client, web.url)


def test_other_kinds_of_checksums_of_a_dataverse(web, client):
    dataverse(web, HAM10000_DOI.replace(":", "%3A").replace("/", "%2F"), ham10000(True) | {"HAM10000_metadata": TABLE})
    (page,) = [path for path in web.pages if path.startswith("/api/datasets")]
    answer = json.loads(web.pages[page])
    for file in answer["data"]["latestVersion"]["files"]:
        del file["dataFile"]["md5"]
        file["dataFile"]["checksum"] = {"type": "SHA-256", "value": "AB" * 32}
    web.pages[page] = json.dumps(answer).encode()
    assert {item.file.digest for item in SOURCES["ham10000"].listing(client, web.url).items} == {"sha256:" + "AB" * 32}


def test_stoic_over_several_pages(web, client, tmp_path):
    s3(web, STOIC, parts=("data/mha/10.mha",))
    assert fetched("stoic", web, client, tmp_path) == STOIC
    digests = {item.path: item.file.digest for item in SOURCES["stoic"].listing(client, web.url).items}
    assert digests["data/mha/10.mha"] is None and digests["data/mha/2.mha"].startswith("md5:")


def test_stoic_in_part_and_then_more(web, client, tmp_path):
    s3(web, STOIC)
    names = [f"data/mha/{number}.mha" for number in (2, 4, 10)]
    assert sorted(fetched("stoic", web, client, tmp_path, limit=2)) == sorted([*names[:2], "metadata/reference.csv"])
    assert sorted(fetched("stoic", web, client, tmp_path, limit=3)) == sorted([*names, "metadata/reference.csv"])
    assert len(web.sent("/data/mha/2.mha")) == 1


def test_a_copy_made_by_other_means_is_checked_and_kept(web, client, tmp_path):
    s3(web, STOIC, parts=("data/mha/2.mha",))
    for key, content in STOIC.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(content)
    assert fetched("stoic", web, client, tmp_path) == STOIC
    assert not [path for path in web.log if path[0].endswith("mha")]


def test_stoic_listing_that_is_none(web, client):
    with pytest.raises(CrosstaskError, match="404"):
        SOURCES["stoic"].listing(client, web.url)
    s3(web, {"metadata/other.csv": b"", "data/mha/1.mha": b"1"})
    with pytest.raises(CrosstaskError, match=r"lists no metadata/reference\.csv"):
        SOURCES["stoic"].listing(client, web.url)
    web.pages = dict.fromkeys(web.pages, b"not XML")
    with pytest.raises(CrosstaskError, match="does not answer with a listing"):
        SOURCES["stoic"].listing(client, web.url)


def test_a_bucket_cannot_lead_out_of_the_folder(web, client):
    s3(web, {**STOIC, "metadata/../../evil.csv": b""}, page=99)
    query = "/?list-type=2&prefix=metadata%2F"
    web.pages[query] = web.pages[query].replace(
        b"</ListBucketResult>", b"<Contents><Key>metadata/../../evil</Key></Contents></ListBucketResult>"
    )
    with pytest.raises(InputError, match="leads out of the folder"):
        SOURCES["stoic"].listing(client, web.url)


def test_what_is_not_public_cannot_be_listed(client):
    for source in SOURCES.values():
        if not source.downloadable:
            with pytest.raises(InputError, match=source.name):
                source.listing(client)
        elif not source.partial:
            with pytest.raises(InputError, match="--limit"):
                source.listing(client, limit=3)


def test_every_source_says_what_one_must_know():
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.licence and source.citation.endswith(".") and source.page.startswith("https://")
        assert source.downloadable == (not source.how) == bool(source.servers) == bool(source.layout)
        assert "\n" not in source.how + source.citation
        assert all(server.startswith("https://") for server in (source.servers or {}).values())
    for name in SOURCES.keys() & DATASETS.keys():
        assert SOURCES[name].licence.split()[0] in DATASETS[name].licence


def test_items_compare_by_what_they_are():
    assert RemoteFile("a", 1) == RemoteFile("a", 1) != RemoteFile("a", 2)
