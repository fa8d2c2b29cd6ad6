"""Run folders that come back from other machines, files that go there, and what runs take; nothing of Ray here."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstask.errors import InputError
from crosstask.evaluation import mirror, remote
from crosstask.evaluation.mirror import Change, Sender, whole
from crosstask.evaluation.named_files import named_files, with_files
from crosstask.evaluation.remote import Ended, Job, Lacks, Shipped, do_job, store_parts
from crosstask.evaluation.resources import Resources, check_room
from crosstask.evaluation.run import train_and_score
from crosstask.evaluation.work import Work
from crosstask.experiment import TrainingSection
from progress_fakes import benchmark

NAMES = ("history.csv", "last.ckpt", "previous.ckpt", "run.json", "candidates/1.safetensors", "snapshots/2.safetensors")


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("experiment.yaml", "train.lock")
    }


@given(seed=st.integers(0, 10_000), steps=st.integers(1, 8))
@settings(max_examples=20)
def test_a_folder_is_the_same_on_the_other_side_whatever_changed(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: int
) -> None:
    root, draw = tmp_path_factory.mktemp("mirror"), random.Random(seed)
    here, there = root / "here" / "seed0", root / "there" / "seed0"
    here.mkdir(parents=True)
    there.mkdir(parents=True)
    logs = [folder.parent / "seed0.log" for folder in (here, there)]
    sender = Sender(here, logs[0])
    for step in range(steps):
        for name in draw.sample(NAMES, draw.randint(0, len(NAMES))):
            path = here / name
            if draw.random() < 0.3:
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(exist_ok=True)
            new = path.with_name(f".{path.name}.1.part")
            new.write_bytes(draw.randbytes(draw.randint(0, 9)))
            new.replace(path)
        (here / "experiment.yaml").write_text(f"output: here{step}")  # which names places of its own machine
        (here / "train.lock").write_text("1 here")
        with logs[0].open("a") as log:
            log.write(f"{step}\n")
        if draw.random() < 0.5:
            sender.news().put(there, logs[1])
        else:
            change = sender.state()
            assert change is not None
            change.put(there, logs[1])
            assert _content(there) == _content(here) and logs[1].read_text() == logs[0].read_text()
    assert not (there / "experiment.yaml").exists() and not (there / "train.lock").exists()


def test_a_state_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written while it is looked at is not half in it."""
    folder = tmp_path / "seed0"
    (folder / "candidates").mkdir(parents=True)
    (folder / "last.ckpt").write_text("of epoch 1")
    (folder / "candidates" / "1.safetensors").write_text("1")
    sender = Sender(tmp_path / "nothing", tmp_path / "log")
    sender._folder = folder
    link, went = os.link, []

    def linked(source: Path, target: Path) -> None:
        link(source, target)
        if len(went) < 2:  # an epoch ends meanwhile: its candidate, its checkpoint, and the old candidate is removed
            went.append(source)
            for name, text in ((f"candidates/{len(went) + 1}.safetensors", "new"), ("last.ckpt", "later")):
                (folder / "new").write_text(f"{text} {len(went)}")
                (folder / "new").replace(folder / name)
            (folder / f"candidates/{len(went)}.safetensors").unlink()

    monkeypatch.setattr(mirror.os, "link", linked)
    state = sender.state()
    assert state is not None and len(went) == 2
    assert state.files == {"last.ckpt": b"later 2", "candidates/3.safetensors": b"new 2"}


def test_a_state_is_worth_sending_once_its_checkpoint_is_written(tmp_path: Path) -> None:
    sender = Sender(tmp_path, tmp_path / "log")
    (tmp_path / "history.csv").write_text("epoch\n0\n")  # before the checkpoint of the same epoch
    assert sender.news() and not sender.has_new_checkpoint
    (tmp_path / "last.ckpt").write_text("1")
    assert not sender.news() and sender.has_new_checkpoint
    assert sender.state() and not sender.has_new_checkpoint


def test_a_checkpoint_comes_after_what_it_needs_and_the_record_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(mirror, "write_atomically", lambda path, data: order.append(path.name))
    names = ("run.json", "last.ckpt", "previous.ckpt", "zzz.csv", "candidates/1.safetensors", "final.safetensors")
    Change(dict.fromkeys(names, b"")).put(tmp_path, tmp_path / "log")
    assert order[-1] == "run.json" and set(order[-3:-1]) == {"last.ckpt", "previous.ckpt"}


def test_all_of_a_folder_but_its_own_places_goes(tmp_path: Path) -> None:
    for name in (*NAMES, "experiment.yaml", "train.lock", "plugins/mine.py", ".at-work/1", ".run.json.7.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert {name: data.decode() for name, data in whole(tmp_path).files.items()} == {name: name for name in NAMES}


def _job(tmp_path: Path, **changes: object) -> Job:
    (spec, *_) = benchmark(tmp_path / "out")
    job = Job(Work(spec, tmp_path / "store", train_and_score), "mark", "0" * 32, str(tmp_path), False, 60.0)
    return replace(job, **changes)  # type: ignore[arg-type]


def test_a_machine_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "cache"))
    assert list(do_job(_job(tmp_path), Shipped())) == [Lacks(store=True, state=False)]
    assert list(do_job(_job(tmp_path, begun=True), Shipped())) == [Lacks(store=True, state=True)]
    (tmp_path / "out" / "mark").touch()  # which it sees now
    assert list(do_job(_job(tmp_path, begun=True), Shipped())) == [Lacks(store=True, state=False)]
    (ended,) = do_job(_job(tmp_path, version="0.0.1"), Shipped())
    assert isinstance(ended, Ended) and ended.exit_code == 2 and "here is 0.0.1; install the same" in ended.words


def test_what_did_not_arrive_whole_is_not_taken_for_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "cache"))
    (ended,) = do_job(_job(tmp_path), Shipped(store=iter([{"store.json": b"{}"}])))
    assert isinstance(ended, Ended) and ended.exit_code == 1 and "did not arrive whole" in ended.words


def test_a_store_goes_in_parts_without_what_is_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PART_BYTES", 10)
    files = {"store.json": b"12345678", "cases/a/image.b2nd": b"0" * 30, "cases/b/case.json": b"{}"}
    for name, data in {**files, "prepare.lock": b"1", "cases/.new-a/case.json": b"{}"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    parts = list(store_parts(tmp_path))
    assert len(parts) == 2
    assert {name: data for part in parts for name, data in part.items()} == files


def test_files_that_an_experiment_names_go_with_it_and_are_found(tmp_path: Path) -> None:
    splits = tmp_path / "splits.csv"
    splits.write_text("case,split\na,train\n")
    dataset = {
        "name": "phantom",
        "root": "nowhere",
        "tasks": {"dose": {}},
        "splits": {"rule": "file", "file": str(splits)},
    }
    (spec, *_) = benchmark(tmp_path / "out", dataset=dataset)
    assert named_files(spec.experiment) == {str(splits): splits}
    files = {str(splits): splits.read_bytes()}
    seen = with_files(spec.experiment, files, tmp_path / "here", False)
    assert seen is spec.experiment  # the machine sees the same file
    splits.write_text("case,split\na,test\n")  # another of that name
    copied = with_files(spec.experiment, files, tmp_path / "here", False)
    assert copied.dataset.splits.file is not None and copied.dataset.splits.file != splits
    assert copied.dataset.splits.file.read_bytes() == files[str(splits)]
    assert copied.output_folder == spec.experiment.output_folder


@pytest.mark.parametrize(
    ("wanted", "settings", "there", "asked"),
    [
        (Resources(), {}, False, {"CPU": 1, "GPU": 0}),
        (Resources(), {"threads": 3, "loader_workers": 2}, True, {"CPU": 5, "GPU": 1}),
        (Resources(), {"device": "cpu"}, True, {"CPU": 1, "GPU": 0}),
        (Resources(), {"devices": 2}, True, {"CPU": 2, "GPU": 2}),
        (Resources(), {"devices": 2, "threads": 6, "loader_workers": 3}, True, {"CPU": 12, "GPU": 2}),
        (Resources(), {"devices": [1, 3, 4], "loader_workers": 1, "strategy": "fsdp"}, True, {"CPU": 6, "GPU": 3}),
        (Resources(), {"devices": "auto", "loader_workers": 2}, True, {"CPU": 3, "GPU": 1}),
        (Resources(cores=5), {"devices": 2, "loader_workers": 3}, True, {"CPU": 5, "GPU": 2}),
        (Resources(gpus=0.25), {}, False, {"CPU": 1, "GPU": 0.25}),
        (Resources(gpus=1), {"device": "cpu"}, True, {"CPU": 1, "GPU": 0}),
        (Resources(cores=2, memory=2), {"device": "gpu"}, False, {"CPU": 2, "GPU": 1, "memory": 2 * 2**30}),
    ],
)
def test_what_a_run_takes(wanted: Resources, settings: dict[str, object], there: bool, asked: dict[str, float]) -> None:
    assert wanted.asked(TrainingSection.model_validate(settings), there=there) == asked


def test_threads_are_what_the_processes_that_load_samples_leave(tmp_path: Path) -> None:
    (spec, *_) = benchmark(tmp_path / "out", training={"epochs": 1, "devices": 2, "loader_workers": 3})
    assert Resources(cores=16).threaded(spec).experiment.training.threads == 10
    assert Resources().threaded(spec).experiment.training.threads == 2
    assert Resources(cores=4).threaded(spec).experiment.training.threads == 1


def test_a_run_that_no_machine_has_room_for_is_refused() -> None:
    nodes = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 64.0}]
    check_room({"CPU": 8, "GPU": 1}, nodes, "hps/seed0")
    with pytest.raises(InputError, match=r"--gpus: hps/seed0 takes 2, and no machine of the cluster has more than 1;"):
        check_room({"CPU": 1, "GPU": 2}, nodes, "hps/seed0")
    with pytest.raises(
        InputError, match=r"no machine of the cluster has all that hps/seed0 takes together \(9 CPU, 1 GPU"
    ):
        check_room({"CPU": 9, "GPU": 1}, nodes, "hps/seed0")
