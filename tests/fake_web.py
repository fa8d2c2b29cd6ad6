"""A web server in a thread that answers like GitHub, Dataverse and S3, with the faults of real ones on demand."""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import sys
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Web:
    """Pages by path (query included), and what goes wrong at the next requests of a path.

    A fault is ``{"status": 503, "headers": {...}}``, ``{"cut": n}`` (n bytes of the body, then the connection closes),
    ``{"stall": seconds}`` (half of the body, then silence), ``{"page": bytes}`` (another body) or
    ``{"mute": True}`` (a part without the status of one).
    """

    pages: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    ranges: bool = True
    lengths: bool = True
    moved: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    url: str = ""

    def sent(self, path: str) -> list[tuple[str, int]]:
        """(Range header, bytes of body sent) of each request of a path."""
        return [(asked, count) for name, asked, count in self.log if name == path]


@contextmanager
def serve() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.agents.add(self.headers.get("User-Agent", ""))
            fault = web.faults[self.path].pop(0) if web.faults[self.path] else {}
            asked = self.headers.get("Range", "")
            if self.path in web.moved:
                self.send_response(303)
                self.send_header("Location", web.moved[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = fault.get("page", web.pages.get(self.path))
            status = fault.get("status", 404 if body is None else 200)
            headers = dict(fault.get("headers", {}))
            body = (body or b"") if status == 200 else b"fault"
            match = re.fullmatch(r"bytes=(\d+)-", asked)
            if status == 200 and match and web.ranges and "page" not in fault:
                start = int(match[1])
                if start >= len(body):
                    status, body = 416, b""
                else:
                    headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                    status, body = 200 if "mute" in fault else 206, body[start:]
            whole = body
            if "cut" in fault:
                body = body[: fault["cut"]]
            if "stall" in fault:
                body = body[: len(body) // 2]
            web.log.append((self.path, asked, len(body)))  # before the first byte, or a client may look too early
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if web.lengths:
                self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            try:
                self.wfile.write(body)
                self.wfile.flush()
                if "stall" in fault:
                    time.sleep(fault["stall"])
            except OSError:
                pass
            self.close_connection = len(whole) != len(body) or not web.lengths

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes before it has all is no fault, and no traceback; anything else is."""
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def zipped(members: dict[str, bytes], links: tuple[str, ...] = (), kind: int = stat.S_IFLNK) -> bytes:
    """A zip file; ``links`` are stored as links (or another kind)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name in links:
                info.external_attr = (kind | 0o777) << 16
            file.writestr(info, content)
    return buffer.getvalue()


def git_sha(content: bytes) -> str:
    return hashlib.sha1(b"blob " + str(len(content)).encode() + b"\0" + content).hexdigest()


def github(web: Web, commit: str, files: dict[str, bytes], owner: str = "ababier/open-kbp") -> tuple[str, str]:
    """Tree and archive of a repository; returns their paths."""
    tree = f"/repos/{owner}/git/trees/{commit}?recursive=1"
    entries = [{"path": path.rsplit("/", 1)[0], "type": "tree", "sha": "0" * 40} for path in files]
    entries += [
        {"path": path, "type": "blob", "mode": "100644", "size": len(content), "sha": git_sha(content)}
        for path, content in files.items()
    ]
    web.pages[tree] = json.dumps({"sha": commit, "tree": entries, "truncated": False}).encode()
    archive = f"/{owner}/archive/{commit}.zip"
    moved = f"/codeload{archive}"
    web.moved[archive] = moved
    web.pages[moved] = zipped({f"open-kbp-{commit}/{path}": content for path, content in files.items()})
    return tree, moved


def dataverse(web: Web, doi: str, files: dict[str, bytes], ingested: dict[str, bytes] | None = None) -> dict[str, str]:
    """Entry of a Dataverse; ``ingested``: original tables by the name of the converted one. Returns paths by name."""
    listed, paths = [], {}
    for number, (name, content) in enumerate({**files, **(ingested or {})}.items(), start=3172580):
        file = {"id": number, "filename": name, "md5": hashlib.md5(content).hexdigest(), "filesize": len(content)}
        path = f"/api/access/datafile/{number}"
        if name in (ingested or {}):
            converted = content.replace(b",", b"\t")
            web.pages[path] = converted
            file.update(originalFileFormat="text/csv", originalFileSize=len(content), filesize=len(converted))
            path += "?format=original"
        web.moved[path] = f"/storage/{number}"
        web.pages[f"/storage/{number}"] = content
        listed.append({"label": name, "dataFile": file})
        paths[name] = f"/storage/{number}"
    entry = {"status": "OK", "data": {"latestVersion": {"versionNumber": 4, "versionMinorNumber": 0, "files": listed}}}
    web.pages[f"/api/datasets/:persistentId/?persistentId={doi}"] = json.dumps(entry).encode()
    return paths


def s3(web: Web, objects: dict[str, bytes], parts: tuple[str, ...] = (), page: int = 2) -> None:
    """A bucket that lists ``page`` keys at a time; the tags of ``parts`` are those of uploads in parts."""
    prefixes = {key.rsplit("/", 1)[0] + "/" for key in objects}
    for prefix in prefixes:
        keys = [prefix, *sorted(key for key in objects if key.startswith(prefix))]
        for start in range(0, len(keys), page):
            more = start + page < len(keys)
            rows = ""
            for key in keys[start : start + page]:
                content = objects.get(key, b"")
                tag = hashlib.md5(content).hexdigest() + ("-3" if key in parts else "")
                rows += (
                    f"<Contents><Key>{key}</Key><ETag>&quot;{tag}&quot;</ETag><Size>{len(content)}</Size></Contents>"
                )
            query = f"list-type=2&prefix={prefix.replace('/', '%2F')}"
            query += f"&continuation-token=t%2F{start}%2B%3D" if start else ""
            token = f"<NextContinuationToken>t/{start + page}+=</NextContinuationToken>" if more else ""
            web.pages[f"/?{query}"] = (
                '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult '
                'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
            ).encode()
    web.pages.update({f"/{key}": content for key, content in objects.items()})
