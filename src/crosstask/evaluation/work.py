"""What is to be done of runs, each in a process of its own: one that fails or is killed takes nothing else along."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from crosstask.buckets import Place
from crosstask.errors import CrosstaskError, InputError
from crosstask.faults import FOR_MEMORY, told_plainly
from crosstask.plugins import load
from crosstask.processes import begin, context_with, forked_badly, without_main
from crosstask.runs import RunSpec

SIGKILL = 9  # the signal module of Windows does not know it
_BADLY_FORKED = 75
"""Exit code of a process that cannot use a GPU, since what it was forked off has touched one."""
IMPORTED = (
    "crosstask.training.run",
    "crosstask.evaluation.evaluate",
    "crosstask.evaluation.examples",
    "monai.networks.nets.resnet",
    "torch._dynamo",
)
"""What every run needs of modules: imported once for all of them, where processes can be forked.

MONAI and the compiler are named, as encoders and optimisers import them no sooner than they are used.
"""


@dataclass(frozen=True)
class Work:
    """What is to be done of one run.

    Attributes:
        spec: the run.
        store: the prepared cases.
        do: called with run, store, what ``more`` holds, and ``tell``; a function of a module.
        more: further arguments.
    """

    spec: RunSpec
    store: Place
    do: Callable[..., None]
    more: tuple[Any, ...] = ()

    def __call__(self, tell: Callable[[str], None]) -> None:
        """Do it in this process; ``tell`` is told in one line what is done."""
        self.do(self.spec, self.store, *self.more, tell=tell)


@dataclass(frozen=True)
class Failed:
    """A run whose process did not come to its end: its exit code, or minus the signal that ended it."""

    spec: RunSpec
    exit_code: int


class Runner(Protocol):
    """Who does what is to be done of several runs: here, on other machines, or later.

    What fails leaves the others alone; the first failure is raised when all have ended.
    """

    def __call__(self, work: Sequence[Work], *, follow: Callable[[], None] | None = None) -> None:
        """Do it; ``follow`` is called about once a second."""


def in_processes(work: Sequence[Work], *, jobs: int = 1, follow: Callable[[], None] | None = None) -> None:
    """Do what is to be done of several runs, ``jobs`` at a time, each in a process of its own.

    What fails leaves the others alone; the first failure is raised when all have ended. Output goes to the runs' logs.

    Args:
        work: what is to be done.
        jobs: processes at a time.
        follow: called about once a second.

    Raises:
        CrosstaskError: something failed, or its process was killed.
    """
    raise_first(failures_of(work, jobs=jobs, follow=follow))


def failures_of(work: Sequence[Work], *, jobs: int = 1, follow: Callable[[], None] | None = None) -> list[Failed]:
    """The same as :func:`in_processes`, and what failed."""
    on_cpu = all(one.spec.experiment.training.device == "cpu" for one in work)
    context = context_with(IMPORTED, on_cpu=on_cpu)
    waiting = list(work)
    at_work: list[tuple[Work, BaseProcess]] = []
    failed: list[Failed] = []
    try:
        while waiting or at_work:
            while waiting and len(at_work) < jobs:
                one = waiting.pop(0)
                process: BaseProcess = context.Process(
                    target=_do_apart, args=(one, dict(os.environ)), name=one.spec.name
                )
                with without_main():
                    process.start()
                at_work.append((one, process))
            wait([process.sentinel for _, process in at_work], timeout=1)
            for one, process in [entry for entry in at_work if not entry[1].is_alive()]:
                at_work.remove((one, process))
                if process.exitcode == _BADLY_FORKED:
                    context = context_with((), on_cpu=on_cpu, forks=False)
                    waiting.insert(0, one)
                elif process.exitcode != 0:
                    failed.append(Failed(one.spec, process.exitcode or 0))
            if follow:
                follow()
    finally:
        for _, process in at_work:
            process.terminate()
    return failed


def _do_apart(work: Work, environment: dict[str, str]) -> None:
    """Do something in this process, which was started for it."""
    begin(environment)
    if forked_badly():
        sys.exit(_BADLY_FORKED)
    spec = work.spec
    threads = spec.experiment.training.threads
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for a torch that is still to be imported
        if "torch" in sys.modules:  # forked: it has been
            sys.modules["torch"].set_num_threads(threads)
    log_of(spec).parent.mkdir(parents=True, exist_ok=True)
    with log_of(spec).open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            load(spec.experiment.plugins)
            with told_plainly(spec.name):
                work(lambda line: print(line, file=sys.stderr, flush=True))
        except CrosstaskError as error:
            traceback.print_exc()
            sys.stderr.flush()
            sys.exit(error.exit_code)


def in_this_process(work: Work, tell: Callable[[str], None]) -> None:
    """Do what is to be done of one run in this process, which was started for it; its log has what is said.

    Args:
        work: what is to be done.
        tell: told the same, in lines.

    Raises:
        CrosstaskError: it failed.
    """
    log_of(work.spec).parent.mkdir(parents=True, exist_ok=True)
    with log_of(work.spec).open("a", encoding="utf-8") as log:

        def say(line: str) -> None:
            print(line, file=log, flush=True)
            tell(line)

        try:
            with told_plainly(work.spec.name):
                work(say)
        except CrosstaskError:
            traceback.print_exc(file=log)
            raise


def asked_apart(function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a process that has imported what runs need, so that this one need not.

    Args:
        function: of a module; what it raises is raised here.
        arguments: its own.

    Raises:
        CrosstaskError: its process was killed.
    """
    context = context_with(IMPORTED, on_cpu=False)
    here, there = context.Pipe(duplex=False)
    process: BaseProcess = context.Process(target=_answer, args=(there, function, arguments, dict(os.environ)))
    with without_main():
        process.start()
    there.close()
    try:
        error = here.recv()
    except EOFError:
        process.join()
        raise CrosstaskError(
            f"a process that looked at the settings was ended (exit code {process.exitcode}), probably out of memory; "
            "give it more, and run the same command again"
        ) from None
    finally:
        here.close()
        process.terminate()
        process.join()
    if error is not None:
        raise error


def _answer(
    there: Connection, function: Callable[..., None], arguments: Sequence[object], environment: dict[str, str]
) -> None:
    """Call a function, and hand on what it raises."""
    begin(environment)
    try:
        function(*arguments)
    except Exception as error:
        there.send(error)
    else:
        there.send(None)


def raise_first(failed: Sequence[Failed]) -> None:
    """Raise what the first of several failures was, in one line, with how many more there are; nothing where none is.

    Raises:
        CrosstaskError: something failed, or its process was killed.
    """
    if failed:
        raise _failure(failed[0].spec, failed[0].exit_code, others=len(failed) - 1)


def _failure(spec: RunSpec, exit_code: int, others: int) -> CrosstaskError:
    """One line for a run that failed; its own last words if it had any."""
    more = f" (and {others} more)" if others else ""
    if exit_code == -SIGKILL:
        return CrosstaskError(f"{spec.name}: its process was killed, probably out of memory; {FOR_MEMORY}{more}")
    if exit_code < 0:
        return CrosstaskError(
            f"{spec.name}: its process was ended by signal {-exit_code}; run the same command to resume "
            f"from its last epoch{more}"
        )
    words = last_words(spec) or "its process left no message; is the disk full?"
    if "run the same command to resume" in words:
        return CrosstaskError(f"{words}{more}")
    if exit_code == InputError.exit_code:
        return InputError(f"{words}{more}")
    return CrosstaskError(f"{spec.name}: {words}{more}; see {log_of(spec)}; run the same command to resume")


def last_words(spec: RunSpec) -> str:
    """What a run's process said when it failed, by its log; empty where that ends with a line of progress."""
    try:
        log = log_of(spec).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    last = log.rpartition("\n")[2]
    if last.startswith(f"{spec.name}: "):  # a line of its progress
        return ""
    return last.partition("Error: ")[2] if last.startswith("crosstask.errors.") else last


def log_of(spec: RunSpec) -> Path:
    """Where a run's own output goes: beside its folder, which is not there before the run has begun."""
    return spec.folder.parent / f"{spec.folder.name}.log"
