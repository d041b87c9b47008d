"""A viewer as a process, and pages of a real browser that watch over what happens in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


class Viewer:
    """``helip view`` as a process of its own."""

    def __init__(self, folder: Path, cache: Path, verdicts: Path, port: int = 0) -> None:
        command = [
            sys.executable, "-m", "helip", "view", folder / "pairs", "--data", folder / "pictures",
            "--store", folder / "store", "--model", folder / "before", "--model",
            folder / "after", "--verdicts", verdicts, "--port", str(port), "--no-browser",
            "--quiet",
        ]  # fmt: skip
        self._start(command, cache)

    @classmethod
    def of_study(cls, folder: Path, cache: Path, study: Path, port: int = 0) -> Viewer:
        """One that asks the questions of a study."""
        found = cls.__new__(cls)
        command = [
            sys.executable, "-m", "helip", "view", folder / "pairs", "--data", folder / "pictures",
            "--study", study, "--port", str(port), "--no-browser", "--quiet",
        ]  # fmt: skip
        found._start(command, cache)
        return found

    def _start(self, command: list[Any], cache: Path) -> None:
        environment = {**os.environ, "HELIP_CACHE": str(cache), "NO_COLOR": "1"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"(http://127\.0\.0\.1:(\d+))/\?token=\S+", line):
                self.address, self.home, self.port = found[0], found[1], int(found[2])
                return
        raise AssertionError(f"helip view ended with {self.process.wait()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


class opened:
    """A page of a browser profile of its own. At its end the test fails where it asked anything of
    another machine, broke a policy, threw, or told of an error, but for ``known`` words."""

    def __init__(self, browser: Any, known: tuple[str, ...] = (), **options: Any) -> None:
        self._known = known
        self._context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self._wrong: list[str] = []

    def __enter__(self) -> Any:
        page = self._context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", self._asked)
        page.on("pageerror", lambda error: self._wrong.append(str(error)))
        page.on("console", lambda m: m.type == "error" and self._wrong.append(m.text))
        return page

    def _asked(self, request: Any) -> None:
        if not re.match(r"http://127\.0\.0\.1:\d+/", request.url):
            self._wrong.append(f"asked for {request.url}")

    def __exit__(self, *_: object) -> None:
        self._context.close()
        wrong = [each for each in self._wrong if not any(word in each for word in self._known)]
        if wrong:
            raise AssertionError(wrong)
