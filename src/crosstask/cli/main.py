"""The ``crosstask`` command: what is asked for most, help and completion, without the parser and its imports."""

from __future__ import annotations

import os
import sys

_COMPLETE = "_CROSSTASK_COMPLETE"
"""By this variable a shell asks what could come next."""


def main() -> None:
    """Run the command; errors are one line and an exit code: 2 for input, 1 for anything else."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # an output that knows no box or Greek letter shows a question mark
    asked = os.environ.get(_COMPLETE, "")
    words = _words_of_shell() if asked else sys.argv[1:]
    if not asked and words in (["--help"], ["-h"]):
        from crosstask.cli.overview import overview

        sys.stdout.write(overview())
        sys.exit(0)
    if not asked and words == ["--version"]:
        from crosstask import __version__

        sys.stdout.write(f"crosstask {__version__}\n")
        sys.exit(0)
    if asked and len(words) == 1 and not words[0].startswith("-"):
        from crosstask.cli.overview import completed

        if (answer := completed(asked, words[0])) is not None:
            sys.stdout.write(answer)
            sys.exit(0)
    from crosstask.cli.app import run

    run(next((word for word in words if not word.startswith("-")), ""))


def _words_of_shell() -> list[str]:
    """The words behind the command up to that which is to be completed; empty where the shell does not say simply."""
    line = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", "")).replace("\n", " ")
    if not line or set(line) & set("'\\\"`$\t"):
        return []
    words = line.split(" ")
    at = os.environ.get("COMP_CWORD", str(len(words) - 1))
    return [*words[1 : int(at)], words[int(at)] if int(at) < len(words) else ""] if at.isdecimal() else []


def __getattr__(name: str) -> object:
    if name == "app":  # typer's, for those who build on it
        from crosstask.cli.app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    main()
