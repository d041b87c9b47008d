"""A static HTTP server on loopback whose answers begin after a time, for measurements.

nginx where it is installed: one worker, ``sendfile``. It asks a second server for leave before each
answer (``auth_request``), which gives it after the time. Else a server of Python's own, which
takes several times the processor time of nginx.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_NGINX = """\
{user}
worker_processes 1;
pid {work}/pid;
error_log {work}/errors;
daemon off;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 10000000;
  client_body_temp_path {work}/a;
  proxy_temp_path {work}/b;
  fastcgi_temp_path {work}/c;
  uwsgi_temp_path {work}/d;
  scgi_temp_path {work}/e;
  upstream leave {{ server 127.0.0.1:{leave}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port};
    root {folder};
    location / {{ {ask} }}
    location = /leave {{
      internal;
      proxy_pass http://leave;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }}
  }}
}}
"""


def name() -> str:
    """Which server it is, for the account of a measurement."""
    nginx = shutil.which("nginx")
    if nginx is None:
        return "python"
    said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr
    return said.strip().rpartition(" ")[2]


@contextlib.contextmanager
def serving(folder: Path, milliseconds: float, *, python: bool = False) -> Iterator[str]:
    """The URL of ``folder``; each answer begins so many milliseconds after its request."""
    port, leave = _free_port(), _free_port()
    nginx = None if python else shutil.which("nginx")
    own = [sys.executable, os.path.abspath(__file__)]
    with tempfile.TemporaryDirectory() as work:
        if nginx is None:
            commands = [[*own, str(port), str(milliseconds), str(folder)]]
        else:
            ask = "auth_request /leave;" if milliseconds else ""
            user = "" if os.geteuid() else "user root;"
            where = {"work": work, "folder": folder.resolve(), "port": port, "leave": leave}
            text = _NGINX.format(**where, ask=ask, user=user)
            (Path(work) / "conf").write_text(text)
            commands = [[nginx, "-c", f"{work}/conf", "-e", f"{work}/errors"]]
            if milliseconds:
                commands.append([*own, str(leave), str(milliseconds)])
        processes = [subprocess.Popen(command) for command in commands]
        try:
            for each in [port] if len(processes) == 1 else [port, leave]:
                _wait_for(each)
            yield f"http://127.0.0.1:{port}"
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise SystemExit(f"no server came up at port {port}")


class _Answers(asyncio.Protocol):
    """Answers GET and HEAD of files below ``folder``, or all with 204 where there is none."""

    def __init__(self, seconds: float, folder: str | None) -> None:
        self._seconds, self._folder, self._unread = seconds, folder, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._unread = (self._unread + data).split(b"\r\n\r\n")
        for request in requests:
            asyncio.get_running_loop().call_later(self._seconds, self._answer, request)

    def _answer(self, request: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._folder is None:
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        method, path, _ = request.split(b" ", 2)
        file = os.path.join(self._folder, os.path.basename(path.decode()))
        if not os.path.isfile(file):
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        size = os.path.getsize(file)
        asked = re.search(rb"(?i)\r\nrange: *bytes=(\d+)-(\d*)", request)
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]) if asked and asked[2] else size - 1, size - 1)
        head = f"HTTP/1.1 {'206 Partial Content' if asked else '200 OK'}\r\n"
        head += f'ETag: "{size}"\r\nContent-Length: {last + 1 - first}\r\n'
        if asked:
            head += f"Content-Range: bytes {first}-{last}/{size}\r\n"
        self._transport.write((head + "\r\n").encode())
        if method == b"GET":
            with open(file, "rb") as opened:
                self._transport.write(os.pread(opened.fileno(), last + 1 - first, first))


async def _serve(port: int, milliseconds: float, folder: str | None) -> None:
    loop = asyncio.get_running_loop()
    make = lambda: _Answers(milliseconds / 1000, folder)  # noqa: E731
    server = await loop.create_server(make, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), (sys.argv[3:] or [None])[0]))
