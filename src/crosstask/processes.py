"""How many processes may work at once, and workers that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def context_with(modules: Sequence[str], *, on_cpu: bool) -> SpawnContext | ForkServerContext:
    """How to start processes that need modules which take seconds to import.

    On Linux and without a GPU they are forked off one process that has imported them and does nothing else. A process
    that uses a GPU cannot be forked, nor can libraries of other systems: there each is new and imports them itself.

    Args:
        modules: names of modules.
        on_cpu: the processes compute on the CPU, whatever else is there.
    """
    if sys.platform == "linux" and (on_cpu or not _has_gpu()):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(modules))
        return context
    return multiprocessing.get_context("spawn")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def follow_parent() -> None:
    """Make this worker end when its parent does, however it dies, and leave Ctrl-C to the parent.

    Without it a killed command would leave workers behind that go on writing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
