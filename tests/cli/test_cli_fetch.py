"""``crosstask fetch`` as a user meets it, against a server in this process."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import pytest
from cli_runner import SCRIPT, environment, has_progress, run

import crosstask.cli.fetch
from crosstask.fetch.listings import OPENKBP_COMMIT
from crosstask.fetch.sources import SOURCES
from fake_web import github, s3, serve, zipped

FILES = {
    f"provided-data/{split}-pats/pt_{number}/{name}.csv": f",data\n{number},1\n".encode()
    for split, number in (("train", 1), ("validation", 201), ("test", 241))
    for name in ("ct", "dose")
}


@pytest.fixture
def web():
    with serve() as server:
        github(server, OPENKBP_COMMIT, FILES)
        s3(server, {"metadata/reference.csv": b"PatientID\n1\n", **{f"data/mha/{n}.mha": b"x" * n for n in (5, 7, 9)}})
        yield server


@pytest.mark.parametrize("arguments", [("fetch",), ("fetch", "--list"), ("fetch", "openkbp", "--list")])
def test_the_list(call, arguments):
    shown = call(*arguments)
    assert shown.code == 0 and shown.err == ""
    for source in SOURCES.values():
        (line,) = [line for line in shown.out.splitlines() if line.startswith(f"{source.name} ")]
        assert line.split()[-1] in ("download", "apply", "hand")
    assert "MIT" in shown.out and "CC BY-NC 4.0" in shown.out and "280 GB" in shown.out


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if not source.downloadable])
def test_what_cannot_be_downloaded_says_where_to_go(call, name):
    shown = call("fetch", name, "--yes")
    assert shown.code == 2
    assert SOURCES[name].page in shown.out and SOURCES[name].licence in shown.out and "How: " in shown.out
    assert shown.error.startswith(f"Error: {name}: cannot be downloaded")


def test_openkbp_from_nothing_to_the_next_command(web, call, tmp_path):
    shown = call("fetch", "openkbp", "--yes", "--server", web.url)
    assert shown.code == 0 and shown.err == "" and not has_progress(shown.out)
    lines = shown.out.splitlines()
    assert lines[1].startswith("Licence: MIT") and lines[2].startswith("Cite: A. Babier")
    assert shown.out.index("Licence") < shown.out.index("To download")
    folder = tmp_path / "data" / "openkbp"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.csv")} == {
        path.removeprefix("provided-data/") for path in FILES
    }
    assert shlex.split(lines[-1]) == ["Next:", "crosstask", "check", "openkbp", "data/openkbp"]
    requests = len(web.log)
    again = call("fetch", "openkbp", "--server", web.url)
    assert again.code == 0 and "Everything is there already" in again.out and len(web.log) == requests
    (folder / "test-pats" / "pt_241" / "ct.csv").unlink()
    assert call("fetch", "openkbp", "--yes", "--server", web.url).code == 0
    assert (folder / "test-pats" / "pt_241" / "ct.csv").exists()


def test_nobody_to_ask(web, call, tmp_path):
    shown = call("fetch", "openkbp", "--server", web.url)
    assert shown.code == 2 and "--yes" in shown.error and "Licence: MIT" in shown.out
    assert web.log == [] and not (tmp_path / "data").exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_a_person_is_asked(web, call, tmp_path, monkeypatch, answer, code):
    read, write = os.pipe()
    os.write(write, answer.encode())
    os.close(write)
    monkeypatch.setattr(crosstask.cli.fetch, "_can_ask", lambda: True)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        shown = call("fetch", "openkbp", "--server", web.url, "-o", tmp_path / "here")
    assert shown.code == code and "Is the licence accepted" in shown.err
    assert (tmp_path / "here").exists() == (code == 0)


def test_part_of_stoic_and_then_more(web, call, tmp_path):
    for limit, volumes in ((2, 2), (1, 2), (3, 3)):
        shown = call("fetch", "stoic", "--limit", limit, "-y", "-o", tmp_path / "stoic", "--server", web.url)
        assert shown.code == 0, shown.err
        assert len(list((tmp_path / "stoic" / "data" / "mha").iterdir())) == volumes
    assert len(web.sent("/data/mha/5.mha")) == 1
    assert call("fetch", "openkbp", "--limit", 2, "-y", "--server", web.url).error.startswith("Error: --limit")
    assert "holds stoic" in call("fetch", "openkbp", "-y", "-o", tmp_path / "stoic", "--server", web.url).error


def test_faults_are_one_line(web, call, tmp_path, monkeypatch):
    assert "did you mean 'openkbp'" in call("fetch", "openkpb").error
    (tmp_path / "file").write_text("")
    assert "is not a folder" in call("fetch", "openkbp", "-y", "-o", tmp_path / "file", "--server", web.url).error
    assert "not the address" in call("fetch", "openkbp", "-y", "--server", "ftp://here").error
    web.faults[f"/repos/ababier/open-kbp/git/trees/{OPENKBP_COMMIT}?recursive=1"] = [{"status": 403}]
    assert "403" in call("fetch", "openkbp", "-y", "--server", web.url).error
    web.pages[f"/codeload/ababier/open-kbp/archive/{OPENKBP_COMMIT}.zip"] = zipped({"a/../../evil": b""})
    refused = call("fetch", "openkbp", "-y", "--server", web.url)
    assert refused.code == 2 and "'a/../../evil' leads out of the folder" in refused.error
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 0))
    full = call("fetch", "openkbp", "-y", "--server", web.url)
    assert full.code == 1 and "are needed" in full.error
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_a_state_that_goes_on(web, tmp_path):
    body = bytes(range(256)) * 4000
    s3(web, {"metadata/reference.csv": b"PatientID\n1\n", "data/mha/1.mha": body})
    web.faults["/data/mha/1.mha"] = [{"stall": 20}]
    command = [SCRIPT, "fetch", "stoic", "--yes", "-o", "stoic", "--server", web.url]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs of a shell ignore it
    )
    try:
        partial = None
        for _ in range(400):
            partial = next((tmp_path / "stoic").rglob("*1.mha.part"), None) if (tmp_path / "stoic").exists() else None
            if partial and partial.stat().st_size > 0:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130 and "Run the same command to resume" in errors and "Traceback" not in errors
    assert 0 < partial.stat().st_size < len(body)
    assert not (tmp_path / "stoic" / "data").exists()
    size = partial.stat().st_size
    shown = run(tmp_path, *command[1:])
    assert shown.code == 0, shown.err
    assert (tmp_path / "stoic" / "data" / "mha" / "1.mha").read_bytes() == body
    assert web.sent("/data/mha/1.mha")[-1] == (f"bytes={size}-", len(body) - size)


def test_help_and_list_need_no_torch(tmp_path):
    probe = (
        "import sys\nfrom crosstask.cli.main import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    for arguments in (["--help"], ["--list"]):
        done = subprocess.run(
            [sys.executable, "-c", probe, "fetch", *arguments],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and done.stdout.splitlines()[-1] == "False", done.stderr
