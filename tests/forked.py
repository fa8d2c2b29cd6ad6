"""Python in a process of its own, as a user's, without the seconds that imports take where processes can be forked.

It has folder, variables and streams of its own, and nothing of what a test has changed: it is forked off the process
that has imported PyTorch for the package's own workers, and has done nothing else. What a command imports, installed
plugins, and that the installed command runs is for tests that start a new interpreter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from crosstask.evaluation.work import IMPORTED
from crosstask.processes import context_with

_COMMAND = "from crosstask.cli.main import main; main()"


def start(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """Call a function of a module in a new process."""
    process = context_with(IMPORTED, on_cpu=True).Process(target=target, args=arguments)
    process.start()
    return process


def python(
    code: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    variables: Mapping[str, str],
    name: str = "-c",
    timeout: float = 600,
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a script.

    Args:
        code: the script.
        arguments: of the script.
        folder: in which it runs.
        variables: of its environment.
        name: its own name, ``sys.argv[0]``.
        timeout: seconds after which it is killed.
    """
    with TemporaryDirectory() as streams:
        out, err = Path(streams, "out"), Path(streams, "err")
        process = start(_run, code, [name, *arguments], folder, dict(variables), out, err)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{arguments}: not done after {timeout} s")
        return process.exitcode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")


def command(arguments: Sequence[object], *, folder: Path, variables: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command ``crosstask``."""
    return python(_COMMAND, [str(each) for each in arguments], folder=folder, variables=variables, name="crosstask")


def _run(code: str, arguments: list[str], folder: Path, variables: dict[str, str], out: Path, err: Path) -> None:
    for number, stream in ((1, out), (2, err)):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.argv = arguments
    exec(compile(code, "<script>", "exec"), {"__name__": "__main__"})
