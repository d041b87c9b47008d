"""Dependencies point one way (docs/architecture.md): a room knows what is to its left alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import helip

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = ROOT / "python" / "helip"

# Rooms in order. A module belongs to the room that its name begins with.
ROOMS = [
    ["errors", "publish"],
    ["progress"],
    ["_core"],
    ["views"],
    ["store"],
    ["data", "sample_index"],
    ["transform"],
    ["encoders"],
    ["embed"],
    ["pairs"],
    ["device"],
    ["mine"],
    ["pair_index"],
    ["update"],
    ["reshard"],
    ["streaming"],
    ["reader", "loader"],
    ["loss"],
    ["models", "weights", "preprocess"],
    ["processes", "grad_cache"],
    ["optim", "recipe", "metrics", "checkpoint"],
    ["train_loop", "trainer"],
    ["evaluate"],
    ["report"],
    ["demo"],
    ["integrations"],
    ["cli", "__main__", "open_clip_train"],
]

# The C++ core: io < store, mine < index; random < load, picture; io < tar < samples;
# public headers stand outside.
CPP_ROOMS = {
    "io": {"io"},
    "store": {"io", "store"},
    "mine": {"io", "mine"},
    "random": {"random"},
    "load": {"load", "random"},
    "picture": {"picture", "random"},
    "index": {"index", "io", "mine"},
    "tar": {"tar", "io"},
    "samples": {"samples", "tar", "io"},
}


def room_of(module: str) -> int:
    best, depth = -1, 0
    for index, names in enumerate(ROOMS):
        for name in names:
            if (module == name or module.startswith(name + "_")) and len(name) > depth:
                best, depth = index, len(name)
    assert best >= 0, f"module {module} belongs to no room; add it to ROOMS and the docs"
    return best


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = node.module.split(".")
            if parts[0] != "helip":
                continue
            found.update([parts[1]] if len(parts) > 1 else [a.name for a in node.names])
        elif isinstance(node, ast.Import):
            found.update(a.name.split(".")[1] for a in node.names if a.name.startswith("helip."))
    return found


def test_python_imports_point_to_the_left() -> None:
    files = {path: path.stem for path in PYTHON.glob("*.py") if path.stem != "__init__"}
    files |= dict.fromkeys((PYTHON / "integrations").glob("*.py"), "integrations")
    wrong = []
    for path, module in sorted(files.items()):
        for imported in sorted(imports_of(path) & {*files.values(), "_core"}):
            if room_of(imported) > room_of(module):
                wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_cpp_includes_point_to_the_left() -> None:
    wrong = []
    for path in sorted((ROOT / "cpp" / "src").glob("*/*")):
        allowed = CPP_ROOMS[path.parent.name]
        for folder in re.findall(r'#include "(\w+)/', path.read_text(encoding="utf-8")):
            if folder != "helip" and folder not in allowed:
                wrong.append(f"{path.name} includes {folder}/")
    assert not wrong


def test_the_core_knows_neither_torch_nor_python() -> None:
    for folder in ("include", "src"):
        for path in (ROOT / "cpp" / folder).rglob("*.[ch]*"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r'#include [<"](torch|ATen|c10|pybind11|Python)', text), path


def test_the_kernel_knows_neither_torch_nor_the_core() -> None:
    folder = ROOT / "cpp" / "cuda"
    own = {path.name for path in folder.iterdir()}
    for path in folder.glob("*.[ch]*"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r'#include "([^"]+)"', text)) <= own, path
        assert not re.search(r"#include <(torch|ATen|c10|helip|pybind11|Python)", text), path


def test_the_public_names_are_there() -> None:
    assert set(helip.__all__) <= set(dir(helip))
    for name in ("mine", "embed", "plan", "open_dataset", "train", "evaluate", "report", "update"):
        assert callable(getattr(helip, name))


def test_importing_helip_starts_no_thread_and_opens_no_connection() -> None:
    import subprocess
    import sys

    code = (
        "import socket, threading\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "before = threading.active_count()\n"
        "import helip\n"
        "assert threading.active_count() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
