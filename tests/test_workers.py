"""Cases shared out over processes: their order, errors where they belong, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from crosstask.devices import devices_in, devices_like
from crosstask.errors import CrosstaskError, InputError
from crosstask.workers import Workers


def squares(device: str) -> Callable[[int], tuple[int, int, str]]:
    return lambda number: (number**2, os.getpid(), device)


def slow_first(device: str) -> Callable[[int], tuple[int, int]]:
    def work(number: int) -> tuple[int, int]:
        time.sleep(0.5 if number == 0 else 0)
        return number, os.getpid()

    return work


def failing(device: str) -> Callable[[int], int]:
    def work(number: int) -> int:
        if number == 2:
            raise InputError("case 2: cannot be read")
        if number == 3:
            raise ValueError("a fault of the code")
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    return work


def refusing(device: str) -> Callable[[int], int]:
    raise InputError(f"{device}: no such weights")


@pytest.fixture(autouse=True)
def _no_orphans() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def test_one_device_is_this_process_and_begins_when_it_is_asked():
    asked = []
    with Workers(squares, ["cpu"]) as workers:
        found = workers.each(asked.append(number) or number for number in range(3))  # type: ignore[func-returns-value]
        assert next(found) == (0, os.getpid(), "cpu")
        assert asked == [0]
        assert [value for value, *_ in found] == [1, 4]


def test_several_give_back_in_order_and_stay_for_more():
    with Workers(squares, ["cpu", "cpu"]) as workers:
        first, second = list(workers.each(range(9))), list(workers.each(range(3)))
    assert [value for value, *_ in first] == [number**2 for number in range(9)]
    processes = {process for _, process, _ in first}
    assert os.getpid() not in processes and len(processes) <= 2
    assert {process for _, process, _ in second} <= processes | {process for _, process, _ in first}


def test_a_slow_one_keeps_no_other_back():
    with Workers(slow_first, ["cpu", "cpu"]) as workers:
        found = list(workers.each(range(6)))
    assert [number for number, _ in found] == list(range(6))
    assert sum(process == found[0][1] for _, process in found) < 6


def test_nothing_to_do_starts_nothing():
    with Workers(refusing, ["cpu", "cpu"]) as workers:
        assert list(workers.each([])) == []


@pytest.mark.parametrize(
    ("items", "error", "words", "before"),
    [
        ([0, 1, 2, 5], InputError, "case 2: cannot be read", [0, 1]),
        ([0, 3], RuntimeError, "a fault of the code", [0]),
        ([4], CrosstaskError, "cpu: the process that computes on it was killed, probably out of memory", []),
    ],
)
def test_an_error_comes_in_its_place(items: list[int], error: type[Exception], words: str, before: list[int]):
    found = []
    with Workers(failing, ["cpu", "cpu"]) as workers, pytest.raises(error, match=words):
        for one in workers.each(items):
            found.append(one)
    assert found == before


def test_what_cannot_be_made_is_told():
    with Workers(refusing, ["cpu", "cpu"]) as workers, pytest.raises(InputError, match="cpu: no such weights"):
        list(workers.each([1]))


def test_names_of_several_devices():
    assert devices_in("cpu, cpu") == ["cpu", "cpu"]
    assert devices_in("auto") == ["auto"]
    with pytest.raises(InputError, match="--device: 'nonsense' cannot be used"):
        devices_in("cpu,nonsense")


@pytest.mark.parametrize(
    ("device", "devices", "count", "names"),
    [
        ("cpu", 2, 0, "cpu,cpu"),
        ("auto", 3, 0, "cpu,cpu,cpu"),
        ("cpu", 1, 0, "auto"),
        ("gpu", 2, 0, "auto"),
        ("auto", "auto", 0, "auto"),
        ("auto", 2, 4, "cuda:0,cuda:1"),
        ("gpu", "auto", 3, "cuda:0,cuda:1,cuda:2"),
        ("cuda", [1, 3], 4, "cuda:1,cuda:3"),
        ("cuda", "1,2", 4, "cuda:1,cuda:2"),
        ("cuda", -1, 2, "cuda:0,cuda:1"),
        ("auto", 8, 2, "cuda:0,cuda:1"),
        ("auto", [1], 4, "cuda:1"),
        ("auto", [6], 2, "auto"),
        ("auto", "nonsense", 2, "auto"),
    ],
)
def test_devices_of_a_training_are_found_again(
    device: str, devices: int | str | list[int], count: int, names: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert devices_like(device, devices) == names
