"""What `crosstask --help` and the completion of a command cost, against a Python that does nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from measured import cost_of, crosstask, medians
from rows import Row

_BOUND = 8.0
_ASKED = {"_CROSSTASK_COMPLETE": "complete_bash", "COMP_WORDS": "crosstask pre", "COMP_CWORD": "1"}


def rows(short: bool) -> Iterator[Row]:
    """Ratios of CPU seconds, medians of processes that take turns."""
    bare = [sys.executable, "-c", "pass"]
    found = medians(
        {
            "bare": lambda: cost_of(bare).seconds,
            "help": lambda: cost_of(crosstask("--help")).seconds,
            "completion": lambda: cost_of(crosstask(), _ASKED).seconds,
            "parser": lambda: cost_of(crosstask("train", "--help")).seconds,
        },
        5 if short else 21,
    )
    told = ", ".join(f"{name} {1e3 * seconds:.0f} ms" for name, seconds in found.items() if name != "parser")
    yield Row("`crosstask --help` against a bare Python start", found["help"] / found["bare"], _BOUND, True, note=told)
    yield Row("completion of a command against the same", found["completion"] / found["bare"], _BOUND, True)
    if not short:
        note = "all of the parser and its coloured help; no bound is asked for"
        yield Row("`crosstask train --help` against the same", found["parser"] / found["bare"], 40.0, True, note=note)
