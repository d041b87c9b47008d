"""moto's S3 on loopback, with a log of requests and faults on demand."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest


class Request(NamedTuple):
    """What was asked."""

    method: str
    key: str  # without the bucket
    query: str
    range: str | None
    new: bool = False  # only where nothing is


#: Decides of a request what it meets: None for nothing, an HTTP status with the code of its answer,
#: "reset", "hang" (until the server stops), "short" (fewer bytes than were asked for, as if that
#: were all) or "cut" (the body ends early).
Fault = Callable[[Request], "tuple[int, str] | str | None"]


class S3Server:
    """One bucket, ``bucket``. ``requests`` has what came, also what met a fault."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.url = ""
        self.requests: list[Request] = []
        self.fault: Fault | None = None
        self.stopped = threading.Event()

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        key = environ["PATH_INFO"].removeprefix("/bucket").lstrip("/")
        asked = environ.get("HTTP_RANGE")
        request = Request(
            environ["REQUEST_METHOD"], key, environ.get("QUERY_STRING", ""), asked,
            "HTTP_IF_NONE_MATCH" in environ,
        )  # fmt: skip
        self.requests.append(request)
        fault = self.fault(request) if self.fault is not None else None
        if isinstance(fault, tuple):
            return _refused(environ, start, *fault)
        if fault == "hang":
            self.stopped.wait(60)
        if fault in ("reset", "hang"):
            connection = environ["werkzeug.socket"]
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()
            return []
        if fault == "short":
            first, last = map(int, (asked or "").removeprefix("bytes=").split("-"))
            environ["HTTP_RANGE"] = f"bytes={first}-{(first + last) // 2}"
        chunks = list(self.backend(environ, start))
        if fault == "cut":
            body = b"".join(chunks)
            return [body[: len(body) // 2]]
        return chunks

    def of(self, method: str) -> list[str]:
        """Keys of the requests by that method, in order."""
        return [request.key for request in self.requests if request.method == method]

    def written(self) -> list[str]:
        """Keys in the order in which they got their contents."""
        return [
            request.key
            for request in self.requests
            if (request.method == "PUT" and "partNumber" not in request.query)
            or (request.method == "POST" and "uploadId" in request.query)
        ]

    def uploads(self) -> int:
        """Uploads in pieces that were neither completed nor given up."""
        with urllib.request.urlopen(f"{self.url}/bucket?uploads") as answer:
            return answer.read().decode().count("<UploadId>")


def _refused(environ: dict[str, Any], start: Any, status: int, code: str) -> list[bytes]:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    environ["wsgi.input"].read(length)
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else f"<Error><Code>{code}</Code></Error>"
    body = body if isinstance(body, bytes) else body.encode()
    start(f"{status} {code}", [("Content-Length", str(len(body)))])
    return [body]


@functools.cache
def _running() -> S3Server:
    """One server for all tests of a process, which takes a second to start."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: Any, **__: Any) -> None:
            pass

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = S3Server(DomainDispatcherApplication(create_backend_app))
    listening = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Handler)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    atexit.register(listening.server_close)
    atexit.register(listening.shutdown)
    server.url = f"http://127.0.0.1:{listening.server_port}"
    return server


@contextlib.contextmanager
def serving_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An empty bucket while the block runs, and the variables by which obstore finds it."""
    pytest.importorskip("moto", reason="moto[s3], flask and flask-cors are of the extra dev")
    pytest.importorskip("flask_cors")
    server = _running()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "hidden-secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": server.url,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    server.fault = None
    server.stopped = threading.Event()
    for method, path in (("POST", "/moto-api/reset"), ("PUT", "/bucket")):
        urllib.request.urlopen(urllib.request.Request(server.url + path, method=method)).close()
    server.requests.clear()
    try:
        yield server
    finally:
        server.fault = None
        server.stopped.set()
