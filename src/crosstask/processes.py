"""How many processes may work at once, and workers that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
