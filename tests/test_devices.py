"""Which device a network computes on, with GPUs that are not there."""

import multiprocessing
import sys

import pytest
import torch

from crosstask.devices import describe_device, find_device, peak_memory
from crosstask.errors import InputError


@pytest.fixture
def gpu(monkeypatch):
    """A machine whose GPU works as long as it stands in the list."""
    working = ["cuda"]
    empty = torch.empty

    def fake(*sizes, device):
        if device.type == "cuda" and "cuda" not in working:
            raise RuntimeError("CUDA error: out of memory")
        return empty(*sizes)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch, "empty", fake)
    return working


def test_auto_takes_the_gpu_and_says_so(gpu):
    for name in ("auto", "gpu", "cuda"):
        device = find_device(name)
        assert device == torch.device("cuda", 0)
        assert describe_device(device) == "cuda:0 (NVIDIA H100)"
    assert find_device("cpu") == torch.device("cpu")


def test_auto_leaves_a_gpu_that_fails_alone_and_others_say_why(gpu):
    gpu.clear()
    assert describe_device(find_device("auto")) == "cpu"
    with pytest.raises(InputError, match="out of memory"):
        find_device("cuda")
    with pytest.raises(InputError, match="no GPU"):
        find_device("gpu")


def test_without_a_gpu_auto_is_the_cpu(monkeypatch):
    for backend in (torch.cuda, torch.mps):
        monkeypatch.setattr(backend, "is_available", lambda: False)
    assert find_device() == torch.device("cpu")
    with pytest.raises(InputError, match="no GPU"):
        find_device("gpu")


def _peak(queue: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    held = torch.zeros(40_000_000)  # 160 MB
    held += 1
    queue.put(peak_memory(torch.device("cpu")))


@pytest.mark.skipif(sys.platform == "win32", reason="not known there")
def test_the_memory_of_a_training_is_known_where_the_process_is_its_own():
    assert peak_memory(torch.device("cpu")) is None
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(queue,))
    process.start()
    peak = queue.get(timeout=120)
    process.join()
    assert peak is not None and 160e6 < peak < 64e9
