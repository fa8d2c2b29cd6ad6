"""Downloads that go on, checks, and unpacking, against a server that misbehaves."""

import hashlib
import random
import shutil
import stat
import struct
from collections import namedtuple
from pathlib import Path

import pytest

from crosstask.errors import CrosstaskError, InputError
from crosstask.fetch import client as client_module
from crosstask.fetch import run as run_module
from crosstask.fetch.archives import unpack
from crosstask.fetch.checks import safe_path
from crosstask.fetch.client import Client
from crosstask.fetch.folder import RECORD, WORK, install, need
from crosstask.fetch.items import Item, Listing, RemoteFile
from crosstask.fetch.run import fetch
from fake_web import git_sha, serve, zipped

BODY = random.Random(0).randbytes(700_000)
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


@pytest.fixture
def web():
    with serve() as server:
        server.pages["/file"] = BODY
        yield server


@pytest.fixture
def client():
    return Client(attempts=3, timeout=5, backoff=0.001)


def published(web, **changes):
    return RemoteFile(**{"url": f"{web.url}/file", "size": len(BODY), "digest": MD5, **changes})


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("digest", ["md5", "sha1", "sha256", "sha512", "git"])
def test_a_whole_download(web, client, tmp_path, digest, lengths):
    web.lengths = lengths
    value = git_sha(BODY) if digest == "git" else hashlib.new(digest, BODY).hexdigest()
    seen = []
    client.download(published(web, digest=f"{digest}:{value}"), tmp_path / "a", seen.append)
    assert (tmp_path / "a").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert seen[0] == 0 and seen[-1] == len(BODY) and seen == sorted(seen)
    assert all(agent.startswith("crosstask/") for agent in web.agents)


def test_a_cut_download_continues_where_it_stopped(web, client, tmp_path):
    web.faults["/file"] = [{"cut": 300_000}]
    client.download(published(web), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert web.sent("/file") == [("", 300_000), ("bytes=300000-", 400_000)]


def test_a_download_of_an_earlier_run_continues(web, client, tmp_path):
    (tmp_path / "a.part").write_bytes(BODY[:500_000])
    client.download(published(web), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert web.sent("/file") == [("bytes=500000-", 200_000)]


def test_what_is_already_whole_is_only_checked(web, client, tmp_path):
    (tmp_path / "a.part").write_bytes(BODY)
    client.download(published(web), tmp_path / "a")
    client.download(published(web), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY and web.log == []


@pytest.mark.parametrize("size", [len(BODY), None])
def test_without_ranges_it_begins_again(web, client, tmp_path, size):
    web.ranges = False
    (tmp_path / "a.part").write_bytes(b"\0" * 500_000)
    client.download(published(web, size=size), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_part_that_is_not_declared_as_one_is_not_taken_for_the_whole(web, client, tmp_path):
    (tmp_path / "a.part").write_bytes(BODY[:500_000])
    web.faults["/file"] = [{"mute": True}]
    client.download(published(web), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_partial_file_that_is_too_long_is_begun_again(web, client, tmp_path):
    (tmp_path / "a.part").write_bytes(BODY + b"more")
    client.download(published(web), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    (tmp_path / "b.part").write_bytes(BODY + b"more")
    client.download(published(web, size=None), tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == BODY


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(web, client, tmp_path, status):
    said = []
    client.say = said.append
    web.faults["/file"] = [{"status": status}, {"status": status, "headers": {"Retry-After": "0"}}]
    client.download(published(web), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(said) == 2 and str(status) in said[0]


def test_waits_grow_and_end(web, client, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(client_module.time, "sleep", slept.append)
    web.faults["/file"] = [{"status": 503}] * 9
    client.backoff, client.attempts = 1.0, 5
    with pytest.raises(CrosstaskError, match=r"503 .* after 5 tries; run the same command to resume"):
        client.download(published(web), tmp_path / "a")
    assert slept == [1, 2, 4, 8]
    web.faults["/file"] = [{"status": 429, "headers": {"Retry-After": "7"}}]
    client.download(published(web), tmp_path / "a")
    assert slept[4:] == [7]


def test_too_long_a_wait_is_told_and_not_waited(web, client, tmp_path):
    web.faults["/file"] = [{"status": 429, "headers": {"Retry-After": "3600"}}]
    with pytest.raises(CrosstaskError, match="asks to wait 3600 s"):
        client.download(published(web), tmp_path / "a")


def test_progress_gives_new_tries_and_no_progress_ends(web, client, tmp_path):
    web.faults["/file"] = [{"cut": 100_000}] * 6
    client.download(published(web), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(web.sent("/file")) == 7
    web.ranges = False
    web.faults["/file"] = [{"cut": 100_000}] * 99
    with pytest.raises(CrosstaskError, match="closed after 100000 of 700000 bytes, after 3 tries"):
        client.download(published(web), tmp_path / "b")
    assert len(web.sent("/file")) == 7 + 3


def test_a_server_that_falls_silent(web, client, tmp_path):
    client.timeout = 0.2
    web.faults["/file"] = [{"stall": 1.0}]
    client.download(published(web), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert [asked for asked, _ in web.sent("/file")] == ["", "bytes=350000-"]


def test_an_error_page_never_gets_into_the_file(web, client, tmp_path):
    web.faults["/file"] = [{"page": b"<html>please wait</html>"}, {"status": 202}]
    client.download(published(web), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_told_at_once(web, client, tmp_path, status):
    web.faults["/file"] = [{"status": status}]
    with pytest.raises(CrosstaskError, match=rf"/file: the server answers {status} .*by hand"):
        client.download(published(web), tmp_path / "a")
    assert len(web.log) == 1


def test_no_server_and_no_address(client, tmp_path):
    with serve() as gone:
        url = f"{gone.url}/file"
    with pytest.raises(CrosstaskError, match="after 3 tries"):
        client.read(url)
    for url in ("file:///etc/passwd", "nonsense"):
        with pytest.raises(InputError, match="not the address of a web server"):
            client.read(url)


def test_a_wrong_hash_deletes_the_damaged_download_only(web, client, tmp_path):
    (tmp_path / "mine.part").write_bytes(b"mine")
    with pytest.raises(CrosstaskError, match=r"md5 hash is .* is published; the damaged download was deleted"):
        client.download(published(web, digest="md5:" + "0" * 32), tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.part"]


def test_a_small_document_is_read_whole(web, client):
    web.faults["/file"] = [{"cut": 10}, {"status": 503}]
    assert client.read(f"{web.url}/file") == BODY


def test_a_full_disk_names_the_file(web, client, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "a.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        client.download(published(web, size=None, digest=None), tmp_path / "a")
    assert caught.value.filename.endswith("a.part")


# Unpacking


def anywhere(name):
    return name


def test_unpack_puts_members_where_they_belong(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"top/x.txt": b"x", "top/y/z.txt": b"zz", "top/skip.txt": b""}))
    place = {"top/x.txt": "x.txt", "top/y/z.txt": "y/z.txt"}.get
    assert unpack(tmp_path / "a.zip", tmp_path / "out", place, limit=100) == {"x.txt": 1, "y/z.txt": 2}
    assert (tmp_path / "out" / "y" / "z.txt").read_bytes() == b"zz"
    assert not (tmp_path / "out" / "skip.txt").exists()


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "a\\..\\..\\evil", "a//b", "./a", "a/.."]
)
def test_a_member_that_leads_out_is_refused_by_name(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(zipped({"good": b"1", name: b"2"}))
    assert not safe_path(name)
    with pytest.raises(InputError) as caught:
        unpack(tmp_path / "a.zip", tmp_path / "out" / "in", anywhere, limit=100)
    assert repr(name) in str(caught.value) and "leads out" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize(("kind", "word"), [(stat.S_IFLNK, "link"), (stat.S_IFCHR, "device"), (stat.S_IFIFO, "device")])
def test_links_and_devices_are_refused(tmp_path, kind, word):
    (tmp_path / "a.zip").write_bytes(zipped({"good": b"1", "bad": b"/etc/passwd"}, ("bad",), kind))
    with pytest.raises(InputError, match=f"'bad' is a {word}; nothing was unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out", anywhere, limit=100)
    assert not (tmp_path / "out").exists()


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
    content = zipped({"small": b"1", "bomb": bytes(3_000_000)})
    assert len(content) < 5_000
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="'bomb' brings the unpacked size to 3000001 bytes"):
        unpack(tmp_path / "a.zip", tmp_path / "out", anywhere, limit=2_000_000)
    assert not (tmp_path / "out").exists()


def test_a_bomb_that_lies_about_its_size_writes_no_more_than_it_declares(tmp_path):
    content = bytearray(zipped({"bomb": bytes(3_000_000)}))
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 10)
    content[22:26] = struct.pack("<I", 10)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(CrosstaskError, match="damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out", anywhere, limit=100)
    assert (tmp_path / "out" / "bomb").stat().st_size <= 10


def test_encrypted_and_colliding_members_are_refused(tmp_path):
    content = bytearray(zipped({"secret": b"1"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="'secret' is encrypted"):
        unpack(tmp_path / "a.zip", tmp_path / "out", anywhere, limit=100)
    (tmp_path / "b.zip").write_bytes(zipped({"x/a.png": b"1", "y/A.PNG": b"2"}))
    with pytest.raises(InputError, match=r"'y/A.PNG' goes where another one does"):
        unpack(tmp_path / "b.zip", tmp_path / "out", lambda name: name[2:], limit=100)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-30], lambda data: data[:60] + b"\0\0\0\0" + data[64:], lambda _: b""]
)
def test_a_damaged_archive_is_one_error(tmp_path, damage):
    (tmp_path / "a.zip").write_bytes(damage(zipped({"a": random.Random(1).randbytes(200)})))
    with pytest.raises(CrosstaskError, match=r"a\.zip: .*damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out", anywhere, limit=1000)


def test_published_hashes_of_members_are_checked(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"a": b"one"}))
    good, bad = (3, f"git:{git_sha(b'one')}"), (3, f"git:{git_sha(b'two')}")
    assert unpack(tmp_path / "a.zip", tmp_path / "1", anywhere, limit=9, published={"a": good}) == {"a": 3}
    with pytest.raises(CrosstaskError, match="a: its git hash is"):
        unpack(tmp_path / "a.zip", tmp_path / "2", anywhere, limit=9, published={"a": bad})
    with pytest.raises(CrosstaskError, match="lacks b, which is published"):
        unpack(tmp_path / "a.zip", tmp_path / "3", anywhere, limit=9, published={"a": good, "b": good})


# Into place


def test_install_merges_and_never_replaces(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    for path, text in {"d/same": "1", "d/fresh": "2", "e/f": "3"}.items():
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        (new / path).write_text(text)
    (old / "d").mkdir(parents=True)
    (old / "d" / "same").write_text("1")
    (old / "d" / "mine").write_text("mine")
    (old / "e").write_text("a file of the user's")
    with pytest.raises(InputError, match=r"old/e: already exists and differs"):
        install(new, old)
    assert sorted(path.name for path in (old / "d").iterdir()) == ["mine", "same"]
    (old / "e").unlink()
    install(new, old)
    assert {str(path.relative_to(old)): path.read_text() for path in old.rglob("*") if path.is_file()} == {
        "d/same": "1", "d/fresh": "2", "d/mine": "mine", "e/f": "3",
    }  # fmt: skip


# The whole


@pytest.fixture
def listing(web):
    files = {"top/one/a.csv": b"1" * 1000, "top/one/b.csv": b"2" * 10}
    web.pages["/set.zip"] = zipped(files)
    archive = Item(
        RemoteFile(f"{web.url}/set.zip", len(web.pages["/set.zip"])), "set.zip", lambda name: name[4:], unpacked=1010
    )
    plain = Item(published(web), "tables/file.bin")
    return Listing([archive, plain], "version 1")


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fetch_twice(web, client, listing, tmp_path):
    folder, seen = tmp_path / "data", []
    assert fetch(listing, folder, {"source": "x"}, client, lambda *now: seen.append(now)) == 2
    found = everything(folder)
    assert sorted(found) == [RECORD, "one/a.csv", "one/b.csv", "tables/file.bin"]
    assert found["tables/file.bin"] == BODY
    total = len(BODY) + len(web.pages["/set.zip"])
    assert seen[-1] == (total, total, "tables/file.bin") and all(now[1] == total for now in seen)
    assert need(listing.items, folder).items == ()
    requests = len(web.log)
    assert fetch(listing, folder, {"source": "x"}, client) == 0
    assert everything(folder) == found and len(web.log) == requests


def test_an_interrupted_fetch_keeps_what_is_done(web, client, listing, tmp_path):
    def stop(done, total, what):
        if what == "tables/file.bin" and done > 1000:
            raise KeyboardInterrupt

    web.faults["/file"] = [{"cut": 400_000}]
    with pytest.raises(KeyboardInterrupt):
        fetch(listing, tmp_path, {}, client, stop)
    assert (tmp_path / "one" / "a.csv").exists() and not (tmp_path / "tables").exists()
    left = need(listing.items, tmp_path)
    assert [item.path for item in left.items] == ["tables/file.bin"]
    assert 0 < left.download < len(BODY)
    web.log.clear()
    assert fetch(listing, tmp_path, {}, client) == 1
    assert (tmp_path / "tables" / "file.bin").read_bytes() == BODY
    (asked, _), *rest = web.sent("/file")
    assert asked.startswith("bytes=") and rest == [] and web.sent("/set.zip") == []
    assert not (tmp_path / WORK).exists()


def test_the_users_files_are_kept_or_in_the_way(web, client, listing, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "file.bin").write_bytes(BODY)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.csv").write_bytes(b"1" * 1000)
    (tmp_path / "one" / "notes.txt").write_text("mine")
    fetch(listing, tmp_path, {}, client)
    assert web.sent("/file") == [] and (tmp_path / "one" / "notes.txt").read_text() == "mine"
    (tmp_path / "other" / "tables").mkdir(parents=True)
    (tmp_path / "other" / "tables" / "file.bin").write_bytes(BODY[::-1])
    with pytest.raises(InputError, match=r"file\.bin: already exists and differs .*-o"):
        fetch(listing, tmp_path / "other", {}, client)
    assert (tmp_path / "other" / "tables" / "file.bin").read_bytes() == BODY[::-1]


def test_a_new_version_is_not_mixed_with_the_old(web, client, tmp_path):
    web.faults["/file"] = [{"cut": 400_000}, {"status": 404}]
    with pytest.raises(CrosstaskError):
        fetch(Listing([Item(published(web, digest=None, version="one"), "f")]), tmp_path, {}, client)
    web.pages["/file"] = BODY[::-1]
    fetch(Listing([Item(published(web, digest=None, version="two"), "f")]), tmp_path, {}, client)
    assert (tmp_path / "f").read_bytes() == BODY[::-1]


def test_too_little_room_is_told_before_the_first_byte(web, client, listing, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(CrosstaskError, match=r"0\.0 GB are free; free space"):
        fetch(listing, tmp_path / "data", {}, client)
    assert web.log == []


def test_a_bad_archive_leaves_nothing_behind(web, client, listing, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "SLACK", 1000)
    web.pages["/set.zip"] = zipped({"top/one/a.csv": bytes(10**6)})
    archive = Item(RemoteFile(f"{web.url}/set.zip"), "set.zip", lambda name: name[4:], unpacked=1010)
    with pytest.raises(InputError, match=r"set\.zip: refused, its member 'top/one/a\.csv' brings"):
        fetch(Listing([archive]), tmp_path, {}, client)
    assert not (tmp_path / "one").exists()


def test_a_file_for_a_folder(web, client, listing, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(InputError, match="data: is not a folder"):
        fetch(listing, tmp_path / "data", {}, client)
