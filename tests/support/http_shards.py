"""A small HTTP server of a folder: ranges, ETags, and faults on demand. It listens on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class ShardServer(http.server.ThreadingHTTPServer):
    """Serves ``folder``.

    ``faults`` names what a request for a file meets, by the file's name: an HTTP status, or one of
    ``"whole"`` (no ranges: 200 and all bytes), ``"reset"``, ``"truncated"`` (the body ends early)
    ``"hang"`` (no answer until the server stops) and ``"moved"`` (a redirect to the same under
    ``moved/``). ``times`` limits it to so many requests.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[tuple[str, str, str | None]] = []  # method, file, range
        self.faults: dict[str, Any] = {}
        self.times: dict[str, int] = {}
        self.tags = True
        self.delay = 0.0  # seconds before each answer
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.running = self.most_running = 0

    def fault_of(self, name: str) -> Any:
        with self.lock:
            fault = self.faults.get(name)
            if fault is not None and name in self.times:
                if self.times[name] == 0:
                    return None
                self.times[name] -= 1
            return fault

    def gets(self) -> list[tuple[str, str | None]]:
        """File and range of each GET so far."""
        return [(name, asked) for method, name, asked in self.requests if method == "GET"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ShardServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        server = self.server
        with server.lock:
            server.running += 1
            server.most_running = max(server.most_running, server.running)
        try:
            self._answer_one(body)
        finally:
            with server.lock:
                server.running -= 1

    def _answer_one(self, body: bool) -> None:
        name, asked = self.path.lstrip("/").removeprefix("moved/"), self.headers.get("Range")
        self.server.requests.append((self.command, name, asked))
        if self.server.stopped.is_set():
            self.close_connection = True
            return
        self.server.stopped.wait(self.server.delay)
        moved = self.path.startswith("/moved/")
        fault = None if moved else self.server.fault_of(name)
        path = self.server.folder / name
        if fault == "moved":
            self._head(302, 0, {"Location": f"{self.server.url}/moved/{name}"})
            return
        if fault == "hang":
            self.server.stopped.wait(60)
            self.close_connection = True
            return
        if fault == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
            return
        if isinstance(fault, int) or not path.is_file():
            self._head(fault if isinstance(fault, int) else 404, 0)
            return
        data = path.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
        first, last = (int(match[1]), int(match[2])) if match else (0, len(data) - 1)
        if match and first >= len(data):
            self._head(416, 0)
            return
        part = data[first : last + 1]
        headers = {"Last-Modified": self.date_time_string(int(path.stat().st_mtime))}
        if self.server.tags:
            headers["ETag"] = f'"{hashlib.md5(data).hexdigest()}"'
        if match and fault != "whole":
            headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
            self._head(206, len(part), headers)
        else:
            part = data
            self._head(200, len(part), headers)
        if body:
            if fault == "truncated":
                part = part[: len(part) // 2]
                self.close_connection = True
            self.wfile.write(part)

    def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[ShardServer]:
    """A server of ``folder`` while the block runs."""
    server = ShardServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
