"""``check`` and ``prepare``, on whole data and on broken ones."""

import errno
import os
import shutil
import signal
import sys

import pytest
from cli_runner import SCRIPT, environment, has_progress, run, write_experiment

import crosstask.store.format
from crosstask.store import Store

CASES = ["pt_1", "pt_2", "pt_3", "pt_201", "pt_241", "pt_242"]


def _lines(change):
    """An edit of a CSV file line by line; the header is line 0."""

    def edit(text):
        lines = text.splitlines()
        change(lines)
        return "\n".join(lines) + "\n"

    return edit


def _set(number, line):
    return _lines(lambda lines: lines.__setitem__(number, line))


FAULTS = {
    "truncated CSV": ("ct.csv", lambda text: text[: len(text) // 2].rstrip("\n"), "truncated"),
    "index out of range": ("Brainstem.csv", _set(3, "32768,"), "line 4: the index 32768 is outside the grid"),
    "NaN dose": ("dose.csv", _set(5, "12,nan"), "line 6: the dose in Gy is 'nan', not a finite number"),
    "wrong voxel_dimensions": ("voxel_dimensions.csv", lambda text: "3.5\n-1\n2\n", "the voxel dimensions are"),
}


def test_check_of_whole_data(raw, tmp_path):
    shown = run(tmp_path, "check", "phantom", raw)
    assert shown.code == 0 and shown.err == ""
    assert "6 usable cases; 0 errors" in shown.out
    assert not has_progress(shown.out)


def test_check_shows_notes_on_demand(raw, call):
    brief, whole = call("check", "phantom", raw), call("check", "phantom", raw, "--notes")
    assert "note     pt_1: " in whole.out and "--notes" in brief.out
    assert len(whole.out.splitlines()) > len(brief.out.splitlines())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_case_is_named_by_check_and_skipped_by_prepare(fault, damaged, call, tmp_path):
    file, edit, reason = FAULTS[fault]
    root = damaged(f"train-pats/pt_2/{file}", edit)
    checked = call("check", "phantom", root)
    assert checked.code == 2
    errors = [line for line in checked.out.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert f"pt_2: {root / 'train-pats' / 'pt_2' / file}" in errors[0] and reason in errors[0]
    assert "1 errors" in checked.out and "Traceback" not in checked.err

    experiment = write_experiment(tmp_path, root, tmp_path / "store")
    prepared = call("prepare", experiment, "--workers", "1")
    assert prepared.code == 0
    assert prepared.err.startswith(f"Skipped pt_2: {root / 'train-pats' / 'pt_2' / file}") and reason in prepared.err
    assert "5 written, 0 rebuilt, 0 kept, 0 removed, 1 failed" in prepared.out
    assert [case.id for case in Store(tmp_path / "store").cases] == [case for case in CASES if case != "pt_2"]


def test_check_tells_every_broken_case_once(damaged, call):
    for case in ("train-pats/pt_1", "train-pats/pt_2", "test-pats/pt_241"):
        root = damaged(f"{case}/dose.csv", FAULTS["NaN dose"][1])
    shown = call("check", "phantom", root)
    assert shown.code == 2
    assert [line.split()[1] for line in shown.out.splitlines() if line.startswith("error")] == [
        "pt_1:",
        "pt_2:",
        "pt_241:",
    ]


def test_check_goes_through_all_cases_where_the_list_itself_is_at_fault(raw, call, tmp_path):
    root = tmp_path / "openkbp"
    shutil.copytree(raw, root)
    shutil.copytree(raw / "train-pats" / "pt_1", root / "validation-pats" / "pt_1")
    shutil.rmtree(root / "test-pats" / "pt_242")
    shown = call("check", "phantom", root)
    assert shown.code == 2
    assert "pt_1: " in shown.out and "remove one of them" in shown.out
    assert "pt_242: " in shown.out and "generate again" in shown.out
    assert shown.error.startswith(f"Error: {root}")


def test_messages_are_shown_as_they_are(raw, call, tmp_path):
    """Square brackets are no markup, and colons no pictures."""
    root = tmp_path / "raw[red]:cat:[/nothing]"
    shutil.copytree(raw, root)
    (root / "train-pats" / "pt_1" / "dose.csv").unlink()
    (root / "train-pats" / "pt_2" / "ct.csv").write_text("no header\n")
    shown = call("check", "phantom", root, "--notes")
    assert str(root / "train-pats" / "pt_2" / "ct.csv") in shown.out
    missing = call("check", "phantom", tmp_path / "[/b]:cat:")
    assert missing.code == 2 and str(tmp_path / "[/b]:cat:") in missing.error


def test_an_output_that_does_not_know_a_letter_is_no_crash(raw, tmp_path):
    """As where a pipe has the code page of a country: the tables' Greek letters are not in it."""
    root = tmp_path / "Δ"
    shutil.copytree(raw, root)
    shown = run(tmp_path, "check", "phantom", root, "--notes", variables={"PYTHONIOENCODING": "ascii"})
    assert shown.code == 0 and shown.err == ""
    assert f"{tmp_path / '?'}" in shown.out


def test_prepare_writes_once_and_keeps(prepared):
    assert prepared.first.code == prepared.second.code == 0
    assert "6 written, 0 rebuilt, 0 kept, 0 removed, 0 failed" in prepared.first.out
    assert "0 written, 0 rebuilt, 6 kept, 0 removed, 0 failed" in prepared.second.out
    assert prepared.first.err == prepared.second.err == ""
    assert not has_progress(prepared.first.out + prepared.second.out)
    assert [case.id for case in Store(prepared.store).cases] == CASES


def test_prepare_rebuilds_the_changed_case_and_with_verify_the_damaged_one(raw, call, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(raw, root)
    experiment = write_experiment(tmp_path, root, tmp_path / "store")
    assert call("prepare", experiment, "--workers", "1").code == 0
    (root / "voxel_dimensions.csv").write_text("not a case's file: changes nothing\n")
    (root / "train-pats" / "pt_1" / "voxel_dimensions.csv").write_text("4\n4\n4\n")
    assert "1 rebuilt, 5 kept" in call("prepare", experiment, "--workers", "1").out
    array = next((tmp_path / "store" / "cases" / "pt_3").glob("*.b2nd"))
    content = bytearray(array.read_bytes())
    content[len(content) // 2] ^= 255
    array.write_bytes(content)
    assert "6 kept" in call("prepare", experiment, "--workers", "1").out
    assert "1 rebuilt, 5 kept" in call("prepare", experiment, "--workers", "1", "--verify").out


@pytest.mark.parametrize("command", ["check", "prepare"])
def test_missing_root(command, call, tmp_path):
    experiment = write_experiment(tmp_path, tmp_path / "nowhere", tmp_path / "store")
    for name in ("phantom", "openkbp"):
        arguments = (name, tmp_path / "nowhere") if command == "check" else (experiment, f"dataset.name={name}")
        shown = call(command, *arguments)
        assert shown.code == 2
        assert str(tmp_path / "nowhere") in shown.error + shown.out
    assert not (tmp_path / "store").exists()


def test_unknown_data_set_names_the_closest(call, tmp_path):
    shown = call("check", "phanton", tmp_path)
    assert shown.code == 2 and "did you mean 'phantom'?" in shown.error


def test_no_case_that_can_be_prepared(damaged, call, tmp_path):
    for split, case in (("train", 1), ("train", 2), ("train", 3), ("validation", 201), ("test", 241), ("test", 242)):
        root = damaged(f"{split}-pats/pt_{case}/ct.csv", lambda text: "")
    shown = call("prepare", write_experiment(tmp_path, root, tmp_path / "store"), "--workers", "1")
    assert shown.code == 2
    assert "no case could be prepared" in shown.error and "crosstask check phantom" in shown.error
    assert shown.err.count("Skipped ") == 6


def test_foreign_folder_is_no_store(raw, call, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("mine")
    shown = call("prepare", write_experiment(tmp_path, raw, tmp_path / "store"))
    assert shown.code == 2 and str(tmp_path / "store") in shown.error
    assert (tmp_path / "store" / "thesis.txt").read_text() == "mine"


def test_full_disk_while_preparing(raw, call, tmp_path, monkeypatch):
    experiment = write_experiment(tmp_path, raw, tmp_path / "store")
    whole = crosstask.store.format.write_bytes
    written = []

    def full(path, data):
        written.append(path)
        if len(written) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        whole(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(crosstask.store.format, "write_bytes", full)
        shown = call("prepare", experiment, "--workers", "1")
    assert shown.code == 1
    assert str(tmp_path / "store") in shown.error and "the disk is full: free some space" in shown.error
    refused = call("evaluate", tmp_path, "--store", tmp_path / "store")
    assert refused.code == 2
    again = call("prepare", experiment, "--workers", "1")
    assert again.code == 0 and "0 failed" in again.out and "2 kept" in again.out


def test_interrupt_is_one_line(raw, call, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("crosstask.pipeline.context.prepare", interrupted)
    shown = call("prepare", write_experiment(tmp_path, raw, tmp_path / "store"))
    assert shown.code == 130
    assert shown.err.splitlines() == ["Interrupted. Run the same command to resume."]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_prepare_shows_progress_on_a_terminal_and_not_elsewhere(raw, tmp_path):
    shown = _on_terminal(tmp_path, raw, "terminal")
    assert "Preparing" in shown and "6/6" in shown and "━" in shown and "\x1b[" in shown
    assert "6 written" in shown
    piped = run(tmp_path, "prepare", write_experiment(tmp_path, raw, tmp_path / "piped"), "--workers", "1")
    assert piped.code == 0 and "6 written" in piped.out
    assert not has_progress(piped.out + piped.err)


def _on_terminal(folder, raw, store):
    """What the command shows on a terminal of 100 columns."""
    import pty

    experiment = write_experiment(folder, raw, folder / store)
    child, terminal = pty.fork()
    if child == 0:
        os.execve(
            SCRIPT,
            [str(SCRIPT), "prepare", str(experiment), "--workers", "1"],
            environment(TERM="xterm-256color", COLUMNS="100", LINES="30"),
        )
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return shown.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_reader_that_leaves_early_is_no_fault(raw, tmp_path):
    """``crosstask check ... | head -1``."""
    import subprocess

    process = subprocess.Popen(
        [SCRIPT, "check", "phantom", str(raw), "--notes"],
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait() in (0, 1, -signal.SIGPIPE)
    assert "Traceback" not in error
