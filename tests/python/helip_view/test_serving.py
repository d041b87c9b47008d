"""The viewer as a process: where it listens, what it says, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

pytest.importorskip("uvicorn")

from helip.common.errors import InvalidArgumentError, StorageError
from helip_view import serving
from helip_view.serving import listening, names_of
from helip_view.viewing import ViewCall


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_the_shell_serves_a_page_on_the_next_free_port_and_ends_tidily(
    folder: Path, ends: signal.Signals
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = subprocess.Popen(
            [
                sys.executable, "-m", "helip", "view", folder / "pairs", "--data",
                folder / "pictures", "--port", str(port), "--no-browser", "--quiet",
            ],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
        try:
            lines = []
            while not (lines and lines[-1].startswith("open http")):
                line = process.stderr.readline()
                assert line, lines
                lines.append(line)
            assert f"port {port} is taken" in lines[0]
            address = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=\S+", lines[-1])
            assert port < int(address[1]) <= port + 50
            jar = urllib.request.HTTPCookieProcessor(CookieJar())
            page = urllib.request.build_opener(jar).open(address[0], timeout=30).read().decode()
            assert "<h1>Hardest</h1>" in page
        finally:
            process.send_signal(ends)
            rest = process.communicate(timeout=30)[1]
        assert process.returncode == 0, rest
        assert "Traceback" not in rest


def test_only_the_names_of_this_server_are_its_hosts() -> None:
    assert names_of("127.0.0.1", 8765) == {"127.0.0.1:8765", "localhost:8765", "[::1]:8765"}
    assert "localhost" in names_of("127.0.0.1", 80)
    assert f"{socket.gethostname().lower()}:9" in names_of("0.0.0.0", 9)
    assert "10.1.2.3:9" in names_of("10.1.2.3", 9) and "127.0.0.1:9" not in names_of("10.1.2.3", 9)


def test_a_host_that_is_not_of_this_machine_is_refused() -> None:
    for host in ("203.0.113.7", "no such host", "a" * 300):
        with pytest.raises(InvalidArgumentError, match="host is"):
            listening(host, 0)


def test_where_no_port_is_free_the_error_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 65_535))
        taken.listen()
        with pytest.raises(StorageError, match="no port from 65535"):
            listening("127.0.0.1", 65_535)


def test_a_browser_is_started_without_the_token(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uvicorn

    opened: list[Path] = []
    lines: list[str] = []

    def open_(address: str) -> bool:
        opened.append(Path(url2pathname(urlsplit(address).path)))
        return True

    def run(*_: Any, **__: Any) -> None:
        token = re.search(r"token=(\S+)", " ".join(lines))[1]
        assert token not in str(opened[0])
        assert re.search(rf'url=(http://127[^"]+{token})"', opened[0].read_text(encoding="utf-8"))
        assert opened[0].parent.stat().st_mode & 0o077 == 0

    monkeypatch.setattr(serving, "_opened_in_browser", open_)
    monkeypatch.setattr(uvicorn.Server, "run", run)
    call = ViewCall(folder / "pairs", folder / "pictures", port=0, progress=False)
    serving.serve(call, lines.append)
    assert len(opened) == 1 and not opened[0].parent.exists()
