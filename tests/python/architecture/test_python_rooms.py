"""Rooms of the Python package (docs/architecture.md): arrows go one way, borders are visible."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / "python" / "helip"
TESTS = ROOT / "tests" / "python"

# A room may import from itself and from those before it.
ROOMS = (
    "common", "store", "data", "encoders", "verdicts", "pairs", "mining", "loading", "losses",
    "models", "training", "evaluation", "diagnosis", "reporting", "curation", "integrations",
    "cli",
)  # fmt: skip
# Rooms that know fewer than the order allows: what comes after mining sees the table alone.
UNKNOWN = {"loading": {"mining"}}
# Doors into the package, by ``python -m``.
DOORS = {"__main__", "open_clip_train"}
# Packages in the same wheel, which use public names of helip, and these private modules.
PRIVATE_IN = {
    "helip_view": {
        "common.errors": "`needed`, by which every absent library is told in one way",
        "common.files": "files appear whole, as all that helip writes",
        "common.options": "keywords, shell and reference derive from groups of options",
        "common.progress": "one form of progress in a shell",
        "common.quantities": "numbers of bytes are read in one way",
        "common.sqlite_log": "a study is a log of what people say, as verdicts are",
        "common.text": "captions are made safe in one place",
    },
    "helip_demo": {
        "common.devices": "which precision this machine multiplies well",
        "common.errors": "errors as helip raises them",
        "common.files": "files appear whole, as all that helip writes",
        "common.idle_cores": "how much longer it takes beside what others run",
        "common.machine": "how many processors may be used",
        "common.options": "keywords, shell and reference derive from groups of options",
        "common.progress": "one form of progress in a shell",
        "evaluation.statistics.intervals": "figures with outcomes, as evaluate gives them",
        "models.run_folder": "where a run keeps its checkpoint",
    },
}


@cache
def modules(package: str = "helip") -> dict[str, Path]:
    """Every module by its name, packages as ``room/__init__``."""
    folder = PYTHON.parent / package
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): path
        for path in sorted(folder.rglob("*.py"))
        if path.relative_to(folder).parts[0] not in ("lib", "include")
    }


def imports_of(path: Path, package: str = "helip") -> set[str]:
    """The names after ``helip.`` of all that a module imports of a package, wherever that is."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.partition(".")[2] for name in found if name.split(".")[0] == package}


def module_at(name: str, package: str = "helip") -> str:
    """The module that an imported name is of: ``store.keys`` of ``store.keys.CoreKeys``."""
    known = modules(package)
    while name and name not in known and f"{name}.__init__" not in known:
        name = name.rpartition(".")[0]
    return name


def room_of(module: str) -> str:
    return module.split(".")[0]


def test_every_module_lies_in_a_room() -> None:
    loose = {room_of(name) for name in modules()} - {*ROOMS, *DOORS, "__init__"}
    assert not loose, f"no room: {loose}; see docs/architecture.md"


def test_imports_point_to_rooms_on_the_left() -> None:
    wrong = []
    for name, path in modules().items():
        room = room_of(name)
        if room in DOORS:
            continue
        for imported in imports_of(path) - {"_core"}:
            other = room_of(imported)
            if other in ROOMS and (
                ROOMS.index(other) > ROOMS.index(room) or other in UNKNOWN.get(room, ())
            ):
                wrong.append(f"{name} imports {imported}")
    assert not wrong


def test_no_module_imports_the_front_door() -> None:
    wrong = [
        f"{name}: {imported or 'import helip'}"
        for name, path in modules().items()
        if room_of(name) not in DOORS
        for imported in imports_of(path)
        if room_of(imported) not in {*ROOMS, "_core"}
    ]
    assert not wrong, "the package is not a customer of its own front door"


@pytest.mark.parametrize("package", PRIVATE_IN)
def test_other_packages_of_the_wheel_use_public_names(package: str) -> None:
    public = {(room, name) for room in ("", *ROOMS) for name in public_names(room)}
    public |= {("", room) for room in ROOMS}
    private: dict[str, str] = {}
    for path in sorted((PYTHON.parent / package).rglob("*.py")):
        for imported in imports_of(path):
            room, _, name = imported.rpartition(".")
            if (room, name) not in public and imported:
                private.setdefault(room, f"{path.name}: {imported}")
    assert private.keys() == PRIVATE_IN[package].keys(), private


def test_only_commands_know_the_other_packages_of_the_wheel() -> None:
    knows = {
        name
        for name, path in modules().items()
        for package in PRIVATE_IN
        if re.search(rf"(?m)^\s*(?:from|import) {package}\b", path.read_text(encoding="utf-8"))
    }
    assert all(name.startswith("cli.commands.") for name in knows), knows


@pytest.mark.parametrize("package", ["helip", *PRIVATE_IN])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    arrows = {
        name: {module_at(each, package) for each in imports_of(path, package)} - {name, ""}
        for name, path in modules(package).items()
    }
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in arrows.get(name, ()):
                walk(other, (*way, name))
            done.add(name)

    for name in arrows:
        walk(name, ())


def public_names(room: str) -> dict[str, str]:
    """Name → module of all that a room's ``__init__.pyi`` gives away."""
    stub = PYTHON / room / "__init__.pyi"
    if not stub.exists():
        return {}
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    return {
        alias.name: node.module or ""
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_public_names_are_listed_once_and_are_there() -> None:
    listed = {room: sorted(public_names(room)) for room in ("", *ROOMS)}
    code = (
        "import importlib\n"
        f"for room, names in {listed!r}.items():\n"
        "    module = importlib.import_module(f'helip.{room}'.rstrip('.'))\n"
        "    for name in names: getattr(module, name)\n"
        "    assert set(names) <= set(dir(module)), (room, dir(module))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for room, names in listed.items():
        beside = {path.stem for path in (PYTHON / room).iterdir()}
        assert not set(names) & beside, f"{room}: a function must not shadow a module of its name"


def test_docs_and_examples_use_public_names_alone() -> None:
    public = {
        f"{room}.{name}" if room else name for room in ("", *ROOMS) for name in public_names(room)
    }
    public.add("cmake_prefix_path")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")]
    wrong = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".md":
            text = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
        used = {m[1] for m in re.finditer(r"\bhelip\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", text)}
        for m in re.finditer(r"from helip(?:\.([\w.]+))? import ([\w, ]+)", text):
            used |= {".".join(filter(None, (m[1], n.strip()))) for n in m[2].split(",")}
        for name in used:
            parts = name.split(".")
            if not any(".".join(parts[:i]) in public for i in range(1, len(parts) + 1)) and (
                parts[0] not in ROOMS or len(parts) > 1
            ):
                wrong.append(f"{page.name}: helip.{name}")
    assert not wrong


HEAVY = ("torch", "transformers", "open_clip", "numpy", "PIL", "yaml", "tqdm")


@pytest.mark.parametrize(
    "arguments",
    [["-c", "import helip"], ["-m", "helip", "--help"], ["-m", "helip", "mine", "--help"]],
    ids=["import helip", "helip --help", "helip mine --help"],
)
def test_the_door_opens_without_heavy_libraries(arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines()}
    assert not loaded & set(HEAVY)


def test_planning_and_updating_load_no_torch() -> None:
    code = (
        "import sys, helip, numpy as np\n"
        "helip.update\n"
        "rows = np.ones((9, 2), np.float32)\n"
        "helip.plan(image=rows, text=rows, device='cpu')\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_helip_starts_no_thread_and_opens_no_connection() -> None:
    code = (
        "import socket, threading\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "before = threading.active_count()\n"
        "import helip\n"
        "for name in helip.__all__: getattr(helip, name)\n"
        "assert threading.active_count() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_hold_one_concept() -> None:
    others = [PYTHON.parent / package for package in PRIVATE_IN]
    files = [path for folder in (*others, TESTS, ROOT / "bench") for path in folder.rglob("*.py")]
    files += modules().values()
    long = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long, "a file of more than 500 lines is probably two concepts"


def test_tests_lie_beside_the_code_and_bear_its_name() -> None:
    homeless = []
    for test in TESTS.rglob("test_*.py"):
        folder = test.relative_to(TESTS).parent
        if folder in (Path("architecture"), Path("docs")):
            continue
        place = PYTHON.parent if folder.name in PRIVATE_IN else PYTHON
        names = {path.stem for path in (place / folder).glob("*.py")}
        subject = test.stem.removeprefix("test_")
        if not any(subject == name or subject.startswith(f"{name}_") for name in names):
            homeless.append(str(folder / test.name))
    assert not homeless, "test_<module>.py or test_<module>_<aspect>.py, in the module's folder"
