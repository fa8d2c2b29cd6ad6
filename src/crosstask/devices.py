"""Which device a network computes on."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys

import torch

from crosstask.errors import InputError

AUTO = "auto"
GPU = "gpu"
CPU = "cpu"


def find_device(name: str = AUTO) -> torch.device:
    """A device that is there and computes.

    Args:
        name: one of PyTorch's (``cpu``, ``cuda``, ``cuda:1``, ``mps``), ``gpu`` for a GPU that works, or ``auto`` for
            that if there is one, else the CPU.

    Raises:
        InputError: it is not there, or does not work.
    """
    if name not in (AUTO, GPU):
        return _working(name)
    for kind, backend in (("cuda", torch.cuda), ("mps", torch.mps)):
        if backend.is_available():
            with contextlib.suppress(InputError):  # it may be full, or another's alone
                return _working(kind)
    if name == GPU:
        raise InputError("--device: there is no GPU here that PyTorch can use; use cpu, or auto")
    return torch.device(CPU)


def devices_in(names: str) -> list[str]:
    """Names of devices with commas between, ``cuda:0,cuda:1`` or ``cpu,cpu``, each there and working.

    Raises:
        InputError: one is not there.
    """
    listed = [name.strip() for name in names.split(",") if name.strip()] or [AUTO]
    return listed if len(listed) == 1 else [str(find_device(name)) for name in listed]


def devices_like(device: str, devices: int | str | list[int]) -> str:
    """Devices of this machine as an experiment asks for several to train on, with commas between; else ``auto``.

    As many as there are of those: a run may be scored on another machine than it was trained on.

    Args:
        device: ``training.device``.
        devices: ``training.devices``.
    """
    try:
        asked = [int(each) for each in devices.split(",")] if isinstance(devices, str) and "," in devices else devices
        number = -1 if asked in ("auto", "-1") else int(asked) if isinstance(asked, str) else asked
    except ValueError:
        return AUTO
    on_gpu = device != CPU and torch.cuda.is_available()
    if number == 1 and not isinstance(number, list):
        return AUTO
    if not on_gpu:
        count = len(number) if isinstance(number, list) else max(number, 1)
        return ",".join([CPU] * count) if count > 1 and device in (CPU, AUTO) else AUTO
    there = torch.cuda.device_count()
    if not isinstance(number, list):
        number = list(range(there if number < 0 else number))
    return ",".join(f"cuda:{index}" for index in number if 0 <= index < there) or AUTO


def devices_for(names: str, device: str, devices: int | str | list[int]) -> list[torch.device]:
    """The devices that share cases out: those that are named, or by ``auto`` those that a run was trained on.

    Args:
        names: see :func:`devices_in`.
        device: ``training.device``.
        devices: ``training.devices``.

    Raises:
        InputError: one is not there.
    """
    return [find_device(name) for name in devices_in(devices_like(device, devices) if names == AUTO else names)]


def _working(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except Exception as error:  # each backend has an error of its own for a device that is not there
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"--device: {name!r} cannot be used ({line}); use cpu, or a device that is there") from None
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else device


def describe_device(device: torch.device) -> str:
    """A device as a person wants to read it: ``cpu``, ``mps``, or ``cuda:0 (NVIDIA H100)``."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def peak_memory(device: torch.device) -> int | None:
    """Bytes that a training has needed at most: of a GPU, or of a process that is the training's own.

    None where that is not known: in a process that does other things as well, or on Windows.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if multiprocessing.parent_process() is None or sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else 1024 * int(peak)
