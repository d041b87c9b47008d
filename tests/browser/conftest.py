"""A browser, and a viewer as a process beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browser_samples import Viewer, opened
from support.view_samples import write_all


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright", reason="playwright is absent: pip install 'helip[browser]'")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container's root has no sandbox; pages are our own.
        found = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        yield found
        found.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("browser") / "made")


@pytest.fixture
def start(
    folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Viewer]]:
    """Starts a viewer; each test has a file of verdicts of its own."""
    running: list[Viewer] = []
    cache = tmp_path_factory.getbasetemp() / "cache"

    def begin(port: int = 0) -> Viewer:
        running.append(Viewer(folder, cache, tmp_path / "own.verdicts", port))
        return running[-1]

    yield begin
    for viewer in running:
        viewer.kill()


@pytest.fixture
def page(browser: Any, start: Callable[..., Viewer]) -> Iterator[Any]:
    """A page of a profile of its own, closed before the viewers end; see `opened`."""
    with opened(browser) as found:
        yield found


@pytest.fixture
def assert_usable() -> Callable[[Any], None]:
    """axe finds nothing that keeps somebody out, and nothing is wider than the window. The page is
    `opened` with ``bypass_csp``: axe is a script of the test, which the page's policy refuses."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")

    def check(page: Any) -> None:
        found = [
            (each["id"], [node["html"][:120] for node in each["nodes"][:3]])
            for each in axe.Axe().run(page).response["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert not found, page.url
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.url

    return check
