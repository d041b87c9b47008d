"""Rooms of the C++ core (docs/architecture.md): includes go one way, each test has its source."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CPP = ROOT / "cpp"
SRC = CPP / "src"
PUBLIC = CPP / "include" / "helip"
C_HEADER = PUBLIC.parent / "helip.h"
TESTS = ROOT / "tests" / "cpp"

# A room may include from itself and from those before it.
MINER = (
    "base", "io", "table/store", "table",
    "mine/kernel", "mine/corpus", "mine/bound", "mine/pool", "mine/graph", "mine/budget",
    "mine/method", "mine/stream", "mine/job", "c",
)  # fmt: skip
LOADER = ("tar", "image/decode", "image", "samples", "load/locality", "load")
ROOMS = (*MINER, *LOADER)
# Public headers that no source bears the name of.
HEADERS_ALONE = {"data.h", "dropped_pairs.h", "executor.h", "export.h", "helip.h", "progress.h"}
FRONT_DOORS = ("helip/data.h", "helip/helip.h")
FOREIGN = re.compile(r"(torch|ATen|c10|pybind11|cuda\w*)/|(Python|cuda\w*|frameobject)\.h")
LONGEST = 500


@cache
def files() -> tuple[Path, ...]:
    folders = (CPP, TESTS)
    return tuple(
        sorted(p for f in folders for p in f.rglob("*") if p.suffix in (".h", ".cpp", ".cu"))
    )


@cache
def sources() -> dict[str, Path]:
    """Files of the core by their names: ``io/file.h``, ``helip/mine.h``."""
    found = {str(p.relative_to(SRC)): p for p in files() if SRC in p.parents}
    return found | {f"helip/{p.name}": p for p in files() if p.parent == PUBLIC}


@cache
def includes_of(path: Path) -> tuple[str, ...]:
    text = path.read_text(encoding="utf-8")
    return tuple(re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', text, re.M))


def room_of(name: str) -> str:
    """A public header is of the room whose source bears its name."""
    folder, _, file = name.rpartition("/")
    if folder != "helip":
        return folder
    stem = Path(file).stem
    rooms = [n.rpartition("/")[0] for n in sources() if n.endswith(f"/{stem}.cpp")]
    return rooms[0] if rooms else ROOMS[0]


def test_every_source_lies_in_a_room() -> None:
    loose = {n for n in sources() if not n.startswith("helip/") and room_of(n) not in ROOMS}
    assert not loose, f"no room: {loose}; see docs/architecture.md"


def test_every_source_is_compiled() -> None:
    listed = (CPP / "CMakeLists.txt").read_text(encoding="utf-8")
    assert not {n for n in sources() if n.endswith(".cpp") and f"src/{n}" not in listed}
    listed = (TESTS / "CMakeLists.txt").read_text(encoding="utf-8")
    tests = {
        str(p.relative_to(TESTS)) for p in files() if TESTS in p.parents and p.suffix == ".cpp"
    }
    assert not {n for n in tests if n not in listed}


def arrows_up() -> set[str]:
    found = set()
    for name, path in sources().items():
        if name in FRONT_DOORS:
            continue
        for included in includes_of(path):
            if included in FRONT_DOORS:
                found.add(f"{name} includes {included}")
            elif included in sources():
                room, other = room_of(name), room_of(included)
                if ROOMS.index(other) > ROOMS.index(room):
                    found.add(f"{name} includes {included}")
    return found


def circles() -> set[str]:
    arrows = {n: [i for i in includes_of(p) if i in sources()] for n, p in sources().items()}
    found: set[str] = set()
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            found.add(" → ".join((*way[way.index(name) :], name)))
        elif name not in done:
            for other in arrows[name]:
                walk(other, (*way, name))
            done.add(name)

    for name in sorted(arrows):
        walk(name, ())
    return found


def long_files() -> set[str]:
    return {
        f"{path.relative_to(ROOT)} has more than {LONGEST} lines"
        for path in files()
        if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST
    }


def homeless_tests() -> set[str]:
    found = set()
    for path in files():
        if TESTS not in path.parents or path.suffix != ".cpp":
            continue
        place = path.relative_to(TESTS)
        if place.parts[0] in ("support", "faults"):
            continue
        folder = (CPP if place.parts[0] == "cuda" else SRC) / place.parent
        names = {p.stem for p in folder.glob("*") if p.suffix in (".h", ".cpp", ".cu")}
        if path.stem not in names:
            found.add(f"{place} has no source of its name")
    return found


def test_includes_go_down_and_files_hold_one_concept() -> None:
    found = arrows_up() | circles() | long_files() | homeless_tests()
    assert not found, "see docs/architecture.md"


def test_the_loader_takes_of_the_miner_what_is_exported_for_it() -> None:
    """Public headers, base and io; the linker says where a symbol of these is not exported."""
    allowed = ("helip/", "base/", "io/", *(f"{room}/" for room in LOADER))
    wrong = {
        f"{name} includes {included}"
        for name, path in sources().items()
        if name.startswith(LOADER)
        for included in includes_of(path)
        if included in sources() and not included.startswith(allowed)
    }
    assert not wrong


def test_a_library_of_the_core_has_the_sources_of_its_rooms() -> None:
    text = (CPP / "CMakeLists.txt").read_text(encoding="utf-8")
    for target, rooms in (("helip_objects", MINER), ("helip_data_objects", LOADER)):
        listed = text.partition(f"add_library({target} OBJECT")[2].partition(")")[0].split()
        found = {name.removeprefix("src/").rpartition("/")[0] for name in listed}
        assert found == set(rooms), target


def test_the_c_interface_stands_on_public_headers_alone() -> None:
    """It may use what a C++ program may, and how errors are put together."""
    wrong = {
        f"{name} includes {included}"
        for name, path in sources().items()
        if name.startswith("c/")
        for included in includes_of(path)
        if included in sources() and not included.startswith(("helip/", "c/", "base/"))
    }
    assert not wrong
    users = {n for n, p in sources().items() if "helip.h" in includes_of(p)}
    assert users and all(name.startswith("c/") for name in users)


def test_the_c_header_is_of_c_alone_and_names_every_function_of_the_room() -> None:
    text = C_HEADER.read_text(encoding="utf-8")
    allowed = {"helip/export.h", "helip/version.h", "stddef.h", "stdint.h"}
    assert set(includes_of(C_HEADER)) == allowed
    declared = set(re.findall(r"\b(helip_\w+)\(", re.sub(r"/\*.*?\*/", "", text, flags=re.S)))
    room = [p for n, p in sources().items() if n.startswith("c/") and n.endswith(".cpp")]
    defined = {
        name
        for path in room
        for name in re.findall(
            r"(?m)^(?:const char\*|[a-z]\w*) (helip_\w+)\(", path.read_text(encoding="utf-8")
        )
    }
    assert declared == defined


def test_public_headers_bear_the_names_of_their_sources() -> None:
    stems = {Path(n).stem for n in sources() if n.endswith(".cpp")}
    headers = {p.name for p in PUBLIC.glob("*.h")}
    assert {h for h in headers if Path(h).stem not in stems} == HEADERS_ALONE


def test_public_headers_include_public_headers_alone() -> None:
    wrong = {
        f"{name} includes {included}"
        for name, path in sources().items()
        if name.startswith("helip/")
        for included in includes_of(path)
        if included in sources() and not included.startswith("helip/")
    }
    assert not wrong


def test_a_front_door_lists_every_public_header_of_its_library() -> None:
    headers = {p.name for p in PUBLIC.glob("*.h")} - {"helip.h", "data.h", "export.h"}
    of_loader = {name for name in headers if room_of(f"helip/{name}") in LOADER}
    assert {Path(i).name for i in includes_of(PUBLIC / "data.h")} == of_loader
    listed = {Path(i).name for i in includes_of(PUBLIC / "helip.h")}
    assert listed - {"version.h"} == headers - of_loader


def test_the_core_knows_neither_torch_nor_python_nor_what_is_built_on_it() -> None:
    beside = {p.name for folder in ("torch", "cuda", "python") for p in (CPP / folder).glob("*")}
    wrong = {
        f"{name} includes {included}"
        for name, path in sources().items()
        for included in includes_of(path)
        if FOREIGN.match(included) or (included in beside)
    }
    assert not wrong
