"""How a command ends: its exit code, and errors as one line, or as JSON where that was asked for."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from rich.markup import escape

from crosstask.cli.answering import answer_error
from crosstask.cli.terminal import err, manner
from crosstask.errors import MOST, CrosstaskError, InputErrors, one_line
from crosstask.faults import is_out_of_memory

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of a shell."""


def run_to_its_end(app: Callable[..., Any]) -> None:
    """Run a command; errors are one line and an exit code: 2 for input, 1 for anything else."""
    try:
        if "--json" in sys.argv[1:]:
            _run_for_scripts(app)
        else:
            app()
    except InputErrors as error:
        _stop_many(error)
    except CrosstaskError as error:
        _stop(str(error), error.exit_code)
    except KeyboardInterrupt:
        _stop_interrupted()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer has taken the KeyboardInterrupt
            _stop_interrupted()
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = "free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "fix this"
        _stop(f"{where}{error.strerror or error}; {remedy}, then run the same command again", 1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _stop("out of memory; give it more, or less at once (fewer --jobs or --workers, evaluation.batch_size=1)", 1)


def _run_for_scripts(app: Callable[..., Any]) -> NoReturn:
    """Run a command that answers in JSON: also to what it cannot make sense of on the command line."""
    try:
        code = app(standalone_mode=False)
    except CrosstaskError:
        raise
    except Exception as error:
        if not hasattr(error, "format_message"):  # no fault of usage, which the parser of the command line raises
            raise
        manner.be(as_json=True)
        _stop(error.format_message(), getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)


def _stop(message: str, exit_code: int) -> NoReturn:
    with contextlib.suppress(OSError):  # the disk that holds the log may be the full one
        err.print(f"[bold red]Error:[/] {escape(one_line(message))}")
        if manner.as_json:
            answer_error(one_line(message), exit_code)
    sys.exit(exit_code)


def _stop_many(error: InputErrors) -> NoReturn:
    """Every fault of a file in a line of its own, up to a number."""
    lines = error.lines if len(error.lines) <= MOST else error.lines[: MOST - 1]
    for line in lines:
        err.print(f"[bold red]Error:[/] {escape(one_line(line))}")
    if len(lines) < len(error.lines):
        err.print(f"[bold red]Error:[/] and {len(error.lines) - len(lines)} more; mend these first")
    if manner.as_json:
        answer_error(one_line("; ".join(error.lines)), error.exit_code)
    sys.exit(error.exit_code)


def _stop_interrupted() -> NoReturn:
    err.print("Interrupted. Run the same command to resume.")
    if manner.as_json:
        answer_error("interrupted; run the same command to resume", INTERRUPTED)
    sys.exit(INTERRUPTED)
