"""The sides of bench/http_ranges.py read over HTTP what they are compared by."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROWS = 6 * 64


@pytest.fixture(scope="module")
def planned(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return bench("http_ranges").make_plan(tmp_path_factory.mktemp("bench"), 32, ROWS)


def test_the_server_answers_ranges_and_after_the_time(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(range(200)))
    for python in (True, False):
        with bench("http_server").serving(tmp_path, 40, python=python) as url:
            asked = urllib.request.Request(url + "/a.tar", headers={"Range": "bytes=10-19"})
            begun = time.monotonic()
            with urllib.request.urlopen(asked) as answer:
                assert answer.status == 206
                assert answer.headers["Content-Range"] == "bytes 10-19/200"
                assert answer.read() == bytes(range(10, 20))
            assert time.monotonic() - begun >= 0.04
            with urllib.request.urlopen(url + "/a.tar") as answer:
                assert answer.read() == bytes(range(200))


@pytest.mark.parametrize("side", ["helip", "disk", "limit-4", "obstore", "fsspec", "webdataset"])
def test_every_side_gives_figures(bench: Any, planned: tuple[Path, Path], side: str) -> None:
    needs = {
        "obstore": ("simplejpeg",),
        "fsspec": ("simplejpeg", "aiohttp"),
        "webdataset": ("simplejpeg",),
    }
    for package in needs.get(side, ()):
        pytest.importorskip(package)
    folder, plan = planned
    with bench("http_server").serving(folder, 1) as url:
        found = bench("http_ranges").run(side, url, plan)
    assert found is not None
    assert found["images_second"] > 0


def test_places_are_those_of_the_index(bench: Any, planned: tuple[Path, Path]) -> None:
    folder, plan = planned
    stored = json.loads(plan.read_text())
    assert sorted(stored["rows"]) == list(range(ROWS))
    for name, first, size in stored["places"][:5]:
        data = (folder / name).read_bytes()[first : first + size]
        assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"
