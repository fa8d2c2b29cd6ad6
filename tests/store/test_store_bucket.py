"""Stores on object storage: prepared, killed, read in parts, cached, refused in one line. The server is moto's."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from s3_server import BUCKET, Server, failing, serving
from store_fakes import FakeCase, FakeData, FakeDataset, arrays

import crosstask.buckets as buckets
import crosstask.store.bucket_preparation as bucket_preparation
import crosstask.store.reader as reader
from crosstask.buckets import Bucket
from crosstask.errors import CrosstaskError, InputError
from crosstask.geometry import Geometry
from crosstask.store import Store, outlook, prepare
from crosstask.store.cache import PAGE, Cache
from crosstask.store.statistics import channel_statistics

pytest.importorskip("moto")
pytest.importorskip("s3fs")
IDS = ["pt_1", "pt_2", "pt_3", "pt_4"]
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """The server, at peace, and this process as one that may use it."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{running.port}",
        "CROSSTASK_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(buckets, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(reader, "_arrays", reader._OpenArrays(64))
    running.fail = lambda method, path: None
    _forget(monkeypatch)
    system = Bucket(f"s3://{BUCKET}")._system()[0]
    if not system.exists(BUCKET):
        system.mkdir(BUCKET)
    running.asked.clear()
    return running


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next request see the environment as it is now."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(buckets, "_SYSTEMS", {})


@pytest.fixture
def url(server: Server) -> str:
    """An address of its own."""
    return f"s3://{BUCKET}/stores/{next(_NUMBERS)}"


@pytest.fixture
def filled(raw: Path, url: str, server: Server) -> str:
    prepare(FakeDataset(raw), url, workers=1)
    server.asked.clear()
    return url


def test_a_store_is_the_same_there_as_in_a_folder(raw: Path, root: Path, url: str, server: Server) -> None:
    told: list[str] = []
    report = prepare(FakeDataset(raw), url, workers=1, progress=lambda *args: told.append(args[2]))
    assert report.written == told == IDS
    there, here = Store(url), Store(root)
    assert str(there.root) == url
    assert there.cases == here.cases
    assert there.fingerprint == here.fingerprint
    for case_id in IDS:
        there.verify(case_id)
        one, other = there.open(case_id), here.open(case_id)
        assert (one.names, one.channels, one.geometry) == (other.names, other.channels, other.geometry)
        assert one.information == other.information
        for name in one.names:
            np.testing.assert_array_equal(one.read(name), other.read(name))
    assert channel_statistics(there, IDS, "dose", ["dose"]) == channel_statistics(here, IDS, "dose", ["dose"])
    server.asked.clear()
    assert prepare(FakeDataset(raw), url, workers=1).kept == IDS
    assert server.count("PUT") == 0  # nothing is held, and nothing written
    assert outlook(FakeDataset(raw), url).whole


def test_workers_send_cases_themselves(raw: Path, root: Path, url: str) -> None:
    assert prepare(FakeDataset(raw), url, workers=2).written == IDS
    assert Store(url).fingerprint == Store(root).fingerprint


def test_readers_have_the_store_before_until_the_new_one_is_whole(raw: Path, filled: str) -> None:
    (raw / "pt_2.txt").write_text("22")
    (raw / "pt_4.txt").unlink()
    (raw / "pt_9.txt").write_text("9")
    (raw / "pt_3.txt").write_text("garbage")
    seen = []

    def look(done: int, *_: object) -> None:
        store = Store(filled)
        assert [case.id for case in store.cases] == IDS
        for case_id in IDS:
            store.verify(case_id)
        np.testing.assert_array_equal(store.open("pt_2").read("dose"), arrays(2).arrays["dose"])
        seen.append(done)

    report = prepare(FakeDataset(raw, bad=("pt_3",)), filled, workers=1, progress=look)
    assert seen == [1, 2, 3, 4]
    assert (report.kept, report.rebuilt, report.written, report.removed) == (["pt_1"], ["pt_2"], ["pt_9"], ["pt_4"])
    assert [case_id for case_id, _ in report.outdated] == ["pt_3"]
    store = Store(filled)
    assert [case.id for case in store.cases] == ["pt_1", "pt_2", "pt_3", "pt_9"]
    np.testing.assert_array_equal(store.open("pt_2").read("dose"), arrays(22).arrays["dose"])
    folders = {name.split("/")[1] for name in Bucket(filled).sizes("cases")}
    assert folders == {"pt_1", "pt_2", "pt_3", "pt_9"}
    assert len({name.split("/")[2] for name in Bucket(filled).sizes("cases/pt_2")}) == 1  # the older one is gone
    assert "prepare.lock" not in Bucket(filled).names() and "journal" not in Bucket(filled).names()


class Stop(BaseException):
    pass


def test_a_kill_before_any_write_costs_what_is_on_the_way_alone(
    raw: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stops a preparation before its n-th write, for every n: no reader is misled, nothing that was sent is lost."""
    for name in IDS[2:]:
        (raw / f"{name}.txt").unlink()
    write, limit, finished = Bucket.write, 0, False
    monkeypatch.setattr(bucket_preparation, "_CASES_A_PIECE", 1)
    while not finished:
        url, count = f"memory://killed/{limit}-{next(_NUMBERS)}", itertools.count(1)

        def stopping(self: Bucket, name: str, data: bytes, count: Iterator[int] = count, limit: int = limit) -> None:
            if next(count) > limit:
                raise Stop
            write(self, name, data)

        with monkeypatch.context() as patch:
            patch.setattr(Bucket, "write", stopping)
            patch.setattr(bucket_preparation.Lease, "let_go", lambda self: self._end.set())  # as a kill leaves it
            try:
                prepare(FakeDataset(raw), url, workers=1)
                finished = True
            except Stop:
                pass
        sent = {name.split("/")[1] for name in Bucket(url).sizes("cases") if name.endswith("case.json")}
        if finished:
            assert len(Store(url)) == 2
        else:
            with pytest.raises(InputError, match=r"store\.json: no such file: write the store"):
                Store(url)
        log = tmp_path / f"log{limit}"
        log.mkdir()
        # Of this machine, and its process is alive: ours. Another would be dead.
        lease = json.loads(Bucket(url).read("prepare.lock"))
        Bucket(url).write("prepare.lock", json.dumps({**lease, "process": 2**22 + 1}).encode())
        report = prepare(FakeDataset(raw, log=log), url, workers=1)
        assert {path.name.split("-")[0] for path in log.iterdir()} == {"pt_1", "pt_2"} - sent
        assert set(report.kept) == sent
        store = Store(url)
        assert [case.id for case in store.cases] == ["pt_1", "pt_2"]
        for case in store.cases:
            store.verify(case.id)
        assert sorted(Bucket(url).names())[0] == "cases" and len(Bucket(url).sizes("journal")) == 0
        limit += 1
    assert limit > 12


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from store_fakes import FakeDataset
from crosstask.store import prepare
if __name__ == "__main__":
    dataset = FakeDataset(Path(sys.argv[2]), pause=0.1)
    prepare(dataset, sys.argv[3], workers=1, progress=lambda *args: print(args[0], flush=True))
"""


def test_a_killed_process_is_taken_over_from_at_once_on_its_machine(raw: Path, url: str, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    here = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, str(script), here, str(raw), url], stdout=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        process.kill()
    assert "prepare.lock" in Bucket(url).names()
    report = prepare(FakeDataset(raw), url, workers=1)
    assert len(report.kept) >= 2 and not report.rebuilt
    assert len(Store(url)) == 4


def test_a_torn_piece_of_the_journal_costs_nothing(raw: Path, url: str, tmp_path: Path) -> None:
    def stop(done: int, *_: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(FakeDataset(raw), url, workers=1, progress=stop)
    bucket = Bucket(url)
    (name,) = bucket.sizes("journal")
    whole = bucket.read(name)
    assert whole.count(b"\n") == 4
    bucket.write(name, whole[: len(whole) // 2])
    (tmp_path / "log").mkdir()
    assert prepare(FakeDataset(raw, log=tmp_path / "log"), url, workers=1).kept == IDS[:3]
    assert len(list((tmp_path / "log").iterdir())) == 1


def test_two_at_once_are_refused_and_a_lease_that_nobody_renews_is_taken_over(
    raw: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[str] = []

    def again(*_: object) -> None:
        with pytest.raises(CrosstaskError, match=rf"is being prepared by process {os.getpid()} \S+, who was heard of"):
            prepare(FakeDataset(raw), url, workers=1)
        errors.append("")

    prepare(FakeDataset(raw), url, workers=1, progress=again)
    assert len(errors) == 4
    bucket = Bucket(url)
    other = {"process": 7, "host": "another-machine", "token": "x", "time": 0.0}
    bucket.write("prepare.lock", json.dumps(other).encode())
    (raw / "pt_1.txt").write_text("11")
    assert prepare(FakeDataset(raw), url, workers=1).rebuilt == ["pt_1"]
    bucket.write("prepare.lock", b"garbage")
    (raw / "pt_1.txt").write_text("1")
    assert prepare(FakeDataset(raw), url, workers=1).rebuilt == ["pt_1"]


def test_who_lost_the_lease_writes_no_index(raw: Path, filled: str) -> None:
    (raw / "pt_1.txt").write_text("11")
    before = Bucket(filled).read("store.json")

    def taken(*_: object) -> None:
        Bucket(filled).write("prepare.lock", json.dumps({"token": "of another"}).encode())

    with pytest.raises(CrosstaskError, match="another process has begun to prepare it"):
        prepare(FakeDataset(raw), filled, workers=1, progress=taken)
    assert Bucket(filled).read("store.json") == before
    assert Store(filled).open("pt_1").information["seed"] == 1
    Bucket(filled).remove(["prepare.lock"])
    report = prepare(FakeDataset(raw), filled, workers=1)
    assert (report.kept, report.rebuilt) == (IDS, [])  # it had been sent


def test_a_lease_is_renewed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_preparation, "_SECONDS_TO_RENEW", 0.01)
    with bucket_preparation.leased(Bucket(url)):
        first = json.loads(Bucket(url).read("prepare.lock"))
        for _ in range(200):
            if json.loads(Bucket(url).read("prepare.lock"))["time"] > first["time"]:
                break
        else:
            raise AssertionError("was not renewed")
    assert "prepare.lock" not in Bucket(url).names()


# Reading


SIDE = 256


class Large(FakeDataset):
    """One case with arrays that are not fetched at once: noise, and a mask of which most is empty."""

    def cases(self) -> list[FakeCase]:
        return [FakeCase("big", "big", "train", ())]

    def read(self, case: FakeCase) -> FakeData:
        random = np.random.default_rng(0)
        ct = random.integers(0, 1 << 15, (1, 32, SIDE, SIDE)).astype(np.int16)
        mask = np.zeros((3, 32, SIDE, SIDE), np.uint8)
        mask[1, 5:20] = random.integers(0, 255, (15, SIDE, SIDE))
        odd = random.normal(size=(1, 11, 90, 301)).astype(np.float32)
        return FakeData(
            {"ct": ct, "mask": mask, "odd": odd},
            {"ct": ("ct",), "mask": ("a", "b", "c"), "odd": ("odd",)},
            Geometry((32, SIDE, SIDE), (1.0, 1.0, 1.0)),
        )


@pytest.fixture
def large(url: str, tmp_path: Path, server: Server) -> str:
    prepare(Large(tmp_path), url, workers=1)
    server.asked.clear()
    return url


def test_only_what_a_slice_needs_is_fetched_and_that_once(large: str, server: Server, tmp_path: Path) -> None:
    expected = Large(tmp_path).read(FakeCase("big", "big", "train", ())).arrays["ct"]
    store = Store(large)
    case = store.open("big")
    assert server.bytes_of("ct.b2nd") == 0
    np.testing.assert_array_equal(case.read("ct", slices=(17,)), expected[:, 17])
    block = 2 * SIDE * SIDE
    # Noise does not shrink: the block, the beginning of its chunk, of the file, and the file's end, by pages.
    assert block <= server.bytes_of("ct.b2nd") <= block + 6 * PAGE
    before = len(server.asked)
    np.testing.assert_array_equal(case.read("ct", slices=(17, slice(3, 90))), expected[:, 17, 3:90])
    assert len(server.asked) == before
    np.testing.assert_array_equal(case.read("ct"), expected)
    assert server.bytes_of("ct.b2nd") <= expected.nbytes * 1.05
    server.asked.clear()
    np.testing.assert_array_equal(Store(large).open("big").read("ct", slices=(slice(3, 31, 5),)), expected[:, 3:31:5])
    assert {path.rpartition("/")[2] for _, path, _ in server.asked} == {"store.json"}


@pytest.mark.parametrize("name", ["ct", "mask", "odd"])
def test_any_selection_is_that_of_the_array(large: str, tmp_path: Path, name: str) -> None:
    expected = Large(tmp_path).read(FakeCase("big", "big", "train", ())).arrays[name]
    random, case = np.random.default_rng(1), Store(large).open("big")
    for _ in range(25):
        corner = [int(random.integers(0, size)) for size in expected.shape[1:]]
        slices = tuple(slice(at, at + int(random.integers(1, 40))) for at in corner)
        channels = random.permutation(len(expected))[: random.integers(1, 4)].tolist()
        np.testing.assert_array_equal(case.read(name, channels, slices), expected[(channels, *slices)])


def in_child(store: Store) -> int:
    return int(store.open("big").read("ct", slices=(slice(0, 9),)).astype(int).sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_the_cache_at_the_same_time(large: str, method: str, tmp_path: Path, server: Server) -> None:
    store = Store(large)
    assert len(pickle.dumps(store)) < 1000
    expected = int(Large(tmp_path).read(FakeCase("big", "big", "train", ())).arrays["ct"][:, :9].astype(int).sum())
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert [one.result() for one in [pool.submit(in_child, store) for _ in range(4)]] == [expected] * 4
    server.asked.clear()
    assert in_child(store) == expected
    assert server.bytes_of("ct.b2nd") == 0


def test_pages_that_a_fall_of_the_machine_has_spoilt_are_fetched_again(
    large: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Large(tmp_path).read(FakeCase("big", "big", "train", ())).arrays["ct"]
    Store(large).open("big").read("ct")
    for path in (tmp_path / "cache/store").iterdir():
        if path.with_name(f"{path.name}.map").exists():
            content = bytearray(path.read_bytes())
            content[PAGE : 3 * PAGE] = bytes(len(content[PAGE : 3 * PAGE]))
            path.write_bytes(content)
    monkeypatch.setattr(reader, "_arrays", reader._OpenArrays(64))  # as another process
    server.asked.clear()
    np.testing.assert_array_equal(Store(large).open("big").read("ct"), expected)
    assert 0 < server.bytes_of("ct.b2nd") <= 2 * PAGE


def test_the_cache_is_bounded_and_the_least_recently_used_goes(
    raw: Path, server: Server, url: str, tmp_path: Path
) -> None:
    prepare(FakeDataset(raw), url, workers=1)
    folder = tmp_path / "own"
    cache, bucket = Cache(5 * 4096, folder), Bucket(url)
    sizes = {name: size for name, size in bucket.sizes("cases").items() if name.endswith(("ct.b2nd", "dose.b2nd"))}
    assert len(sizes) == 8
    for number, (name, size) in enumerate(sorted(sizes.items())):
        file = cache.file(bucket, name, size, f"{number:032x}")
        assert file.read(0, size) == bucket.read(name)
        os.utime(folder / f"{number:032x}.map", (number, number))
        cache._since_look = cache.limit
        cache.added(0)
    left = sorted(path.name for path in folder.iterdir() if re.fullmatch("[0-9a-f]{32}", path.name))
    assert left and left[-1] == f"{7:032x}"
    assert sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.suffix != ".map") <= 5 * 4096
    assert file.read(0, 10) == bucket.read(sorted(sizes)[-1])[:10]


def test_what_is_cleared_away_while_it_is_read_is_still_right(large: str, tmp_path: Path) -> None:
    expected = Large(tmp_path).read(FakeCase("big", "big", "train", ())).arrays["ct"]
    case = Store(large).open("big")
    case.read("ct", slices=(0,))
    for path in (tmp_path / "cache/store").iterdir():
        path.unlink()
    np.testing.assert_array_equal(case.read("ct"), expected)
    np.testing.assert_array_equal(Store(large).open("big").read("mask")[1, 7], case.read("mask", [1], (7,))[0])


# Faults


def test_a_server_that_fails_for_a_moment_is_asked_again(raw: Path, url: str, root: Path, server: Server) -> None:
    server.fail = failing(3)
    prepare(FakeDataset(raw), url, workers=1)
    server.fail = failing(3, "500 Internal Server Error", method="GET")
    store = Store(url)
    server.fail = failing(3, "500 Internal Server Error", method="GET")
    np.testing.assert_array_equal(store.open("pt_1").read("ct"), arrays(1).arrays["ct"])
    assert store.fingerprint == Store(root).fingerprint


@pytest.mark.parametrize("fault", ["503 Slow Down", "hang", "closed"])
def test_a_server_that_fails_for_good_is_one_line(
    raw: Path, filled: str, server: Server, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "closed":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    elif fault == "hang":
        monkeypatch.setattr(buckets, "_SECONDS_TO_ANSWER", 0.1)
        monkeypatch.setattr(buckets, "_TRIES", 2)
    _forget(monkeypatch)
    server.fail = failing(10**6, fault)
    for call in (lambda: Store(filled), lambda: prepare(FakeDataset(raw), filled, workers=1)):
        with pytest.raises(
            CrosstaskError, match=rf"^{filled}(/store\.json)?: cannot be reached after \d tries \("
        ) as caught:
            call()
        assert "\n" not in str(caught.value) and not isinstance(caught.value, InputError)


def test_refusals_are_one_line(raw: Path, filled: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.fail = failing(10**6, "403 Forbidden")
    with pytest.raises(InputError, match=r"is refused .*; look at the credentials and what they allow"):
        Store(filled)
    server.fail = failing(10**6, "403 Forbidden", method="PUT")
    assert prepare(FakeDataset(raw), filled, workers=1).kept == IDS  # who may only read, reads
    (raw / "pt_1.txt").write_text("11")
    with pytest.raises(InputError, match=r"prepare\.lock: is refused"):
        prepare(FakeDataset(raw), filled, workers=1)
    with pytest.raises(InputError, match=r"store\.json: no such file: write the store with `crosstask prepare`"):
        Store("s3://no-such-bucket/x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    _forget(monkeypatch)
    with pytest.raises(InputError, match=r"no credentials were found for it .*; set AWS_ACCESS_KEY_ID and"):
        Store(filled)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "nonsense://x/y",
            r"nonsense://x/y: fsspec does not open it \(Protocol not known: nonsense\); give an address such as s3://BUCKET/PREFIX",
        ),
        ("gs://x/y", r"gs://x/y: gcsfs is needed for gs://; pip install gcsfs"),
    ],
)
def test_addresses_that_nothing_opens_are_one_line(address: str, message: str) -> None:
    if address.startswith("gs"):
        try:
            import gcsfs  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("gcsfs is there")
    with pytest.raises(InputError, match=message):
        Store(address)


@pytest.mark.parametrize("fault", ["flipped", "missing", "index"])
def test_damaged_objects_are_errors_that_name_them(raw: Path, filled: str, fault: str, tmp_path: Path) -> None:
    bucket = Bucket(filled)
    ending = "/ct.b2nd" if fault != "index" else ".bin"
    name = next(name for name in bucket.sizes() if name.endswith(ending))
    content = bytearray(bucket.read(name))
    content[len(content) // 2] ^= 1
    bucket.remove([name]) if fault == "missing" else bucket.write(name, bytes(content))
    for path in (tmp_path / "cache").rglob("*.bin"):
        path.unlink()
    with pytest.raises(CrosstaskError, match="crosstask prepare") as caught:
        store = Store(filled)
        store.open("pt_1").read("ct")
        assert store.fingerprint_of(IDS) and store.digests(IDS, "ct") and store.open("pt_2").information
    assert bucket.at(name) in str(caught.value)
    report = prepare(FakeDataset(raw), filled, workers=1, verify=True)
    assert (report.rebuilt == ["pt_1"]) == (fault != "index")
    for case_id in IDS:
        Store(filled).verify(case_id)


def test_other_things_at_an_address_are_not_touched(raw: Path, url: str) -> None:
    Bucket(url).write("thesis.txt", b"precious")
    with pytest.raises(InputError, match=r"is not empty and holds no store\.json: choose another prefix"):
        prepare(FakeDataset(raw), url, workers=1)
    assert Bucket(url).sizes() == {"thesis.txt": 8}
    other = FakeDataset(raw)
    prepare(other, f"{url}/below", workers=1)
    other.name = "other"
    with pytest.raises(InputError, match="holds data set fake, not other"):
        prepare(other, f"{url}/below", workers=1)


def test_memory_is_a_store_too(raw: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "cache"))
    url = f"memory://stores/{next(_NUMBERS)}"
    assert prepare(FakeDataset(raw), url, workers=1).written == IDS
    assert prepare(FakeDataset(raw), url, workers=1).kept == IDS
    assert Store(url).fingerprint == Store(root).fingerprint
