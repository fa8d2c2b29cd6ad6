"""How many processes may work at once, and workers that end with the process that started them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext, ForkServerContext, SpawnContext


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def context_with(modules: Sequence[str], *, on_cpu: bool, forks: bool = True) -> SpawnContext | ForkServerContext:
    """How to start processes that need modules which take seconds to import.

    On Linux they are forked off one process that has imported them and does nothing else, so each is as fresh as a new
    one. That process asks for no GPU: one that has used CUDA cannot be forked (:func:`forked_badly`). Libraries of
    other systems, and of other accelerators, cannot be forked either: there each process is new and imports them.

    Args:
        modules: names of modules.
        on_cpu: the processes compute on the CPU, whatever else is there.
        forks: False for new ones wherever this is.
    """
    if forks and sys.platform == "linux" and (on_cpu or not _has_other_accelerator()):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(modules))
        return context
    return multiprocessing.get_context("spawn")


def context_of_now() -> BaseContext:
    """How to start processes that need little: forked off the process that others are forked off, if there is one."""
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    started = getattr(server, "_forkserver_pid", None) is not None
    return multiprocessing.get_context("forkserver" if started else "spawn")


def _has_other_accelerator() -> bool:
    """Whether there is one that no process may have imported before it is forked: any but CUDA's."""
    import torch

    found = torch.accelerator.current_accelerator()
    return found is not None and found.type != "cuda"


def forked_badly() -> bool:
    """Whether this process was forked off one that had asked CUDA for a GPU, after which it can use none."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda._is_in_bad_fork())


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Start processes that do not import the main module once more, where that is a command and not a user's script."""
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", "") or ""
    file = os.path.basename(getattr(main, "__file__", None) or "")  # noqa: PTH119 - it may be no path at all
    if not (name.startswith("crosstask.") or file in ("crosstask", "crosstask.exe", "default_worker.py")):
        yield
        return
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def begin(environment: Mapping[str, str]) -> None:
    """What a process that was started for work does first: it ends with its parent, and has the environment of now.

    Args:
        environment: of the parent. One that was forked has that of the time when modules were imported.
    """
    follow_parent()
    os.environ.clear()
    os.environ.update(environment)


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
