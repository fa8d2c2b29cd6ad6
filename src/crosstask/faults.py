"""What the machine, and not the code, ends: in one line with what to do, in place of a page of calls."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from crosstask.errors import CrosstaskError, InputError

FOR_MEMORY = (
    "run the same command to resume from its last epoch with more memory free (fewer --jobs, no other programs), or "
    "set a smaller training.batch_size and another output=, since a run keeps its settings"
)
"""What to do when a run has not had the memory that it needs."""

_MEMORY = re.compile(
    r"out of memory|out-of-memory|can't allocate memory|cannot allocate memory|not enough memory|bad_alloc|"
    r"unable to allocate|STATUS_ALLOC_FAILED|insufficient memory",
    re.IGNORECASE,
)
_SHARED = re.compile(r"shared memory|\bshm\b|bus error", re.IGNORECASE)
_WORKER = re.compile(r"DataLoader worker .*(exited unexpectedly|killed by signal)", re.IGNORECASE | re.DOTALL)
_NORMALISATION = re.compile(r"Expected more than 1 (spatial element|value per channel)")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was asked for that there is not, on any device: torch has several errors for it."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError | ValueError) and bool(_MEMORY.search(str(error)))
    )


@contextlib.contextmanager
def told_plainly(run: str) -> Iterator[None]:
    """Turn what a run can meet on a machine into an error of one line.

    Args:
        run: its name.

    Raises:
        CrosstaskError: there is not enough memory, or a process that loads samples was killed.
        InputError: batches of one sample, where batch normalisation needs more.
    """
    try:
        yield
    except CrosstaskError as error:
        first, _, rest = str(error).partition("\n")
        if not rest:
            raise
        # raised in a process that loads samples, which adds all calls to the words
        raise type(error)(rest.strip().rpartition("\n")[2].partition("Error: ")[2] or first) from None
    except Exception as error:
        line = _line_of(run, error)
        if line is None:
            raise
        raise line from error


def _line_of(run: str, error: Exception) -> CrosstaskError | None:
    words = str(error)
    if _NORMALISATION.search(words):
        return InputError(
            f"{run}: training.batch_size: a batch of one sample leaves batch normalisation a single value where the "
            "network is deepest; set at least 2, or a larger sample.size, with another output= if the run has begun"
        )
    if _WORKER.search(words):
        if _SHARED.search(words):
            return CrosstaskError(
                f"{run}: there is too little shared memory (/dev/shm) for the processes that load samples; set "
                "training.loader_workers=0, or give it more, and run the same command to resume from the last epoch"
            )
        return CrosstaskError(
            f"{run}: a process that loads samples was killed, probably out of memory; run the same command to resume "
            "from its last epoch with fewer training.loader_workers or fewer --jobs"
        )
    if is_out_of_memory(error):
        return CrosstaskError(f"{run}: is out of memory; {FOR_MEMORY}")
    return None
