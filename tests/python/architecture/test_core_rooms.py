"""Rooms of the C++ core (docs/architecture.md): includes go one way, circles do not exist."""

from __future__ import annotations

import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CORE = ROOT / "cpp" / "src"
TESTS = ROOT / "tests" / "cpp"

# A file may include files of its own room and of those before it.
ROOMS = (
    "base", "io", "tar", "image", "samples", "table",
    "mine/kernel", "mine/corpus", "mine/bound", "mine/pool", "mine/graph", "mine/budget",
    "mine/method", "mine/stream", "mine/job",
    "load",
)  # fmt: skip
# Rooms that know fewer than the order allows: batches see the table alone.
UNKNOWN = {"load": "mine/", "table": ("tar", "image", "samples")}
MOST_LINES = 500


@cache
def files() -> dict[str, Path]:
    """Every file of the core by its path from ``cpp/src``."""
    return {
        path.relative_to(CORE).as_posix(): path
        for path in sorted(CORE.rglob("*"))
        if path.suffix in (".h", ".cpp")
    }


@cache
def includes_of(name: str) -> tuple[str, ...]:
    found = re.findall(r'^#include "([^"]+)"', files()[name].read_text(encoding="utf-8"), re.M)
    return tuple(included for included in found if included in files())


def room_of(name: str) -> str:
    return name.rpartition("/")[0]


def test_every_file_lies_in_a_room() -> None:
    loose = {room_of(name) for name in files()} - set(ROOMS)
    assert not loose, f"no room: {loose}; see docs/architecture.md"


@pytest.mark.parametrize("room", ROOMS)
def test_includes_go_to_rooms_before(room: str) -> None:
    wrong = [
        f"{name} includes {included}"
        for name in files()
        if room_of(name) == room
        for included in includes_of(name)
        if ROOMS.index(room_of(included)) > ROOMS.index(room)
        or included.startswith(UNKNOWN.get(room, "/"))
    ]
    assert not wrong


def test_no_headers_include_each_other_in_a_circle() -> None:
    graph = {name: includes_of(name) for name in files() if name.endswith(".h")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("name", files())
def test_a_file_is_short_enough_for_one_concept(name: str) -> None:
    lines = len(files()[name].read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, "split it by concept"


def test_tests_lie_where_their_sources_lie() -> None:
    headers = {path.relative_to(ROOT / "cpp/include/helip").stem: path for path in
               (ROOT / "cpp/include/helip").glob("*.h")}  # fmt: skip
    strange = []
    for path in TESTS.rglob("*.cpp"):
        name = path.relative_to(TESTS)
        room = name.parent.as_posix()
        if room not in ROOMS:
            continue
        known = any(f"{room}/{name.stem}{suffix}" in files() for suffix in (".cpp", ".h"))
        if not known and name.stem not in headers:
            strange.append(name.as_posix())
    assert not strange, "a test bears the name of its source"
