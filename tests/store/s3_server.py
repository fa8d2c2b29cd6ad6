"""An S3 server of this process (moto's), which can be made to fail, and says what it was asked."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

BUCKET = "clinic"


@dataclass
class Server:
    """What was asked of it: (method, path, range of bytes or None); and what it is to fail at.

    Attributes:
        fail: given (method, path), the status to answer with, or None; "hang" for no answer.
    """

    app: Any
    port: int = 0
    asked: list[tuple[str, str, tuple[int, int] | None]] = field(default_factory=list)
    fail: Callable[[str, str], str | None] = lambda method, path: None

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", environ.get("HTTP_RANGE", ""))
        self.asked.append((method, path, (int(found[1]), int(found[2]) + 1) if found else None))
        status = self.fail(method, path)
        if status == "hang":
            time.sleep(1.0)
            status = "503 Slow Down"
        if status is None:
            answer: Iterable[bytes] = self.app(environ, start)
            return answer
        start(status, [("Content-Type", "application/xml"), ("Content-Length", "0")])
        return [b""]

    def bytes_of(self, ending: str) -> int:
        """Bytes that were asked for in parts of files with this ending."""
        return sum(part[1] - part[0] for method, path, part in self.asked if part and path.endswith(ending))

    def count(self, method: str, ending: str = "") -> int:
        """Requests for files with this ending."""
        return sum(one == method and path.endswith(ending) for one, path, _ in self.asked)


@contextmanager
def serving() -> Iterator[Server]:
    """Run the server with an empty bucket."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: object) -> None:
            return

    server = Server(DomainDispatcherApplication(create_backend_app))
    http = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Silent)
    server.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()


def failing(
    count: int, status: str = "503 Slow Down", *, method: str = "", path: str = ""
) -> Callable[..., str | None]:
    """Fail the first requests that fit."""
    left = [count]

    def fail(asked: str, where: str) -> str | None:
        if left[0] and method in asked and re.search(path, where):
            left[0] -= 1
            return status
        return None

    return fail
