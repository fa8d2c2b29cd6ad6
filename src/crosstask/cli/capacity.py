"""What this machine has to compute with."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from crosstask.cli.machine import memory_in_use
from crosstask.datasets.cohort.plan import Machine
from crosstask.processes import cores

_GB = 2**30


def this_machine() -> Machine:
    """Cores, free memory and GPU of this machine, within what the process may use."""
    if not _may_have_gpu():
        return Machine(cores(), free_memory())
    import torch

    gpu, gpu_memory = "", 0.0
    if torch.cuda.is_available():
        with suppress(RuntimeError):
            own = torch.cuda.get_device_properties(0)
            gpu, gpu_memory = own.name, own.total_memory / _GB
    elif torch.backends.mps.is_available():
        gpu, gpu_memory = "Apple GPU", free_memory()
    return Machine(cores(), free_memory(), gpu, gpu_memory)


def _may_have_gpu() -> bool:
    """Whether it is worth to import PyTorch, which takes seconds, to look for a GPU."""
    return sys.platform == "darwin" or bool(shutil.which("nvidia-smi")) or Path("/dev/nvidia0").exists()


def free_memory() -> float:
    """Memory that is free, in GB; within the limit of a container."""
    memory = memory_in_use()
    if memory is not None:
        free = (memory[1] - memory[0]) / _GB
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GB / 2
    else:
        free = 4.0  # where the system does not say
    with suppress(OSError, ValueError):
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, max(0.0, (limit - used) / _GB))
    return free
