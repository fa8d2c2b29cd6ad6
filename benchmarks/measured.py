"""What the benchmarks of the table measure with: CPU seconds and memory of commands, ratios of what takes turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: of CPU time, of it and its children that it waited for.
        mebibytes: the most memory that it held itself (of itself or its largest child).
    """

    seconds: float
    mebibytes: float


def cost_of(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end, at one thread, from this source tree; its output is dropped.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT / "src"), **(variables or {})}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]} ended with {process.returncode}: {said.decode()[-500:]}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def crosstask(*arguments: str) -> list[str]:
    """The command line of ``crosstask`` in this source tree."""
    told = ["crosstask", *arguments]
    return [sys.executable, "-c", f"import sys; sys.argv = {told!r}; from crosstask.cli.main import main; main()"]


def medians(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each figure, taken in turns, so that a busy machine slows all of them alike."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            found[name].append(turn())
    return {name: statistics.median(values) for name, values in found.items()}


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a call in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start
