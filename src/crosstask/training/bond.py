"""Processes that were started by others, as by torchrun or srun, and end together: with one line, and soon.

A process that waits for another in a collective operation cannot say that the other is gone, and with NCCL it does not
learn it for minutes. So each keeps a connection to the first that says nothing, whose end is noticed at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from crosstask import ranks
from crosstask.errors import CrosstaskError, one_line

_GRACE = 1.0  # seconds in which the first process may say what was wrong with it, too
_TO_CONNECT = 60.0


@contextlib.contextmanager
def bound(address: str) -> Iterator[None]:
    """Be one of several processes that have met already: where one fails or is killed all end.

    What one raises is said by the first, which alone speaks; the others end without a word.

    Args:
        address: of the first process's machine, as the others know it.
    """
    rank, world = ranks.rank(), ranks.world_size()
    bond = _First(world) if rank == 0 else None
    port = ranks.agreed(0 if bond is None else bond.port)
    own = bond or _Other(rank, world, address, port)
    ranks.wait()
    try:
        yield
    except BaseException as error:
        own.fail(error)
        raise
    own.leave()


def _message(error: BaseException) -> dict[str, Any]:
    """What is to be said of an error, and the exit code."""
    if isinstance(error, CrosstaskError):
        return {"line": one_line(str(error)), "code": error.exit_code}
    if isinstance(error, KeyboardInterrupt):
        return {"line": "interrupted; run the same command to resume", "code": 130}
    return {"line": one_line(f"{type(error).__name__}: {error}"), "code": 1}


def _lost(rank: int, world: int) -> dict[str, Any]:
    return {
        "line": f"process {rank} of the {world} that train together was killed, or its machine is lost; run the same "
        "command to resume from the last epoch",
        "code": 1,
    }


def _end(message: dict[str, Any], *, speak: bool = True) -> None:
    """End this process now: what it waits for will not come."""
    if speak:
        with contextlib.suppress(OSError):
            print(f"Error: {message['line']}", file=sys.stderr, flush=True)
    os._exit(message["code"])


class _First:
    """The first process, to which all others are connected."""

    def __init__(self, world: int) -> None:
        self._world, self._left, self._failed = world, False, False
        self._server = socket.create_server(("", 0))
        self._others: list[socket.socket] = []
        self.port: int = self._server.getsockname()[1]
        self._start(self._accept)

    @staticmethod
    def _start(target: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        while len(self._others) < self._world - 1:
            connection, _ = self._server.accept()
            self._others.append(connection)
            self._start(self._listen, connection)

    def _listen(self, connection: socket.socket) -> None:
        lines = connection.makefile(encoding="utf-8")
        rank, message = -1, None
        with contextlib.suppress(OSError, ValueError):
            rank = int(lines.readline())
            message = json.loads(lines.readline() or "null")
        if message == "bye" or self._left or self._failed:
            return
        time.sleep(_GRACE if message else 2 * _GRACE)  # who failed may have been the reason why another was ended
        if not self._left and not self._failed:
            self._failed = True
            self._tell_others("quiet")
            _end(message or _lost(rank, self._world))

    def _tell_others(self, word: str) -> None:
        for connection in self._others:
            with contextlib.suppress(OSError):
                connection.sendall(f"{json.dumps(word)}\n".encode())

    def fail(self, error: BaseException) -> None:
        """What it raises it says itself; unless another was the reason, which is said then."""
        if not isinstance(error, CrosstaskError | KeyboardInterrupt):
            time.sleep(3 * _GRACE)  # perhaps only since another is gone
        self._failed = True
        self._tell_others("quiet")

    def leave(self) -> None:
        """All is done."""
        self._left = True
        self._tell_others("bye")


class _Other:
    """One of the others."""

    def __init__(self, rank: int, world: int, address: str, port: int) -> None:
        self._rank, self._world, self._left = rank, world, False
        try:
            self._first = socket.create_connection((address, port), timeout=_TO_CONNECT)
        except OSError as error:
            raise CrosstaskError(
                f"process {rank} of {world}: cannot reach the first at {address}:{port} ({error.strerror or error}); "
                "let the machines reach each other on all ports, or name another address by MASTER_ADDR"
            ) from None
        self._first.settimeout(None)
        self._first.sendall(f"{rank}\n".encode())
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        word = None
        with contextlib.suppress(OSError, ValueError):
            word = json.loads(self._first.makefile(encoding="utf-8").readline() or "null")
        if word == "bye" or self._left:
            return
        _end(_lost(0, self._world), speak=word != "quiet" and self._rank == 1)

    def fail(self, error: BaseException) -> None:
        """Let the first say it, and end."""
        with contextlib.suppress(OSError):
            self._first.sendall(f"{json.dumps(_message(error))}\n".encode())
        time.sleep(5 * _GRACE)
        _end(_message(error), speak=False)

    def leave(self) -> None:
        """All is done."""
        self._left = True
        with contextlib.suppress(OSError):
            self._first.sendall(b'"bye"\n')
